"""What a store promises if clients reach its objects through the server, because they cannot reach the store itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from manifold_common.ports.object_store import Buffer


class ServedStore(Protocol):
    """Raises as ``ObjectStore`` does."""

    def link_secret(self) -> bytes:
        """Return what links are signed with: the same for every server on this store, and known to nobody else who
        could not read its objects anyway."""

    def create(self, key: str, pieces: Iterable[Buffer]) -> None:
        """Store what ``pieces`` yield, of which no more than one is held in memory. Each may be used again once the
        next is asked for. What they raise leaves nothing behind.

        Raises:
            AlreadyExists: an object is there; all pieces were taken nonetheless. NoSpace.
        """
