"""What a container keeps of the database between invocations, while nothing runs in it."""

from __future__ import annotations

import time

import psycopg
import pytest

from functions.invocation.container import CONTAINER
from tests.support.functions import MakeFunction
from tests.support.postgres import direct_dsn

_COUNT = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'manifold'"


@pytest.mark.parametrize(("idle_seconds", "kept"), [("60", 1), ("0", 0)])
def test_a_container_keeps_one_connection_between_invocations_or_none(
    make_function: MakeFunction, postgres_dsn: str, idle_seconds: str, kept: int
) -> None:
    dsn = direct_dsn(postgres_dsn)
    function = make_function(DATABASE_URL=dsn, DATABASE_IDLE_SECONDS=idle_seconds)
    with psycopg.connect(dsn, autocommit=True) as watcher:
        for _ in range(2):
            catalog = function.manifold.context.catalog
            with catalog._db._pool.connection(), catalog._db._pool.connection():  # type: ignore[attr-defined]
                pass  # as requests for several objects at once do
            assert CONTAINER.manifold.context.catalog is catalog
            assert "errorMessage" not in function("maintenance", {})
            deadline = time.monotonic() + 5
            while (found := watcher.execute(_COUNT).fetchall()[0][0]) != kept:
                assert time.monotonic() < deadline, found
