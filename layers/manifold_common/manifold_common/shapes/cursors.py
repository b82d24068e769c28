"""Cursors of lists, which lead from one page to the next.

A cursor is opaque to clients: base64url of ``[version, binding, key]`` in MessagePack. ``key`` is of the last item that
was shown. ``binding`` is a hash of which list it is, whose, and under which filters: with another one the answer is
400, not a page of something else.

It has no MAC. What a client makes up by itself can begin a list elsewhere, which is all that a cursor is for: whose
list it is and what may be seen of it is decided from the caller and the address, as for a first page, and the key is
only ever compared. A MAC would want a secret that every process and every function shares, through its rotations, and
would keep no promise that is not kept already. Since URLs stand in the logs of proxies, no key holds what is encrypted
at rest: a place in a tree is a number, not a path.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Annotated, Generic, TypeVar

import msgspec

from manifold_common.domain.history import Point
from manifold_common.errors import InvalidCursor
from manifold_common.ids import CommitId, Generation
from manifold_common.shapes.page import MAX_CURSOR_CHARACTERS

K = TypeVar("K")

_VERSION = 1
_BINDING_BYTES = 8
_AGAIN = "or begin again without a cursor"


class TreePoint(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """The generation that a list goes through, with its commit: not the one that has the number now."""

    generation: Generation
    commit: CommitId | None

    @property
    def point(self) -> Point:
        return Point(self.generation, self.commit)


TreePlace = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]
"""How many items there were before."""


class Content(msgspec.Struct, Generic[K], array_like=True, frozen=True, forbid_unknown_fields=True):
    """What a cursor says."""

    version: int
    binding: bytes
    key: K


class Cursors(Generic[K]):
    """Those of one kind of list."""

    def __init__(self, name: str, decoder: msgspec.msgpack.Decoder[Content[K]]) -> None:
        self._name = name
        self._decoder = decoder

    def write(self, key: K, *of: object) -> str:
        """Return the cursor of a list ``of`` these, after ``key``."""
        data = msgspec.msgpack.encode(Content(_VERSION, self._binding(of), key))
        return base64.urlsafe_b64encode(data).decode("ascii").rstrip("=")

    def read(self, cursor: str | None, *of: object) -> K | None:
        """Return the key; ``None`` where there is no cursor. Raises InvalidCursor."""
        if cursor is None:
            return None
        found = self._content(cursor)
        if found.binding != self._binding(of):
            raise InvalidCursor(
                "the cursor belongs to another list, or to this one with other parameters",
                hint=f"repeat the parameters of the page before, all but limit, {_AGAIN}",
            )
        if self.write(found.key, *of) != cursor:  # one spelling for each
            raise InvalidCursor("the cursor was changed on its way", hint=f"give next_cursor as it is, {_AGAIN}")
        return found.key

    def key_of(self, cursor: str) -> K:
        """Return what a cursor says, whatever list it is of. Raises InvalidCursor."""
        return self._content(cursor).key

    def _content(self, cursor: str) -> Content[K]:
        try:
            if len(cursor) > MAX_CURSOR_CHARACTERS:
                raise ValueError(cursor)
            data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
            found = self._decoder.decode(data)
            if found.version != _VERSION:
                raise ValueError(cursor)
        except (ValueError, msgspec.MsgspecError):
            raise InvalidCursor(
                "the cursor was not made by this server", hint=f"give next_cursor of the page before, {_AGAIN}"
            ) from None
        return found

    def _binding(self, of: tuple[object, ...]) -> bytes:
        return hashlib.blake2b(msgspec.msgpack.encode([self._name, *of]), digest_size=_BINDING_BYTES).digest()


_COMMIT = msgspec.msgpack.Decoder(Content[Generation])
COMMITS = Cursors("commits", _COMMIT)
"""Of (principal, project id, CommitFilter), after a generation."""
