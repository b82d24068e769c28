"""The connection to PostgreSQL ends at the commit point. What happened is found out; nobody is told of a conflict."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from manifold_common.adapters.postgres.catalog import PostgresCatalog
from manifold_common.adapters.postgres.roles import APP
from manifold_common.adapters.system.clock import SystemClock
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.errors import CatalogUnavailable, CommitConflict
from manifold_common.ids import Generation, ProjectId

from tests.support.manifold import MakeManifold
from tests.support.postgres import as_role
from tests.support.postgres_proxy import Fault, PostgresProxy
from tests.support.work import S1, cat, check_out, look, new_project, put

COMMIT_POINTS = 6
"""How often a commit point is tried before the caller is told that its outcome is not known."""


class CutCatalog(PostgresCatalog):
    """Its connection breaks at each of the next ``times`` commit points."""

    def __init__(self, proxy: PostgresProxy, role: str | None = None) -> None:
        super().__init__(as_role(proxy.dsn, role) if role else proxy.dsn, clock=SystemClock())
        self.proxy = proxy
        self.fault: Fault = ""
        self.times = 0
        self.create_fault: Fault = ""

    def publish_commit(self, *arguments: Any, **options: Any) -> Any:
        if self.times:
            self.times -= 1
            self.all_projects()  # so that it is the statement, not the making of a connection, that meets the fault
            self.proxy.fault = self.fault
        return super().publish_commit(*arguments, **options)

    def create_project(self, *arguments: Any, **options: Any) -> Any:
        self.proxy.fault, self.create_fault = self.create_fault, ""
        return super().create_project(*arguments, **options)


class BusyClock(SystemClock):
    """Does not wait. What others do meanwhile happens at the first wait."""

    def __init__(self) -> None:
        self.meanwhile: Callable[[], object] | None = None

    def sleep(self, seconds: float) -> None:
        if self.meanwhile is not None:
            now, self.meanwhile = self.meanwhile, None
            now()


@pytest.fixture
def clock() -> BusyClock:
    return BusyClock()


@pytest.fixture
def catalog(postgres_dsn: str) -> Iterator[CutCatalog]:
    with PostgresProxy(postgres_dsn) as proxy:
        catalog = CutCatalog(proxy)
        yield catalog
        catalog.close()


@pytest.fixture
def manifold(make_manifold: MakeManifold, catalog: CutCatalog, clock: BusyClock) -> Manifold:
    return make_manifold(catalog=catalog, clock=clock)


@pytest.fixture
def rival(make_manifold: MakeManifold, postgres_dsn: str, manifold: Manifold) -> Iterator[Manifold]:
    """A node whose connection is sound, on the store of the first."""
    catalog = PostgresCatalog(postgres_dsn, clock=SystemClock())
    yield make_manifold(catalog=catalog, store=manifold.context.store, node="b")
    catalog.close()


@pytest.fixture
def project(manifold: Manifold) -> ProjectId:
    return new_project(manifold, a=b"one", b=b"bee")


@pytest.fixture
def work(manifold: Manifold, project: ProjectId) -> Path:
    folder = check_out(manifold, project)
    (folder / "a").write_bytes(b"mine")
    return folder


def events(catalog: CutCatalog, project: ProjectId) -> list[Generation]:
    return [event.generation for event in catalog.list_events() if event.project == project]


@pytest.mark.parametrize("fault", ["cut_after_answer", "cut_before_request"])
@pytest.mark.parametrize("times", [1, COMMIT_POINTS - 1])
def test_a_lost_connection_is_no_conflict_and_makes_one_commit(
    manifold: Manifold, catalog: CutCatalog, project: ProjectId, work: Path, fault: Fault, times: int
) -> None:
    catalog.fault, catalog.times = fault, times
    done = manifold.commits.commit(LOCAL_PRINCIPAL, S1)
    assert (done.generation, done.rebased, catalog.times) == (2, False, 0)
    assert cat(manifold, project, b"a") == b"mine"
    assert events(catalog, project) == [0, 1, 2]
    assert manifold.sessions.status(LOCAL_PRINCIPAL, S1).differences == []
    (work / "a").write_bytes(b"again")
    assert manifold.commits.commit(LOCAL_PRINCIPAL, S1).generation == 3


def test_a_commit_whose_answer_was_lost_is_found_below_those_of_others(
    manifold: Manifold, catalog: CutCatalog, clock: BusyClock, rival: Manifold, project: ProjectId, work: Path
) -> None:
    """Others have changed the same path on top of it by the time the writer asks: that is no conflict with itself."""
    catalog.fault, catalog.times = "cut_after_answer", 1
    clock.meanwhile = lambda: put(rival, project, b"a", b"on top")
    done = manifold.commits.commit(LOCAL_PRINCIPAL, S1)
    assert (done.generation, done.conflicts) == (2, [])
    assert [cat(rival, project, b"a", n) for n in (1, 2, 3)] == [b"one", b"mine", b"on top"]
    check_out(manifold)
    assert (work / "a").read_bytes() == b"on top"


def test_a_commit_that_never_arrived_meets_those_of_others_as_usual(
    manifold: Manifold, catalog: CutCatalog, clock: BusyClock, rival: Manifold, project: ProjectId, work: Path
) -> None:
    catalog.fault, catalog.times = "cut_before_request", 1
    clock.meanwhile = lambda: put(rival, project, b"b", b"theirs")
    done = manifold.commits.commit(LOCAL_PRINCIPAL, S1)
    assert (done.generation, done.rebased) == (3, True)
    assert (work / "b").read_bytes() == b"theirs"
    (work / "a").write_bytes(b"mine again")
    catalog.times = 1
    clock.meanwhile = lambda: put(rival, project, b"a", b"theirs")
    with pytest.raises(CommitConflict) as caught:
        manifold.commits.commit(LOCAL_PRINCIPAL, S1)
    assert caught.value.paths == ["a"]
    assert (work / "a").read_bytes() == b"mine again"


@pytest.mark.parametrize("fault", ["cut_after_answer", "cut_before_request"])
def test_where_the_outcome_stays_unknown_the_error_says_so_and_the_next_commit_finds_out(
    manifold: Manifold, catalog: CutCatalog, rival: Manifold, project: ProjectId, work: Path, fault: Fault
) -> None:
    catalog.fault, catalog.times = fault, COMMIT_POINTS
    expected = look(work)
    with pytest.raises(CatalogUnavailable):
        manifold.commits.commit(LOCAL_PRINCIPAL, S1)
    assert look(work) == expected
    made = fault == "cut_after_answer"
    assert cat(rival, project, b"a") == (b"mine" if made else b"one")
    (work / "a").write_bytes(b"mine, later")
    assert manifold.commits.commit(LOCAL_PRINCIPAL, S1).generation == (3 if made else 2)
    assert cat(rival, project, b"a") == b"mine, later"
    assert events(catalog, project) == ([0, 1, 2, 3] if made else [0, 1, 2])


@pytest.mark.parametrize("fault", ["cut_after_answer", "cut_before_request"])
def test_a_denial_after_an_answer_was_lost_does_not_make_the_outcome_known(
    make_manifold: MakeManifold, postgres_dsn: str, clock: BusyClock, fault: Fault
) -> None:
    """As when credentials are replaced at that moment, and the new role lacks a grant."""
    with (
        PostgresProxy(postgres_dsn) as proxy,
        closing(CutCatalog(proxy, APP)) as catalog,
        psycopg.connect(postgres_dsn, autocommit=True) as operator,
    ):
        manifold = make_manifold(catalog=catalog, clock=clock)
        project = new_project(manifold, a=b"one")
        folder = check_out(manifold, project)
        (folder / "a").write_bytes(b"mine")
        catalog.fault, catalog.times = fault, 1
        clock.meanwhile = lambda: operator.execute("REVOKE INSERT ON commits FROM manifold_app")
        with pytest.raises(CatalogUnavailable, match=r"not known whether the commit was made.*permission denied"):
            manifold.commits.commit(LOCAL_PRINCIPAL, S1)
        operator.execute("GRANT INSERT ON commits TO manifold_app")
        (folder / "a").write_bytes(b"mine, later")
        made = fault == "cut_after_answer"
        assert manifold.commits.commit(LOCAL_PRINCIPAL, S1).generation == (3 if made else 2)
        assert events(catalog, project) == ([0, 1, 2, 3] if made else [0, 1, 2])

        catalog.create_fault = fault
        clock.meanwhile = lambda: operator.execute("REVOKE INSERT ON projects FROM manifold_app")
        with pytest.raises(CatalogUnavailable, match="not known whether the project 'new' was created"):
            manifold.projects.create(LOCAL_PRINCIPAL, "new")


def test_edits_without_a_session_are_made_once_too(manifold: Manifold, catalog: CutCatalog, project: ProjectId) -> None:
    for number, fault in enumerate(("cut_after_answer", "cut_before_request"), start=2):
        catalog.fault, catalog.times = fault, 2  # type: ignore[assignment]
        assert put(manifold, project, b"c", b"%d" % number).generation == number
    assert manifold.edits.restore(LOCAL_PRINCIPAL, project, Generation(1)).generation == 4
    assert events(catalog, project) == [0, 1, 2, 3, 4]
