"""What a dump sees that is made while statements wait for one another."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import psycopg
from manifold_common.adapters.postgres.catalog import PostgresCatalog

from tests.contract.catalog_fixtures import SESSION, TENANT, TTL, USER, draft, make_project, new_id, session
from tests.contract.postgres_fixtures import connected

_WAITING = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


def test_a_draft_stays_that_a_statement_was_about_to_replace_as_a_backup_was_declared(postgres_dsn: str) -> None:
    """The dump that is made then still has it, though the statement had begun before."""
    with (
        connected(postgres_dsn) as catalog,
        psycopg.connect(postgres_dsn) as other,
        psycopg.connect(postgres_dsn, autocommit=True) as watcher,
        ThreadPoolExecutor(1) as thread,
    ):
        made, name = make_project(catalog), f"backup {new_id()}"
        first, second = draft(made), draft(made)
        catalog.open_session(session(made, draft=first), ttl=TTL)
        other.execute("SELECT FROM sessions WHERE project_id = %s FOR UPDATE", (made.id,))
        saving = thread.submit(catalog.save_draft, TENANT, USER, SESSION, second, ttl=TTL)
        while not watcher.execute(_WAITING).fetchall():
            assert not saving.done(), saving.result()
        catalog.declare_backup(name, timedelta(days=1))
        dumped = watcher.execute("SELECT draft_commit_id FROM sessions WHERE project_id = %s", (made.id,)).fetchall()
        other.commit()
        saving.result()
        assert dumped == [(first.commit,)]
        assert not may_go(catalog, first.commit)
        catalog.release_backups([name])
        assert may_go(catalog, first.commit)


def may_go(catalog: PostgresCatalog, commit: str) -> bool:
    return any(one.commit == commit for one in catalog.superseded_objects(-60, limit=1000))
