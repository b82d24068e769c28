"""Whoever owns the bucket changes what is in it. Every read gives the right bytes or an error that names the object."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from manifold_common.adapters.memory.catalog import MemoryCatalog
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.tree import FILE
from manifold_common.errors import CorruptObject
from manifold_common.format.layout import project_prefix
from manifold_common.ids import DEFAULT_TENANT, Generation, ProjectId, SessionId
from manifold_common.ports.object_store import ObjectStore
from manifold_common.shapes.requests import CheckoutRequest

from tests.support.manifold import MakeManifold
from tests.support.work import S1, cat, check_out, look, new_project, put, remove

pytestmark = pytest.mark.slow

Contents = dict[bytes, bytes]
PACKED_BYTES = 2_200_000
"""More than travels inside a commit object."""
_numbers = itertools.count(1)


@dataclass
class Repository:
    """A project with packs, a checkpoint in the middle of its log, and neighbours to copy objects from."""

    make: Callable[[], Manifold]
    """Builds a node that has nothing in its cache or memory."""
    store: ObjectStore
    project: ProjectId
    neighbour: ProjectId
    fork: ProjectId
    generations: list[Contents]

    def keys(self, kind: str, project: ProjectId | None = None) -> list[str]:
        folder = f"{project_prefix(DEFAULT_TENANT, project or self.project)}/{kind}"
        return sorted(info.key for info in self.store.list(folder))

    def get(self, key: str) -> bytes:
        return bytes(self.store.get(key, max_bytes=1 << 30))

    def put(self, key: str, data: bytes | None) -> None:
        """Make ``data`` stand under ``key``; with ``None``, nothing."""
        if data is None:
            self.store.delete([key])
        else:
            self.store.put(key, data)


def _grow(manifold: Manifold, project: ProjectId) -> list[Contents]:
    """Add four generations to a project's first, with packs in two of them and a checkpoint after these."""
    generations: list[Contents] = [{}, {b"a": b"one", b"d/b": b"bee"}]
    for path in (b"large", b"other"):
        data = os.urandom(PACKED_BYTES)
        put(manifold, project, path, data)
        generations.append({**generations[-1], path: data})
    assert manifold.maintenance.checkpoint_if_due(DEFAULT_TENANT, project)
    put(manifold, project, b"a", b"two")
    generations.append({**generations[-1], b"a": b"two"})
    remove(manifold, project, b"other")
    generations.append({path: data for path, data in generations[-1].items() if path != b"other"})
    return generations


@pytest.fixture(params=["true", "false"], ids=["encrypted", "plain"])
def encrypt(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def repository(encrypt: str, make_manifold: MakeManifold) -> Repository:
    def make() -> Manifold:
        return make_manifold(
            PROJECTS_ENCRYPT=encrypt,
            PROJECTS_MAINTENANCE_CHECKPOINT_COMMITS="2",
            node=f"n{next(_numbers)}",
        )

    manifold = make()
    project = new_project(manifold, "demo", **{"a": b"one", "d/b": b"bee"})
    generations = _grow(manifold, project)
    neighbour = new_project(manifold, "neighbour", **{"a": b"one", "d/b": b"bee"})
    _grow(manifold, neighbour)
    fork = manifold.forks.fork(LOCAL_PRINCIPAL, project, "fork").id
    _grow(manifold, fork)
    return Repository(make, manifold.context.store, project, neighbour, fork, generations)


def refusals(read: Callable[[], Any], expected: Any) -> set[str]:
    """Read. Return what was refused by name; what was not must be right."""
    try:
        assert read() == expected
    except CorruptObject as error:
        return {error.object_name}
    return set()


def read_everything(repository: Repository) -> set[str]:
    """Read every generation in every way, as a new node; return what was refused."""
    node, project, refused = repository.make(), repository.project, set[str]()

    def tree(generation: Generation) -> set[bytes]:
        found = node.history.list_tree(LOCAL_PRINCIPAL, project, generation=generation, recursive=True)
        return {path for path, entry in found.entries if entry.kind == FILE}

    def check_out_at(generation: Generation) -> Contents:
        session = SessionId(f"s{next(_numbers)}")
        try:
            done = node.sessions.checkout(LOCAL_PRINCIPAL, session, project, CheckoutRequest(generation))
            return {path: found.content for path, found in look(Path(done.path)).items() if found.kind == "file"}
        finally:
            node.sessions.close(LOCAL_PRINCIPAL, session)

    def diff(generation: Generation) -> set[bytes]:
        found = node.history.diff(LOCAL_PRINCIPAL, project, Generation(generation - 1), generation)
        return {one.path for one in found if FILE in {side.kind for side in (one.before, one.after) if side}}

    # From the newest to the oldest: going forward, one generation would be read on top of the other, from memory.
    for number in range(len(repository.generations) - 1, 0, -1):
        generation, contents, earlier = (
            Generation(number),
            repository.generations[number],
            repository.generations[number - 1],
        )
        changed = {path for path in contents | earlier if contents.get(path) != earlier.get(path)}
        refused |= refusals(partial(tree, generation), set(contents))
        refused |= refusals(partial(check_out_at, generation), contents)
        refused |= refusals(partial(diff, generation), changed)
        for path, data in contents.items():
            refused |= refusals(partial(cat, node, project, path, generation), data)
    return refused


def verified(repository: Repository) -> set[str]:
    report = repository.make().verify.run(LOCAL_PRINCIPAL, repository.project, read_data=True)
    return {problem.object for problem in report.problems}


Harm = Callable[[Repository, str, str], bytes | None]
"""Given the repository, a key and its kind: what stands there from now on (``None``: nothing)."""


def flip(at: float) -> Harm:
    def harm(repository: Repository, key: str, kind: str) -> bytes:
        data = bytearray(repository.get(key))
        data[min(int(at * len(data)), len(data) - 1)] ^= 0x10
        return bytes(data)

    return harm


def another_of_the_project(repository: Repository, key: str, kind: str) -> bytes:
    keys = repository.keys(kind)
    return repository.get(keys[keys.index(key) - 1])


def the_same_of(whose: str) -> Harm:
    def harm(repository: Repository, key: str, kind: str) -> bytes:
        theirs, mine = repository.keys(kind, getattr(repository, whose)), repository.keys(kind)
        return repository.get(theirs[mine.index(key) % len(theirs)])

    return harm


HARMS: dict[str, Harm] = {
    "first bit": flip(0.0),
    "a bit in the middle": flip(0.5),
    "last bit": flip(1.0),
    "one byte short": lambda repository, key, _: repository.get(key)[:-1],
    "half": lambda repository, key, _: repository.get(key)[: len(repository.get(key)) // 2],
    "emptied": lambda repository, key, _: b"",
    "removed": lambda repository, key, _: None,
    "zeros": lambda repository, key, _: bytes(len(repository.get(key))),
    "another of the project": another_of_the_project,
    "of another project": the_same_of("neighbour"),
    "of a fork": the_same_of("fork"),
}


@pytest.mark.parametrize("kind", ["commits", "packs", "checkpoints"])
def test_a_harmed_object_is_named_and_no_wrong_byte_is_read(repository: Repository, kind: str) -> None:
    for (name, harm), key in itertools.product(HARMS.items(), repository.keys(kind)):
        before = repository.get(key)
        now = harm(repository, key, kind)
        if now == before:
            continue  # it is the only one of its kind
        repository.put(key, now)
        assert verified(repository) == {key}, name
        refused = read_everything(repository)
        assert refused == ({key} if is_needed(key, name) else set()), name
        repository.put(key, before)
    assert verified(repository) == read_everything(repository) == set()


def is_needed(key: str, harm: str) -> bool:
    """Tell whether some generation cannot be read without what was harmed."""
    if "/packs/" in key:
        # Its blocks are found by their places, which the commits name: its header and its end are not looked at.
        return harm not in ("first bit", "last bit", "one byte short")
    return "/commits/000000000003-" not in key  # the checkpoint is read instead


def test_a_bucket_that_was_set_back_is_noticed(repository: Repository) -> None:
    """Every object that came later is gone; the newest old ones may even stand under the names of the newer ones."""
    commits = repository.keys("commits")
    kept = {key: repository.get(key) for key in commits}
    for key in commits[3:]:
        repository.put(key, None)
    node = repository.make()
    with pytest.raises(CorruptObject) as caught:
        check_out(node, repository.project)
    assert caught.value.object_name in commits[3:]
    assert cat(node, repository.project, b"a", 3) == b"one"
    for key in commits[3:]:
        repository.put(key, kept[commits[2]])
    with pytest.raises(CorruptObject) as caught:
        check_out(repository.make(), repository.project)
    assert caught.value.object_name in commits[3:]
    assert verified(repository) == set(commits[3:])


def test_a_refresh_that_meets_a_harmed_commit_leaves_the_working_set_alone(repository: Repository) -> None:
    node, newest = repository.make(), repository.keys("commits")[-1]
    work = Path(node.sessions.checkout(LOCAL_PRINCIPAL, S1, repository.project, CheckoutRequest(Generation(4))).path)
    (work / "mine").write_bytes(b"mine")
    before, good = look(work), repository.get(newest)
    repository.put(newest, good[:-1])
    for change in (lambda: check_out(node), lambda: node.commits.commit(LOCAL_PRINCIPAL, S1)):
        with pytest.raises(CorruptObject) as caught:
            change()
        assert caught.value.object_name == newest
        assert look(work) == before
    repository.put(newest, good)
    assert node.commits.commit(LOCAL_PRINCIPAL, S1).generation == 6
    assert look(work).keys() == {b"a", b"d", b"d/b", b"large", b"mine"}


@pytest.mark.parametrize("whose", ["neighbour", "fork"])
def test_a_key_record_in_the_place_of_another_is_found_by_verify(repository: Repository, whose: str) -> None:
    """Nothing reads it while the catalog lives: it is what a lost catalog would be rebuilt with."""
    (mine,), theirs = repository.keys("keys"), repository.keys("keys", getattr(repository, whose))
    before = repository.get(mine)
    for now in (*map(repository.get, theirs), before[:-1], b"", None):
        repository.put(mine, now)
        assert verified(repository) == {mine}
        assert read_everything(repository) == set()


@pytest.mark.in_memory("changes rows of a catalog in memory")
@pytest.mark.parametrize("encrypt", ["true"])  # without encryption a record is no secret, and bound to nothing
def test_key_records_that_change_places_in_the_catalog_open_nothing(repository: Repository) -> None:
    catalog = repository.make().context.catalog
    assert isinstance(catalog, MemoryCatalog)
    mine = catalog.state.projects[(DEFAULT_TENANT, repository.project)]
    (theirs,) = catalog.project_keys(DEFAULT_TENANT, repository.neighbour)
    (record,) = mine.keys
    mine.keys[:] = [replace(record, wrapped=theirs.wrapped)]
    for read in (
        lambda: cat(repository.make(), repository.project, b"a"),
        lambda: check_out(repository.make(), repository.project),
        lambda: repository.make().verify.run(LOCAL_PRINCIPAL, repository.project),
    ):
        with pytest.raises(CorruptObject) as caught:
            read()
        assert record.dek in caught.value.object_name
