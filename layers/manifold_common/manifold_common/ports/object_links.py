"""What links to stored objects promise: whoever has one may make that one request, for a while, and no other.

A link says nothing of what an object holds: the bytes are sealed, and its key goes another way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol


class Link(NamedTuple):
    url: str
    headers: Mapping[str, str]
    """To be sent with the request, exactly so."""


class ObjectLinks(Protocol):
    """Every method may raise ``ConfigError`` (there is nothing to sign with), and makes no request to the store."""

    def to_read(self, keys: Sequence[str], *, seconds: int) -> list[str]:
        """Return a URL for each object, whose GET answers its bytes, or a range of them."""

    def to_create(self, key: str, size: int, *, seconds: int) -> Link:
        """Return a link whose PUT stores an object of ``size`` bytes. One of another length is refused, and so is any
        where there is an object of that name."""
