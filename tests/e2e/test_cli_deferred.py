"""Work that a job does for a command that does not wait: ``--background``, and ``manifold jobs result``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.cli import Program


@pytest.fixture
def project(program: Program) -> str:
    made = program.project({"a.txt": b"one\n", "b.txt": b"one\n"})
    work = program.checkout(made, f"{made}-1")
    for name in ("a.txt", "b.txt"):
        (work / name).write_text("two\n")
    program("commit", f"{made}-1", "-m", "two")
    return made


def test_a_restore_in_the_background_is_a_job_whose_result_is_told_when_it_is_done(
    program: Program, project: str
) -> None:
    begun = program.json("restore", project, "1", "a.txt", "--background", "-m", "back")
    assert (begun["kind"], begun["state"]) == ("restore", "running")
    error = program.error("jobs", "result", begun["id"], code=3)
    assert "nothing has come of it yet" in error["message"]
    program("jobs", "work", begun["id"])
    assert "restored 1 path as generation 3" in program.text("jobs", "result", begun["id"])
    result = program.json("jobs", "result", begun["id"][:8])
    assert [one["path"] for one in result["restored"]["paths"]] == ["a.txt"]
    assert (program("cat", project, "a.txt").stdout, program("cat", project, "b.txt").stdout) == (b"one\n", b"two\n")
    assert "is of the kind restore" in program.error("jobs", "result", begun["id"], "--save", "x", code=3)["message"]
    assert not Path("x").exists()


def test_what_cannot_be_restored_is_refused_at_once(program: Program, project: str) -> None:
    program.error("restore", project, "7", "--background", code=3)
    program.error("restore", project, "1", "nowhere", "--background", code=3)
    program.error("restore", project, "1", "--expect-generation", "1", "--background", code=4)
    assert program.json("jobs", "list", "--project", project)["items"] == []
