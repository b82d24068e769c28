"""The seal: every stored object is a header and a run of frames, each authenticated in its place.

Layout, all integers little-endian (docs/format-v1.md, "Sealed objects"):

    header  40 bytes  magic "MNFD" | version u8 | kind u8 | suite u8 | zero u8 | object id 16 | DEK id 16
    frame    8 bytes  stored length u32 | raw length (bits 0-27), codec (bits 28-30), last (bit 31)
             n bytes  payload, encrypted under suite 1
            16 bytes  tag
    ... the last frame is empty and carries the "last" bit.

Suite 1 is AES-256-GCM; the key is HKDF-SHA256(DEK, salt = object id, info = "manifold/v1/" kind); the nonce is the
frame's number. An object id is never used twice for different bytes, so no (key, nonce) pair is either. Suite 0 is
unencrypted; its tag is BLAKE3 over the same associated data and the payload, cut to 16 bytes: it finds accidents.

The associated data of frame ``n`` is: "manifold/v1" | header | key length u16 | object key | n u32 | frame header.
The object key holds tenant, project, kind and name, so a frame that was moved, swapped, cut off or replayed anywhere
else fails to open.
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from manifold_common.errors import CorruptObject, InternalError
from manifold_common.format.buffers import Buffer
from manifold_common.format.compression import STORED, compress, decompress
from manifold_common.format.footprint import FRAME_BYTES, TakeMemory, no_bound
from manifold_common.ids import PLAIN, DekId, ObjectId, decode_id, encode_id

VERSION = 1
MAGIC = b"MNFD"
_HEADER = struct.Struct("<4sBBBB16s16s")
_FRAME = struct.Struct("<II")
_FRAME_NUMBER = struct.Struct("<I")
_NAME_LENGTH = struct.Struct("<H")

HEADER_BYTES = _HEADER.size
FRAME_HEADER_BYTES = _FRAME.size
TAG_BYTES = 16
FRAME_OVERHEAD_BYTES = FRAME_HEADER_BYTES + TAG_BYTES
MAX_RAW_BYTES = (1 << 28) - 1
DEK_BYTES = 32
OBJECT_KEY_BYTES = 32

_SUITE_PLAIN = 0
_SUITE_AES256_GCM = 1
_LAST = 1 << 31
_FRAMES_AT_ONCE = 256
_CODEC_SHIFT = 28
_DOMAIN = b"manifold/v1"


class ObjectKind(IntEnum):
    PACK = 1
    COMMIT = 2
    CHECKPOINT = 3
    NOTE = 4
    """A field of the catalog, sealed; not an object of the store."""


class Seal(NamedTuple):
    """What an object is bound to."""

    kind: ObjectKind
    key: str
    """The object's whole key below the store's prefix."""
    object_id: ObjectId
    dek: DekId
    """PLAIN for an unencrypted object."""


def pack_header(seal: Seal) -> bytes:
    """Return the 40 bytes an object begins with."""
    suite = _SUITE_PLAIN if seal.dek == PLAIN else _SUITE_AES256_GCM
    return _HEADER.pack(MAGIC, VERSION, seal.kind, suite, 0, decode_id(seal.object_id), decode_id(seal.dek))


UNDER_ANOTHER_KEY = "it is sealed under another key than the catalog names"
"""The reason of a ``CorruptObject``."""


def unpack_header(data: Buffer, key: str, kind: ObjectKind, dek: DekId | None = None) -> Seal:
    """Return what the object says it is bound to; opening its frames proves it.

    Args:
        dek: that the catalog names.

    Raises:
        CorruptObject: no such header, an unknown version, another kind, or a suite that contradicts the DEK id.
    """
    if len(data) < HEADER_BYTES:
        raise CorruptObject(key, f"it has {len(data)} bytes, fewer than a header")
    magic, version, found_kind, suite, zero, object_id, found_dek = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise CorruptObject(key, "it does not begin with Manifold's mark")
    if version != VERSION:
        raise CorruptObject(
            key,
            f"it has format version {version}, and this program reads version {VERSION}",
            hint="use a newer release of Manifold",
        )
    if found_kind != kind:
        raise CorruptObject(key, f"it is of kind {found_kind} instead of {int(kind)} ({kind.name.lower()})")
    seal = Seal(kind, key, ObjectId(encode_id(object_id)), DekId(encode_id(found_dek)))
    if zero or suite != (_SUITE_PLAIN if seal.dek == PLAIN else _SUITE_AES256_GCM):
        raise CorruptObject(key, f"its header is contradictory (suite {suite})")
    if dek is not None and seal.dek != dek:
        raise CorruptObject(key, UNDER_ANOTHER_KEY)
    return seal


class _Bound:
    """Key and associated data of one object.

    Args:
        dek: the data key that the seal names; ``None`` for PLAIN, or where ``object_key`` stands in for it.
        object_key: the object's own key, for whoever may open or write this object and no other of its data key.
    """

    def __init__(self, seal: Seal, dek: Buffer | None = None, *, object_key: Buffer | None = None) -> None:
        self.seal = seal
        self.header = pack_header(seal)
        name = seal.key.encode("ascii")
        self._prefix = _DOMAIN + self.header + _NAME_LENGTH.pack(len(name)) + name
        self._aead: AESGCM | None = None
        if seal.dek != PLAIN:
            key = derive_object_key(dek, seal) if object_key is None else object_key
            if len(key) != OBJECT_KEY_BYTES:
                raise InternalError(f"the key at hand for {seal.key} has {len(key)} bytes")
            self._aead = AESGCM(key)

    def _aad(self, number: int, frame_header: bytes) -> bytes:
        return self._prefix + _FRAME_NUMBER.pack(number) + frame_header

    def _plain_tag(self, aad: bytes, payload: Buffer) -> bytes:
        return blake3(aad).update(payload).digest(TAG_BYTES)


def derive_object_key(dek: Buffer | None, seal: Seal) -> bytes:
    """Return the key of one object: HKDF-SHA256 (RFC 5869) with one block of output. ``b""`` for an unsealed one.

    It opens this object alone: neither the data key nor another object's key can be told from it.
    """
    if seal.dek == PLAIN:
        return b""
    if dek is None or len(dek) != DEK_BYTES:
        raise InternalError(f"no data key at hand for {seal.key}")
    extracted = hmac.digest(decode_id(seal.object_id), dek, "sha256")
    info = _DOMAIN + b"/" + seal.kind.name.lower().encode("ascii")
    return hmac.digest(extracted, info + b"\x01", "sha256")


def _nonce(number: int) -> bytes:
    return number.to_bytes(12, "little")


class Payload(NamedTuple):
    """A frame's content before it is sealed."""

    codec: int
    raw_bytes: int
    data: Buffer

    @classmethod
    def of(cls, raw: Buffer) -> Payload:
        """Compress ``raw`` where that is worth it."""
        if len(raw) > MAX_RAW_BYTES:
            raise InternalError(f"a frame of {len(raw)} bytes is over the limit of {MAX_RAW_BYTES}")
        codec, data = compress(raw)
        return cls(codec, len(raw), data)

    @property
    def stored_bytes(self) -> int:
        """Length of the whole frame in the object."""
        return len(self.data) + FRAME_OVERHEAD_BYTES


END = Payload(STORED, 0, b"")


class Sealer(_Bound):
    """Seals the frames of one object, in order."""

    def seal_object(self, payloads: list[Payload]) -> bytearray:
        """Return the whole object: header, one frame a payload, and the last, empty frame."""
        size = HEADER_BYTES + sum(payload.stored_bytes for payload in payloads) + END.stored_bytes
        out = bytearray(size)
        out[:HEADER_BYTES] = self.header
        at = HEADER_BYTES
        with memoryview(out) as view:
            for number, payload in enumerate(payloads):
                at = self._seal_into(view, at, number, payload, 0)
            at = self._seal_into(view, at, len(payloads), END, _LAST)
        if at != size:
            raise InternalError(f"sealed {at} bytes of {self.seal.key} instead of {size}")
        return out

    def _seal_into(self, out: memoryview, at: int, number: int, payload: Payload, last: int) -> int:
        stored = len(payload.data)
        frame_header = _FRAME.pack(stored, payload.raw_bytes | payload.codec << _CODEC_SHIFT | last)
        aad = self._aad(number, frame_header)
        body = at + FRAME_HEADER_BYTES
        end = body + stored + TAG_BYTES
        out[at:body] = frame_header
        if self._aead is not None:
            self._aead.encrypt_into(_nonce(number), payload.data, aad, out[body:end])
        else:
            out[body : body + stored] = payload.data
            out[body + stored : end] = self._plain_tag(aad, payload.data)
        return end


class Opener(_Bound):
    """Opens frames of one object, in any order."""

    def open_frame(self, number: int, frame: Buffer, *, max_raw_bytes: int = MAX_RAW_BYTES) -> Buffer:
        """Return the raw bytes of frame ``number``, given exactly its bytes. Never the last frame.

        Raises:
            CorruptObject: the frame was changed, moved or cut, or holds more than ``max_raw_bytes``.
        """
        view = memoryview(frame)
        stored, raw_bytes, codec, last = self._frame_header(number, view)
        if last or stored + FRAME_OVERHEAD_BYTES != len(view):
            raise CorruptObject(self.seal.key, f"frame {number} does not end where it should")
        return self._open(number, view, stored, raw_bytes, codec, max_raw_bytes)

    def declared_bytes(self, number: int, frame: Buffer) -> int:
        """Return the raw length that a frame declares. Nothing proves it before the frame is opened."""
        return self._frame_header(number, memoryview(frame))[1]

    def split(self, data: Buffer, take: TakeMemory = no_bound) -> list[tuple[int, memoryview]]:
        """Return (offset, bytes) of every frame of a whole object but the last, which is proven to be the last.

        Args:
            take: is told of the memory that many frames take.

        Raises:
            CorruptObject: another header than expected, or the object ends too early or too late.
        """
        view = memoryview(data)
        if bytes(view[:HEADER_BYTES]) != self.header:
            raise CorruptObject(self.seal.key, "its header is not the expected one")
        frames: list[tuple[int, memoryview]] = []
        at = HEADER_BYTES
        while True:
            stored, raw_bytes, codec, last = self._frame_header(len(frames), view[at:])
            end = at + stored + FRAME_OVERHEAD_BYTES
            if end > len(view):
                raise CorruptObject(self.seal.key, f"it was cut off in frame {len(frames)}")
            if last:
                if stored or raw_bytes or codec:
                    raise CorruptObject(self.seal.key, f"its last frame, {len(frames)}, is not empty")
                self._open(len(frames), view[at:end], stored, raw_bytes, codec, 0)
                if end != len(view):
                    raise CorruptObject(self.seal.key, f"{len(view) - end} bytes follow its last frame")
                return frames
            if len(frames) % _FRAMES_AT_ONCE == 0:
                take(_FRAMES_AT_ONCE * FRAME_BYTES)
            frames.append((at, view[at:end]))
            at = end

    def rebuild(self, copies: Sequence[Buffer], *, max_raw_bytes: int = MAX_RAW_BYTES) -> bytearray | None:
        """Return the whole object, each frame from the first of ``copies`` that has it as it was sealed; ``None``: none
        has one of them. A copy may be damaged, cut off, or full of holes.

        Nothing is sealed anew: where the last frame is gone, nobody knows how many there were, and a nonce is not to be
        used twice.
        """
        out, number, last = bytearray(self.header), 0, False
        while not last:
            for copy in copies:
                found = self._proven(number, memoryview(copy)[len(out) :], max_raw_bytes)
                if found is not None:
                    break
            else:
                return None
            frame, last = found
            out += frame
            number += 1
        return out

    def _proven(self, number: int, view: memoryview, max_raw_bytes: int) -> tuple[memoryview, bool] | None:
        """Return the frame that ``view`` begins with, if it is frame ``number``, and whether it is the last one."""
        try:
            stored, raw_bytes, codec, last = self._frame_header(number, view)
            frame = view[: stored + FRAME_OVERHEAD_BYTES]
            if len(frame) < stored + FRAME_OVERHEAD_BYTES or (last and (stored or raw_bytes or codec)):
                return None
            self._open(number, frame, stored, raw_bytes, codec, max_raw_bytes)
        except CorruptObject:
            return None
        return frame, last

    def _frame_header(self, number: int, view: memoryview) -> tuple[int, int, int, bool]:
        if len(view) < FRAME_OVERHEAD_BYTES:
            raise CorruptObject(self.seal.key, f"it was cut off before frame {number}")
        stored, packed = _FRAME.unpack_from(view)
        return stored, packed & MAX_RAW_BYTES, packed >> _CODEC_SHIFT & 7, bool(packed & _LAST)

    def _open(
        self, number: int, view: memoryview, stored: int, raw_bytes: int, codec: int, max_raw_bytes: int
    ) -> Buffer:
        aad = self._aad(number, bytes(view[:FRAME_HEADER_BYTES]))
        body = view[FRAME_HEADER_BYTES:]
        payload: Buffer
        if self._aead is not None:
            try:
                payload = self._aead.decrypt(_nonce(number), body, aad)
            except InvalidTag:
                raise CorruptObject(
                    self.seal.key, f"frame {number} fails authentication: it was changed, moved or cut"
                ) from None
        else:
            payload = body[:stored]
            if self._plain_tag(aad, payload) != bytes(body[stored:]):
                raise CorruptObject(self.seal.key, f"frame {number} fails its checksum: it was changed, moved or cut")
        if raw_bytes > max_raw_bytes:
            raise CorruptObject(
                self.seal.key, f"frame {number} declares {raw_bytes} bytes, over the limit of {max_raw_bytes}"
            )
        try:
            return decompress(codec, payload, raw_bytes)
        except ValueError as error:
            raise CorruptObject(self.seal.key, f"frame {number}: {error}") from None
