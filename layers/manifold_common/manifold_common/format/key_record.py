"""Wrapped keys as they stand in the bucket, and the key material inside (docs/format-v1.md, "Keys").

A record is MessagePack, unsealed: its ciphertext is already the key provider's. It lets a bucket be opened without the
catalog. Material: 32 bytes of chunk-id key, then 32 bytes of DEK, the latter absent for an unencrypted project. In
version 2, which has an epoch, there follows what the project had stored unsealed before it was encrypted: so that this
is as well authenticated as the key itself, and nothing can be added to it later.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec
from blake3 import blake3

from manifold_common.domain.keys import KeyRecord, WrappedKey
from manifold_common.errors import CorruptObject
from manifold_common.format.buffers import Buffer
from manifold_common.format.chunker import ID_KEY_BYTES
from manifold_common.format.layout import wrapped_key_key
from manifold_common.format.sealed import DEK_BYTES
from manifold_common.ids import PLAIN, DekId, ProjectId, TenantId

MAX_KEY_RECORD_BYTES = 64 << 10
MAX_EPOCH = (1 << 31) - 1
MAX_PAST_DRAFTS = 120
"""With these, the material stays within what a provider wraps (4 KiB)."""
HASH_BYTES = 32
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Versioned(msgspec.Struct, array_like=True, frozen=True):
    version: int


class _Record(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    version: int
    tenant: str
    project: str
    dek: str
    provider: str
    key_name: str
    key_version: int
    ciphertext: bytes
    created_at_us: int


class _EpochRecord(_Record, array_like=True, frozen=True, forbid_unknown_fields=True):
    epoch: int


_VERSION = msgspec.msgpack.Decoder(_Versioned)
_RECORDS: dict[int, msgspec.msgpack.Decoder[_Record] | msgspec.msgpack.Decoder[_EpochRecord]] = {
    1: msgspec.msgpack.Decoder(_Record),
    2: msgspec.msgpack.Decoder(_EpochRecord),
}
_GENERATIONS = struct.Struct("<Q")
_PAST_AT = ID_KEY_BYTES + DEK_BYTES
_DRAFTS_AT = _PAST_AT + _GENERATIONS.size + HASH_BYTES


class PlainPast(NamedTuple):
    """What a project had stored unsealed when its encryption began. Nothing else of the project's own is accepted
    unsealed."""

    generations: int
    """The last one that may be unsealed."""
    history: bytes
    """``hash_history`` of the commits up to there."""
    drafts: tuple[bytes, ...] = ()
    """Record hashes of the drafts that its sessions had."""


def hash_history(record_hashes: Iterable[bytes]) -> bytes:
    """Return the BLAKE3 of the commits' record hashes, those of generation 1 first."""
    return blake3(b"".join(record_hashes)).digest()


NO_PAST = PlainPast(0, hash_history(()))
"""Of a project that was encrypted from the beginning."""


class KeyMaterial:
    """The secrets of one data key. Never shown, never pickled, overwritten when the last reference goes."""

    __slots__ = ("dek", "id_key", "past")

    def __init__(self, id_key: Buffer, dek: Buffer | None, past: PlainPast = NO_PAST) -> None:
        self.id_key = bytearray(id_key)
        self.dek = None if dek is None else bytearray(dek)
        self.past = past

    def __del__(self) -> None:
        self.id_key[:] = bytes(len(self.id_key))
        if self.dek is not None:
            self.dek[:] = bytes(len(self.dek))

    def __repr__(self) -> str:
        return "KeyMaterial(...)"

    def __reduce__(self) -> str:
        raise TypeError("key material is not to be pickled")


def encode_key_record(record: KeyRecord) -> bytes:
    wrapped = record.wrapped
    fields = (
        record.context.version,
        record.tenant,
        record.project,
        record.dek,
        wrapped.provider,
        wrapped.key_name,
        wrapped.key_version,
        wrapped.ciphertext,
        (record.created_at - _EPOCH) // timedelta(microseconds=1),
    )
    return msgspec.msgpack.encode(_EpochRecord(*fields, record.epoch) if record.epoch else _Record(*fields))


def decode_key_record(data: Buffer, tenant: TenantId, project: ProjectId, dek: DekId) -> KeyRecord:
    """Raises CorruptObject: damaged, of an unknown version, or about another key than the one asked for."""
    name = wrapped_key_key(tenant, project, dek)
    try:
        # The version comes first, so that a newer record is told apart from a damaged one.
        version = _VERSION.decode(data).version
        if version not in _RECORDS:
            raise CorruptObject(
                name,
                f"it has version {version}, and this program reads versions {', '.join(map(str, _RECORDS))}",
                hint="use a newer release of Manifold",
            )
        record = _RECORDS[version].decode(data)
        epoch = record.epoch if isinstance(record, _EpochRecord) else None
        created_at = _EPOCH + timedelta(microseconds=record.created_at_us)
    except (ValueError, OverflowError, RecursionError) as error:
        raise CorruptObject(name, f"it is not a key record: {error}") from None
    if (record.tenant, record.project, record.dek) != (tenant, project, dek):
        raise CorruptObject(name, "it is about another key")
    if epoch is not None and not 1 <= epoch <= MAX_EPOCH:
        raise CorruptObject(name, f"it is of epoch {epoch}, which there is not")
    wrapped = WrappedKey(record.provider, record.key_name, record.key_version, record.ciphertext)
    return KeyRecord(tenant, project, dek, wrapped, created_at, epoch or 0)


def pack_material(material: KeyMaterial, epoch: int = 0) -> bytes:
    keys = bytes(material.id_key) + bytes(material.dek or b"")
    if not epoch:
        return keys
    past = material.past
    return keys + _GENERATIONS.pack(past.generations) + past.history + b"".join(past.drafts)


def unpack_material(data: bytes, record: KeyRecord) -> KeyMaterial:
    """Raises CorruptObject when the unwrapped bytes are not what this record should hold."""
    name = wrapped_key_key(record.tenant, record.project, record.dek)
    if record.epoch and record.dek != PLAIN and len(data) >= _DRAFTS_AT and (len(data) - _DRAFTS_AT) % HASH_BYTES == 0:
        (generations,) = _GENERATIONS.unpack_from(data, _PAST_AT)
        history = data[_PAST_AT + _GENERATIONS.size : _DRAFTS_AT]
        drafts = tuple(data[at : at + HASH_BYTES] for at in range(_DRAFTS_AT, len(data), HASH_BYTES))
        past = PlainPast(generations, history, drafts)
        return KeyMaterial(data[:ID_KEY_BYTES], data[ID_KEY_BYTES:_PAST_AT], past)
    expected = _DRAFTS_AT if record.epoch else ID_KEY_BYTES + (0 if record.dek == PLAIN else DEK_BYTES)
    if record.epoch or len(data) != expected:
        raise CorruptObject(name, f"it holds {len(data)} bytes of key material instead of {expected}")
    return KeyMaterial(data[:ID_KEY_BYTES], data[ID_KEY_BYTES:] or None)
