"""More functions at work than the database has connections for: who waits, what fails, how it recovers.

Each container is a process of its own on Lambda; here it is a thread with a catalog of its own, which is what counts at
the database. It works like a container under load: invocations one after the other, each some statements, at its end
``rest``. ``python -m tests.crash.test_many_containers`` is the large one: 200 containers against ``max_connections``
100, once as they are and once through PgBouncer, and prints what was seen.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest
from manifold_common.adapters.postgres.catalog import PostgresCatalog
from manifold_common.adapters.postgres.migrations import migrate
from manifold_common.adapters.postgres.pool import Limits
from manifold_common.errors import CatalogUnavailable
from manifold_local.embedded.postgres import EmbeddedPostgres

from tests.contract.catalog_fixtures import TENANT, SettableClock, make_project
from tests.support.other_postgres import OtherPostgres, programs
from tests.support.pgbouncer import running_pgbouncer
from tests.support.postgres import database_of, direct_dsn, running_postgres

_CONNECTIONS = (
    "SELECT current_setting('max_connections')::int, count(*) FROM pg_stat_activity"
    " WHERE backend_type = 'client backend'"
)
OF_A_FUNCTION = Limits(connections=2, statement_seconds=10.0, connect_seconds=3.0)
"""As settings make it on Lambda."""


@dataclass
class Seen:
    """What containers went through. Seconds are of whole invocations."""

    served: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        parts = [f"{len(self.served)} served", f"{len(self.refused)} refused"]
        for name, seconds in (("served", self.served), ("refused", self.refused)):
            ordered = sorted(seconds)
            if ordered:
                half, most = ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)]
                parts.append(f"{name} in {half:.2f} s (half), {most:.2f} s (99 of 100), {ordered[-1]:.2f} s (longest)")
        return "; ".join([*parts, *(f"{count}x {reason}" for reason, count in self.reasons.items())])


def contend(dsn: str, containers: int, seconds: float, *, limits: Limits = OF_A_FUNCTION) -> Seen:
    """Let so many containers work for so long, all from the same moment."""
    seen, start = Seen(), threading.Barrier(containers + 1)
    stop = threading.Event()

    def container(number: int) -> None:
        catalog = PostgresCatalog(dsn, clock=SettableClock(), limits=limits)
        start.wait()
        try:
            while not stop.is_set():
                begun = time.monotonic()
                try:
                    made = make_project(catalog, f"c{number}-{begun}")
                    made.publish()
                    assert catalog.head(TENANT, made.id).generation == 1
                except CatalogUnavailable as error:
                    seen.refused.append(time.monotonic() - begun)
                    seen.reasons[error.message] += 1
                else:
                    seen.served.append(time.monotonic() - begun)
                catalog.rest()
        finally:
            catalog.close()

    with ThreadPoolExecutor(containers) as threads:
        jobs = [threads.submit(container, number) for number in range(containers)]
        start.wait()
        time.sleep(seconds)
        stop.set()
    for job in jobs:
        job.result()
    return seen


@pytest.fixture
def crowded(postgres_server: EmbeddedPostgres | OtherPostgres) -> Iterator[int]:
    """Take all connections of the server but for a few, whose number it gives."""
    few = 6
    with ExitStack() as stack:
        first = stack.enter_context(psycopg.connect(postgres_server.dsn, autocommit=True))
        limit, used = first.execute(_CONNECTIONS).fetchall()[0]
        for _ in range(limit - used - few):
            stack.enter_context(psycopg.connect(postgres_server.dsn))
        yield few


def test_containers_beyond_the_connections_are_refused_soon_and_served_as_soon_as_there_is_one(
    crowded: int, postgres_dsn: str
) -> None:
    limits = Limits(connections=2, connect_seconds=0.6)
    dsn = direct_dsn(postgres_dsn)
    seen = contend(dsn, crowded + 10, 2.0, limits=limits)
    assert seen.served
    assert seen.refused
    assert all("too many connections" in reason for reason in seen.reasons), seen.reasons
    assert max(seen.refused) < limits.connect_seconds + 1.5
    after = contend(dsn, crowded // 2, 0.5, limits=limits)
    assert after.served
    assert not after.refused


def test_containers_beyond_the_connections_all_work_through_a_pooler(
    postgres_server: EmbeddedPostgres | OtherPostgres, crowded: int, postgres_dsn: str
) -> None:
    with running_pgbouncer(postgres_server.dsn, pool_size=crowded - 2) as pooler:
        seen = contend(pooler.dsn(database_of(postgres_dsn)), crowded + 10, 2.0)
    assert seen.served
    assert not seen.refused, seen.reasons


# --- the large one ------------------------------------------------------------------------------------------------


def main() -> None:
    containers = int(os.environ.get("MANIFOLD_TEST_CONTAINERS", "200"))
    seconds = float(os.environ.get("MANIFOLD_TEST_SECONDS", "15"))
    in_memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    assert programs(), "set MANIFOLD_TEST_POSTGRES: the embedded server takes 60 connections, not 100"
    with (
        tempfile.TemporaryDirectory(dir=in_memory, prefix="manifold-test-") as folder,
        running_postgres(Path(folder) / "pg") as server,
    ):
        dsn = server.dsn
        migrate(dsn)
        print(f"{containers} containers, max_connections 100, direct: {contend(dsn, containers, seconds)}")
        print(f"then 40 containers, direct: {contend(dsn, 40, 3.0)}")
        with running_pgbouncer(dsn, pool_size=20) as pooler:
            pooled = pooler.dsn(database_of(dsn))
            print(f"{containers} containers, PgBouncer of 20: {contend(pooled, containers, seconds)}")


if __name__ == "__main__":
    sys.exit(main())
