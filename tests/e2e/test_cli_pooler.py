"""The command line on a database that is reached through a pooler."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from manifold_common.errors import ErrorKind
from manifold_local.cli.exit_codes import EXIT_CODES

from tests.support.cli import Program
from tests.support.pgbouncer import running_pgbouncer
from tests.support.postgres import database_of, direct_dsn
from tests.support.zygote import Zygote


@pytest.fixture
def pooled(tmp_path: Path, ram_folder: Path, zygote: Zygote, empty_postgres_dsn: str) -> Iterator[tuple[Program, str]]:
    """Return the program, whose DATABASE_URL leads to a pooler, and that of the server itself."""
    direct = direct_dsn(empty_postgres_dsn)
    with running_pgbouncer(direct) as pooler:
        variables = {"DATABASE_URL": pooler.dsn(database_of(direct))}
        (tmp_path / "work").mkdir()
        (ram_folder / "work").mkdir()
        yield Program(tmp_path / "work", ram_folder / "work", zygote, variables), direct


def test_what_needs_a_session_is_refused_behind_a_pooler_and_works_as_the_error_says(
    pooled: tuple[Program, str],
) -> None:
    program, direct = pooled
    program("migrate-db")
    name = program.project({"a": b"one"})
    for tool in ("pg_dump", "psql", "pg_restore"):
        said = program("database", tool, code=EXIT_CODES[ErrorKind.INVALID]).stderr.decode()
        assert f"{tool} needs a session of its own" in said
        assert f"manifold database {tool}" in said
    dump = program("database", "pg_dump", DATABASE_URL=direct).stdout
    assert name.encode() in dump
    assert program.json("log", name)["items"][0]["generation"] == 1, "nothing was left on the pooler's connections"
