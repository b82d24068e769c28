"""What the catalog's second indexes are for: the statements that go by them do so, on tables of some size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from manifold_common.adapters.postgres.catalog import PostgresCatalog
from manifold_common.adapters.system.clock import SystemClock
from manifold_common.domain.event_place import EventPlace, Followed
from manifold_common.domain.listing import CommitFilter
from manifold_common.ids import ProjectId, SessionId, TenantId, UserId
from manifold_common.ports.catalog import Catalog

from tests.contract.catalog_fixtures import NOW
from tests.support.postgres import direct_dsn

TENANT, PROJECT = TenantId("t1"), ProjectId("p1")
IN_PROJECT, IN_TENANT = Followed(TENANT, PROJECT), Followed(TENANT, None)

_FILL = """
SET session_replication_role = replica;  -- without the rows that these refer to
INSERT INTO outbox (tenant_id, project_id, type, generation, data, created_at)
SELECT 't' || n % 50, 'p' || n % 500, 'test', n, '{}', now() FROM generate_series(1, 20000) AS n;
INSERT INTO removed_events (tenant_id, project_id, sequence, created_at)
SELECT 't' || n % 50, 'p' || n, n % 1000, now() FROM generate_series(1, 20000) AS n;
INSERT INTO projects (tenant_id, project_id, owner_id, name, generation, head_commit_id, created_at, updated_at)
SELECT 't1', rpad('p' || n, 26, 'a'), 'ann', 'n' || n, 20000, 'x', now(), now() FROM generate_series(1, 2) AS n;
INSERT INTO commits (tenant_id, project_id, generation, commit_id, parent_id, record_hash, dek_id, object_bytes,
                     author_id, session_id, note, created_at)
SELECT 't1', rpad('p1', 26, 'a'), n, lpad(n::text, 26, 'a'), CASE WHEN n > 1 THEN 'x' END, '', 'k', 0, 'u' || n % 1000,
       's' || n % 1000, '', now()
FROM generate_series(1, 20000) AS n;
"""


class _Seen(Exception):
    """Holds a statement, and what it was to be run with."""


@pytest.fixture
def filled(postgres_dsn: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(direct_dsn(postgres_dsn), autocommit=True) as connection:
        connection.execute(_FILL)
        connection.execute("ANALYZE")
        yield connection


def plan_of(catalog: PostgresCatalog, connection: psycopg.Connection[Any], call: Callable[[Catalog], object]) -> str:
    """Return how the last statement of a call goes about it."""
    seen: list[tuple[Any, Any]] = []
    read = catalog._db.read

    def watched(statement: Any, params: Any, **more: Any) -> Any:
        seen.append((statement, params))
        return read(statement, params, **more)

    catalog._db.read = watched  # type: ignore[method-assign]
    call(catalog)
    statement, params = seen[-1]
    return "\n".join(row[0] for row in connection.execute(f"EXPLAIN ANALYZE {statement}", params))


def _page(followed: Followed, after: EventPlace | None) -> Callable[[Catalog], object]:
    def call(catalog: Catalog) -> None:
        catalog.events_page(followed, after, limit=100)

    return call


OF_PROJECT = ProjectId("p1".ljust(26, "a"))
STATEMENTS: dict[str, tuple[Callable[[Catalog], object], str, str]] = {
    "events of a project": (lambda c: c.newest_event(IN_PROJECT), "outbox_of_project", "outbox"),
    "events of a tenant": (lambda c: c.newest_event(IN_TENANT), "outbox_of_tenant", "outbox"),
    "first page of a project": (_page(IN_PROJECT, None), "outbox_of_project", "outbox"),
    "first page of a tenant": (_page(IN_TENANT, None), "outbox_of_tenant", "outbox"),
    "what was removed of a project": (_page(IN_PROJECT, None), "removed_events_pkey", "removed_events"),
    "what was removed of a tenant": (_page(IN_TENANT, None), "removed_events_of_tenant", "removed_events"),
    "news of a project": (lambda c: c.with_news([(IN_PROJECT, 19_000)] * 9), "outbox_of_project", "outbox"),
    "news of a tenant": (lambda c: c.with_news([(IN_TENANT, 19_000)] * 9), "outbox_of_tenant", "outbox"),
    "commits of an author": (
        lambda c: c.list_commits(TENANT, OF_PROJECT, wanted=CommitFilter(author=UserId("u7")), limit=10),
        "commits_by_author",
        "commits",
    ),
    "commits of a session": (
        lambda c: c.list_commits(TENANT, OF_PROJECT, wanted=CommitFilter(session=SessionId("s7")), limit=10),
        "commits_by_session",
        "commits",
    ),
}


def test_what_has_an_index_goes_by_it(postgres_dsn: str, filled: psycopg.Connection[Any]) -> None:
    for name, (call, index, table) in STATEMENTS.items():
        catalog = PostgresCatalog(postgres_dsn, clock=SystemClock())
        try:
            plan = plan_of(catalog, filled, call)
        finally:
            catalog.close()
        assert f"using {index} " in plan, f"{name}: {plan}"
        assert f"Seq Scan on {table} " not in plan, f"{name}: {plan}"


def test_a_page_from_a_place_on_reads_no_more_than_its_rows(postgres_dsn: str, filled: psycopg.Connection[Any]) -> None:
    catalog = PostgresCatalog(postgres_dsn, clock=SystemClock())
    try:
        for followed in (IN_PROJECT, IN_TENANT):
            first = catalog.events_page(followed, None, limit=5)
            assert first.rows[-1].created_at > NOW
            plan = plan_of(catalog, filled, _page(followed, first.place))
            assert "Rows Removed by Filter" not in plan, plan
    finally:
        catalog.close()
