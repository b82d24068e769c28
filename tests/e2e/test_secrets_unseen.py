"""Secrets planted everywhere they may stand: no part of one comes out, in whatever the program and the host print."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.support.cli import Program
from tests.support.host import MakeHost
from tests.support.planted import MARK, NOBODY, around, misplaced, planted
from tests.support.zygote import Zygote

HASTY = {"DATABASE_TIMEOUT_SECONDS": "0.3"}


@pytest.fixture
def program(zygote: Zygote, tmp_path: Path, ram_folder: Path, postgres_dsn: str) -> Program:
    return Program(tmp_path, ram_folder, zygote, {"DATABASE_URL": postgres_dsn})


def said_by(program: Program, *arguments: str, variables: dict[str, str]) -> str:
    """Return all that a command prints, whether it succeeds or not."""
    assert program.zygote is not None
    done = program.zygote.run(arguments, timeout=60, env=program.environ(**variables), cwd=program.folder, input=b"")
    said = (done.stdout + done.stderr).decode()
    assert said
    return said


def test_no_part_of_a_secret_is_shown_by_the_program(program: Program) -> None:
    variables = planted()
    shown = said_by(program, "config", "show", "--json", variables=variables)
    assert json.loads(shown)["settings"]["projects.redis.password"]["value"] == "********"
    for command in (
        ["config", "check"],
        ["config", "show"],
        ["--json", "health"],
        ["health", "--debug"],
        ["project", "create", "x", "--debug"],
        ["store", "prepare"],
        ["events", "list"],
    ):
        shown += said_by(program, *command, variables=variables)
    assert "Redis at 127.0.0.1:1" in shown and "Vault at http://127.0.0.1:1" in shown
    assert not around(shown)


def test_no_part_of_a_secret_in_a_place_that_is_not_for_it_is_shown(program: Program) -> None:
    for command in (["config", "check"], ["config", "show", "--json"], ["--remote", f"http://u:{MARK}@h", "log", "x"]):
        said = said_by(program, *command, variables=misplaced())
        assert all(name in said for name in misplaced().keys() - {"MANIFOLD_REMOTE"}), said
        assert not around(said)


@pytest.mark.parametrize("special", ["@", "/"])
def test_no_part_of_a_password_of_the_database_is_shown_whatever_is_in_it(program: Program, special: str) -> None:
    raw = f"{MARK}1{special}{MARK}2"
    said = ""
    for command in (["config", "check"], ["--json", "health"], ["project", "list", "--debug"], ["migrate-db"]):
        said = said_by(program, *command, variables={"DATABASE_URL": f"postgresql://user:{raw}@{NOBODY}/db"})
        assert "databaseUrl" in said and "%-escapes" in said and MARK not in said
    for name in ("password", "sslpassword", "pasword"):
        url = f"postgresql://user@{NOBODY}/db?{name}={raw}"
        assert MARK not in said_by(program, "--json", "health", variables={"DATABASE_URL": url, **HASTY})


@pytest.mark.parametrize("name", ["password", "sslpassword"])
def test_a_password_that_is_escaped_is_not_shown_when_the_server_cannot_be_had(program: Program, name: str) -> None:
    urls = [f"postgresql://user:{MARK}%40%2F@{NOBODY}/db", f"postgresql://user@{NOBODY}/db?{name}={MARK}%40"]
    for url in urls:
        said = said_by(program, "--json", "health", variables={"DATABASE_URL": url, **HASTY})
        assert "127.0.0.1" in said and MARK not in said


def test_no_part_of_a_secret_is_in_the_hosts_log_or_answers(make_host: MakeHost) -> None:
    # A store in files and keys in a file, so that there are events that cannot be delivered.
    host = make_host(**planted(PROJECTS_BACKEND="filesystem", PROJECTS_ENCRYPTION_PROVIDER="file", LOG_LEVEL="debug"))
    client = host.ready()
    answers = client.post("/api/v1/projects", json={"name": "x"}).text
    answers += client.get("/health").text + client.get("/").text + client.get("/api/v1/projects").text
    _, out, err = host.stop(signal.SIGTERM)
    assert "redis" in answers and "webhook" in err
    for text in (answers, out, err):
        assert not around(text)
