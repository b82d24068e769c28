"""What the catalog's second indexes are for: the statements that go by them do so, on tables of some size."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import psycopg
import pytest
from manifold_common.adapters.postgres.catalog import PostgresCatalog, deleted_projects
from manifold_common.adapters.system.clock import SystemClock
from manifold_common.domain.event_place import EventPlace, Followed
from manifold_common.domain.job import ItemState, JobFilter, JobPlace
from manifold_common.domain.listing import CommitFilter
from manifold_common.ids import JobId, ProjectId, SessionId, TenantId, UserId
from manifold_common.ports.catalog import Catalog, ItemReport

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
INSERT INTO projects (tenant_id, project_id, owner_id, name, created_at, updated_at, deleted_at)
SELECT 't1', rpad('d' || n, 26, 'a'), 'u' || n % 500, 'n' || n, now(), now(), now() - n * interval '1 minute'
FROM generate_series(1, 20000) AS n;
INSERT INTO projects (tenant_id, project_id, owner_id, name, created_at, updated_at)
SELECT 't1', rpad('l' || n, 26, 'a'), 'u' || n % 500, 'n' || n, now(), now() FROM generate_series(1, 20000) AS n;
INSERT INTO jobs (tenant_id, job_id, kind, params, user_id, state, measured_at, created_at, running_since, ended_at)
SELECT 't' || n % 50, lpad(n::text, 26, 'a'), 'verify', n, 'ann', 'done', now(), now() - n * interval '1 minute', now(),
       now() - n * interval '1 minute'
FROM generate_series(1, 20000) AS n;
INSERT INTO jobs (tenant_id, job_id, kind, params, user_id, state, is_planned, pending, measured_at, created_at,
                  running_since)
SELECT 't1', rpad('j' || n, 26, 'a'), 'verify', n, 'ann', 'running', true, 9900, now(), now(), now()
FROM generate_series(1, 2) AS n;
INSERT INTO job_items (tenant_id, job_id, number, item, state, error_code, lease, leased_until, changed_at)
SELECT 't1', rpad('j' || j, 26, 'a'), n, 'x', CASE WHEN n <= 100 THEN 'failed' ELSE 'pending' END,
       CASE WHEN n <= 100 THEN 'x' END, CASE WHEN n BETWEEN 101 AND 150 THEN 'held' END,
       CASE WHEN n BETWEEN 101 AND 150 THEN now() + interval '1 hour' END, now()
FROM generate_series(1, 2) AS j, generate_series(1, 10000) AS n;
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
    run = catalog._db._run

    def watched(statement: Any, params: Any, *more: Any, **others: Any) -> Any:
        seen.append((statement, params))
        return run(statement, params, *more, **others)

    catalog._db._run = watched  # type: ignore[method-assign]
    call(catalog)
    statement, params = seen[-1]
    return "\n".join(row[0] for row in connection.execute(f"EXPLAIN ANALYZE {statement}", params))


def _page(followed: Followed, after: EventPlace | None) -> Callable[[Catalog], object]:
    def call(catalog: Catalog) -> None:
        catalog.events_page(followed, after, limit=100)

    return call


OF_PROJECT = ProjectId("p1".ljust(26, "a"))
JOB = JobId("j1".ljust(26, "a"))
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
    "deleted projects": (
        lambda c: c.deleted_projects(TENANT, UserId("u7"), timedelta(days=9), limit=10),
        "projects_deleted_name",
        "projects",
    ),
    "projects to be purged": (
        lambda c: cast(PostgresCatalog, c)._db.write(deleted_projects._PURGE, {"grace": timedelta(days=9), "limit": 1}),
        "projects_to_purge",
        "projects",
    ),
    "projects to be cleared": (lambda c: c.purge_projects(timedelta(days=9)), "projects_to_clear", "projects"),
    "jobs at work": (lambda c: c.jobs_at_work(["verify"]), "jobs_running", "jobs"),
    "items of jobs at work": (lambda c: c.jobs_at_work(["verify"]), "job_items_pending", "job_items"),
    "newest jobs": (lambda c: c.list_jobs(TENANT, JobFilter(), limit=10), "jobs_by_time", "jobs"),
    "jobs from a place on": (
        lambda c: c.list_jobs(TENANT, JobFilter(), after=JobPlace(datetime.now(UTC), JOB), limit=10),
        "jobs_by_time",
        "jobs",
    ),
    "jobs that ended long ago": (lambda c: c.forget_jobs(1e6, limit=10), "jobs_ended", "jobs"),
    "items to claim": (
        lambda c: c.claim_items(TENANT, JOB, "mine", seconds=60, limit=10),
        "job_items_pending",
        "job_items",
    ),
    "items that somebody holds": (lambda c: c.is_under_way(TENANT, JOB), "job_items_held", "job_items"),
    "items of a claim": (lambda c: c.extend_items(TENANT, JOB, "held", seconds=60), "job_items_held", "job_items"),
    "items that are reported": (
        lambda c: c.report_items(TENANT, JOB, "held", [ItemReport(number, ItemState.DONE) for number in (101, 102)]),
        "job_items_pkey",
        "job_items",
    ),
    "items with an error": (
        lambda c: c.job_items(TENANT, JOB, only_troubled=True, after=50),
        "job_items_troubled",
        "job_items",
    ),
    "items from a place on": (lambda c: c.job_items(TENANT, JOB, after=5000, limit=10), "job_items_pkey", "job_items"),
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


def test_a_claim_goes_through_no_more_items_than_it_takes_and_others_hold(
    postgres_dsn: str, filled: psycopg.Connection[Any]
) -> None:
    catalog = PostgresCatalog(postgres_dsn, clock=SystemClock())
    try:
        plan = plan_of(catalog, filled, lambda c: c.claim_items(TENANT, JOB, "mine", seconds=60, limit=10))
    finally:
        catalog.close()
    assert "Sort Key: i.rests_until" not in plan, plan
    assert max(int(count) for count in re.findall(r"Rows Removed by Filter: (\d+)", plan)) <= 100, plan
