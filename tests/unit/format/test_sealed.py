from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest
from manifold_common.errors import CorruptObject, InternalError
from manifold_common.format.compression import STORED, ZSTD, compress
from manifold_common.format.layout import commit_key, pack_key
from manifold_common.format.sealed import (
    DEK_BYTES,
    FRAME_OVERHEAD_BYTES,
    HEADER_BYTES,
    MAX_RAW_BYTES,
    ObjectKind,
    Opener,
    Payload,
    Seal,
    Sealer,
    unpack_header,
)
from manifold_common.ids import PLAIN, CommitId, DekId, Generation, ObjectId, ProjectId, TenantId, encode_id

TENANT = TenantId("acme")
PROJECT = ProjectId(encode_id(b"p" * 16))
OBJECT = ObjectId(encode_id(b"o" * 16))
COMMIT = CommitId(encode_id(b"c" * 16))
DEK_ID = DekId(encode_id(b"d" * 16))
DEK = b"k" * DEK_BYTES
KEY = commit_key(TENANT, PROJECT, Generation(3), COMMIT)
SUITES = [PLAIN, DEK_ID]
PAYLOADS = [Payload(STORED, 5, b"hello"), Payload.of(b"squeeze me " * 50), Payload(STORED, 3, b"bye")]


def dek_of(seal: Seal) -> bytes | None:
    return None if seal.dek == PLAIN else DEK


def seal(dek: DekId, **changed: Any) -> Seal:
    return Seal(ObjectKind.COMMIT, KEY, OBJECT, dek)._replace(**changed)


def sealed(which: Seal, payloads: list[Payload] = PAYLOADS) -> bytearray:
    return Sealer(which, dek_of(which)).seal_object(payloads)


def frame(which: Seal, number: int = 1) -> bytes:
    return bytes(Opener(which, dek_of(which)).split(sealed(which))[number][1])


@pytest.mark.parametrize("dek", SUITES)
def test_what_was_sealed_opens_frame_by_frame_in_any_order(dek: DekId) -> None:
    opener = Opener(seal(dek), dek_of(seal(dek)))
    frames = opener.split(sealed(seal(dek)))
    raw = [bytes(opener.open_frame(number, frames[number][1])) for number in (2, 0, 1)]
    assert raw == [b"bye", b"hello", b"squeeze me " * 50]
    assert [offset for offset, _ in frames] == [
        HEADER_BYTES + sum(payload.stored_bytes for payload in PAYLOADS[:number]) for number in range(3)
    ]


def test_encryption_hides_the_payload() -> None:
    assert b"hello" in sealed(seal(PLAIN))
    assert b"hello" not in sealed(seal(DEK_ID))


# --- what a frame is bound to -----------------------------------------------------------------------------------------

OTHER = {
    "tenant": seal(DEK_ID, key=commit_key(TenantId("acmf"), PROJECT, Generation(3), COMMIT)),
    "project": seal(DEK_ID, key=commit_key(TENANT, ProjectId(encode_id(b"q" * 16)), Generation(3), COMMIT)),
    "generation": seal(DEK_ID, key=commit_key(TENANT, PROJECT, Generation(4), COMMIT)),
    "commit id": seal(DEK_ID, key=commit_key(TENANT, PROJECT, Generation(3), CommitId(encode_id(b"C" * 16)))),
    "kind in the key": seal(DEK_ID, key=KEY.replace("/commits/", "/packs/")),
    "kind in the header": seal(DEK_ID, kind=ObjectKind.PACK),
    "object id": seal(DEK_ID, object_id=ObjectId(encode_id(b"O" * 16))),
}


@pytest.mark.parametrize("dek", SUITES)
@pytest.mark.parametrize("field", OTHER)
def test_a_frame_does_not_open_when_its_object_differs_in_one_field(field: str, dek: DekId) -> None:
    other = OTHER[field]._replace(dek=dek)
    with pytest.raises(CorruptObject, match=r"authentication|checksum"):
        Opener(other, dek_of(other)).open_frame(1, frame(seal(dek)))


def test_a_frame_does_not_open_under_another_dek_id_even_with_the_same_key_bytes() -> None:
    other = seal(DekId(encode_id(b"D" * 16)))
    with pytest.raises(CorruptObject, match="authentication"):
        Opener(other, DEK).open_frame(1, frame(seal(DEK_ID)))


def test_a_frame_does_not_open_under_another_key() -> None:
    with pytest.raises(CorruptObject, match="authentication"):
        Opener(seal(DEK_ID), b"K" * DEK_BYTES).open_frame(1, frame(seal(DEK_ID)))


@pytest.mark.parametrize("dek", SUITES)
@pytest.mark.parametrize("number", [0, 2, 1 << 31])
def test_a_frame_does_not_open_in_another_place(number: int, dek: DekId) -> None:
    with pytest.raises(CorruptObject, match=r"authentication|checksum"):
        Opener(seal(dek), dek_of(seal(dek))).open_frame(number, frame(seal(dek)))


@pytest.mark.parametrize("dek", SUITES)
@pytest.mark.parametrize("bit", range(64))
def test_every_bit_of_a_frame_header_is_bound(bit: int, dek: DekId) -> None:
    changed = bytearray(frame(seal(dek)))
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(CorruptObject):
        Opener(seal(dek), dek_of(seal(dek))).open_frame(1, changed)


@pytest.mark.parametrize("dek", SUITES)
@pytest.mark.parametrize("bit", [*range(32, 60), 60, 61, 62])
def test_raw_length_and_codec_are_bound_by_the_tag_itself(bit: int, dek: DekId) -> None:
    changed = bytearray(frame(seal(dek)))
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(CorruptObject, match=r"authentication|checksum"):
        Opener(seal(dek), dek_of(seal(dek))).open_frame(1, changed)


@pytest.mark.parametrize("dek", SUITES)
def test_an_object_cut_at_any_byte_is_refused(dek: DekId) -> None:
    whole = bytes(sealed(seal(dek)))
    opener = Opener(seal(dek), dek_of(seal(dek)))
    for length in range(len(whole)):
        with pytest.raises(CorruptObject):
            opener.split(whole[:length])


@pytest.mark.parametrize("dek", SUITES)
def test_frames_cannot_be_left_out_added_or_exchanged(dek: DekId) -> None:
    opener = Opener(seal(dek), dek_of(seal(dek)))
    whole = bytes(sealed(seal(dek)))
    frames = [bytes(view) for _, view in opener.split(whole)]
    end = whole[-FRAME_OVERHEAD_BYTES:]
    header = whole[:HEADER_BYTES]
    for wrong in ([frames[0], frames[1], end], [*frames, frames[2], end], [*frames, end, end], [end]):
        with pytest.raises(CorruptObject):
            opener.split(header + b"".join(wrong))
    swapped = opener.split(header + b"".join([frames[1], frames[0], frames[2], end]))
    with pytest.raises(CorruptObject):
        opener.open_frame(0, swapped[0][1])


def test_a_last_frame_that_holds_something_is_refused_even_with_a_good_tag() -> None:
    class Talkative(Sealer):
        def seal_object(self, payloads: list[Payload]) -> bytearray:
            out = bytearray(HEADER_BYTES + payloads[0].stored_bytes)
            out[:HEADER_BYTES] = self.header
            self._seal_into(memoryview(out), HEADER_BYTES, 0, payloads[0], 1 << 31)
            return out

    for payload in (Payload(STORED, 2, b"hi"), Payload(ZSTD, 0, b"\x28\xb5\x2f\xfd\x20\x00\x01\x00\x00")):
        with pytest.raises(CorruptObject, match="not empty"):
            Opener(seal(PLAIN), None).split(Talkative(seal(PLAIN), None).seal_object([payload]))


def test_the_last_frame_is_not_handed_out_as_content() -> None:
    with pytest.raises(CorruptObject, match="does not end"):
        Opener(seal(PLAIN), None).open_frame(3, sealed(seal(PLAIN))[-FRAME_OVERHEAD_BYTES:])


# --- headers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dek", SUITES)
def test_a_header_says_what_the_object_is_bound_to(dek: DekId) -> None:
    assert unpack_header(sealed(seal(dek)), KEY, ObjectKind.COMMIT) == seal(dek)


def _with(offset: int, value: int) -> Callable[[bytearray], None]:
    def change(data: bytearray) -> None:
        data[offset] = value

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_with(0, ord("m")), "mark"),
        (_with(4, 0), "version 0"),
        (_with(4, 2), "version 2"),
        (_with(4, 255), "version 255"),
        (_with(5, 1), "kind 1 instead of 2"),
        (_with(5, 9), "kind 9"),
        (_with(6, 0), "contradictory"),
        (_with(6, 2), "contradictory"),
        (_with(7, 1), "contradictory"),
        (lambda data: data.__setitem__(slice(24, 40), bytes(16)), "contradictory"),
        (lambda data: data.__delitem__(slice(39, None)), "fewer than a header"),
    ],
)
def test_a_wrong_header_is_refused_and_the_reason_named(change: Callable[[bytearray], None], reason: str) -> None:
    data = sealed(seal(DEK_ID))
    change(data)
    with pytest.raises(CorruptObject, match=reason) as caught:
        unpack_header(data, KEY, ObjectKind.COMMIT)
    assert caught.value.object_name == KEY


def test_a_version_that_is_not_known_asks_for_a_newer_release() -> None:
    data = sealed(seal(DEK_ID))
    data[4] = 2
    with pytest.raises(CorruptObject) as caught:
        unpack_header(data, KEY, ObjectKind.COMMIT)
    assert caught.value.hint is not None and "newer release" in caught.value.hint


def test_an_object_with_another_header_than_expected_does_not_split() -> None:
    data = sealed(seal(DEK_ID))
    data[8] ^= 1
    with pytest.raises(CorruptObject, match="header"):
        Opener(seal(DEK_ID), DEK).split(data)


# --- limits -----------------------------------------------------------------------------------------------------------


def test_a_frame_over_the_callers_limit_is_refused_before_it_is_decompressed() -> None:
    codec, packed = compress(bytes(1 << 20))
    whole = sealed(seal(PLAIN), [Payload(codec, 1 << 20, packed)])
    opener = Opener(seal(PLAIN), None)
    [(_, view)] = opener.split(whole)
    with pytest.raises(CorruptObject, match="over the limit of 1000"):
        opener.open_frame(0, view, max_raw_bytes=1000)
    assert len(opener.open_frame(0, view, max_raw_bytes=1 << 20)) == 1 << 20


@pytest.mark.parametrize("codec", range(2, 8))
def test_an_unknown_codec_is_refused(codec: int) -> None:
    opener = Opener(seal(PLAIN), None)
    [(_, view)] = opener.split(sealed(seal(PLAIN), [Payload(codec, 5, b"hello")]))
    with pytest.raises(CorruptObject, match=f"unknown compression codec {codec}"):
        opener.open_frame(0, view)


def test_a_frame_larger_than_its_length_field_can_say_is_not_made() -> None:
    with pytest.raises(InternalError, match="over the limit"):
        Payload.of(bytearray(MAX_RAW_BYTES + 1))


@pytest.mark.parametrize("dek", [None, b"", b"k" * 31])
def test_an_encrypted_object_needs_a_whole_key(dek: bytes | None) -> None:
    with pytest.raises(InternalError, match="no data key"):
        Opener(seal(DEK_ID), dek)


def test_frame_headers_are_little_endian() -> None:
    key = pack_key(TENANT, PROJECT, OBJECT)
    data = sealed(Seal(ObjectKind.PACK, key, OBJECT, PLAIN), [Payload(STORED, 258, bytes(258))])
    assert struct.unpack_from("<II", data, HEADER_BYTES) == (258, 258)


@pytest.mark.parametrize("dek", SUITES)
def test_an_object_is_rebuilt_from_copies_that_each_have_some_of_its_frames(dek: DekId) -> None:
    which = seal(dek)
    good, opener = sealed(which), Opener(which, dek_of(which))
    starts = [offset for offset, _ in opener.split(good)]
    broken = []
    for start in (*starts, len(good) - 1):
        copy = bytearray(good)
        copy[start] ^= 1
        broken.append(copy)
    for one in broken:
        assert opener.rebuild([one]) is None
        for other in broken:
            assert (opener.rebuild([one, other]) == good) is (one is not other)
    assert opener.rebuild([good]) == good == opener.rebuild([b"", good + b"more"])
    assert opener.rebuild([]) is None


@pytest.mark.parametrize("dek", SUITES)
def test_an_object_whose_last_frame_is_gone_is_not_rebuilt_with_a_new_one(dek: DekId) -> None:
    which = seal(dek)
    good, opener = sealed(which), Opener(which, dek_of(which))
    for offset, part in opener.split(good):
        assert opener.rebuild([good[: offset + len(part)]]) is None
    shorter = sealed(which._replace(object_id=ObjectId(encode_id(bytes(16)))), [])
    assert opener.rebuild([good[:-1], shorter]) is None
