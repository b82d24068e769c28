"""What an object store promises: named byte strings, each replaced whole or not at all.

Every method may raise ``StoreUnavailable`` (the request may be repeated: adapters have already retried within their
time budget) and nothing else beyond what it lists. A failed request is never reported as an absent object.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol, TypeAlias

from manifold_common.errors import InvalidInput

Buffer: TypeAlias = bytes | bytearray | memoryview


class ObjectInfo(NamedTuple):
    key: str
    size: int
    """Bytes."""
    modified: datetime
    """Aware, UTC, as told by the store's own clock."""


class StoreHealth(NamedTuple):
    ok: bool
    detail: str
    latency_seconds: float
    trouble: str = ""
    """Why writes fail, or are about to, although it answers; ``""``: no reason is known."""


def check_ranges(ranges: Sequence[tuple[int, int]]) -> None:
    """Raises InvalidInput unless each ``(start, length)`` has a start of at least 0 and a length of at least 1."""
    for start, length in ranges:
        if start < 0 or length < 1:
            raise InvalidInput(f"{start}+{length} is not a range of bytes", hint="start >= 0 and length >= 1")


class ObjectAccess(Protocol):
    """Reading and writing of objects whose keys are known.

    Keys are as ``domain.object_key`` says: relative, ``/``-separated, ASCII; others raise InvalidInput. No key may be a
    folder of another key (with ``a`` there is no ``a/b``): a directory cannot hold both.
    """

    def put(self, key: str, data: Buffer, *, if_absent: bool = False) -> None:
        """Store ``data`` under ``key``; when this returns, the bytes survive a crash of the store's machine.

        A reader sees the old bytes or the new ones, never a mixture. Repeating a put of the same bytes is safe.

        Raises:
            AlreadyExists: with ``if_absent``, another object is there (a repeated put of the same bytes, after a
                lost acknowledgement, may raise it too).
            NoSpace: the store is full; nothing was changed.
        """

    def get(self, key: str, *, max_bytes: int) -> Buffer:
        """Return the whole object.

        Raises:
            ObjectNotFound: there is no such object.
            CorruptObject: the object is larger than ``max_bytes``; it was not read into memory.
        """

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[Buffer]:
        """Return the bytes of each ``(start, length)``, in order. Neighbouring ranges may share a request.

        No ranges at all is no request at all.

        Raises:
            InvalidInput: a start below 0 or a length below 1.
            ObjectNotFound: there is no such object.
            CorruptObject: the object ends before a range does.
        """

    def delete(self, keys: Sequence[str]) -> None:
        """Remove the objects. One that is absent already is no error."""


class ObjectStore(ObjectAccess, Protocol):
    """A whole store."""

    def head(self, key: str) -> ObjectInfo | None:
        """Return the object's facts, or ``None`` if the store is certain that it is absent."""

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield every object below the folder ``prefix`` (empty: the whole store), in no set order, however many."""

    def health(self) -> StoreHealth:
        """Make one cheap request and say how it went, and what is known of writes. Leaves nothing behind. Never
        raises."""
