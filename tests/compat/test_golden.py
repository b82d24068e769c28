"""The bytes of format 1 stay as they are: a change of any of them fails here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from manifold_common.format.commit_object import read_checkpoint, read_commit
from manifold_common.format.sealed import ObjectKind

from tests.compat import golden

GOLDEN: dict[str, Any] = json.loads(Path(__file__).with_name("golden.json").read_text())


@pytest.fixture(scope="module")
def vectors() -> dict[str, Any]:
    return golden.vectors()


def test_every_vector_is_held_and_none_is_left_over(vectors: dict[str, Any]) -> None:
    assert vectors.keys() == GOLDEN.keys()


@pytest.mark.parametrize("name", GOLDEN)
def test_what_is_written_is_the_golden_vector(name: str, vectors: dict[str, Any]) -> None:
    assert vectors[name] == GOLDEN[name]


@pytest.mark.parametrize("name", GOLDEN["sealed"])
def test_golden_objects_open(name: str) -> None:
    kind, suite = name.split("/")
    opener = golden.opener(golden.seal_of(ObjectKind[kind.upper()], golden.DEKS[suite]))
    frames = opener.split(bytes.fromhex(GOLDEN["sealed"][name]))
    raw = [bytes(opener.open_frame(number, frame)) for number, (_, frame) in enumerate(frames)]
    assert raw == [b"hello", b"a" * 64, b"\0"]


def test_a_commit_object_reads_as_what_was_written() -> None:
    changes, places, _ = golden.sample_changes()
    own = golden.own(ObjectKind.COMMIT)
    found = read_commit(golden.commit_object(), own, golden.opener(own.seal()), golden.ID_KEY)
    assert found.meta == golden.commit_meta()
    assert found.changes == changes
    assert found.places.keys() == places.keys()
    for chunk, place in places.items():
        block = place.block
        if block.container == own:
            block = block._replace(offset=found.places[chunk].block.offset)
        assert found.places[chunk] == place._replace(block=block)


def test_a_checkpoint_reads_as_what_was_written() -> None:
    changes, places, _ = golden.sample_changes()
    own = golden.own(ObjectKind.CHECKPOINT)
    found = read_checkpoint(golden.checkpoint_object(), own, golden.opener(own.seal()))
    assert found.meta == golden.checkpoint_meta()
    assert found.changes.upserts == changes.upserts
    assert not found.changes.deletes
    assert found.places.keys() == places.keys()


def test_golden_boundaries_cover_seeds_with_the_highest_bit_set_and_not() -> None:
    context = "manifold/v1 chunk boundaries"
    seeds = [blake3(bytes.fromhex(key), derive_key_context=context).digest(8) for key in GOLDEN["boundaries"]]
    assert {seed[7] >> 7 for seed in seeds} == {0, 1}
    assert len({tuple(lengths) for lengths in GOLDEN["boundaries"].values()}) == len(seeds)
