from __future__ import annotations

import pickle
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from manifold_common.domain.keys import KeyContext, KeyRecord, WrappedKey
from manifold_common.errors import CorruptObject
from manifold_common.format.key_record import (
    MAX_EPOCH,
    MAX_PAST_DRAFTS,
    NO_PAST,
    KeyMaterial,
    PlainPast,
    decode_key_record,
    encode_key_record,
    hash_history,
    pack_material,
    unpack_material,
)
from manifold_common.ids import PLAIN, DekId, ProjectId, TenantId, encode_id
from manifold_common.ports.key_provider import MAX_MATERIAL_BYTES

TENANT = TenantId("acme")
PROJECT = ProjectId(encode_id(b"p" * 16))
DEK_ID = DekId(encode_id(b"d" * 16))
RECORD = KeyRecord(
    TENANT,
    PROJECT,
    DEK_ID,
    WrappedKey("vault", "kek", 3, b"\0\xff"),
    datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
)


def decode(data: bytes, **changed: Any) -> KeyRecord:
    asked = {"tenant": TENANT, "project": PROJECT, "dek": DEK_ID} | changed
    return decode_key_record(data, asked["tenant"], asked["project"], asked["dek"])


@pytest.mark.parametrize(
    "record",
    [
        RECORD,
        replace(RECORD, created_at=datetime(1, 1, 1, tzinfo=UTC)),
        replace(RECORD, created_at=datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)),
        replace(RECORD, wrapped=WrappedKey("none", "", 0, b"")),
        replace(RECORD, epoch=1),
        replace(RECORD, epoch=MAX_EPOCH),
    ],
)
def test_a_record_comes_back_to_the_microsecond(record: KeyRecord) -> None:
    assert decode(encode_key_record(record)) == record


@pytest.mark.parametrize(
    "asked",
    [
        {"tenant": TenantId("other")},
        {"project": ProjectId(encode_id(b"q" * 16))},
        {"dek": DekId(encode_id(b"e" * 16))},
    ],
)
def test_a_record_in_the_place_of_another_is_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(CorruptObject, match="another key"):
        decode(encode_key_record(RECORD), **asked)


def test_a_newer_record_asks_for_a_newer_release_whatever_else_it_holds() -> None:
    for newer in ([3], [3, "fields", "of", "another", "kind"], [255, *["x"] * 20]):
        with pytest.raises(CorruptObject, match=f"version {newer[0]}") as caught:
            decode(msgspec.msgpack.encode(newer))
        assert caught.value.hint is not None and "newer release" in caught.value.hint


@pytest.mark.parametrize("created_at_us", [2**63, 2**64 - 1, -(2**63), 10**18])
def test_a_time_that_no_calendar_has_is_refused(created_at_us: int) -> None:
    fields = msgspec.msgpack.decode(encode_key_record(RECORD))
    fields[8] = created_at_us
    with pytest.raises(CorruptObject):
        decode(msgspec.msgpack.encode(fields))


@pytest.mark.parametrize(
    "data", [b"", b"\xc0", b"\x90", b"\x91" * 100_000, b"\x99\x01\xa2\xff\xfe", b"\xdd\xff\xff\xff\xff", b"\x99\x01"]
)
def test_what_is_no_record_is_refused(data: bytes) -> None:
    with pytest.raises(CorruptObject, match="key record"):
        decode(data)


def test_material_packs_the_chunk_id_key_before_the_dek() -> None:
    material = KeyMaterial(b"i" * 32, b"d" * 32)
    assert pack_material(material) == b"i" * 32 + b"d" * 32
    found = unpack_material(pack_material(material), RECORD)
    assert found.id_key == bytearray(b"i" * 32)
    assert found.dek == bytearray(b"d" * 32)
    plain = unpack_material(b"i" * 32, replace(RECORD, dek=PLAIN))
    assert plain.id_key == bytearray(b"i" * 32)
    assert plain.dek is None


@pytest.mark.parametrize(
    ("dek", "size"), [(DEK_ID, 0), (DEK_ID, 32), (DEK_ID, 63), (DEK_ID, 65), (PLAIN, 64), (PLAIN, 31)]
)
def test_material_of_another_length_is_refused(dek: DekId, size: int) -> None:
    with pytest.raises(CorruptObject, match=f"{size} bytes of key material"):
        unpack_material(bytes(size), replace(RECORD, dek=dek))


def test_material_is_never_shown_or_pickled_and_is_overwritten_when_dropped() -> None:
    material = KeyMaterial(b"secret id key bytes secret id ke", b"secret dek bytes secret dek byte")
    assert "secret" not in repr(material)
    with pytest.raises(TypeError, match="not to be pickled"):
        pickle.dumps(material)
    id_key, dek = material.id_key, material.dek
    del material
    assert id_key == dek == bytearray(32)


def test_a_binding_differs_for_every_field_and_for_every_way_to_split_text_among_them() -> None:
    context = KeyContext(TENANT, PROJECT, DEK_ID)
    bindings = {
        context.binding("file", "k", 1),
        context.binding("vault", "k", 1),
        context.binding("file", "kk", 1),
        context.binding("file", "k", 11),
        context.binding("filek", "", 1),
        context.binding("file", "k1", 1),
        context._replace(tenant=TenantId("acm")).binding("file", "k", 1),
        context._replace(project=ProjectId(encode_id(b"q" * 16))).binding("file", "k", 1),
        context._replace(dek=PLAIN).binding("file", "k", 1),
        context._replace(tenant=TenantId(TENANT + PROJECT), project=ProjectId("")).binding("file", "k", 1),
    }
    bindings |= {context._replace(epoch=epoch).binding("file", "k", 1) for epoch in (1, 2, 11)}
    bindings |= {context._replace(epoch=1).binding("file", "k", 11), context.binding("file", "k", 111)}
    assert len(bindings) == 15


PAST = PlainPast(7, hash_history([b"h" * 32]), (b"a" * 32, b"b" * 32))


@pytest.mark.parametrize("past", [NO_PAST, PAST, PAST._replace(drafts=(b"c" * 32,) * MAX_PAST_DRAFTS)])
def test_the_material_of_a_later_epoch_says_what_may_be_in_the_clear(past: PlainPast) -> None:
    record = replace(RECORD, epoch=3)
    packed = pack_material(KeyMaterial(b"i" * 32, b"d" * 32, past), 3)
    assert len(packed) <= MAX_MATERIAL_BYTES
    found = unpack_material(packed, record)
    assert (found.id_key, found.dek, found.past) == (b"i" * 32, b"d" * 32, past)
    assert unpack_material(packed[:64], replace(record, epoch=0)).past == NO_PAST


@pytest.mark.parametrize("size", [0, 32, 64, 103, 105, 104 + 31])
def test_material_of_a_later_epoch_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(CorruptObject, match=f"{size} bytes of key material"):
        unpack_material(bytes(size), replace(RECORD, epoch=1))


@pytest.mark.parametrize("size", [32, 104, 136])
def test_no_later_epoch_stands_for_no_key(size: int) -> None:
    with pytest.raises(CorruptObject):
        unpack_material(bytes(size), replace(RECORD, dek=PLAIN, epoch=1))


@pytest.mark.parametrize("epoch", [0, -1, 1 << 31, 1 << 63])
def test_a_record_of_an_epoch_that_there_is_not_is_refused(epoch: int) -> None:
    fields = msgspec.msgpack.decode(encode_key_record(replace(RECORD, epoch=1)))
    fields[9] = epoch
    with pytest.raises(CorruptObject, match="epoch"):
        decode(msgspec.msgpack.encode(fields))


def test_each_version_of_a_record_has_its_own_fields() -> None:
    first, second = (msgspec.msgpack.decode(encode_key_record(replace(RECORD, epoch=epoch))) for epoch in (0, 5))
    assert (first[0], len(first), second[0], len(second)) == (1, 9, 2, 10)
    for wrong in ([2, *first[1:]], [1, *second[1:]]):
        with pytest.raises(CorruptObject):
            decode(msgspec.msgpack.encode(wrong))
