"""Objects that clients read and store through the server, where they cannot reach its store themselves.

A link is a path on the server and a signature (HMAC-SHA256, with a secret of the store's) over all that it allows: the
method, the object, for one that is to be stored its length, when the link ends, and which installation it is of. So
every server of an installation takes the links of every other, and none those of a copy that became one of its own.
What the links are good for is the same as with those to a bucket; see ``ports/object_links.py``.
"""

from __future__ import annotations

import base64
import hmac
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from manifold_common.domain.installation import Standing
from manifold_common.domain.object_key import check_object_key
from manifold_common.domain.served_link import PATH
from manifold_common.errors import BadUpload, Denied, ObjectNotFound
from manifold_common.ports.clock import Clock
from manifold_common.ports.object_links import Link
from manifold_common.ports.object_store import Buffer, ObjectStore
from manifold_common.ports.served_store import ServedStore

_PURPOSE = "manifold-object-link-1"
_PIECE_BYTES = 1 << 20

ReadInto = Callable[[memoryview], int]
"""Fills what it is given and returns the number of bytes; 0 at the end."""


class Proof(NamedTuple):
    """What a link has besides the object's key."""

    until: int
    """Seconds since 1970."""
    signature: str


@dataclass(frozen=True, slots=True)
class ServedObject:
    size: int
    _store: ObjectStore
    _key: str

    def read(self, start: int, length: int) -> Iterator[Buffer]:
        """Yield the bytes of a range, piece by piece."""
        for at in range(start, start + length, _PIECE_BYTES):
            yield self._store.get_ranges(self._key, [(at, min(_PIECE_BYTES, start + length - at))])[0]


class ServedObjects:
    """Implements ObjectLinks. Safe for threads."""

    def __init__(self, served: ServedStore, store: ObjectStore, clock: Clock, standing: Standing) -> None:
        """Args: ``store``: the same one, to be read."""
        self._served = served
        self._store = store
        self._clock = clock
        self._standing = standing

    def to_read(self, keys: Sequence[str], *, seconds: int) -> list[str]:
        secret, until = self._served.link_secret(), self._until(seconds)
        return [self._link(check_object_key(key), until, self._sign(secret, "GET", key, 0, until)) for key in keys]

    def to_create(self, key: str, size: int, *, seconds: int) -> Link:
        until = self._until(seconds)
        signature = self._sign(self._served.link_secret(), "PUT", check_object_key(key), size, until)
        return Link(self._link(key, until, signature), {"If-None-Match": "*", "Content-Length": str(size)})

    def open(self, key: str, proof: Proof) -> ServedObject:
        """Return the object that a link is to. Raises Denied: it has ended, or allows something else. NotFound."""
        self._check("GET", key, 0, proof)
        found = self._store.head(key)
        if found is None:
            raise ObjectNotFound(f"there is no object {key}")
        return ServedObject(found.size, self._store, key)

    def create(self, key: str, size: int, proof: Proof, body: ReadInto) -> None:
        """Store an object of ``size`` bytes, which ``body`` has.

        Raises:
            Denied: the link has ended, or allows something else. AlreadyExists. BadUpload: the body has another length.
            NotAdopted: this may be a copy of the installation. NoSpace.
        """
        self._check("PUT", key, size, proof)
        self._standing.admit()
        self._served.create(key, _exactly(size, body))

    def _until(self, seconds: int) -> int:
        return math.ceil(self._clock.now().timestamp()) + seconds

    @staticmethod
    def _link(key: str, until: int, signature: str) -> str:
        return f"{PATH}{key}?until={until}&signature={signature}"

    def _sign(self, secret: bytes, method: str, key: str, size: int, until: int) -> str:
        said = "\n".join((_PURPOSE, self._standing.incarnation, method, key, str(size), str(until)))
        return base64.urlsafe_b64encode(hmac.digest(secret, said.encode(), "sha256")).rstrip(b"=").decode()

    def _check(self, method: str, key: str, size: int, proof: Proof) -> None:
        wanted = self._sign(self._served.link_secret(), method, check_object_key(key), size, proof.until)
        if not hmac.compare_digest(wanted.encode(), proof.signature.encode()):
            raise Denied(
                "this is not what the link was given for", hint="use it unchanged, for the request that it is for"
            )
        if self._clock.now().timestamp() > proof.until:
            raise Denied("the link has ended", hint="ask for a new plan, or for the upload's link again")


def _exactly(size: int, body: ReadInto) -> Iterator[Buffer]:
    buffer, seen = memoryview(bytearray(min(size, _PIECE_BYTES) or 1)), 0
    while count := body(buffer):
        seen += count
        if seen > size:
            break
        yield buffer[:count]
    if seen != size:
        raise BadUpload(f"the body has {'more' if seen > size else 'fewer'} than the {size} bytes that it was to have")
