"""``manifold backup``: what a dump refers to stays in the store until it is released."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from manifold_common.errors import ErrorKind
from manifold_local.cli.exit_codes import EXIT_CODES

from tests.support.cli import Program
from tests.support.shown import run_shown
from tests.support.zygote import Zygote

INPUT, CONFLICT, ABSENT = (EXIT_CODES[kind] for kind in (ErrorKind.INVALID, ErrorKind.CONFLICT, ErrorKind.NOT_FOUND))


@pytest.fixture
def program(tmp_path: Path, ram_folder: Path, empty_postgres_dsn: str, zygote: Zygote) -> Program:
    made = Program(tmp_path, ram_folder / "ram", zygote, {"DATABASE_URL": empty_postgres_dsn})
    made("migrate-db")
    return made


def test_the_commands_that_the_page_shows(program: Program) -> None:
    shown = run_shown("docs/operations.md: manifold backup declare", environ=program.environ(), cwd=program.folder)
    assert "before-the-move" in shown.stdout and "held" in shown.stdout and "released 1 backup" in shown.stdout
    assert program.json("backup", "list") == {"backups": []}


def test_a_backup_is_declared_once_listed_and_released(program: Program) -> None:
    made = program.json("backup", "declare", "monthly", "--days", "40")
    assert (made["name"], made["over"]) == ("monthly", False)
    assert program.json("backup", "list")["backups"] == [made]
    program("backup", "declare", "monthly", code=CONFLICT)
    program("backup", "declare", "no / name", code=INPUT)
    for days in ("0", "-3", "4000"):
        program("backup", "declare", "other", f"--days={days}", code=INPUT)
    program("backup", "release", "other", code=ABSENT)
    assert program.json("backup", "release", "monthly") == {"released": ["monthly"]}


def test_names_of_which_one_is_wrong_release_nothing(program: Program) -> None:
    for name in ("b1", "b2"):
        program("backup", "declare", name)
    error = program.error("backup", "release", "b1", "nope", "b2", code=ABSENT)
    assert "'nope'" in error["message"] and "none of the others was released" in error["message"]
    program("backup", "release", "b1", "no / name", code=ABSENT)
    assert [one["name"] for one in program.json("backup", "list")["backups"]] == ["b1", "b2"]
    assert program.json("backup", "release", "b1", "b2", "b1") == {"released": ["b1", "b2"]}


def test_to_adopt_a_catalog_that_came_from_a_dump_keeps_what_is_in_the_store(
    program: Program, empty_postgres_dsn: str
) -> None:
    program.project({"a": b"one"})
    assert program.json("adopt", "--same") and program.json("backup", "list") == {"backups": []}
    with psycopg.connect(empty_postgres_dsn, autocommit=True) as connection:
        connection.execute("UPDATE installation SET database_oid = database_oid + 1")
    program("adopt", "--same")
    (declared,) = program.json("backup", "list")["backups"]
    assert declared["name"].startswith("adopted-") and not declared["over"]
