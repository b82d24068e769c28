"""What a commit object or checkpoint may not say, however well it is sealed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
import zstandard
from manifold_common.domain.tree import FILE, Changes, Entry
from manifold_common.errors import CorruptObject, InvalidInput, QuotaExceeded
from manifold_common.format import commit_object
from manifold_common.format.commit_object import (
    MAX_MESSAGE_BYTES,
    MAX_PROVENANCE_BYTES,
    CommitMeta,
    build_checkpoint,
    build_commit,
)
from manifold_common.format.compression import STORED, ZSTD
from manifold_common.format.places import Block, Place
from manifold_common.format.sealed import FRAME_OVERHEAD_BYTES, ObjectKind, Payload
from manifold_common.ids import PLAIN, Generation

from tests.compat import forge, golden
from tests.compat.forge import (
    B_CONTAINERS,
    B_FRAMES,
    B_OFFSETS,
    B_RAW,
    B_STORED,
    BLOCKS,
    C_BLOCKS,
    C_OFFSETS,
    CHUNKS,
    CONTAINERS,
    COUNTS,
    DELETES,
    GENERATION,
    GONE,
    IDS,
    KINDS,
    LENGTHS,
    MESSAGE,
    META,
    MODES,
    MTIMES,
    NUMBERS,
    PARENT,
    PARENT_HASH,
    PATHS,
    PROVENANCE,
    SIZES,
    TARGETS,
    TREE,
    UPSERTS,
)
from tests.support.memory import traced_memory

MIB = 1 << 20
Parts = tuple[list[Any], list[Any]]


@dataclass
class Forged:
    record: list[Any]
    places: list[Any]

    @property
    def tree(self) -> list[Any]:
        return self.record[TREE]  # type: ignore[no-any-return]

    @property
    def meta(self) -> list[Any]:
        return self.record[META]  # type: ignore[no-any-return]


def test_an_unchanged_forgery_is_read() -> None:
    for kind in (ObjectKind.COMMIT, ObjectKind.CHECKPOINT):
        record, places = forge.parts(kind)
        forge.read(forge.seal(record, places, kind), kind)


def u32(*values: int) -> bytes:
    return b"".join(value.to_bytes(4, "little") for value in values)


def u64(*values: int) -> bytes:
    return b"".join(value.to_bytes(8, "little") for value in values)


def put(column: bytes, index: int, value: bytes) -> bytes:
    """Return the column with element ``index`` replaced."""
    at = index * len(value)
    return column[:at] + value + column[at + len(value) :]


def path(old: bytes, new: bytes) -> Callable[[Forged], None]:
    def change(forged: Forged) -> None:
        paths = forged.tree[PATHS].split(b"\0")
        paths[paths.index(old)] = new
        forged.tree[PATHS] = b"\0".join(paths)

    return change


def tree(field: int, make: Callable[[Any], Any]) -> Callable[[Forged], None]:
    def change(forged: Forged) -> None:
        forged.tree[field] = make(forged.tree[field])

    return change


def place(field: int, make: Callable[[Any], Any]) -> Callable[[Forged], None]:
    def change(forged: Forged) -> None:
        forged.places[field] = make(forged.places[field])

    return change


def meta(field: int, value: Any) -> Callable[[Forged], None]:
    def change(forged: Forged) -> None:
        forged.meta[field] = value

    return change


def container(number: int, field: int, value: Any) -> Callable[[Forged], None]:
    def change(forged: Forged) -> None:
        forged.places[CONTAINERS][number][field] = value

    return change


def deletes(*paths: bytes) -> Callable[[Forged], None]:
    def change(forged: Forged) -> None:
        forged.tree[DELETES] = len(paths)
        forged.tree[GONE] = b"\0".join(paths)

    return change


def files(*names: bytes) -> Callable[[Forged], None]:
    """Only empty files of these names, and no deletes."""

    def change(forged: Forged) -> None:
        count = len(names)
        forged.record[TREE] = [count, 0, 0, b"\0".join(names), bytes(count), bytes(2 * count), bytes(8 * count)]
        forged.record[TREE] += [bytes(8 * count), bytes(4 * count), b"", b"", b"", b"", b""]
        forged.places[:] = [[], 0, *[b""] * 7]

    return change


def chunk_twice(forged: Forged) -> None:
    ids = forged.tree[IDS]
    forged.tree[IDS] = ids[:32] + ids[:32] + ids[64:]


def swap_first_paths(forged: Forged) -> None:
    paths = forged.tree[PATHS].split(b"\0")
    paths[1], paths[2] = paths[2], paths[1]
    forged.tree[PATHS] = b"\0".join(paths)


def _nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return {"deep": value}


# The sample's paths: "" "a folder" "a folder/big" "caf\xe9" "empty" "foreign" "link". Its 6 chunks are in 5 blocks, by
# number: inline, pack, commit, inline, pack of another project. Its containers: pack, commit, pack of another project.
HOSTILE: dict[str, Callable[[Forged], None]] = {
    "a path with ..": path(b"empty", b"e/../../etc"),
    "a path that is ..": path(b"empty", b".."),
    "a path that ends in ..": path(b"empty", b"e/.."),
    "a path that begins with ..": path(b"a folder", b"../x"),
    "a path with .": path(b"empty", b"e/./f"),
    "a path that is .": files(b"."),
    "an absolute path": files(b"/etc/passwd"),
    "a path that is /": files(b"/"),
    "a path with an empty name": files(b"a//b"),
    "a path that ends in a slash": files(b"a/"),
    "a NUL that makes two paths of one": path(b"empty", b"em\0pty"),
    "a NUL at the end": tree(PATHS, lambda paths: paths + b"\0"),
    "a NUL at the beginning": tree(PATHS, lambda paths: b"\0" + paths),
    "an empty path that is not first": files(b"a", b"", b"b"),
    "a root that is a file": files(b""),
    "a name of 256 bytes": files(b"n" * 256),
    "a name of 256 bytes in a folder": files(b"a/" + b"n" * 256 + b"/b"),
    "a path of 4096 bytes": files(b"/".join([b"n" * 255] * 15 + [b"n" * 240, b"n" * 15])),
    "paths out of order": swap_first_paths,
    "a path twice": files(b"a", b"a"),
    "a path that is written and deleted": deletes(b"empty"),
    "the root deleted": deletes(b""),
    "deletes out of order": deletes(b"z", b"y"),
    "a delete twice": deletes(b"z", b"z"),
    "a delete that leaves the project": deletes(b"../x"),
    "an absolute delete": deletes(b"/x"),
    "fewer deletes than said": tree(DELETES, lambda count: count + 1),
    "fewer paths than said": tree(UPSERTS, lambda count: count + 1),
    "more paths than said": tree(UPSERTS, lambda count: count - 1),
    "no paths at all, but columns": tree(UPSERTS, lambda count: 0),
    "a count of paths beyond all memory": tree(UPSERTS, lambda count: 2**62),
    "a count of chunks beyond all memory": tree(CHUNKS, lambda count: 2**62),
    "a count of deletes beyond all memory": tree(DELETES, lambda count: 2**62),
    "a count of blocks beyond all memory": place(BLOCKS, lambda count: 2**62),
    "a count that is 2**64 - 1": tree(UPSERTS, lambda count: 2**64 - 1),
    "a negative count of paths": tree(UPSERTS, lambda count: -1),
    "a negative count of deletes": tree(DELETES, lambda count: -1),
    "a negative count of chunks": tree(CHUNKS, lambda count: -1),
    "a negative count of blocks": place(BLOCKS, lambda count: -1),
    "an unknown kind": tree(KINDS, lambda kinds: put(kinds, 4, b"\3")),
    "a folder with chunks": tree(KINDS, lambda kinds: put(kinds, 2, b"\1")),
    "a mode over 0o777": tree(MODES, lambda modes: put(modes, 4, b"\0\2")),
    "a set-uid bit": tree(MODES, lambda modes: put(modes, 4, (0o4755).to_bytes(2, "little"))),
    "a size that is too large": tree(SIZES, lambda sizes: put(sizes, 4, u64(1))),
    "a size that is too small": tree(SIZES, lambda sizes: put(sizes, 2, u64(1))),
    "a size of 2**64 - 1": tree(SIZES, lambda sizes: put(sizes, 2, u64(2**64 - 1))),
    "a folder with a size": tree(SIZES, lambda sizes: put(sizes, 1, u64(1))),
    "a short column of kinds": tree(KINDS, lambda kinds: kinds[:-1]),
    "a long column of times": tree(MTIMES, lambda times: times + b"\0"),
    "a chunk that is not listed": tree(NUMBERS, lambda numbers: put(numbers, 0, u32(6))),
    "a chunk number of 2**32 - 1": tree(NUMBERS, lambda numbers: put(numbers, 0, u32(2**32 - 1))),
    "more chunks of a file than there are": tree(COUNTS, lambda counts: put(counts, 0, u32(2**32 - 1))),
    "fewer chunks of a file than there are": tree(COUNTS, lambda counts: put(counts, 0, u32(1))),
    "a file without a count": tree(COUNTS, lambda counts: counts[:-4]),
    "a chunk listed twice": chunk_twice,
    "half a chunk id": tree(IDS, lambda ids: ids[:-16]),
    "a chunk of no bytes": tree(LENGTHS, lambda lengths: put(lengths, 0, u32(0))),
    "a chunk over 4 MiB": tree(LENGTHS, lambda lengths: put(lengths, 0, u32(4 * MIB + 1))),
    "a link without a target": tree(TARGETS, lambda targets: b""),
    "two targets for one link": tree(TARGETS, lambda targets: targets + b"\0x"),
    "a target of 4096 bytes": tree(TARGETS, lambda targets: b"t" * 4096),
    "a block in a frame that does not exist": place(B_FRAMES, lambda frames: put(frames, 0, u32(4))),
    "a block in frame 2**32 - 1": place(B_FRAMES, lambda frames: put(frames, 0, u32(2**32 - 1))),
    "an inline block in the record": place(B_FRAMES, lambda frames: put(frames, 0, u32(0))),
    "an inline block in the places": place(B_FRAMES, lambda frames: put(frames, 0, u32(1))),
    "an inline block with an offset": place(B_OFFSETS, lambda offsets: put(offsets, 0, u64(40))),
    "an inline block of another length": place(B_STORED, lambda stored: put(stored, 0, u32(37))),
    "an object that is not listed": place(B_CONTAINERS, lambda numbers: put(numbers, 1, u32(3))),
    "a block inside a header": place(B_OFFSETS, lambda offsets: put(offsets, 1, u64(39))),
    "a block beyond every object": place(B_OFFSETS, lambda offsets: put(offsets, 1, u64(2**40 + 1))),
    "a block at 2**64 - 1": place(B_OFFSETS, lambda offsets: put(offsets, 1, u64(2**64 - 1))),
    "a block that is only a tag": place(B_STORED, lambda stored: put(stored, 1, u32(FRAME_OVERHEAD_BYTES))),
    "a block of 2**32 - 1 bytes": place(B_STORED, lambda stored: put(stored, 1, u32(2**32 - 1))),
    "a block over 4 MiB": place(B_RAW, lambda raw: put(raw, 1, u32(4 * MIB + 1))),
    "a chunk in a block that is not listed": place(C_BLOCKS, lambda numbers: put(numbers, 0, u32(5))),
    "a chunk beyond its block": place(C_OFFSETS, lambda offsets: put(offsets, 0, u32(7))),
    "a chunk at 2**32 - 1": place(C_OFFSETS, lambda offsets: put(offsets, 0, u32(2**32 - 1))),
    "a chunk without a place": place(C_BLOCKS, lambda numbers: numbers[:-4]),
    "a project that is no id": container(0, 0, "../../other"),
    "a project that is not spelt well": container(0, 0, "a" * 25 + "b"),
    "a container of kind checkpoint": container(0, 1, 3),
    "a container of kind note": container(1, 1, 4),
    "a container of kind -1": container(0, 1, -1),
    "a pack with a generation": container(0, 2, 1),
    "a pack that is called otherwise": container(0, 3, b"x" * 16),
    "a commit of generation 0": container(1, 2, 0),
    "a commit of a negative generation": container(1, 2, -3),
    "a commit of generation 10**12": container(1, 2, 10**12),
    "a commit's description as a block": place(B_FRAMES, lambda frames: put(frames, 2, u32(1))),
    "a name of 15 bytes": container(1, 3, b"x" * 15),
    "an object id of 17 bytes": container(1, 4, b"x" * 17),
    "a data key without an id": container(1, 5, b""),
    "a record of version 0": lambda forged: forged.record.__setitem__(0, 0),
    "a record of version 2": lambda forged: forged.record.__setitem__(0, 2),
    "another tenant": meta(0, "other"),
    "another project": meta(1, golden.OTHER_PROJECT),
    "another generation": meta(GENERATION, 8),
    "a negative generation": meta(GENERATION, -7),
    "another commit": meta(3, golden.PARENT),
    "no parent": meta(PARENT, ""),
    "no parent hash": meta(PARENT_HASH, b""),
    "half a parent hash": meta(PARENT_HASH, b"x" * 16),
    "an infinite number": meta(PROVENANCE, {"cost": float("inf")}),
    "not a number": meta(PROVENANCE, {"cost": [float("nan")]}),
    "bytes in the provenance": meta(PROVENANCE, {"raw": b"\0"}),
    "an extension type": meta(PROVENANCE, {"ext": msgspec.msgpack.Ext(5, b"x")}),
    "a map with keys that are not text": meta(PROVENANCE, {"map": {1: 2}}),
    "a very deep provenance": meta(PROVENANCE, _nested(40)),
}


@pytest.mark.parametrize("dek", [PLAIN, golden.DEK_ID])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_well_sealed_commit_with_something_impossible_is_refused(name: str, dek: Any) -> None:
    forged = Forged(*forge.parts())
    HOSTILE[name](forged)
    with pytest.raises(CorruptObject) as caught:
        forge.read(forge.seal(forged.record, forged.places, dek=dek), dek=dek)
    assert caught.value.object_name == golden.key_of(ObjectKind.COMMIT)


# What only a raw message can say.
MESSAGES = {
    "nothing": b"",
    "nil": b"\xc0",
    "a map": b"\x81\xa1a\x01",
    "an empty array": b"\x90",
    "a version that is text": b"\x93\xa11\x90\x90",
    "a version that is true": b"\x93\xc3\x90\x90",
    "a version that is 1.0": b"\x93\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00\x90\x90",
    "an array of 2**32 - 1": b"\xdd\xff\xff\xff\xff\x01",
    "a byte string of 2**32 - 1": b"\x93\x01\xc6\xff\xff\xff\xff",
    "a map of 2**32 - 1": b"\x93\x01\xdf\xff\xff\xff\xff",
    "a million arrays in each other": b"\x93\x01" + b"\x91" * MIB,
    "a million arrays before the version": b"\x91" * MIB,
    "text that is not UTF-8": b"\x93\x01\x9b\xa2\xff\xfe",
    "a byte that is never used": b"\xc1",
}


@pytest.mark.parametrize("frame", [0, 1])
@pytest.mark.parametrize("name", MESSAGES)
def test_a_description_that_is_no_message_of_ours_is_refused(name: str, frame: int) -> None:
    forged: list[Any] = list(forge.parts())
    forged[frame] = MESSAGES[name]
    with traced_memory() as peak:
        with pytest.raises(CorruptObject):
            forge.read(forge.seal(*forged))
        assert peak() < 16 * MIB


@pytest.mark.parametrize("frame", [0, 1])
def test_nothing_may_follow_a_description(frame: int) -> None:
    forged: list[Any] = list(forge.parts())
    forged[frame] = msgspec.msgpack.encode(forged[frame]) + b"\0"
    with pytest.raises(CorruptObject):
        forge.read(forge.seal(*forged))


def _positions(value: Any, here: tuple[int, ...] = ()) -> list[tuple[int, ...]]:
    found = [here]
    if isinstance(value, list):
        for number, item in enumerate(value):
            found += _positions(item, (*here, number))
    return found


def _set(value: Any, position: tuple[int, ...], new: Any) -> Any:
    if not position:
        return new
    value[position[0]] = _set(value[position[0]], position[1:], new)
    return value


@pytest.mark.parametrize("kind", [ObjectKind.COMMIT, ObjectKind.CHECKPOINT])
@pytest.mark.parametrize("frame", [0, 1])
def test_a_wrong_type_in_any_position_is_refused(frame: int, kind: ObjectKind) -> None:
    samples: list[Any] = [None, True, 1, -1, 2.5, "text", b"bytes", [], [1], {}, {"a": 1}]
    for position in _positions(forge.parts(kind)[frame]):
        original = forge.parts(kind)[frame]
        for step in position:
            original = original[step]
        for sample in samples:
            if type(sample) is type(original):
                continue
            forged: list[Any] = list(forge.parts(kind))
            forged[frame] = _set(forged[frame], position, sample)
            with pytest.raises(CorruptObject):
                forge.read(forge.seal(forged[0], forged[1], kind), kind)


@pytest.mark.parametrize("kind", [ObjectKind.COMMIT, ObjectKind.CHECKPOINT])
@pytest.mark.parametrize("frame", [0, 1])
def test_a_missing_or_an_extra_element_is_refused(frame: int, kind: ObjectKind) -> None:
    for position in _positions(forge.parts(kind)[frame]):
        for longer in (True, False):
            forged: list[Any] = list(forge.parts(kind))
            items: Any = forged[frame]
            for step in position:
                items = items[step]
            if not isinstance(items, list):
                continue
            if longer:
                items.append(0)
            else:
                items.pop()
            with pytest.raises(CorruptObject):
                forge.read(forge.seal(forged[0], forged[1], kind), kind)


def test_a_newer_record_asks_for_a_newer_release_whatever_else_it_holds() -> None:
    with pytest.raises(CorruptObject, match="version 2") as caught:
        forge.read(forge.seal([2, "something new"], []))
    assert caught.value.hint is not None and "newer release" in caught.value.hint


@pytest.mark.parametrize("count", [0, 1])
def test_a_commit_without_its_whole_description_is_refused(count: int) -> None:
    payloads = [Payload(STORED, 1, b"\x90")] * count
    data = golden.sealer(golden.seal_of(ObjectKind.COMMIT, PLAIN)).seal_object(payloads)
    with pytest.raises(CorruptObject, match="fewer than its description needs"):
        forge.read(bytes(data))


def test_a_checkpoint_with_blocks_deletes_or_inline_places_is_refused() -> None:
    kind = ObjectKind.CHECKPOINT
    record, places = forge.parts(kind)
    with pytest.raises(CorruptObject, match="number of frames"):
        forge.read(forge.seal(record, places, kind, blocks=[Payload(STORED, 1, b"x")]), kind)
    forged = Forged(*forge.parts(kind))
    deletes(b"gone")(forged)
    with pytest.raises(CorruptObject, match="deletes"):
        forge.read(forge.seal(forged.record, forged.places, kind), kind)
    forged = Forged(*forge.parts(kind))
    place(B_CONTAINERS, lambda numbers: put(numbers, 0, u32(2**32 - 1)))(forged)
    with pytest.raises(CorruptObject, match="frame"):
        forge.read(forge.seal(forged.record, forged.places, kind), kind)


def test_a_first_commit_has_no_parent() -> None:
    own = golden.own(ObjectKind.COMMIT)._replace(generation=Generation(1))
    for parent, parent_hash in ((golden.PARENT, b""), ("", b"x" * 32), (golden.PARENT, b"x" * 32)):
        record, places = forge.parts()
        record[META][GENERATION], record[META][PARENT], record[META][PARENT_HASH] = 1, parent, parent_hash
        frames = [msgspec.msgpack.encode(part) for part in (record, places)]
        payloads = [Payload(STORED, len(raw), raw) for raw in frames] + golden.sample_changes()[2]
        data = golden.sealer(own.seal()).seal_object(payloads)
        with pytest.raises(CorruptObject, match="parent"):
            commit_object.read_commit(data, own, golden.opener(own.seal()), golden.ID_KEY)


# --- memory -----------------------------------------------------------------------------------------------------------


def _peak(data: bytes) -> int:
    with traced_memory() as peak:
        with pytest.raises(CorruptObject):
            forge.read(data)
        return peak()


def _with_description(raw: bytes, payload: bytes) -> bytes:
    payloads = [Payload(ZSTD, len(raw), payload), Payload(STORED, 1, b"\x90")]
    return bytes(golden.sealer(golden.seal_of(ObjectKind.COMMIT, PLAIN)).seal_object(payloads))


def test_a_small_object_that_declares_256_mib_is_refused_before_anything_is_allocated() -> None:
    size = (1 << 28) - 1
    payload = b"\x28\xb5\x2f\xfd\xa0" + size.to_bytes(4, "little") + bytes(9000)
    payloads = [Payload(ZSTD, size, payload), Payload(STORED, 1, b"\x90")]
    data = bytes(golden.sealer(golden.seal_of(ObjectKind.COMMIT, PLAIN)).seal_object(payloads))
    assert len(data) < 10_000
    assert _peak(data) < MIB


def test_a_bomb_of_zeros_in_a_description_is_refused_before_it_expands() -> None:
    raw = bytes(64 * MIB)
    assert _peak(_with_description(raw, zstandard.compress(raw))) < MIB


@pytest.mark.parametrize("columns", ["paths", "blocks", "containers", "chunks", "repeated chunks"])
def test_decoding_takes_memory_in_proportion_to_the_description(columns: str) -> None:
    """The worst that a description of a given length can do, for each kind of row."""
    count = 60_000
    forged = Forged(*forge.parts())
    if columns == "paths":
        files(*sorted(b"%05x" % number for number in range(count)))(forged)
    elif columns == "blocks":
        forged.places[BLOCKS] += count
        forged.places[B_CONTAINERS] += bytes(4 * count)
        forged.places[B_FRAMES] += u32(*[5000 + n % 999 for n in range(count)])
        forged.places[B_OFFSETS] += u64(*[500_000 + n for n in range(count)])
        forged.places[B_STORED] += u32(*[1000 + n % 999 for n in range(count)])
        forged.places[B_RAW] += u32(*[1000 + n % 999 for n in range(count)])
    elif columns == "containers":
        forged.places[CONTAINERS] += forged.places[CONTAINERS][:1] * (count // 20)
    elif columns == "chunks":
        forged.tree[CHUNKS] += count
        forged.tree[IDS] += b"".join(number.to_bytes(32, "little") for number in range(count))
        forged.tree[LENGTHS] += u32(*[1 + number % 5 for number in range(count)])
        forged.places[C_BLOCKS] += u32(*[1] * count)
        forged.places[C_OFFSETS] += u32(*[300 + number % 999 for number in range(count)])
    else:
        forged.tree[NUMBERS] = u32(*[0] * count) + forged.tree[NUMBERS][12:]
        forged.tree[COUNTS] = put(forged.tree[COUNTS], 0, u32(count))
        forged.tree[SIZES] = put(forged.tree[SIZES], 2, u64(6 * count))
    if columns != "paths":
        forged.meta[MESSAGE] = ""
    data = forge.seal(forged.record, forged.places)
    with traced_memory() as peak:
        forge.read(data)
        most = peak()
    assert most < 40 * len(data), f"{most / len(data):.1f} times"


# --- writing ----------------------------------------------------------------------------------------------------------


def _write(meta: CommitMeta, changes: Changes | None = None) -> bytes:
    own = golden.own(ObjectKind.COMMIT)
    chosen, places, inline = golden.sample_changes()
    built = build_commit(meta, changes or chosen, places, inline, own, golden.sealer(own.seal()), golden.ID_KEY)
    return bytes(built.data)


def _meta(**changed: Any) -> CommitMeta:
    return msgspec.structs.replace(golden.commit_meta(), **changed)


@pytest.mark.parametrize(
    "meta",
    [
        _meta(message="lone surrogate \udcff"),
        _meta(message="x" * (MAX_MESSAGE_BYTES + 1)),
        _meta(message="\u00e9" * (MAX_MESSAGE_BYTES // 2 + 1)),
        _meta(provenance={"raw": b"bytes"}),
        _meta(provenance={"lone": "\udcff"}),
        _meta(provenance={"object": object()}),
        _meta(provenance={"big": 2**64}),
        _meta(provenance={"cost": float("nan")}),
        _meta(provenance={1: 2}),
        _meta(provenance={"text": "x" * MAX_PROVENANCE_BYTES}),
        _meta(provenance=_nested(40)),
        _meta(provenance=_nested(100_000)),
    ],
)
def test_words_that_could_not_be_read_back_are_refused_when_written(meta: CommitMeta) -> None:
    with pytest.raises(InvalidInput):
        _write(meta)


@pytest.mark.parametrize(
    "meta",
    [
        _meta(message="x" * MAX_MESSAGE_BYTES),
        _meta(message="\0\u202e\U0001f600"),
        _meta(provenance={}),
        _meta(provenance={"text": "x" * (MAX_PROVENANCE_BYTES - 100)}),
        _meta(provenance=_nested(30)),
        _meta(provenance={"n": [0, -(2**63), 2**64 - 1, 1.5, None, True, "", {}]}),
        _meta(time_ns=-1),
        _meta(
            message="x" * MAX_MESSAGE_BYTES,
            provenance={"text": "x" * (MAX_PROVENANCE_BYTES - 11)},
            author="u" * 1000,
            session="s" * 1000,
        ),
    ],
)
def test_words_within_the_limits_come_back(meta: CommitMeta) -> None:
    own = golden.own(ObjectKind.COMMIT)
    found = commit_object.read_commit(_write(meta), own, golden.opener(own.seal()), golden.ID_KEY)
    assert found.meta == meta


def test_a_tree_that_compresses_extremely_well_is_stored_so_that_it_reads_back() -> None:
    upserts = {b"%08d" % number: Entry(FILE, 0o644, 0, 0, b"") for number in range(1)}
    upserts |= {b"d" * 250 + b"%05d" % number: Entry(FILE, 0o644, 0, 0, b"") for number in range(30_000)}
    own = golden.own(ObjectKind.CHECKPOINT)
    sealer = golden.sealer(own.seal())
    data = build_checkpoint(golden.checkpoint_meta(), Changes(upserts, set()), {}, sealer)
    assert len(data) > 4 * MIB
    assert commit_object.read_checkpoint(data, own, golden.opener(own.seal())).changes.upserts == upserts


def test_a_tree_too_large_for_one_description_is_refused_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit_object, "MAX_RAW_BYTES", 100)
    with pytest.raises(QuotaExceeded, match="over the limit of 100"):
        _write(golden.commit_meta())


def test_inline_offsets_are_those_of_the_object_that_was_built() -> None:
    own = golden.own(ObjectKind.COMMIT)
    changes, places, inline = golden.sample_changes()
    opener = golden.opener(own.seal())
    built = build_commit(golden.commit_meta(), changes, places, inline, own, golden.sealer(own.seal()), golden.ID_KEY)
    assert built.places == commit_object.read_commit(built.data, own, opener, golden.ID_KEY).places
    offsets = [offset for offset, _ in opener.split(built.data)]
    for found in built.places.values():
        if found.block.container == own:
            assert found.block.offset == offsets[found.block.frame]


def test_moving_blocks_does_not_change_the_hash_of_a_record() -> None:
    changes, places, _ = golden.sample_changes()
    own = golden.own(ObjectKind.COMMIT)
    hashes = set()
    for offset in (40, 4000):
        moved = {}
        for chunk, found in places.items():
            block = Block(found.block.container._replace(name=golden.PARENT), 2, offset, 500, 5000)
            moved[chunk] = Place(block, 0, found.length)
        sealer = golden.sealer(own.seal())
        hashes.add(build_commit(golden.commit_meta(), changes, moved, [], own, sealer, golden.ID_KEY).record_hash)
    assert len(hashes) == 1
