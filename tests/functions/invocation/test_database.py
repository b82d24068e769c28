"""What an invocation takes of the database, what a container keeps of it, and how it shows that there was nothing."""

from __future__ import annotations

import json
import time

import psycopg
import pytest
from manifold_common.errors import CatalogUnavailable

from functions.invocation.container import CONTAINER
from functions.invocation.entry import InvocationError
from tests.functions.invocation.test_nudge import COMMIT
from tests.support.functions import MakeFunction, metrics_of, sample
from tests.support.postgres import direct_dsn

CONNECTIONS = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'manifold'
"""
NOWHERE = "postgresql://manifold@127.0.0.1:1/manifold"


@pytest.mark.parametrize("name", ["api", "checkout", "commit", "fanout", "maintenance", "reencrypt"])
def test_one_connection_is_enough_for_a_container(make_function: MakeFunction, name: str) -> None:
    function = make_function(DATABASE_POOL_MAX="1")
    with psycopg.connect(function.variables["DATABASE_URL"]) as connection:
        assert function("api", sample("http-post"))["statusCode"] == 201
        for number in range(3):
            change = {"changes": [{"op": "mkdir", "path": f"folder-{number}"}]}
            events = {"api": sample("http-get"), "checkout": {"project": "demo"}, "commit": {**COMMIT, **change}}
            function(name, events.get(name, {}))
        assert connection.execute(CONNECTIONS).fetchall() == [(1,)]


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
            while (found := watcher.execute(CONNECTIONS).fetchall()[0][0]) != kept:
                assert time.monotonic() < deadline, found


def test_a_database_that_gives_no_connection_is_counted(
    make_function: MakeFunction, capsys: pytest.CaptureFixture[str]
) -> None:
    function = make_function(DATABASE_URL=NOWHERE, DATABASE_TIMEOUT_SECONDS="0.2")
    problem = json.loads(function("api", sample("http-get"))["body"])
    assert problem["code"] == "catalog_unavailable"
    assert metrics_of(capsys.readouterr().out)["database.failures"] == 1
    with pytest.raises(InvocationError):
        function("commit", COMMIT)
    assert metrics_of(capsys.readouterr().out)["database.failures"] == 1


def test_a_database_that_goes_away_later_is_counted_by_the_http_api_too(
    make_function: MakeFunction, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    function = make_function()
    assert function("api", sample("http-get"))["statusCode"] == 200
    assert "database.failures" not in metrics_of(capsys.readouterr().out)

    def away(*_: object, **__: object) -> None:
        raise CatalogUnavailable("the database server has no connection left")

    monkeypatch.setattr(type(function.manifold.context.catalog), "list_projects", away)
    assert function("api", sample("http-get"))["statusCode"] == 503
    measured = metrics_of(capsys.readouterr().out)
    assert (measured["database.failures"], measured["invocation.errors"]) == (1, 1)


def test_an_answer_that_tells_a_problem_is_an_error_in_the_metrics(
    make_function: MakeFunction, capsys: pytest.CaptureFixture[str]
) -> None:
    function = make_function()
    assert (
        function("api", sample("http-get", rawPath="/api/v1/projects/absent", rawQueryString=""))["statusCode"] == 404
    )
    assert metrics_of(capsys.readouterr().out)["invocation.errors"] == 1
    head = sample("http-get", rawPath="/api/v1/projects/absent/files/a", rawQueryString="")
    head["requestContext"]["http"]["method"] = "HEAD"
    assert function("api", head)["statusCode"] == 404
    assert metrics_of(capsys.readouterr().out)["invocation.errors"] == 1
