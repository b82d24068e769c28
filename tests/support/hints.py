"""Does what an error of the command line says, to the letter, and sees that it helps."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

from tests.support.cli import Program

CONFLICT = 4
"""Exit code."""
_COMMAND = re.compile(r"^(?:.*: +|  )?(manifold .*)$", re.MULTILINE)


def commands_in(text: str) -> list[str]:
    """Return the commands that a message names, each on a line of its own or at the end of one."""
    return _COMMAND.findall(text)


def obey(program: Program, command: str, code: int = 0) -> subprocess.CompletedProcess[bytes]:
    """Run a command that was named."""
    name, *arguments = shlex.split(command)
    assert name == "manifold"
    return program(*arguments, code=code)


def _folder(done: subprocess.CompletedProcess[bytes]) -> Path:
    return Path(os.fsdecode(done.stdout.removesuffix(b"\n")))


def settle_conflicts(program: Program, *where: str) -> None:
    """From a fresh conflict to a resolved commit, each way that is told, from a commit and from a checkout.

    Args:
        where: options that say which projects to work in. What is told has to repeat them.
    """
    project = program.project({"a.txt": b"base\n", "b.txt": b"base\n"})

    def content(path: str = "a.txt") -> bytes:
        folder = _folder(program(*where, "checkout", project, "--session", f"{project}-look"))
        return (folder / path).read_bytes()

    def clash(session: str, told_by: str) -> tuple[Path, str]:
        """Have others change what the session has changed. Return its folder, and what it is told."""
        work = _folder(program(*where, "checkout", project, "--session", session))
        (work / "a.txt").write_bytes(b"mine\n")
        others = f"{session}-others"
        (_folder(program(*where, "checkout", project, "-s", others)) / "a.txt").write_bytes(b"theirs of %r\n" % session)
        program(*where, "commit", others)
        arguments = ("commit", session) if told_by == "commit" else ("checkout", project, "--session", session)
        told = program(*where, *arguments, code=CONFLICT).stderr.decode()
        assert "a.txt" in told
        assert program.error(*where, *arguments, code=CONFLICT)["hint"] in told
        return work, told

    for told_by in ("commit", "checkout"):
        # Yours, on top of theirs.
        session = f"{project}-ours-{told_by}"
        work, told = clash(session, told_by)
        ours, _, commit = commands_in(told)
        assert _folder(obey(program, ours)) == work
        assert (work / "a.txt").read_bytes() == b"mine\n"
        obey(program, commit)
        assert content() == b"mine\n"

        # By hand: one of the two, edited.
        session = f"{project}-hand-{told_by}"
        work, told = clash(session, told_by)
        ours, _, commit = commands_in(told)
        obey(program, ours)
        (work / "a.txt").write_bytes(b"theirs and mine\n")
        obey(program, commit)
        assert content() == b"theirs and mine\n"

        # Theirs; yours is kept, seen, and brought back.
        session = f"{project}-theirs-{told_by}"
        work, told = clash(session, told_by)
        _, theirs, commit = commands_in(told)
        taken = obey(program, theirs)
        assert (work / "a.txt").read_bytes() == b"theirs of %r\n" % session
        said = taken.stderr.decode()
        assert "a.txt was also changed by others: kept theirs" in said
        (work / "b.txt").write_bytes(told_by.encode())
        obey(program, commit)
        see, bring_back, _ = commands_in(said)
        assert (_folder(obey(program, see)) / "a.txt").read_bytes() == b"mine\n"
        obey(program, bring_back)
        assert (content(), content("b.txt")) == (b"mine\n", told_by.encode())

    # Decided by the commit itself; yours is kept, and thrown away.
    session = f"{project}-at-once"
    work, _ = clash(session, "commit")
    (work / "b.txt").write_bytes(b"mine\n")
    done = program.json(*where, "commit", session, "--strategy", "theirs")
    assert (done["conflicts"], len(done["kept"])) == (["a.txt"], 1)
    assert done["kept"][0] in program.text(*where, "sessions", project)
    work, _ = clash(f"{project}-last", "checkout")
    said = program(*where, "checkout", project, "-s", f"{project}-last", "--strategy", "theirs").stderr.decode()
    *_, throw_away = commands_in(said)
    kept = shlex.split(throw_away)[-2]
    assert kept in program.text(*where, "sessions", project)
    obey(program, throw_away)
    assert kept not in program.text(*where, "sessions", project)
