"""A fork, and any new project, is there whole or not at all, whatever fails on the way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from manifold_common.adapters.memory.catalog import MemoryCatalog
from manifold_common.adapters.memory.object_store import MemoryObjectStore
from manifold_common.adapters.postgres.catalog import PostgresCatalog
from manifold_common.adapters.system.clock import SystemClock
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL, Principal
from manifold_common.errors import AlreadyExists, CatalogUnavailable, NotFound, QuotaExceeded, StoreUnavailable
from manifold_common.ids import Generation, ProjectId, TenantId, UserId
from manifold_common.services.projects.edits import PutFile

from tests.support.faulty_store import Crash, Fault, FaultyStore
from tests.support.manifold import MakeManifold
from tests.support.postgres_proxy import PostgresProxy

ME = LOCAL_PRINCIPAL


def put(manifold: Manifold, project: ProjectId, path: bytes, text: bytes) -> None:
    rest = text

    def read(into: memoryview) -> int:
        nonlocal rest
        count = min(len(into), len(rest))
        into[:count], rest = rest[:count], rest[count:]
        return count

    manifold.edits.apply(ME, project, [PutFile(path, read)])


def read(manifold: Manifold, project: ProjectId, path: bytes) -> bytes:
    return b"".join(bytes(part) for part in manifold.history.open_file(ME, project, path).read())


def keys_of(store: FaultyStore) -> set[str]:
    return {found.key for found in store.inner.list("")}


@pytest.fixture
def store() -> FaultyStore:
    return FaultyStore(MemoryObjectStore(SystemClock()))


def source_of(manifold: Manifold) -> ProjectId:
    project = manifold.projects.create(ME, "source").id
    put(manifold, project, b"src/a.py", b"one" * 100)
    put(manifold, project, b".skills/s.md", b"two" * 100)
    return project


# --- forks ----------------------------------------------------------------------------------------------------------


def test_a_fork_that_dies_at_any_step_leaves_its_name_free_and_can_be_made_again(
    make_manifold: MakeManifold, store: FaultyStore
) -> None:
    catalog = MemoryCatalog(clock=SystemClock())
    source = source_of(make_manifold(catalog=catalog, store=store))
    deaths = 0
    for step in range(1, 100):
        for kind in ("crash", "crash_after"):
            name = f"{kind} {step}"
            store.plan(Fault(kind, at=step))
            try:
                make_manifold(catalog=catalog, store=store).forks.fork(ME, source, name)
            except Crash:
                deaths += 1
                with pytest.raises(NotFound):
                    make_manifold(catalog=catalog, store=store).projects.resolve(ME, name)
            store.revive()
            manifold = make_manifold(catalog=catalog, store=store)
            try:
                fork = manifold.projects.resolve(ME, name)
            except NotFound:
                fork = manifold.forks.fork(ME, source, name)
            assert fork.generation == 1
            assert read(manifold, fork.id, b"src/a.py") == b"one" * 100
        if deaths < 2 * step:
            break
    assert deaths >= 6  # before and after: the commit object, and the source's key and the fork's own


def test_a_fork_that_fails_before_its_commit_point_leaves_nothing_in_the_store(
    make_manifold: MakeManifold, store: FaultyStore
) -> None:
    manifold = make_manifold(store=store)
    source = source_of(manifold)
    before = keys_of(store)
    for at in (1, 2):
        for kind in ("fail", "lost_acknowledgement"):
            store.plan(Fault(kind, at=at, method="put", key_part="/keys/"))
            with pytest.raises(StoreUnavailable):
                manifold.forks.fork(ME, source, "fork")
            store.revive()
            assert keys_of(store) == before
    assert manifold.forks.fork(ME, source, "fork").generation == 1


def test_a_fork_under_a_taken_name_leaves_nothing_in_the_store(make_manifold: MakeManifold, store: FaultyStore) -> None:
    manifold = make_manifold(store=store)
    source = source_of(manifold)
    before = keys_of(store)
    with pytest.raises(AlreadyExists):
        manifold.forks.fork(ME, source, "source")
    assert keys_of(store) == before


def test_a_fork_over_the_quota_is_refused_before_anything_is_stored(
    make_manifold: MakeManifold, store: FaultyStore
) -> None:
    catalog = MemoryCatalog(clock=SystemClock())
    source = source_of(make_manifold(catalog=catalog, store=store))
    before = keys_of(store)
    limited = make_manifold(catalog=catalog, store=store, PROJECTS_QUOTAS_MAX_FILES="2")
    with pytest.raises(QuotaExceeded):
        limited.forks.fork(ME, source, "fork")
    assert keys_of(store) == before
    assert [row.name for row in limited.projects.page(ME)] == ["source"]


def test_what_fork_returns_is_what_the_catalog_says(make_manifold: MakeManifold) -> None:
    manifold = make_manifold()
    source = source_of(manifold)
    for generation, files in ((Generation(0), 0), (Generation(1), 2), (Generation(2), 4)):
        fork = manifold.forks.fork(ME, source, f"at {generation}", generation)
        assert fork == manifold.projects.get(ME, fork.id)
        assert (fork.generation, fork.entries) == (min(generation, 1), files)
        assert fork.skills_generation == (1 if generation == 2 else 0)


def test_a_fork_says_that_it_was_created_and_then_that_it_has_a_commit(make_manifold: MakeManifold) -> None:
    manifold = make_manifold()
    fork = manifold.forks.fork(ME, source_of(manifold), "fork")
    events = [e for e in manifold.context.catalog.list_events() if e.project == fork.id]
    assert [(e.type, e.generation) for e in events] == [("manifold.project.created", 0), ("manifold.project.commit", 1)]
    assert events[1].data["commit_id"] == fork.commit
    assert manifold.history.log(ME, fork.id)[0].message == "fork of generation 2"


# --- lost acknowledgements ------------------------------------------------------------------------------------------


class _Tampered(PostgresCatalog):
    """Has a fault happen to its next ``create_project`` once it is armed."""

    def __init__(self, proxy: PostgresProxy, fault: Any) -> None:
        super().__init__(proxy.dsn, clock=SystemClock())
        self._proxy = proxy
        self._fault = fault
        self.armed = False

    def create_project(self, *arguments: Any, **options: Any) -> None:
        if self.armed:
            self._proxy.fault, self.armed = self._fault, False
        super().create_project(*arguments, **options)


@pytest.fixture(params=["cut_after_answer", "cut_before_request"])
def tampered(request: pytest.FixtureRequest, postgres_dsn: str) -> Iterator[_Tampered]:
    with PostgresProxy(postgres_dsn) as proxy:
        catalog = _Tampered(proxy, request.param)
        yield catalog
        catalog.close()


def test_a_connection_lost_while_a_project_is_created_is_not_a_failure(
    make_manifold: MakeManifold, tampered: Any
) -> None:
    manifold = make_manifold(catalog=tampered)
    tampered.armed = True
    made = manifold.projects.create(ME, "new")
    assert not tampered.armed
    assert manifold.projects.resolve(ME, "new") == made
    assert len([e for e in tampered.list_events() if e.project == made.id]) == 1
    put(manifold, made.id, b"a", b"text")


def test_a_connection_lost_while_a_fork_is_created_is_not_a_failure(
    make_manifold: MakeManifold, tampered: _Tampered
) -> None:
    manifold = make_manifold(catalog=tampered)
    source = source_of(manifold)
    tampered.armed = True
    fork = manifold.forks.fork(ME, source, "fork")
    assert manifold.projects.resolve(ME, "fork") == fork
    assert read(manifold, fork.id, b"src/a.py") == b"one" * 100
    assert manifold.verify.run(ME, fork.id, read_data=True).ok


class _Silent(MemoryCatalog):
    """Does nothing and does not say so, ``times`` times."""

    times = 0

    def create_project(self, *arguments: Any, **options: Any) -> None:
        if self.times:
            self.times -= 1
            raise CatalogUnavailable("no answer")
        super().create_project(*arguments, **options)


def test_a_name_that_another_project_took_meanwhile_is_reported_as_taken(make_manifold: MakeManifold) -> None:
    catalog = _Silent(clock=SystemClock())
    manifold = make_manifold(catalog=catalog)
    manifold.projects.create(ME, "name")
    catalog.times = 1
    with pytest.raises(AlreadyExists):
        manifold.projects.create(ME, "name")


def test_where_the_outcome_stays_unknown_the_error_says_so_and_nothing_stored_is_removed(
    make_manifold: MakeManifold, store: FaultyStore
) -> None:
    catalog = _Silent(clock=SystemClock())
    manifold = make_manifold(catalog=catalog, store=store)
    source = source_of(manifold)
    before = keys_of(store)
    catalog.times = 100
    with pytest.raises(CatalogUnavailable, match="not known whether the project 'fork'"):
        manifold.forks.fork(ME, source, "fork")
    assert len(keys_of(store) - before) == 3  # the commit object, and the source's key and the fork's own
    assert not [operation for operation in store.operations if operation.method == "delete"]


def test_the_keys_of_a_project_that_is_not_there_yet_are_known_only_while_it_is_made(
    make_manifold: MakeManifold,
) -> None:
    keys = make_manifold().context.keys
    tenant, project = TenantId("default"), ProjectId("a" * 26)
    record = keys.make(tenant, project)
    with keys.introduced([record]):
        assert keys.of(tenant, project).write_dek == record.dek
    with pytest.raises(NotFound):
        keys.of(tenant, project)


def test_another_users_project_cannot_be_forked(make_manifold: MakeManifold) -> None:
    manifold = make_manifold()
    source = source_of(manifold)
    with pytest.raises(NotFound):
        manifold.forks.fork(Principal(ME.tenant, UserId("someone")), source, "fork")
