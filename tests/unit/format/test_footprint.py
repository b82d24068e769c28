"""What decoding takes of memory is told before it is taken, for whatever a description holds."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from manifold_common.engine.memory import Memory
from manifold_common.errors import CorruptObject, QuotaExceeded
from manifold_common.format.columns import I64, U16, U32, U64, pack_ints
from manifold_common.format.commit_object import MAX_META_BYTES, read_commit
from manifold_common.format.sealed import ObjectKind, Payload
from manifold_common.ids import PLAIN

from tests.compat import forge, golden
from tests.support.memory import traced_memory

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
Described = tuple[list[Any], list[Any]]
NOTHING: list[Any] = [[], 0, *[b""] * 7]


def short_paths(count: int) -> bytes:
    letters = bytes(byte for byte in range(1, 256) if byte not in b"/.")
    return b"\0".join(sorted(bytes(name) for name in itertools.islice(itertools.product(letters, repeat=3), count)))


def project(count: int, blocks: int | None = None) -> Described:
    """Return what a project of so many source files has."""
    paths = sorted(b"src/module_%03d/a_file_%06d.py" % (number % 500, number) for number in range(count))
    blocks = blocks or count // 50
    times = pack_ints(I64, range(1 << 60, (1 << 60) + count * 1000, 1000))
    lengths = [4000 + number % 900 for number in range(count)]
    ids = b"".join(number.to_bytes(32, "big") for number in range(count))
    tree = [count, 0, count, b"\0".join(paths), bytes(count), pack_ints(U16, [0o644] * count), times]
    tree += [pack_ints(U64, lengths), pack_ints(U32, [1] * count), pack_ints(U32, range(count)), b"", ids]
    pack = ["a" * 26, 1, 0, b"\1" * 16, b"\1" * 16, bytes(16)]
    places = [[pack], blocks, bytes(4 * blocks), pack_ints(U32, range(blocks))]
    places += [pack_ints(U64, range(1 << 39, (1 << 39) + blocks * 300_000, 300_000))]
    places += [pack_ints(U32, range(300_000, 300_000 + blocks))] * 2
    places += [pack_ints(U32, [number * blocks // count for number in range(count)])]
    return [*tree, pack_ints(U32, lengths), b""], [*places, pack_ints(U32, [5000 + n % 9999 for n in range(count)])]


def nothing_but(**columns: Any) -> list[Any]:
    names = ("upserts", "deletes", "chunks", "paths", "kinds", "modes", "mtimes", "sizes")
    names += ("counts", "numbers", "targets", "ids", "lengths", "gone")
    return [columns.get(name, 0 if number < 3 else b"") for number, name in enumerate(names)]


def empty_files(count: int) -> Described:
    times = pack_ints(I64, range(1 << 60, (1 << 60) + count))
    columns = {"paths": short_paths(count), "kinds": bytes(count), "modes": bytes(2 * count), "mtimes": times}
    return nothing_but(upserts=count, **columns, sizes=bytes(8 * count), counts=bytes(4 * count)), NOTHING


def links(count: int) -> Described:
    (tree, _), targets = empty_files(count), b"\0".join([b"x"] * count)
    return [*tree[:4], b"\2" * count, *tree[5:8], b"", b"", targets, b"", b"", b""], NOTHING


def deletes(count: int) -> Described:
    return nothing_but(deletes=count, gone=short_paths(count)), NOTHING


def references(count: int) -> Described:
    """One file, of one chunk again and again."""
    columns = {"paths": b"a", "kinds": b"\0", "modes": bytes(2), "mtimes": bytes(8)}
    file = {"sizes": pack_ints(U64, [count]), "counts": pack_ints(U32, [count]), "numbers": bytes(4 * count)}
    _, places = project(50, 1)
    places[-2:] = bytes(4), bytes(4)
    return nothing_but(upserts=1, chunks=1, **columns, **file, ids=bytes(32), lengths=pack_ints(U32, [1])), places


def blocks(count: int) -> Described:
    tree, places = project(count, count)
    return nothing_but(chunks=count, ids=tree[11], lengths=tree[12]), places


def containers(count: int) -> Described:
    ids = [number.to_bytes(16, "big") for number in range(count)]
    return nothing_but(), [[["a" * 26, 1, 0, one, one, one] for one in ids], *NOTHING[1:]]


def frames(_: int) -> Described:
    return nothing_but(), NOTHING


SHAPES: list[tuple[Callable[[int], Described], int]] = [
    (project, 15_000), (empty_files, 30_000), (links, 30_000), (deletes, 50_000), (references, 100_000),
    (blocks, 15_000), (containers, 5_000), (frames, 20_000),
]  # fmt: skip


def commit_of(described: Described, frames: int = 0, provenance: object = None) -> bytes:
    record = forge.parts()[0]
    record[forge.TREE] = described[0]
    if provenance is not None:
        record[forge.META][forge.PROVENANCE] = provenance
    parts = [Payload.of(msgspec.msgpack.encode(part)) for part in (record, described[1])]
    parts += [Payload(0, 0, b"")] * frames
    return bytes(golden.sealer(golden.seal_of(ObjectKind.COMMIT, PLAIN)).seal_object(parts))


def read(data: bytes, take: Callable[[int], None]) -> None:
    own = golden.own(ObjectKind.COMMIT, PLAIN)
    read_commit(data, own, golden.opener(own.seal()), golden.ID_KEY, take)


@pytest.mark.parametrize(("shape", "count"), SHAPES, ids=[shape.__name__ for shape, _ in SHAPES])
def test_what_decoding_takes_is_told_before(shape: Callable[[int], Described], count: int) -> None:
    data = commit_of(shape(count), count if shape is frames else 0)
    taken = 0

    def take(more: int) -> None:
        nonlocal taken
        taken += more

    with traced_memory() as peak:
        read(data, take)
        most = peak()
    assert most <= taken <= 3 * most
    if shape is project:
        assert taken <= 1000 * count  # as docs/format-v1.md says
    for limit in (taken // 3, taken - 1):
        told = f"it takes about .* limit of {limit}"
        with pytest.raises(QuotaExceeded, match=told), Memory(limit).account("it") as account:
            read(data, account.take)
    with Memory(taken).account("it") as account:
        read(data, account.take)


_IN_A_SMALL_FUNCTION = """
import resource, sys
from manifold_common.engine.memory import Memory
from manifold_common.errors import QuotaExceeded
from tests.unit.format.test_footprint import read

data = sys.stdin.buffer.read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
refused = False
try:
    with Memory(64 << 20).account("it") as account:
        read(data, account.take)
except QuotaExceeded:
    refused = True
print(refused, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("shape", [deletes, empty_files])
def test_a_small_commit_object_cannot_take_the_memory_of_a_small_function(shape: Callable[[int], Described]) -> None:
    """5.4 MB of one took 420 MiB. This is half of that, or a tenth."""
    data = commit_of(shape(700_000))
    assert len(data) < 3 << 20
    done = subprocess.run(
        [sys.executable, "-c", _IN_A_SMALL_FUNCTION],
        input=data,
        capture_output=True,
        check=True,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT / "layers" / "manifold_common")},
    )
    refused, grown_kib = done.stdout.split()
    assert refused == b"True"
    assert int(grown_kib) < 64 << 10


@pytest.mark.parametrize(
    "provenance",
    [{str(number): None for number in range(60_000)}, {"a": [0] * MAX_META_BYTES}, {"a": "x" * MAX_META_BYTES}],
    ids=["keys", "list", "text"],
)
def test_what_a_commit_says_of_itself_is_bounded_before_it_is_decoded(provenance: object) -> None:
    with pytest.raises(CorruptObject, match=f"bytes, over the limit of {MAX_META_BYTES}"):
        read(commit_of((nothing_but(), NOTHING), provenance=provenance), lambda _: None)
