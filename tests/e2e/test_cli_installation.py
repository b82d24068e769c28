"""``manifold leftovers`` and ``adopt``, and what a checkout says of work that is not there any more."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from manifold_common.errors import ErrorKind
from manifold_local.cli.exit_codes import EXIT_CODES

from tests.support.cli import EXECUTABLE, Program
from tests.support.shown import run_shown
from tests.support.zygote import Zygote


def test_a_working_set_is_set_aside_listed_brought_back_and_removed(program: Program) -> None:
    name = program.project({"a": b"one"})
    work = program.checkout(name, "aside-1")
    (work / "mine").write_bytes(b"not saved")
    done = program.json("leftovers", "set-aside", "aside-1")
    assert not work.exists()
    (found,) = program.json("leftovers", "list")["set_aside"]
    assert (found["name"], found["session"], found["path"]) == (done["name"], "aside-1", done["path"])
    assert done["name"] in program.text("leftovers", "list")
    assert b"set aside: 1" in program("sessions").stderr, "each command warns of it"

    program("import", f"{name}-rescued", Path(found["path"]), "--create")
    assert program("cat", f"{name}-rescued", "mine").stdout == b"not saved"
    assert program.checkout(name, "aside-1") == work, "the session begins anew"
    assert not (work / "mine").exists()
    assert program.json("leftovers", "remove", found["name"])["removed"] == [found["name"]]
    assert program.json("leftovers", "list")["set_aside"] == []
    assert program.error("leftovers", "remove", found["name"], code=EXIT_CODES[ErrorKind.NOT_FOUND])


def test_the_way_back_that_the_list_shows_brings_only_what_was_changed(program: Program) -> None:
    name = program.project({"a": b"one", "b": b"two", "d/x": b"three"})
    (program.checkout(name, "sparse-1", "--path", "/d") / "d" / "x").write_bytes(b"mine")
    (program.checkout(name, "old-1") / "new").write_bytes(b"mine too")
    (program.checkout(name, "other-1") / "b").write_bytes(b"of others")
    program("commit", "other-1")
    for session in ("sparse-1", "old-1"):
        program("leftovers", "set-aside", session)
    for one in program.json("leftovers", "list")["set_aside"]:
        assert one["bring_back"] in program("leftovers", "list").stderr.decode()
        script = f'set -e\n{one["bring_back"]}\ncd "$work"\nmanifold commit'
        environ = program.environ(PATH=f"{EXECUTABLE.parent}:{os.environ['PATH']}")
        subprocess.run(["bash", "-c", script], check=True, env=environ, cwd=program.folder, timeout=60)
        program("leftovers", "remove", one["name"])
    found = {path: program("cat", name, path).stdout for path in ("a", "b", "d/x", "new")}
    assert found == {"a": b"one", "b": b"of others", "d/x": b"mine", "new": b"mine too"}


def test_leftovers_are_removed_only_when_it_is_said_which(program: Program) -> None:
    for wrong in (["leftovers", "remove"], ["leftovers", "remove", "x", "--all"], ["leftovers", "set-aside"]):
        program.error(*wrong, code=EXIT_CODES[ErrorKind.INVALID])
    assert program.json("leftovers", "remove", "--all")["removed"] == []


def test_adopt_wants_to_know_which(program: Program) -> None:
    for wrong in (["adopt"], ["adopt", "--same", "--new"]):
        program.error(*wrong, code=EXIT_CODES[ErrorKind.INVALID])
    before = program.json("adopt", "--same")
    assert program.json("adopt", "--same") == before, "it was the same already"


def test_a_checkout_says_what_was_lost_with_the_ram_and_that_nobody_saves_drafts(program: Program) -> None:
    name = program.project({"a": b"one"})
    first = program("checkout", name, "--session", "lost-1")
    assert b"no host is running: nothing is saved" in first.stderr
    work = program.checkout(name, "lost-1")
    assert b"no host is running" not in program("checkout", name, "--session", "lost-1").stderr, "it is said once"
    (work / "mine").write_bytes(b"not saved")
    shutil.rmtree(work.parent)  # as a restart of the machine does
    again = program("checkout", name, "--session", "lost-1")
    assert b"warning: its working set here is gone: what was changed there after " in again.stderr
    assert b"(restored)" in again.stderr
    shutil.rmtree(work.parent)
    missing = program.json("checkout", name, "--session", "lost-1")["missing"]
    assert missing["is_lost"] is True


def test_a_session_that_went_on_on_another_machine_is_not_closed_unasked(
    tmp_path: Path, ram_folder: Path, zygote: Zygote, postgres_dsn: str
) -> None:
    """The set that is here knows nothing of what is unsaved there, and a host there removes what was closed."""
    variables = {
        "DATABASE_URL": postgres_dsn,
        "PROJECTS_FILESYSTEM_ROOT": str(tmp_path / "store"),
        "PROJECTS_ENCRYPTION_FILE_KEYSTORE_PATH": str(tmp_path / "keys"),
    }
    nodes = []
    for name in "ab":
        (tmp_path / name).mkdir()
        (ram_folder / name).mkdir()
        nodes.append(Program(tmp_path / name, ram_folder / name, zygote, variables))
    left, there = nodes
    project = left.project({"a": b"one"})
    work = left.checkout(project, "s1")
    (there.checkout(project, "s1") / "mine").write_bytes(b"not saved")
    error = left.error("close", "s1", code=EXIT_CODES[ErrorKind.CONFLICT])
    assert "has gone on on" in error["message"]
    assert "left behind" in left.text("sessions")
    (work / "own").write_bytes(b"not saved either")
    error = left.error("close", "s1", code=EXIT_CODES[ErrorKind.CONFLICT])
    assert "has gone on on" in error["message"]
    assert str(work) in error["message"]
    assert there.json("commit", "s1")["added"] == 1
    there("close", "s1")
    assert there.json("sessions")["items"] == []


def test_the_commands_that_the_page_shows(
    tmp_path: Path, ram_folder: Path, empty_postgres_dsn: str, zygote: Zygote
) -> None:
    program = Program(tmp_path, ram_folder / "ram", zygote, {"DATABASE_URL": empty_postgres_dsn})
    program("migrate-db")
    program.checkout(program.project(), "agent-1")
    shown = {"environ": program.environ(), "cwd": program.folder}
    done = run_shown("docs/installations.md: manifold leftovers", **shown, SESSION="agent-1")
    assert "set aside as" in done.stdout
    same, new = run_shown("docs/installations.md: manifold adopt", **shown).stdout.splitlines()
    assert same != new
