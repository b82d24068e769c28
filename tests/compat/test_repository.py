"""A repository of format 1, as it was written once, still reads: by a reader made from the document, and by ours."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from manifold_common.adapters.keyfile.provider import FileKeyProvider
from manifold_common.adapters.memory.clock import ManualClock, SeededRandomness
from manifold_common.domain.keys import KeyContext
from manifold_common.domain.tree import FILE, Entry, Tree, apply, chunk_ids
from manifold_common.format.chunker import Chunker
from manifold_common.format.commit_object import read_checkpoint, read_commit
from manifold_common.format.key_record import KeyMaterial, decode_key_record, unpack_material
from manifold_common.format.layout import checkpoint_key, commit_key, wrapped_key_key
from manifold_common.format.places import Container, Places
from manifold_common.format.sealed import ObjectKind, Opener, unpack_header
from manifold_common.ids import DEFAULT_TENANT, ChunkId, CommitId, DekId, Generation, ProjectId

from tests.compat.generate import NOT_UTF8, generate
from tests.compat.independent_reader import COMMIT, Project, Refused

DATA = Path(__file__).with_name("data")
EXPECTED: dict[str, dict[str, Any]] = json.loads((DATA / "expected.json").read_text())
CASES = [(name, one["generation"]) for name, project in EXPECTED.items() for one in project["generations"]]
FROM_CHECKPOINTS = [
    (name, start["generation"], one["generation"])
    for name, project in EXPECTED.items()
    for start in project["generations"]
    for one in project["generations"][start["generation"] - 1 :]
    if start.get("checkpoint")
]


def _reader(name: str, store: Path = DATA / "store") -> Project:
    return Project.open(store, DATA / "keystore", EXPECTED[name]["tenant"], EXPECTED[name]["project"])


def _expected(name: str, generation: int) -> dict[str, Any]:
    found: dict[str, Any] = EXPECTED[name]["generations"][generation - 1]
    return found


def _read_independently(project: Project, generation: int, commit: str, **more: Any) -> dict[str, list[Any]]:
    tree, places = project.tree(generation, commit, **more)
    shown: dict[str, list[Any]] = {}
    for path, entry in sorted(tree.items()):
        what = entry.target.hex()
        if entry.kind == FILE:
            content = b"".join(project.content(entry, places))
            assert len(content) == entry.size
            what = hashlib.sha256(content).hexdigest()
        shown[path.hex()] = [entry.kind, entry.mode, entry.mtime_ns, what]
    return shown


@pytest.mark.parametrize(("name", "generation"), CASES)
def test_a_reader_written_from_the_document_reads_every_generation(name: str, generation: int) -> None:
    one = _expected(name, generation)
    assert _read_independently(_reader(name), generation, one["commit"]) == one["tree"]


@pytest.mark.parametrize(("name", "checkpoint", "generation"), FROM_CHECKPOINTS)
def test_a_checkpoint_gives_the_same_tree_as_the_whole_log(name: str, checkpoint: int, generation: int) -> None:
    one = _expected(name, generation)
    start = (checkpoint, _expected(name, checkpoint)["commit"])
    assert _read_independently(_reader(name), generation, one["commit"], checkpoint=start) == one["tree"]


def test_the_repository_holds_what_is_hard_to_keep() -> None:
    tree = {bytes.fromhex(path): entry for path, entry in _expected("sealed", 1)["tree"].items()}
    assert NOT_UTF8 in tree
    assert b"\xfe" in bytes.fromhex(tree[b"dangling"][3])
    assert tree[b"empty folder"][:3] == [1, 0o700, -1]
    reader = _reader("sealed")
    entries, _ = reader.tree(2, _expected("sealed", 2)["commit"])
    assert len(entries[b"data/log.txt"].chunks) > 1
    assert EXPECTED["sealed"]["project"] in {
        place.key.split("/")[3] for place in _reader("fork").tree(2, _expected("fork", 2)["commit"])[1].values()
    }


class _Opened:
    """One project of the repository, read with Manifold's own functions."""

    def __init__(self, name: str, keystore: Path) -> None:
        self.tenant = DEFAULT_TENANT
        self.project = ProjectId(EXPECTED[name]["project"])
        provider = FileKeyProvider(keystore, clock=ManualClock(), randomness=SeededRandomness())
        self.materials: dict[DekId, KeyMaterial] = {}
        for path in (DATA / "store" / wrapped_key_key(self.tenant, self.project, DekId(""))).iterdir():
            record = decode_key_record(path.read_bytes(), self.tenant, self.project, DekId(path.name))
            wrapped = record.wrapped
            context = KeyContext(self.tenant, self.project, record.dek)
            data = wrapped.ciphertext if wrapped.provider == "none" else provider.unwrap(wrapped, context)
            self.materials[record.dek] = unpack_material(data, record)
        self.id_key = bytes(next(iter(self.materials.values())).id_key)

    def _object(self, kind: ObjectKind, generation: int, commit: str) -> tuple[bytes, Container, Opener]:
        make_key = commit_key if kind == ObjectKind.COMMIT else checkpoint_key
        key = make_key(self.tenant, self.project, Generation(generation), CommitId(commit))
        data = (DATA / "store" / key).read_bytes()
        seal = unpack_header(data, key, kind)
        own = Container(self.tenant, self.project, kind, Generation(generation), commit, seal.object_id, seal.dek)
        return data, own, Opener(own.seal(), self.materials[seal.dek].dek)

    def tree(self, name: str, generation: int) -> tuple[Tree, Places, bytes]:
        tree: Tree = {}
        places: Places = {}
        last = b""
        for one in EXPECTED[name]["generations"][:generation]:
            commit = read_commit(*self._object(ObjectKind.COMMIT, one["generation"], one["commit"]), self.id_key)
            assert commit.meta.parent_hash == last
            apply(tree, commit.changes)
            places.update(commit.places)
            last = commit.record_hash
        return tree, places, last

    def checkpoint(self, generation: int, commit: str) -> Tree:
        return read_checkpoint(*self._object(ObjectKind.CHECKPOINT, generation, commit)).changes.upserts

    def content(self, entry: Entry, places: Places) -> bytes:
        chunker = Chunker(self.id_key)
        pieces = []
        for chunk in chunk_ids(entry):
            place = places[ChunkId(chunk)]
            seal = place.block.container.seal()
            data = (DATA / "store" / seal.key).read_bytes()
            frame = data[place.block.offset : place.block.offset + place.block.stored_bytes]
            raw = Opener(seal, self.materials[seal.dek].dek).open_frame(place.block.frame, frame)
            pieces.append(bytes(raw[place.offset : place.offset + place.length]))
            assert chunker.chunk_id(pieces[-1]) == chunk
        return b"".join(pieces)


@pytest.mark.parametrize(("name", "generation"), CASES)
def test_manifold_reads_every_generation_of_the_repository(name: str, generation: int, tmp_path: Path) -> None:
    shutil.copytree(DATA / "keystore", tmp_path / "keystore")
    (tmp_path / "keystore").chmod(0o700)
    (tmp_path / "keystore" / "default").chmod(0o700)
    (tmp_path / "keystore" / "default" / "1.key").chmod(0o600)
    project, one = _Opened(name, tmp_path / "keystore"), _expected(name, generation)
    tree, places, last = project.tree(name, generation)
    assert last.hex() == one["record_hash"]
    shown = {
        path.hex(): [
            entry.kind,
            entry.mode,
            entry.mtime_ns,
            hashlib.sha256(project.content(entry, places)).hexdigest() if entry.kind == FILE else entry.content.hex(),
        ]
        for path, entry in tree.items()
    }
    assert shown == one["tree"]
    if one.get("checkpoint"):
        assert project.checkpoint(generation, one["commit"]) == tree


def test_the_repository_can_be_made_again_byte_by_byte(tmp_path: Path) -> None:
    """But for compression, whose bytes may change with the release of zstd: names, keys, and hashes of records."""
    generate(tmp_path)
    assert json.loads((tmp_path / "expected.json").read_text()) == EXPECTED
    made = {str(path.relative_to(tmp_path)): path for path in tmp_path.rglob("*") if path.is_file()}
    kept = {str(path.relative_to(DATA)): path for path in DATA.rglob("*") if path.is_file()}
    assert made.keys() == kept.keys()
    for name, path in kept.items():
        if "/keys/" in name or "keystore" in name:
            assert made[name].read_bytes() == path.read_bytes(), name
        else:
            assert made[name].read_bytes()[:40] == path.read_bytes()[:40], name


@pytest.mark.parametrize("name", ["sealed", "plain"])
def test_the_independent_reader_refuses_a_commit_in_the_place_of_another(name: str, tmp_path: Path) -> None:
    shutil.copytree(DATA / "store", tmp_path / "store")
    first, second = EXPECTED[name]["generations"][:2]
    folder = tmp_path / "store" / "t" / EXPECTED[name]["tenant"] / "p" / EXPECTED[name]["project"] / "commits"
    shutil.copy(
        folder / f"{first['generation']:012d}-{first['commit']}",
        folder / f"{second['generation']:012d}-{second['commit']}",
    )
    with pytest.raises(Refused, match="fails"):
        _reader(name, tmp_path / "store").describe(COMMIT, 2, second["commit"])


def test_the_independent_reader_is_a_program() -> None:
    head = EXPECTED["fork"]["generations"][-1]
    answer = subprocess.run(
        [
            sys.executable,
            Path(__file__).with_name("independent_reader.py"),
            DATA / "store",
            DATA / "keystore",
            EXPECTED["fork"]["tenant"],
            EXPECTED["fork"]["project"],
            str(head["generation"]),
            head["commit"],
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )
    assert b"data/fork.txt" in answer.stdout
    assert len(answer.stdout.splitlines()) == len(head["tree"])


def test_the_independent_reader_shares_no_line_with_manifold() -> None:
    source = Path(__file__).with_name("independent_reader.py").read_text()
    assert "manifold_common" not in source
