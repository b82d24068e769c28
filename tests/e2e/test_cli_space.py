"""``manifold retention``, ``garbage`` and ``usage``."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest
from manifold_common.errors import ErrorKind
from manifold_local.cli.exit_codes import EXIT_CODES

from tests.support.cli import Program
from tests.support.hints import named_commands
from tests.support.shown import run_shown
from tests.support.zygote import Zygote

INPUT = EXIT_CODES[ErrorKind.INVALID]


@pytest.fixture
def program(tmp_path: Path, ram_folder: Path, empty_postgres_dsn: str, zygote: Zygote) -> Program:
    made = Program(tmp_path, ram_folder / "ram", zygote, {"DATABASE_URL": empty_postgres_dsn})
    made("migrate-db")
    return made


@pytest.fixture
def old(program: Program, empty_postgres_dsn: str) -> str:
    """A project of three generations, the first with a large file, that were made days ago."""
    name = program.project({"big": os.urandom(2 << 20), "a": b"one"})
    work = program.checkout(name, "s")
    (work / "big").unlink()
    program("commit", "s")
    (work / "a").write_text("three")
    program("commit", "s")
    program("close", "s")
    with psycopg.connect(empty_postgres_dsn, autocommit=True) as connection:
        connection.execute("UPDATE commits SET recorded_at = recorded_at - interval '3 days'")
    days_ago = time.time() - 3 * 24 * 3600
    for path in (program.folder / "workdir" / ".store").rglob("*"):
        os.utime(path, (days_ago, days_ago))
    return name


def generations(program: Program, name: str) -> list[int]:
    return [commit["generation"] for commit in program.json("log", name)["items"]]


def usage(program: Program, name: str, *more: str) -> Any:
    return program.json("usage", name, *more)


def test_retention_is_set_one_rule_at_a_time_and_taken_back(program: Program, old: str) -> None:
    assert "keeps every generation, as the deployment says" in program.text("retention", old)
    done = program.json("retention", old, "--generations", "1")
    assert (done["generations"], done["days"], done["due"]) == (1, None, 2)
    done = program.json("retention", old, "--days", "9")
    assert (done["generations"], done["days"], done["due"]) == (1, 9, 0)
    text = program.text("retention", old)
    assert "keeps the newest 1 generation and what is younger than 9 days" in text
    assert program.json("retention", old, "--days", "0")["due"] == 2
    program("tag", old, "1", "first")
    text = program.text("retention", old)
    assert "the next collection removes 1 generation, 2" in text
    assert "generation 1 stays for tag first" in text
    done = program.json("retention", old, "--default")
    assert (done["generations"], done["days"]) == (None, None)


def test_rules_that_make_no_sense_are_refused(program: Program, old: str) -> None:
    for options in (["--default", "--days", "1"], ["--days", "36501"], ["--generations", "-1"], ["--days", "x"]):
        program("retention", old, *options, code=INPUT)
    assert program.json("retention", old)["generations"] is None
    assert program.error("retention", "none", code=EXIT_CODES[ErrorKind.NOT_FOUND])["code"] == "not_found"


def test_a_dry_run_says_what_goes_and_the_command_that_it_names_does_it(program: Program, old: str) -> None:
    program("retention", old, "--generations", "1")
    before = usage(program, old, "--measure")
    assert before["history"]["bytes"] > 2 << 20
    dry = program("garbage", old, "--dry-run")
    text = dry.stdout.decode()
    assert "2 generations" in text and "no rule keeps 1 to 2" in text and "only removed generations need it" in text
    assert generations(program, old) == [3, 2, 1]
    planned = program.json("garbage", old, "--dry-run")["projects"]
    assert [(one["generations"], one["first_generation"], one["last_generation"]) for one in planned] == [(2, 1, 2)]
    (command,) = named_commands(dry.stderr.decode())
    done = program.text(*command)
    assert "each is removed 1 day after it was condemned" in done
    assert "collected in 1 project" in done and "condemned: only removed generations need it" in done
    assert generations(program, old) == [3]
    after = usage(program, old)
    assert after["history"]["bytes"] < 1000 and after["condemned"]["bytes"] > 2 << 20
    sums = {kind["reason"]: kind for kind in planned[0]["garbage"]}
    assert after["condemned"]["bytes"] == sum(kind["bytes"] for kind in sums.values())
    assert program.json("garbage", old, "--dry-run") == {"projects": []}
    assert "there is nothing to be collected" in program.text("garbage", old, "--dry-run")
    assert program("cat", old, "a").stdout == b"three"
    assert program.json("verify", old, "--read-data")["ok"]


def test_a_collection_that_fails_says_what_is_damaged(program: Program, old: str) -> None:
    program("retention", old, "--generations", "2")
    identity = program.json("project", "show", old)["id"]
    store = program.folder / "workdir" / ".store"
    for copy in (program.folder / "workdir" / ".cache").rglob("commits/*"):
        copy.unlink()
    commit = max(store.rglob(f"p/{identity}/commits/*"))
    commit.write_bytes(commit.read_bytes()[:-40])
    failed = program("garbage", old, code=EXIT_CODES[ErrorKind.CORRUPT]).stdout.decode()
    assert "nothing to be collected" not in failed and "has failed" in failed
    assert commit.relative_to(store).as_posix() in failed
    shown = program.text("jobs", "show", program.json("jobs", "list")["items"][0]["id"]).splitlines()
    assert set(failed.splitlines()) >= {line for line in shown if line.startswith("item ")} != set()


def test_many_tags_of_a_generation_are_counted(program: Program, old: str) -> None:
    for number in range(13):
        program("tag", old, "1", f"t{number:02}")
    program("retention", old, "--generations", "1")
    (line,) = [line for line in program.text("retention", old).splitlines() if line.startswith("generation 1 stays")]
    assert line.endswith("tag t08, tag t09 and 3 more")
    assert "what is younger than 1 day stays, too" in program.text("retention", old)
    assert "t08, t09 and 3 more)" in program.text("log", old)
    assert len(program.json("retention", old)["pinned"][0]["tags"]) == 13


def test_a_collection_in_the_background_is_a_job_that_others_join(program: Program, old: str) -> None:
    program("retention", old, "--generations", "1")
    begun = program.json("garbage", old, "--background")
    assert (begun["job"]["state"], begun["job"]["kind"]) == ("running", "collect")
    assert generations(program, old) == [3, 2, 1]
    joined = program.json("garbage", old, "--background")
    assert joined["job"]["id"] == begun["job"]["id"]
    done = program.json("garbage", old)
    assert (done["job"]["id"], done["job"]["state"], done["job"]["done"]) == (begun["job"]["id"], "done", 1)
    assert [kind["reason"] for kind in done["condemned"]] == ["history"]
    assert generations(program, old) == [3]


def test_all_is_every_family_also_of_deleted_projects(program: Program, old: str) -> None:
    identity = program.json("project", "show", old)["id"]
    program("retention", old, "--generations", "1")
    other = program.project({"x": b"y"})
    whole = program.json("garbage", "--all", "--dry-run")["projects"]
    assert [one["project"] for one in whole] == [identity]
    job = program.json("garbage", "--all")["job"]
    assert (job["done"], job["skipped"], job["failed"]) == (1, 1, 0)
    found = program.json("usage")
    assert {one["name"] for one in found["items"]} == {old, other}
    assert found["user"]["unmeasured_projects"] == 0
    program("project", "delete", old, "--yes")
    assert program.json("garbage", identity)["job"]["state"] == "done"
    assert program.json("usage")["user"]["deleted_projects"] == 1


def test_what_cannot_be_meant_is_refused(program: Program, old: str) -> None:
    for options in ([], [old, "--all"], [old, "--dry-run", "--background"]):
        assert program.error("garbage", *options, code=INPUT)["code"] == "invalid_input"
    assert program.error("usage", "--measure", code=INPUT)["code"] == "invalid_input"


def test_usage_has_a_line_for_each_project_and_the_sums(program: Program, old: str) -> None:
    assert "was not measured yet" in program.text("usage", old)
    assert "1 not measured yet" not in program.text("usage", old)
    text = program.text("usage")
    assert "not yet" in text and "yours:" in text and "1 not measured yet" in text and "this machine:" in text
    measured = program.text("usage", old, "--measure")
    assert "the store was measured" in measured and "made since" not in measured
    work = program.checkout(old, "later")
    (work / "later").write_text("x")
    program("commit", "later")
    assert "1 generation made since" in program.text("usage", old)


def test_the_commands_that_the_page_shows(program: Program, old: str) -> None:
    shown = run_shown("docs/garbage.md: manifold retention", environ=program.environ(), cwd=program.folder, PROJECT=old)
    assert "keeps the newest 500 generations and what is younger than 90 days" in shown.stdout
    assert "there is nothing to be collected" in shown.stdout and "is started" in shown.stdout
    assert program.json("retention", old)["generations"] is None
