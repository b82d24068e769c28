"""What other nodes commit is fetched in advance; and nothing that is said between nodes is ever relied on."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
from manifold_common.adapters.memory.generation_cache import MemoryGenerationCache
from manifold_common.adapters.memory.object_store import MemoryObjectStore
from manifold_common.adapters.system.clock import SystemClock
from manifold_common.adapters.wrappers.counting import CountingStore
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.errors import StoreUnavailable, Unavailable
from manifold_common.ids import DEFAULT_TENANT, Generation, ProjectId, TenantId
from manifold_common.ports.generation_cache import Generations, Invalidation, Listener, NoGenerationCache
from manifold_common.shapes.sessions import CheckoutKind
from manifold_local.host.following import following

from tests.support.manifold import MakeManifold
from tests.support.work import S1, S2, check_out, new_project, put, remove

SECONDS = 15.0
T = DEFAULT_TENANT


class Nodes:
    """Two nodes on one catalog and store; requests of the second are counted."""

    def __init__(self, make: MakeManifold) -> None:
        self.cache = MemoryGenerationCache(SystemClock())
        store = MemoryObjectStore(SystemClock())
        self.store = CountingStore(store)
        self.a = make(node="a", store=store, generations=self.cache)
        self.b = make(node="b", store=self.store, generations=self.cache)

    @contextmanager
    def following(self) -> Iterator[None]:
        with following(self.b.prefetcher, patience_seconds=SECONDS):
            wait_for(lambda: bool(self.cache._listeners))
            yield

    def announce(self, project: ProjectId, generation: int, tenant: TenantId = T) -> None:
        self.cache.announce(Invalidation(tenant, project, Generation(generation), Generation(0)))


@pytest.fixture
def nodes(make_manifold: MakeManifold) -> Nodes:
    return Nodes(make_manifold)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.005)


def fetched_up_to(manifold: Manifold, project: ProjectId) -> int:
    """Return up to which generation the prefetcher of a node has everything that a refresh reads."""
    assert manifold.prefetcher is not None
    known = manifold.prefetcher._held().get((T, project))
    return 0 if known is None else known.generation


def test_a_refresh_after_commits_elsewhere_asks_the_store_for_nothing(nodes: Nodes) -> None:
    project = new_project(nodes.a, "demo", one=b"1")
    work = check_out(nodes.b, project)
    with nodes.following():
        for number in range(5):
            put(nodes.a, project, b"one", b"%d" % number)
        wait_for(lambda: fetched_up_to(nodes.b, project) == 6)
    assert nodes.store.requests["get"] <= 1 + 5
    nodes.store.reset()
    assert nodes.b.sessions.checkout(LOCAL_PRINCIPAL, S1).kind is CheckoutKind.REFRESHED
    assert (work / "one").read_bytes() == b"4"
    assert nodes.store.total_requests == 0


def test_what_was_committed_while_nobody_listened_is_fetched_when_listening_begins(nodes: Nodes) -> None:
    project = new_project(nodes.a, "demo", one=b"1")
    check_out(nodes.b, project)
    put(nodes.a, project, b"one", b"2")
    with nodes.following():
        wait_for(lambda: fetched_up_to(nodes.b, project) == 2)


def test_only_projects_in_use_here_are_fetched(nodes: Nodes) -> None:
    here, elsewhere = new_project(nodes.a, "here", one=b"1"), new_project(nodes.a, "elsewhere", one=b"1")
    check_out(nodes.b, here)
    nodes.store.reset()
    with nodes.following():
        put(nodes.a, elsewhere, b"one", b"2")
        put(nodes.a, here, b"one", b"2")
        wait_for(lambda: fetched_up_to(nodes.b, here) == 2)
    assert fetched_up_to(nodes.b, elsewhere) == 0
    assert nodes.store.total_requests == 1


def test_an_object_is_fetched_once_however_often_it_is_announced(nodes: Nodes) -> None:
    project = new_project(nodes.a, "demo", one=b"1")
    check_out(nodes.b, project)
    with nodes.following():
        put(nodes.a, project, b"one", b"2")
        wait_for(lambda: fetched_up_to(nodes.b, project) == 2)
        nodes.store.reset()
        for _ in range(20):
            nodes.announce(project, 2)
            nodes.announce(project, 1)
        nodes.announce(project, 999)  # made up: costs a look into the catalog
        put(nodes.a, project, b"one", b"3")
        wait_for(lambda: fetched_up_to(nodes.b, project) == 3)
    assert nodes.store.total_requests == 1


def test_of_a_long_absence_the_newest_part_is_fetched(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    project = new_project(nodes.a, "demo", one=b"1")
    work = check_out(nodes.b, project)
    for number in range(12):
        put(nodes.a, project, b"f%d" % number, bytes(1000))
    sizes = [row.object_bytes for row in nodes.a.context.catalog.list_commits(T, project, limit=3)]
    monkeypatch.setattr("manifold_common.services.events.prefetch._MOST_BYTES", sum(sizes))
    nodes.store.reset()
    assert nodes.b.prefetcher is not None
    assert nodes.b.prefetcher.fetch({(T, project)}) == 4  # the one that goes over the bound is the last
    nodes.b.sessions.checkout(LOCAL_PRINCIPAL, S1)
    assert nodes.store.total_requests == 12
    assert len(list(work.iterdir())) == 13


def test_a_checkpoint_that_a_refresh_reads_is_fetched_as_well(make_manifold: MakeManifold) -> None:
    store = CountingStore(MemoryObjectStore(SystemClock()))
    cache = MemoryGenerationCache(SystemClock())
    a = make_manifold(node="a", store=store, generations=cache, PROJECTS_MAINTENANCE_CHECKPOINT_COMMITS="3")
    b = make_manifold(node="b", store=store, generations=cache)
    project = new_project(a, "demo", one=b"1")
    check_out(b, project)
    for number in range(4):
        put(a, project, b"one", b"%d" % number)
    assert a.maintenance.write_checkpoints() == 1
    put(a, project, b"one", b"last")
    assert b.prefetcher is not None
    b.prefetcher.fetch({(T, project)})
    store.reset()
    assert (check_out(b) / "one").read_bytes() == b"last"
    assert store.total_requests == 0


def test_a_copy_fetched_in_advance_that_is_damaged_is_fetched_again(nodes: Nodes) -> None:
    project = new_project(nodes.a, "demo", one=b"1")
    check_out(nodes.b, project)
    put(nodes.a, project, b"one", b"2")
    assert nodes.b.prefetcher is not None
    assert nodes.b.prefetcher.fetch({(T, project)}) == 1
    cache = nodes.b.settings.projects.workspace.cache_dir
    newest = max(cache.rglob("commits/*"), key=lambda path: path.stat().st_mtime_ns)
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes(data)
    assert (check_out(nodes.b) / "one").read_bytes() == b"2"


def test_a_store_that_fails_does_not_end_the_following(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    project = new_project(nodes.a, "demo", one=b"1")
    check_out(nodes.b, project)
    asked = threading.Event()

    def fail(key: str, *, max_bytes: int) -> bytes:
        asked.set()
        raise StoreUnavailable("the store is away")

    with nodes.following():
        with monkeypatch.context() as patch:
            patch.setattr(nodes.store, "get", fail)
            put(nodes.a, project, b"one", b"2")
            assert asked.wait(SECONDS)
        put(nodes.a, project, b"one", b"3")
        wait_for(lambda: fetched_up_to(nodes.b, project) == 3)
    assert (check_out(nodes.b) / "one").read_bytes() == b"3"


def test_a_project_that_was_deleted_elsewhere_is_let_go(nodes: Nodes) -> None:
    project = new_project(nodes.a, "demo", one=b"1")
    other = new_project(nodes.a, "other", one=b"1")
    check_out(nodes.b, project)
    check_out(nodes.b, other, S2)
    with nodes.following():
        nodes.a.projects.delete(LOCAL_PRINCIPAL, project)
        nodes.announce(project, 2)
        put(nodes.a, other, b"one", b"2")
        wait_for(lambda: fetched_up_to(nodes.b, other) == 2)


class _Refusing(MemoryGenerationCache):
    """Cannot be listened to at first."""

    refused = 0

    def listen(self) -> AbstractContextManager[Listener]:
        if self.refused < 3:
            self.refused += 1
            raise Unavailable("not now")
        return super().listen()


def test_a_connection_that_cannot_be_made_is_tried_again_and_logged_once(
    make_manifold: MakeManifold, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("manifold_common.services.events.prefetch._FIRST_PAUSE_SECONDS", 0.01)
    caplog.set_level(logging.INFO)
    cache = _Refusing(SystemClock())
    manifold = make_manifold(generations=cache)
    with following(manifold.prefetcher, patience_seconds=SECONDS):
        wait_for(lambda: bool(cache._listeners))
    heard = [record.levelname for record in caplog.records if "other nodes" in record.getMessage()]
    assert heard == ["WARNING", "INFO"]


def test_following_ends_at_once_when_it_is_told_to(nodes: Nodes) -> None:
    assert nodes.b.prefetcher is not None
    stop = threading.Event()
    thread = threading.Thread(target=nodes.b.prefetcher.run, args=(stop,))
    thread.start()
    wait_for(lambda: bool(nodes.cache._listeners))
    started = time.monotonic()
    stop.set()
    thread.join(SECONDS)
    assert not thread.is_alive()
    assert time.monotonic() - started < 5
    assert nodes.cache._listeners == []


@pytest.mark.in_memory("every node of the stack has a generation cache")
def test_nothing_is_followed_without_a_generation_cache_or_an_encrypted_cache(make_manifold: MakeManifold) -> None:
    assert make_manifold(node="a").prefetcher is None
    cache = MemoryGenerationCache(SystemClock())
    legacy = {"PROJECTS_ENCRYPT": "false", "PROJECTS_WORKSPACE_MODE": "legacy"}
    assert make_manifold(node="b", generations=cache, **legacy).prefetcher is None


# --- commits ----------------------------------------------------------------------------------------------------------


def test_a_commit_is_announced_with_its_generations(nodes: Nodes) -> None:
    project = new_project(nodes.a, "demo", one=b"1")
    put(nodes.a, project, b".skills/x.md", b"s")
    put(nodes.a, project, b"one", b"2")
    assert nodes.cache.hint(T, project) == (3, 2)


def test_a_commit_of_which_nothing_is_left_is_not_announced(nodes: Nodes) -> None:
    project = new_project(nodes.a, "demo", one=b"1", two=b"1")
    work = check_out(nodes.b, project)
    remove(nodes.a, project, b"two")
    (work / "two").unlink()
    with nodes.cache.listen() as listener:
        assert nodes.b.commits.commit(LOCAL_PRINCIPAL, S1).commit is None
        assert listener.next(0.05) is None


@pytest.mark.parametrize("hint", [None, 0, 1, 2, 3, 4, 10**14])
def test_no_hint_makes_a_commit_wrong(make_manifold: MakeManifold, hint: int | None) -> None:
    """The head is generation 3; the committing node has seen 2."""
    store = CountingStore(MemoryObjectStore(SystemClock()))
    a = make_manifold(node="a", store=store)
    b = make_manifold(node="b", store=store, generations=_Hinting(hint))
    project = new_project(a, "demo", one=b"1", two=b"1")
    put(a, project, b"one", b"2")
    work = check_out(b, project)
    put(a, project, b"one", b"3")
    (work / "two").write_bytes(b"mine")
    store.reset()
    done = b.commits.commit(LOCAL_PRINCIPAL, S1)
    assert (done.generation, done.rebased) == (4, True)
    assert (work / "one").read_bytes() == b"3"
    in_vain = store.requests["put"] - 1
    assert in_vain == (0 if hint is not None and hint > 2 else 1)


class _Hinting(NoGenerationCache):
    def __init__(self, generation: int | None) -> None:
        self._generation = generation

    def hint(self, tenant: TenantId, project: ProjectId) -> Generations | None:
        return None if self._generation is None else Generations(Generation(self._generation), Generation(0))


def test_a_writer_lets_one_of_another_node_finish_and_stores_nothing_in_vain(
    nodes: Nodes, make_manifold: MakeManifold, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("manifold_common.services.publish._POLITE_SECONDS", SECONDS)
    other = make_manifold(node="other", store=nodes.store)
    project = new_project(nodes.a, "demo", one=b"1", two=b"1")
    work = check_out(nodes.b, project)
    (work / "two").write_bytes(b"mine")
    with nodes.cache.writer_lease(T, project, wait_seconds=0) as had:
        assert had
        waiting = threading.Thread(target=nodes.b.commits.commit, args=(LOCAL_PRINCIPAL, S1))
        waiting.start()
        put(other, project, b"one", b"2")
        nodes.announce(project, 2)
        nodes.store.reset()
    waiting.join(SECONDS)
    assert nodes.b.history.log(LOCAL_PRINCIPAL, project)[0].generation == 3
    assert nodes.store.requests["put"] == 1


def test_a_lock_that_nobody_gives_back_holds_a_commit_up_for_a_moment_only(nodes: Nodes) -> None:
    project = new_project(nodes.a, "demo", one=b"1")
    with nodes.cache.writer_lease(T, project, wait_seconds=0) as had:
        assert had
        started = time.monotonic()
        put(nodes.a, project, b"one", b"2")
        assert time.monotonic() - started < 5
