"""A request that has a name, so that it may be sent again and is done once."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from manifold_common.ids import RequestId


def _unknown() -> bytes:
    return b""


def _ignored() -> None:
    pass


class NamedRequest(NamedTuple):
    name: RequestId
    """Unique in the project."""
    fingerprint: Callable[[], bytes] = _unknown
    """What tells the request from another one that is given the same name; ``b""``: nothing does. Asked before the work
    only where the name is known already: it may read the request's content, which is then gone. After the work it is
    asked for what is kept in the commit."""
    on_replay: Callable[[], None] = _ignored
    """Called when an earlier request of the same name has done the work already, and is answered again."""
