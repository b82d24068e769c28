"""Damage and hostility: a decoder answers with what was written, or with ``CorruptObject``, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st
from manifold_common.domain.keys import KeyRecord, WrappedKey
from manifold_common.domain.tree import FILE, SYMLINK, Changes, Entry, chunk_ids, directory
from manifold_common.errors import CorruptObject
from manifold_common.format.commit_object import ReadCheckpoint, ReadCommit, build_commit, read_commit
from manifold_common.format.key_record import decode_key_record, encode_key_record
from manifold_common.format.places import Block, Container, Place, Places
from manifold_common.format.sealed import ObjectKind, Payload, unpack_header
from manifold_common.ids import PLAIN, ChunkId, DekId, Generation, ObjectId, decode_id, encode_id

from tests.compat import forge, golden
from tests.compat.independent_reader import Project, Refused

SUITES = {"plain": PLAIN, "aes": golden.DEK_ID}
KINDS = list(ObjectKind)


def whole_object(kind: ObjectKind, dek: DekId) -> bytes:
    """Return a small good object of any kind."""
    if kind in (ObjectKind.COMMIT, ObjectKind.CHECKPOINT):
        return forge.seal(*forge.parts(kind), kind, dek)
    payloads = [Payload.of(b"first block"), Payload.of(b"second block " * 30)]
    return bytes(golden.sealer(golden.seal_of(kind, dek)).seal_object(payloads))


OBJECTS = {(kind, dek): whole_object(kind, dek) for kind in KINDS for dek in SUITES.values()}


def open_whole(data: bytes, kind: ObjectKind) -> Any:
    """Do with the bytes what a reader does, from the header on."""
    seal = unpack_header(data, golden.key_of(kind), kind)
    if seal.dek not in SUITES.values():
        raise CorruptObject(seal.key, "it names a data key that its project does not have")
    opener = golden.opener(seal)
    if kind in (ObjectKind.COMMIT, ObjectKind.CHECKPOINT):
        own = golden.own(kind, seal.dek)._replace(object_id=seal.object_id)
        if kind == ObjectKind.COMMIT:
            found = read_commit(data, own, opener, golden.ID_KEY)
            frames = opener.split(data)
            return found, [bytes(opener.open_frame(n, view)) for n, (_, view) in enumerate(frames)]
        return forge.read(data, kind, seal.dek)
    return [bytes(opener.open_frame(n, view, max_raw_bytes=1000)) for n, (_, view) in enumerate(opener.split(data))]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suite", SUITES)
def test_every_single_bit_of_an_object_is_covered(kind: ObjectKind, suite: str) -> None:
    good = OBJECTS[kind, SUITES[suite]]
    open_whole(good, kind)
    damaged = bytearray(good)
    for at in range(len(good)):
        for bit in (1, 2, 4, 8, 16, 32, 64, 128):
            damaged[at] ^= bit
            with pytest.raises(CorruptObject):
                open_whole(bytes(damaged), kind)
            damaged[at] ^= bit


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suite", SUITES)
def test_an_object_cut_anywhere_or_longer_by_anything_is_refused(kind: ObjectKind, suite: str) -> None:
    good = OBJECTS[kind, SUITES[suite]]
    for length in range(len(good)):
        with pytest.raises(CorruptObject):
            open_whole(good[:length], kind)
    for more in (b"\0", b"\0" * 24, good, good[-24:], good[40:]):
        with pytest.raises(CorruptObject):
            open_whole(good + more, kind)


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(sorted(OBJECTS)),
    st.sampled_from(sorted(OBJECTS)),
    st.integers(0, 2000),
    st.integers(0, 2000),
    st.binary(max_size=50),
)
def test_objects_spliced_from_others_are_refused(
    one: tuple[ObjectKind, DekId], other: tuple[ObjectKind, DekId], cut: int, resume: int, between: bytes
) -> None:
    spliced = OBJECTS[one][:cut] + between + OBJECTS[other][resume:]
    kind = one[0]
    if spliced == OBJECTS[one]:
        return
    if one[0] == other[0] and spliced == OBJECTS[other]:
        return
    with pytest.raises(CorruptObject):
        open_whole(spliced, kind)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(KINDS), st.sampled_from(sorted(SUITES.values())))
def test_bytes_of_chance_are_refused(data: bytes, kind: ObjectKind, dek: DekId) -> None:
    good = OBJECTS[kind, dek]
    for prefix in (b"", good[:4], good[:8], good[:40]):
        with pytest.raises(CorruptObject):
            open_whole(prefix + data, kind)


# --- hostile descriptions, well sealed -------------------------------------------------------------------------------

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.sampled_from([0, 1, 2, 3, -1, 2**31, 2**32 - 1, 2**32, 2**62, 2**63 - 1, 2**63, 2**64 - 1])
    | st.floats()
    | st.text(max_size=30)
    | st.sampled_from(["", "..", "a" * 26, golden.PROJECT, golden.OTHER_PROJECT, "\0", "x" * 5000])
    | st.binary(max_size=40)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
DOTS = [b"..", b".", b"/", b"//", b"\0", b"../", b"/..", b"\0\0", b"a/../b"]
NUMBERS = [b"\xff" * 4, b"\xff" * 8, b"\0" * 4, b"\1\0\0\0"]
EVIL = st.sampled_from([*DOTS, *NUMBERS])


@st.composite
def changed_bytes(draw: st.DrawFn, column: bytes) -> bytes:
    """Return a column with a few bytes written over, put in, taken out or repeated."""
    at = draw(st.integers(0, len(column)))
    length = draw(st.integers(0, 9))
    piece = draw(EVIL | st.binary(max_size=9))
    how = draw(st.sampled_from(["over", "in", "out", "twice", "cut", "swap"]))
    if how == "over":
        return column[:at] + piece + column[at + len(piece) :]
    if how == "in":
        return column[:at] + piece + column[at:]
    if how == "out":
        return column[:at] + column[at + length :]
    if how == "twice":
        return column[:at] + column[at : at + length] + column[at:]
    if how == "swap":
        width = draw(st.sampled_from([1, 2, 4, 8, 32]))
        one, other = at // width * width, draw(st.integers(0, len(column))) // width * width
        parts = bytearray(column)
        if one + width <= len(parts) and other + width <= len(parts):
            parts[one : one + width], parts[other : other + width] = (
                column[other : other + width],
                column[one : one + width],
            )
        return bytes(parts)
    return column[:at]


@st.composite
def hostile(draw: st.DrawFn) -> tuple[ObjectKind, Any, Any]:
    """Return a good object's record and places with one to three changes anywhere inside."""
    kind = draw(st.sampled_from([ObjectKind.COMMIT, ObjectKind.CHECKPOINT]))
    described: list[Any] = list(forge.parts(kind))
    for _ in range(draw(st.integers(1, 3))):
        holder: Any = described
        where: Any = draw(st.integers(0, 1))
        # Walk down; most changes should be of a column or a field, not of a whole structure.
        while isinstance(holder[where], list | dict) and holder[where] and draw(st.integers(0, 9)):
            holder = holder[where]
            where = draw(st.sampled_from(list(holder) if isinstance(holder, dict) else range(len(holder))))
        old = holder[where]
        if isinstance(old, bytes) and draw(st.integers(0, 4)):
            holder[where] = draw(changed_bytes(old))
        elif isinstance(old, int) and draw(st.booleans()):
            holder[where] = min(old + draw(st.sampled_from([-1, 1, 256, 2**32])), 2**64 - 1)
        elif isinstance(old, list) and draw(st.booleans()):
            holder[where] = draw(st.sampled_from([old[:-1], [*old, 0], old * 2, old[::-1], [old]]))
        else:
            holder[where] = draw(VALUES)
    return kind, described[0], described[1]


def _independent() -> Project:
    deks = {decode_id(golden.DEK_ID): golden.DEK, bytes(16): b""}
    return Project(Path(), golden.TENANT, golden.PROJECT, golden.ID_KEY, deks)


def _in_common(found: ReadCommit | ReadCheckpoint) -> Any:
    """Return what was read in terms that both readers have."""
    upserts = {
        path: (*entry[:4], tuple(chunk_ids(entry)), entry.content if entry.kind == SYMLINK else b"")
        for path, entry in found.changes.upserts.items()
    }
    places = {
        chunk: (place.block.container.seal().key, *place.block[1:], place.offset, place.length)
        for chunk, place in found.places.items()
    }
    return msgspec.to_builtins(found.meta), upserts, sorted(found.changes.deletes), places


@settings(max_examples=1200, deadline=None)
@given(hostile())
def test_a_hostile_description_is_read_alike_by_both_readers_or_refused_by_both(
    made: tuple[ObjectKind, Any, Any],
) -> None:
    kind, record, places = made
    data = forge.seal(record, places, kind)
    try:
        theirs = _independent().describe_bytes(data, golden.key_of(kind), int(kind), 7, golden.COMMIT)
    except Refused:
        event("refused")
        with pytest.raises(CorruptObject):
            forge.read(data, kind)
        return
    event("accepted")
    ours = forge.read(data, kind)
    meta, upserts, deletes, located = _in_common(ours)
    assert list(meta) == [value if type(value) is not bytes else meta[at] for at, value in enumerate(theirs.meta)]
    assert upserts == {path: tuple(entry) for path, entry in theirs.upserts.items()}
    assert deletes == theirs.deletes
    assert located == {
        chunk: (place.key, place.frame, place.offset, place.stored, place.raw, place.chunk_offset, place.chunk_length)
        for chunk, place in theirs.places.items()
    }
    if isinstance(ours, ReadCommit):
        assert ours.record_hash == theirs.record_hash


@settings(max_examples=600, deadline=None)
@given(st.sampled_from([0, 1]), st.data())
def test_a_damaged_message_in_a_well_sealed_object_is_refused_or_read_alike(frame: int, data: st.DataObject) -> None:
    described: list[Any] = [msgspec.msgpack.encode(part) for part in forge.parts()]
    described[frame] = data.draw(changed_bytes(described[frame]))
    sealed = forge.seal(described[0], described[1])
    try:
        theirs = _independent().describe_bytes(sealed, golden.key_of(ObjectKind.COMMIT), 2, 7, golden.COMMIT)
    except Refused:
        with pytest.raises(CorruptObject):
            forge.read(sealed)
        return
    assert _in_common(forge.read(sealed))[1] == {path: tuple(entry) for path, entry in theirs.upserts.items()}


# --- key records ------------------------------------------------------------------------------------------------------

RECORD = KeyRecord(
    golden.TENANT,
    golden.PROJECT,
    golden.DEK_ID,
    WrappedKey("file", "default", 1, b"wrapped " * 8),
    datetime(2026, 1, 2, tzinfo=UTC),
)


def _decode(data: bytes) -> KeyRecord:
    return decode_key_record(data, golden.TENANT, golden.PROJECT, golden.DEK_ID)


def test_a_damaged_key_record_is_refused_or_differs_only_in_what_the_provider_checks() -> None:
    """A key record is not sealed: what is wrapped in it, and under which key, is for the provider to prove."""
    good = encode_key_record(RECORD)
    for at in range(len(good)):
        for bit in (1, 2, 4, 8, 16, 32, 64, 128):
            damaged = bytearray(good)
            damaged[at] ^= bit
            try:
                found = _decode(bytes(damaged))
            except CorruptObject:
                continue
            assert (found.tenant, found.project, found.dek) == (RECORD.tenant, RECORD.project, RECORD.dek)
            assert found != RECORD
    for length in range(len(good)):
        with pytest.raises(CorruptObject):
            _decode(good[:length])
    with pytest.raises(CorruptObject):
        _decode(good + b"\0")


@settings(max_examples=500, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 8), VALUES), min_size=1, max_size=2), st.booleans())
@example([(8, 2**64 - 1)], False)
@example([(8, -(2**63))], False)
@example([(4, "\0")], False)
def test_a_hostile_key_record_is_refused_or_decoded(changes: list[tuple[int, Any]], longer: bool) -> None:
    fields: list[Any] = msgspec.msgpack.decode(encode_key_record(RECORD))
    for position, value in changes:
        fields[position] = value
    if longer:
        fields.append(0)
    try:
        found = _decode(msgspec.msgpack.encode(fields))
    except CorruptObject:
        return
    assert not longer
    assert [type(field) for field in fields] == [int, str, str, str, str, str, int, bytes, int]
    assert found.wrapped == tuple(fields[4:8])


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=100))
def test_bytes_of_chance_are_no_key_record(data: bytes) -> None:
    with pytest.raises(CorruptObject):
        _decode(data)


# --- round trips ------------------------------------------------------------------------------------------------------

SEGMENTS = (
    st.binary(min_size=1, max_size=6)
    .map(lambda b: b.replace(b"/", b"_").replace(b"\0", b"-"))
    .filter(lambda name: name not in (b".", b".."))
)
TREE_PATHS = st.lists(SEGMENTS, min_size=1, max_size=4).map(b"/".join) | st.just(b"n" * 255)
CHUNKS = st.binary(min_size=32, max_size=32).map(ChunkId)


@st.composite
def commits(draw: st.DrawFn) -> tuple[Changes, Places, list[Payload]]:
    """Return arbitrary changes whose chunks are inline, in packs, or in other commits."""
    own = golden.own(ObjectKind.COMMIT)
    inline = [Payload.of(draw(st.binary(min_size=1, max_size=300))) for _ in range(draw(st.integers(0, 3)))]
    blocks = [Block(own, 2 + n, 0, payload.stored_bytes, payload.raw_bytes) for n, payload in enumerate(inline)]
    for number in range(draw(st.integers(0, 3))):
        name = ObjectId(encode_id(bytes([number]) * 16))
        is_pack = draw(st.booleans())
        container = Container(
            golden.TENANT,
            draw(st.sampled_from([golden.PROJECT, golden.OTHER_PROJECT])),
            ObjectKind.PACK if is_pack else ObjectKind.COMMIT,
            Generation(0 if is_pack else draw(st.integers(1, 10**12 - 1))),
            name,
            name,
            draw(st.sampled_from([PLAIN, golden.DEK_ID])),
        )
        raw = draw(st.integers(1, 4 << 20))
        blocks.append(
            Block(
                container,
                draw(st.integers(2, 2**32 - 1)),
                draw(st.integers(40, 2**40)),
                draw(st.integers(25, (4 << 20) + 24)),
                raw,
            )
        )
    places: Places = {}
    for chunk in draw(st.lists(CHUNKS, unique=True, max_size=8)) if blocks else []:
        block = draw(st.sampled_from(blocks))
        length = draw(st.integers(1, block.raw_bytes))
        places[chunk] = Place(block, draw(st.integers(0, block.raw_bytes - length)), length)
    upserts: dict[bytes, Entry] = {}
    times = st.integers(-(2**63), 2**63 - 1)
    for path in draw(st.sets(TREE_PATHS, max_size=8)):
        kind = draw(st.sampled_from([FILE, FILE, 1, SYMLINK]))
        mode, time = draw(st.integers(0, 0o777)), draw(times)
        if kind == FILE:
            own_chunks = draw(st.lists(st.sampled_from(sorted(places)), max_size=4)) if places else []
            size = sum(places[chunk].length for chunk in own_chunks)
            upserts[path] = Entry(FILE, mode, time, size, b"".join(own_chunks))
        elif kind == SYMLINK:
            target = draw(st.binary(min_size=1, max_size=20)).replace(b"\0", b"0")
            upserts[path] = Entry(SYMLINK, mode, time, 0, target)
        else:
            upserts[path] = directory(time, mode)
    if draw(st.booleans()):
        upserts[b""] = directory(draw(times))
    deletes = draw(st.sets(TREE_PATHS, max_size=5)) - upserts.keys()
    return Changes(upserts, deletes), places, inline


@settings(max_examples=300, deadline=None)
@given(commits(), st.sampled_from(sorted(SUITES)))
def test_any_commit_comes_back_as_it_was_and_alike_in_both_readers(
    made: tuple[Changes, Places, list[Payload]], suite: str
) -> None:
    changes, places, inline = made
    own = golden.own(ObjectKind.COMMIT, SUITES[suite])
    mine = golden.own(ObjectKind.COMMIT)
    places = {
        chunk: place._replace(block=place.block._replace(container=own)) if place.block.container == mine else place
        for chunk, place in places.items()
    }
    seal = own.seal()
    built = build_commit(golden.commit_meta(), changes, places, inline, own, golden.sealer(seal), golden.ID_KEY)
    found = read_commit(built.data, own, golden.opener(seal), golden.ID_KEY)
    assert (found.meta, found.changes, found.record_hash) == (golden.commit_meta(), changes, built.record_hash)
    assert found.places == built.places
    theirs = _independent().describe_bytes(bytes(built.data), seal.key, 2, 7, golden.COMMIT)
    assert _in_common(found)[1] == {path: tuple(entry) for path, entry in theirs.upserts.items()}
    assert theirs.record_hash == found.record_hash


def test_the_fuzz_reaches_both_outcomes() -> None:
    """Guards the tests above: changes that are always refused, or never, would prove nothing."""
    record, places = forge.parts()
    record[forge.META][forge.MESSAGE] = "another message"
    assert isinstance(forge.read(forge.seal(record, places)), ReadCommit)
    record[forge.TREE][forge.KINDS] = b""
    with pytest.raises(CorruptObject):
        forge.read(forge.seal(record, places))
