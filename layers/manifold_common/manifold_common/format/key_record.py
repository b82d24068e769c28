"""Wrapped keys as they stand in the bucket, and the key material inside (docs/format-v1.md, "Keys").

A record is MessagePack, unsealed: its ciphertext is already the key provider's. It lets a bucket be opened without the
catalog. Material: 32 bytes of chunk-id key, then 32 bytes of DEK, the latter absent for an unencrypted project.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

from manifold_common.domain.keys import KeyRecord, WrappedKey
from manifold_common.errors import CorruptObject
from manifold_common.format.buffers import Buffer
from manifold_common.format.chunker import ID_KEY_BYTES
from manifold_common.format.layout import wrapped_key_key
from manifold_common.format.sealed import DEK_BYTES
from manifold_common.ids import PLAIN, DekId, ProjectId, TenantId

KEY_RECORD_VERSION = 1
MAX_KEY_RECORD_BYTES = 64 << 10
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


_VERSION = msgspec.msgpack.Decoder(_Versioned)
_RECORD = msgspec.msgpack.Decoder(_Record)


class KeyMaterial:
    """The secrets of one data key. Never shown, never pickled, overwritten when the last reference goes."""

    __slots__ = ("dek", "id_key")

    def __init__(self, id_key: Buffer, dek: Buffer | None) -> None:
        self.id_key = bytearray(id_key)
        self.dek = None if dek is None else bytearray(dek)

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
    return msgspec.msgpack.encode(
        _Record(
            KEY_RECORD_VERSION,
            record.tenant,
            record.project,
            record.dek,
            wrapped.provider,
            wrapped.key_name,
            wrapped.key_version,
            wrapped.ciphertext,
            (record.created_at - _EPOCH) // timedelta(microseconds=1),
        )
    )


def decode_key_record(data: Buffer, tenant: TenantId, project: ProjectId, dek: DekId) -> KeyRecord:
    """Raises CorruptObject: damaged, of an unknown version, or about another key than the one asked for."""
    name = wrapped_key_key(tenant, project, dek)
    try:
        # The version comes first, so that a newer record is told apart from a damaged one.
        version = _VERSION.decode(data).version
        if version != KEY_RECORD_VERSION:
            raise CorruptObject(
                name,
                f"it has version {version}, and this program reads version {KEY_RECORD_VERSION}",
                hint="use a newer release of Manifold",
            )
        record = _RECORD.decode(data)
        created_at = _EPOCH + timedelta(microseconds=record.created_at_us)
    except (ValueError, OverflowError, RecursionError) as error:
        raise CorruptObject(name, f"it is not a key record: {error}") from None
    if (record.tenant, record.project, record.dek) != (tenant, project, dek):
        raise CorruptObject(name, "it is about another key")
    wrapped = WrappedKey(record.provider, record.key_name, record.key_version, record.ciphertext)
    return KeyRecord(tenant, project, dek, wrapped, created_at)


def pack_material(material: KeyMaterial) -> bytes:
    return bytes(material.id_key) + bytes(material.dek or b"")


def unpack_material(data: bytes, record: KeyRecord) -> KeyMaterial:
    """Raises CorruptObject when the unwrapped bytes are not what this record should hold."""
    expected = ID_KEY_BYTES + (0 if record.dek == PLAIN else DEK_BYTES)
    if len(data) != expected:
        name = wrapped_key_key(record.tenant, record.project, record.dek)
        raise CorruptObject(name, f"it holds {len(data)} bytes of key material instead of {expected}")
    return KeyMaterial(data[:ID_KEY_BYTES], data[ID_KEY_BYTES:] or None)
