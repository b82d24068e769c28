"""A catalog that is taken back to an earlier state under nodes that go on running: in memory, and on a real server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from manifold_common.adapters.memory.catalog import MemoryCatalog
from manifold_common.adapters.postgres.catalog import PostgresCatalog
from manifold_common.adapters.system.clock import SystemClock
from manifold_common.ports.catalog import Catalog
from psycopg import sql

Restore = Callable[[], None]


class BackedUp:
    """A catalog, and how to take a backup of it. The function that comes back restores it, as often as it is called."""

    def __init__(self, catalog: Catalog, back_up: Callable[[], Restore]) -> None:
        self.catalog = catalog
        self.back_up = back_up


def in_memory() -> BackedUp:
    catalog = MemoryCatalog(clock=SystemClock())

    def copied() -> tuple[Any, Any]:
        projects = {
            name: replace(
                found,
                keys=list(found.keys),
                commits=dict(found.commits),
                removed=dict(found.removed),
                by_id=dict(found.by_id),
                checkpoints=dict(found.checkpoints),
            )
            for name, found in catalog.state.projects.items()
        }
        return projects, dict(catalog.state.sessions)

    def back_up() -> Restore:
        kept = copied()

        def restore() -> None:
            catalog.state.projects, sessions = kept
            catalog.state.projects, _ = copied()  # what is kept may be restored again
            catalog.state.sessions.clear()
            catalog.state.sessions.update(sessions)

        return restore

    return BackedUp(catalog, back_up)


class OnServer:
    """All rows of a database as they were, put in the place of those that came since, while clients are connected."""

    def __init__(self, dsn: str) -> None:
        self.catalog = PostgresCatalog(dsn, clock=SystemClock())
        self._admin = psycopg.connect(dsn)

    def back_up(self) -> Restore:
        with self._admin.transaction(), self._admin.cursor() as cursor:
            cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
            dump = {}
            for (name,) in cursor.fetchall():
                with cursor.copy(sql.SQL("COPY {} TO STDOUT").format(sql.Identifier(name))) as rows:
                    dump[name] = b"".join(map(bytes, rows))

        def restore() -> None:
            with self._admin.transaction(), self._admin.cursor() as cursor:
                cursor.execute("SET LOCAL session_replication_role = replica")  # else rows refer to later ones
                cursor.execute(sql.SQL("TRUNCATE {}").format(sql.SQL(", ").join(map(sql.Identifier, dump))))
                for name, rows in dump.items():
                    with cursor.copy(sql.SQL("COPY {} FROM STDIN").format(sql.Identifier(name))) as copy:
                        copy.write(rows)

        return restore

    def close(self) -> None:
        self.catalog.close()
        self._admin.close()


@pytest.fixture(params=["memory", "postgres"])
def backed_up(request: pytest.FixtureRequest) -> Iterator[BackedUp]:
    if request.param == "memory":
        yield in_memory()
        return
    server = OnServer(request.getfixturevalue("postgres_dsn"))
    try:
        yield BackedUp(server.catalog, server.back_up)
    finally:
        server.close()
