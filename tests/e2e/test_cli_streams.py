"""What the standard streams do to a command: a change that is durable is a success, whoever hears of it."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest
from manifold_local.host_lock import host_is_running

from tests.support.cli import EXECUTABLE, Program
from tests.support.embedded import needs_proc
from tests.support.waiting import wait_until

ALL_CLOSED = "<&- >&- 2>&-"


def redirected(program: Program, redirection: str, *arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    """Run a command as a shell does with ``redirection`` behind it."""
    return subprocess.run(
        ["/bin/sh", "-c", f'exec "$0" "$@" {redirection}', EXECUTABLE, *arguments],
        env=program.environ(),
        cwd=program.folder,
        capture_output=True,
        timeout=60,
        check=False,
    )


@contextmanager
def full_disk() -> Iterator[BinaryIO]:
    with open("/dev/full", "wb", buffering=0) as full:
        yield full


@contextmanager
def pipe_without_reader() -> Iterator[BinaryIO]:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb", buffering=0) as pipe:
        yield pipe


def generation(program: Program, project: str) -> int:
    found: int = program.json("project", "show", project)["generation"]
    return found


@pytest.mark.parametrize("redirection", ["2>&-", "<&-", "2>/dev/full", ">&-", ">/dev/full", ALL_CLOSED])
def test_a_commit_succeeds_whatever_the_streams_are(program: Program, redirection: str) -> None:
    project = program.project()
    session = f"s-{project}"
    (program.checkout(project, session) / "more").write_bytes(os.urandom(100_000))
    done = redirected(program, redirection, "commit", session)
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
    if redirection in (">&-", ">/dev/full"):
        assert done.stderr.startswith(b"warning: it is done, and could not be told: ")
    assert generation(program, project) == 2
    assert program.json("verify", project, "--read-data")["ok"]


@pytest.mark.parametrize(("lost", "options"), [(full_disk, ()), (pipe_without_reader, ("--json",))])
def test_every_command_that_changes_something_succeeds_where_nobody_can_be_told(
    program: Program, tmp_path: Path, lost: type[full_disk], options: tuple[str, ...]
) -> None:
    project = program.project()
    session, name = f"s-{project}", f"new-{project}"
    (program.checkout(project, session) / "a").write_text("a")
    changes: list[tuple[str | Path, ...]] = [
        ("project", "create", name),
        ("project", "rename", name, f"{name}-2"),
        ("project", "delete", f"{name}-2", "--yes"),
        ("import", f"{name}-3", tmp_path, "--create"),
        ("export", project, tmp_path / "out"),
        ("fork", project, f"{name}-4"),
        ("save", session),
        ("commit", session),
        ("leftovers", "set-aside", session),
        ("leftovers", "remove", "--all"),
        ("close", session),
        ("restore", project, "1"),
        ("events", "redrive"),
        ("keys", "rewrap"),
        ("jobs", "work"),
        ("store", "prepare"),
        ("migrate-db",),
        ("adopt", "--same"),
    ]
    assert program.zygote is not None
    for arguments in changes:
        with lost() as stdout:
            done = program.zygote.run(
                [*arguments, *options],
                env=program.environ(),
                cwd=program.folder,
                input=b"",
                timeout=60,
                stdout=stdout,
            )
        assert done.returncode == 0, (arguments, done.stderr)
        assert b"warning: it is done, and could not be told: standard output cannot" in done.stderr, arguments
    assert generation(program, project) == 3
    assert {f"{name}-3", f"{name}-4"} <= {one["name"] for one in program.json("project", "list")["items"]}
    assert (tmp_path / "out" / "readme.txt").read_bytes() == b"hello\n"


def test_a_command_that_only_tells_something_fails_where_it_cannot(program: Program) -> None:
    project = program.project()
    for arguments in (("cat", project, "readme.txt"), ("log", project), ("--help",), ("migrate-db", "--print-roles")):
        done = redirected(program, ">&-", *arguments)
        assert done.returncode == 6, arguments
        assert done.stderr == (
            b"error: standard output cannot be written to: it is closed\nhint: print it elsewhere\n"
        ), arguments


def test_a_checkout_whose_folder_cannot_be_printed_says_how_to_have_it_printed(program: Program) -> None:
    project = program.project()
    done = redirected(program, ">/dev/full", "checkout", project)
    assert done.returncode == 6
    again = done.stderr.decode().rpartition("to print that again: ")[2].split()
    folder = program.text(*again[1:]).strip()
    assert folder in done.stderr.decode()
    assert len(program.json("sessions", project)["items"]) == 1


def test_work_goes_on_when_the_terminal_that_shows_its_progress_is_gone(program: Program, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(os.urandom(5_000_000))
    master, slave = pty.openpty()
    os.close(master)
    impatient = "from manifold_local.cli import main, progress; progress.PATIENCE_SECONDS = 0; raise SystemExit(main())"
    done = subprocess.run(
        [sys.executable, "-c", impatient, "import", "unwatched", tmp_path, "--create"],
        env=program.environ(TERM="xterm"),
        stdout=subprocess.PIPE,
        stderr=slave,
        check=False,
    )
    os.close(slave)
    assert (done.returncode, generation(program, "unwatched")) == (0, 1)


@needs_proc
def test_a_host_without_streams_serves_and_has_no_file_of_its_own_in_their_place(
    program: Program, tmp_path: Path
) -> None:
    own = {"WORKDIR": str(tmp_path), "DATABASE_URL": "", "SERVER_PORT": "0"}
    host = subprocess.Popen(
        ["/bin/sh", "-c", f'exec "$0" up {ALL_CLOSED}', EXECUTABLE], env=program.environ(**own), cwd=program.folder
    )
    try:
        wait_until(lambda: (found := host_is_running(tmp_path)) and found.url, seconds=120)
        assert [os.readlink(f"/proc/{host.pid}/fd/{fd}") for fd in range(3)] == [os.devnull] * 3
        host.send_signal(signal.SIGHUP)
        assert host.wait(120) == 0
    finally:
        host.kill()
        host.wait()


_PROGRAM_OF_ONES_OWN = """
import os
from manifold_common.settings import load_settings
from manifold_local.runtime import open_manifold
with open_manifold(load_settings()):
    found = [os.readlink(f"/proc/self/fd/{fd}") for fd in range(3)]
open("found", "w").write(" ".join(found))
"""


@needs_proc
def test_a_program_of_ones_own_without_streams_has_no_file_of_ours_in_their_place(
    program: Program, tmp_path: Path
) -> None:
    shell = ["/bin/sh", "-c", f'exec "$0" "$@" {ALL_CLOSED}', sys.executable, "-c", _PROGRAM_OF_ONES_OWN]
    subprocess.run(shell, env=program.environ(), cwd=tmp_path, check=True)
    assert (tmp_path / "found").read_text().split() == [os.devnull] * 3
