"""``manifold verify`` and ``manifold damage``: what a person and a program are told."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from manifold_common.errors import ErrorKind
from manifold_local.cli.exit_codes import EXIT_CODES

from tests.support.cli import Program

CORRUPT = EXIT_CODES[ErrorKind.CORRUPT]


@pytest.fixture
def project(program: Program) -> str:
    """A project of two generations, the first of which has a tag."""
    name = program.project({"a.bin": os.urandom(2_200_000)})
    program("tag", name, "1", "first")
    (program.folder / f"source-{name}" / "b").write_text("two")
    program("import", name, program.folder / f"source-{name}")
    return name


def pack_of(program: Program, project: str) -> Path:
    identity = program.json("project", "show", project)["id"]
    (found,) = (program.folder / "workdir" / ".store").rglob(f"p/{identity}/packs/*")
    return found


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_sample_is_read_and_said_to_be_one(program: Program, project: str) -> None:
    assert "content not read; --read-data reads it" in program.text("verify", project)
    said = program.json("verify", project, "--sample", "100%")
    assert said["objects_read"] == said["objects"] == 2
    assert "content of 2 of 2 objects read" in program.text("verify", project, "--sample", "100")
    half = program.json("verify", project, "--sample", "50")
    assert (half["objects_read"], half["ok"]) == (1, True)


@pytest.mark.parametrize("wrong", ["0", "-1", "101", "nan", "much"])
def test_what_is_no_percentage_is_refused(program: Program, wrong: str) -> None:
    assert "is no percentage" in program.error("verify", "any", "--sample", wrong, code=2)["message"]


def test_a_sample_of_everything_is_refused(program: Program, project: str) -> None:
    error = program.error("verify", project, "--read-data", "--sample", "5", code=2)
    assert "give one of them" in error["hint"]


def test_damage_is_told_listed_and_gone_once_it_is_whole(program: Program, project: str) -> None:
    assert program("damage", project).stderr.startswith(b"no damage is known")
    pack = pack_of(program, project)
    flip(pack)
    done = program("verify", project, "--read-data", code=CORRUPT)
    told = done.stdout.decode()
    assert b"damaged object" not in done.stderr, "it is said once"
    name = pack.relative_to(program.folder / "workdir" / ".store").as_posix()
    assert f"DAMAGED {name}: " in told and "(generations 1 to 2)" in told
    assert "    affects the tag first\n" in told and "    affects a.bin\n" in told
    assert "damage found in 1 object: 2 commits, 1 tag," in told
    (listed,) = program.json("damage", project)["items"]
    assert (listed["object"], listed["first_generation"]) == (name, 1)
    assert program.text("damage", project).splitlines()[1].split()[:2] == [name, "1"]
    flip(pack)
    program("verify", project)
    assert program.json("damage", project) == {"items": [], "full": False, "next_cursor": None}


def test_a_job_does_it_in_the_background(program: Program, project: str) -> None:
    flip(pack_of(program, project))
    begun = program("verify", project, "--read-data", "--background")
    assert b"jobs watch" in begun.stderr
    job = program.json("verify", project, "--read-data", "--background")
    assert (job["kind"], job["state"], job["params"]["read_data"]) == ("verify", "running", True)
    worked = program("jobs", "work", job["id"], code=CORRUPT)
    assert b"is damaged" in worked.stdout + worked.stderr
    assert len(program.json("damage", project)["items"]) == 1


def test_a_repair_says_what_it_brought_back_from_where_and_what_is_left(program: Program, project: str) -> None:
    identity, store = program.json("project", "show", project)["id"], program.folder / "workdir" / ".store"
    assert program.text("verify", project, "--repair") == "no damage found, nothing to repair\n"
    (key,) = store.rglob(f"p/{identity}/keys/*")
    good = key.read_bytes()
    flip(key)
    pack = pack_of(program, project)
    flip(pack)
    for copy in (program.folder / "workdir" / ".cache").rglob(pack.name):
        copy.unlink()
    said = program("verify", project, "--read-data", "--repair", code=CORRUPT).stdout.decode()
    assert f"repaired {key.relative_to(store).as_posix()}: from the database\n" in said
    assert f"DAMAGED {pack.relative_to(store).as_posix()}: " in said
    assert "\n2 damaged objects: 1 repaired, 1 left, 1 kept aside\n" in said
    assert said.endswith(" of content is read from elsewhere now\n")
    assert key.read_bytes() == good
    flip(pack)
    flip(key)
    told = json.loads(program.text("verify", project, "--repair", "--json"))
    assert (told["ok"], told["found"], [one["by"] for one in told["repaired"]]) == (True, 1, ["catalog"])
    (kept,) = told["quarantined"]
    assert (store / kept).is_file()


def test_a_job_repairs_in_the_background_what_can_be(program: Program, project: str) -> None:
    pack, store = pack_of(program, project), program.folder / "workdir" / ".store"
    good = pack.read_bytes()
    flip(pack)
    job = program.json("verify", project, "--read-data", "--repair", "--background")
    assert (job["kind"], job["state"], job["params"]["repair"]) == ("verify", "running", True)
    assert program.json("verify", project, "--repair", "--background")["id"] != job["id"], "that one reads nothing"
    program("jobs", "work", job["id"])
    assert program.json("jobs", "show", job["id"])["state"] == "done"
    assert pack.read_bytes() == good
    assert program.json("verify", project, "--read-data")["ok"]
    name = pack.relative_to(store).as_posix()
    flip(pack)
    for copy in (program.folder / "workdir" / ".cache").rglob(pack.name):
        copy.unlink()
    job = program.json("verify", project, "--read-data", "--repair", "--background")
    worked = program("jobs", "work", job["id"], code=CORRUPT)
    told = (worked.stdout + worked.stderr).decode()
    assert f"object {name} is damaged" in told and "nothing was repaired" in told
