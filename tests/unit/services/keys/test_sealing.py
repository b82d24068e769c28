"""Encryption is switched on for projects made without it: what is new is sealed, what is old stays readable."""

from __future__ import annotations

import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from manifold_common.adapters.memory.object_store import MemoryObjectStore
from manifold_common.adapters.system.clock import SystemClock
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.keys import Encryption
from manifold_common.engine import commit_writer, tree_log
from manifold_common.engine.commit_writer import CommitWriter
from manifold_common.errors import KeyUnavailable
from manifold_common.format import commit_object
from manifold_common.format.layout import project_prefix
from manifold_common.ids import DEFAULT_TENANT, PLAIN, Generation, ProjectId
from manifold_common.services.archive import ArchiveFormat
from manifold_common.services.projects.edits import PutFile
from manifold_common.shapes.requests import CheckoutRequest

from tests.attacks.begun import in_the_clear
from tests.support.faulty_store import Crash, Fault, FaultyStore
from tests.support.manifold import MakeManifold
from tests.support.work import S1, S2, cat, check_out, look, lose_ram, new_project, put, reader

PACKED_BYTES = 2_200_000


@pytest.fixture
def plain(make_manifold: MakeManifold) -> Manifold:
    """A node that does not encrypt."""
    return make_manifold(PROJECTS_ENCRYPT="false", node="plain")


def sealed_keys(manifold: Manifold, project: ProjectId) -> list[int]:
    """Return the epochs of a project's data keys."""
    found = manifold.context.catalog.project_keys(DEFAULT_TENANT, project)
    return [key.epoch for key in found if key.dek != PLAIN]


def state(manifold: Manifold, project: ProjectId) -> Encryption:
    return manifold.projects.get(LOCAL_PRINCIPAL, project).encryption


def test_reading_changes_nothing_and_the_first_write_begins_the_encryption(
    plain: Manifold, make_manifold: MakeManifold
) -> None:
    project = new_project(plain, a=b"one")
    put(plain, project, b"b", b"two")
    node = make_manifold()
    before = in_the_clear(node.context.store)
    assert cat(node, project, b"a") == b"one"
    check_out(node, project)
    assert node.verify.run(LOCAL_PRINCIPAL, project, read_data=True).unencrypted_objects == 2
    assert state(node, project) is Encryption.NONE
    put(node, project, b"c", b"three")
    assert in_the_clear(node.context.store) == before
    assert sealed_keys(node, project) == [1]
    assert state(node, project) is Encryption.PARTLY
    checkpoints = node.context.catalog.list_checkpoints(DEFAULT_TENANT, project)
    assert [row.generation for row in checkpoints if row.dek != PLAIN] == [2]
    for other in (make_manifold(node="b"), make_manifold(PROJECTS_ENCRYPT="false", node="c")):
        assert [cat(other, project, path) for path in (b"a", b"b", b"c")] == [b"one", b"two", b"three"]
        assert [cat(other, project, b"a", generation) for generation in (1, 2, 3)] == [b"one"] * 3


@pytest.mark.in_memory("looks at the rows of a catalog in memory")
def test_nothing_that_is_made_afterwards_is_in_the_clear_whichever_way_it_comes(
    plain: Manifold, make_manifold: MakeManifold, tmp_path: Path
) -> None:
    old = secrets.token_hex(40).encode()
    project = new_project(plain, a=old, large=secrets.token_bytes(PACKED_BYTES))
    node = make_manifold(PROJECTS_MAINTENANCE_CHECKPOINT_COMMITS="2")
    store, before = node.context.store, in_the_clear(node.context.store)
    word = secrets.token_hex(20)
    text = word.encode()

    def written(path: str, data: bytes = text) -> PutFile:
        return PutFile(path.encode(), reader(data))

    # A sparse session: its paths are the first thing that is sealed.
    node.sessions.checkout(LOCAL_PRINCIPAL, S1, project, CheckoutRequest(paths=(word,)))
    assert sealed_keys(node, project) == [1]
    work = check_out(node, project, S2)
    (work / word).write_bytes(text)
    node.commits.save(LOCAL_PRINCIPAL, S2)
    (work / "large too").write_bytes(text + secrets.token_bytes(PACKED_BYTES))
    node.commits.save(LOCAL_PRINCIPAL, S2)
    node.commits.commit(LOCAL_PRINCIPAL, S2)
    node.edits.apply(LOCAL_PRINCIPAL, project, [written(f"{word}-2"), written("l", secrets.token_bytes(PACKED_BYTES))])
    source = tmp_path / "source"
    source.mkdir()
    (source / word).write_bytes(text)
    node.transfer.import_folder(LOCAL_PRINCIPAL, project, source, keep=True)
    rest = b"".join(node.archives.export(LOCAL_PRINCIPAL, project, ArchiveFormat.TAR_GZ).read())

    def read(into: memoryview) -> int:
        nonlocal rest
        part, rest = rest[: len(into)], rest[len(into) :]
        into[: len(part)] = part
        return len(part)

    node.archives.load(LOCAL_PRINCIPAL, project, read, folder=b"loaded")
    node.edits.restore(LOCAL_PRINCIPAL, project, Generation(1))
    node.maintenance.write_checkpoints()
    forks = [
        node.forks.fork(LOCAL_PRINCIPAL, project, "fork").id,
        plain.forks.fork(LOCAL_PRINCIPAL, project, "fork by a node that does not encrypt").id,
    ]
    for fork in forks:
        put(plain, fork, word.encode(), text)
        put(node, fork, word.encode(), text * 2)
    # A fork reads what its source had stored in the clear, and knows its chunk-id key, which lay there too.
    of_forks = {f"{project_prefix(DEFAULT_TENANT, fork)}/keys/{PLAIN}" for fork in forks}
    assert in_the_clear(store) == before | of_forks
    assert word not in repr(vars(node.context.catalog)), "a note, a scope or an event"
    for path in tmp_path.rglob("*"):
        if path.is_file() and source not in path.parents:
            data = path.read_bytes()
            assert text not in data, path
            assert old not in data or path.is_relative_to(tmp_path / "node-plain"), path


def test_old_drafts_come_back_and_new_ones_are_sealed(plain: Manifold, make_manifold: MakeManifold) -> None:
    project = new_project(plain, a=b"one")
    for session in (S1, S2):
        work = check_out(plain, project, session)
        (work / "draft").write_bytes(session.encode())
        plain.commits.save(LOCAL_PRINCIPAL, session)
        lose_ram(work)
    node = make_manifold()
    put(node, project, b"b", b"two")
    for session in (S1, S2):
        work = check_out(make_manifold(node=f"n-{session}"), session=session)
        assert look(work)[b"draft"].content == session.encode()
    before = in_the_clear(node.context.store)
    again = make_manifold(node="again")
    work = check_out(again, session=S1)
    (work / "more").write_bytes(b"more")
    again.commits.save(LOCAL_PRINCIPAL, S1)
    assert in_the_clear(node.context.store) == before, "the old draft stays for a while, and the new one is sealed"


def test_many_nodes_that_write_first_at_once_make_one_key_and_lose_nothing(
    plain: Manifold, make_manifold: MakeManifold
) -> None:
    project = new_project(plain, a=b"one")
    before = in_the_clear(plain.context.store)
    nodes = [make_manifold(node=f"n{number}") for number in range(6)]
    for node in nodes:
        assert cat(node, project, b"a") == b"one", "each has the old key in memory"
    start = threading.Barrier(len(nodes))

    def write(number: int) -> None:
        start.wait()
        put(nodes[number], project, b"from-%d" % number, b"%d" % number)

    with ThreadPoolExecutor(len(nodes)) as threads:
        list(threads.map(write, range(len(nodes))))
    assert sealed_keys(plain, project) == [1]
    fresh = make_manifold(node="fresh")
    for number in range(len(nodes)):
        assert cat(fresh, project, b"from-%d" % number) == b"%d" % number
    assert in_the_clear(plain.context.store) == before
    keys = [info.key for info in fresh.context.store.list(f"{project_prefix(DEFAULT_TENANT, project)}/keys")]
    assert len(keys) == 2, "what the others had made is removed"


def test_a_node_that_does_not_encrypt_and_knows_of_nothing_is_refused_once_and_then_writes_sealed(
    plain: Manifold, make_manifold: MakeManifold
) -> None:
    project = new_project(plain, a=b"one")
    work = check_out(plain, project)
    head = plain.context.log.load(DEFAULT_TENANT, project)
    put(make_manifold(), project, b"b", b"two")
    before = in_the_clear(plain.context.store)
    (work / "c").write_bytes(b"three")
    with pytest.raises(KeyUnavailable) as caught:
        plain.commits.save(LOCAL_PRINCIPAL, S1)
    assert caught.value.details["reason"] == "superseded"
    assert head.head.generation == 1
    plain.commits.save(LOCAL_PRINCIPAL, S1)
    plain.commits.commit(LOCAL_PRINCIPAL, S1)
    assert in_the_clear(plain.context.store) == before
    assert cat(make_manifold(node="b"), project, b"c") == b"three"


def test_a_node_without_the_provider_writes_nothing_rather_than_in_the_clear(
    plain: Manifold, make_manifold: MakeManifold
) -> None:
    project = new_project(plain, a=b"one")
    put(make_manifold(), project, b"b", b"two")
    off = make_manifold(PROJECTS_ENCRYPT="false", node="off")
    off.context.keys._providers.clear()
    before = {info.key for info in off.context.store.list("")}
    with pytest.raises(KeyUnavailable):
        put(off, project, b"c", b"three")
    assert {info.key for info in off.context.store.list("")} == before


def test_while_no_key_can_be_wrapped_nothing_is_written_and_all_can_be_read(
    plain: Manifold, make_manifold: MakeManifold, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = new_project(plain, a=b"one")
    node = make_manifold()
    before = {info.key for info in node.context.store.list("")}

    def away(*_: object) -> None:
        raise KeyUnavailable("no provider")

    (provider,) = node.providers.values()
    with monkeypatch.context() as patch:
        patch.setattr(provider, "wrap", away)
        with pytest.raises(KeyUnavailable):
            put(node, project, b"b", b"two")
        assert cat(node, project, b"a") == b"one"
    assert {info.key for info in node.context.store.list("")} == before
    put(node, project, b"b", b"two")
    assert sealed_keys(node, project) == [1]


def test_a_begin_that_dies_at_any_step_leaves_a_project_that_goes_on(
    make_manifold: MakeManifold, plain: Manifold
) -> None:
    store = FaultyStore(MemoryObjectStore(SystemClock()))
    catalog = plain.context.catalog
    off = make_manifold(PROJECTS_ENCRYPT="false", node="off", store=store, catalog=catalog)
    deaths = 0
    for step in range(1, 100):
        died = False
        for kind in ("crash", "crash_after"):
            project = new_project(off, f"{kind} {step}", a=b"one")
            put(off, project, b"b", b"two")
            store.plan(Fault(kind, at=step))
            try:
                put(make_manifold(store=store, catalog=catalog), project, b"c", b"three")
            except Crash:
                died = True
            store.revive()
            node = make_manifold(store=store, catalog=catalog)
            put(node, project, b"c", b"three")
            assert [cat(node, project, path) for path in (b"a", b"b", b"c")] == [b"one", b"two", b"three"]
            assert sealed_keys(node, project) == [1]
            assert node.verify.run(LOCAL_PRINCIPAL, project, read_data=True).ok
        deaths += died
        if not died:
            break
    assert deaths >= 3  # the key record, the checkpoint, the commit object


def test_a_project_that_always_was_encrypted_gets_no_other_key(make_manifold: MakeManifold) -> None:
    node = make_manifold()
    project = new_project(node, a=b"one")
    put(make_manifold(node="b"), project, b"b", b"two")
    assert sealed_keys(node, project) == [0]
    assert state(node, project) is Encryption.ALL


def test_forks_begin_an_epoch_of_their_own_and_accept_nothing_in_the_clear(
    plain: Manifold, make_manifold: MakeManifold
) -> None:
    project = new_project(plain, a=b"one")
    node = make_manifold()
    of_plain = node.forks.fork(LOCAL_PRINCIPAL, project, "of a plain one").id
    assert sealed_keys(node, of_plain) == [1]
    assert state(node, project) is Encryption.NONE, "forking writes nothing to the source"
    put(node, project, b"b", b"two")
    fork = node.forks.fork(LOCAL_PRINCIPAL, project, "of one that has begun").id
    assert sealed_keys(node, fork) == [2, 1]
    for made in (of_plain, fork):
        assert cat(make_manifold(node=f"n-{made}"), made, b"a") == b"one"
        keys = make_manifold(node=f"m-{made}").context.keys.of(DEFAULT_TENANT, made)
        assert keys.past is not None
        assert keys.past.generations == 0
        assert state(node, made) is Encryption.PARTLY


def test_old_objects_are_counted(plain: Manifold, make_manifold: MakeManifold) -> None:
    project = new_project(plain, a=b"one", large=secrets.token_bytes(PACKED_BYTES))
    put(plain, project, b"b", b"two")
    node = make_manifold()
    put(node, project, b"c", b"three")
    known = node.projects.get(LOCAL_PRINCIPAL, project)
    (found,) = node.projects.with_plain_objects(LOCAL_PRINCIPAL, [known])
    assert found.unencrypted is not None
    assert found.unencrypted.objects == 2
    report = node.verify.run(LOCAL_PRINCIPAL, project)
    assert report.unencrypted_objects == 3, "the pack too"
    old = [key for key in in_the_clear(node.context.store) if "/keys/" not in key]
    assert report.unencrypted_bytes == sum(len(node.context.store.get(key, max_bytes=1 << 30)) for key in old)
    assert node.context.catalog.count_plain_projects() == 1


def test_events_of_an_encrypted_project_name_no_paths_even_where_new_projects_are_not_encrypted(
    plain: Manifold, make_manifold: MakeManifold
) -> None:
    node = make_manifold()
    sealed, unsealed = new_project(node, "sealed", a=b"one"), new_project(plain, "unsealed", a=b"one")
    for project in (sealed, unsealed):
        put(plain, project, b"name-of-a-file", b"two")
    events = {event.project: event for event in plain.context.catalog.list_events(limit=100)}
    assert "name-of-a-file" in repr(events[unsealed].data)
    assert "name-of-a-file" not in repr(events[sealed].data)


def test_a_draft_that_was_saved_while_encryption_began_can_be_read(
    plain: Manifold, make_manifold: MakeManifold, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a node that is not set to encrypt yet, after the drafts were read that the new key vouches for."""
    project = new_project(plain, a=b"one")
    (check_out(plain, project) / "mine").write_bytes(b"work")
    node = make_manifold()
    begin = node.context.catalog.begin_epoch

    def save_first(*record: Any, **drafts: Any) -> bool:
        plain.commits.save(LOCAL_PRINCIPAL, S1)
        return begin(*record, **drafts)

    monkeypatch.setattr(node.context.catalog, "begin_epoch", save_first)
    put(node, project, b"b", b"two")
    assert sealed_keys(node, project) == [1]
    assert (check_out(node, project) / "mine").read_bytes() == b"work"


@pytest.mark.in_memory("keeps a copy of the catalog")
@pytest.mark.parametrize("is_named", [True, False])
def test_a_catalog_of_before_reads_on_where_encryption_has_written_its_checkpoint_anew(
    plain: Manifold, make_manifold: MakeManifold, monkeypatch: pytest.MonkeyPatch, is_named: bool
) -> None:
    """A dump was taken, encryption began, the store was copied. Checkpoints of before the object id was a part of their
    names have the same name then."""
    if not is_named:
        for module in (commit_object, commit_writer, tree_log):
            monkeypatch.setattr(module, "checkpoint_name", lambda commit, _: commit)
        store = CommitWriter.store_checkpoint
        monkeypatch.setattr(
            CommitWriter, "store_checkpoint", lambda self, *made: replace(store(self, *made), object_id=None)
        )
    project = new_project(plain, a=b"one")
    put(plain, project, b"b", b"two")
    context = plain.context
    catalog, tenant = context.catalog, DEFAULT_TENANT
    catalog.add_checkpoint(tenant, project, context.writer.write_checkpoint(context.log.load(tenant, project)))
    dumped = catalog.list_checkpoints(tenant, project)
    put(make_manifold(), project, b"c", b"three")
    found = catalog.state.projects[tenant, project]  # type: ignore[attr-defined]
    del found.commits[Generation(3)]
    found.by_id = {row.commit: row for row in found.commits.values()}
    found.checkpoints = {row.generation: row for row in dumped}
    found.keys = [key for key in found.keys if key.dek == PLAIN]
    head = found.commits[Generation(2)]
    found.row = replace(
        found.row, head=found.row.head._replace(generation=2, commit=head.commit, record_hash=head.record_hash)
    )

    restored = make_manifold(node="restored", PROJECTS_ENCRYPT="false")
    assert (cat(restored, project, b"a"), cat(restored, project, b"b")) == (b"one", b"two")
    put(make_manifold(node="again"), project, b"c", b"four")
    assert cat(make_manifold(node="reader"), project, b"c") == b"four"
