"""A command that is interrupted, or fails, takes back what it made for its work, or says what is there."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.cli import EXECUTABLE, Program
from tests.support.embedded import query
from tests.support.waiting import wait_until

SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
BIG_FILES, BIG_BYTES = 24, 8_000_000


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that takes a while to import and to export."""
    folder = tmp_path_factory.mktemp("big")
    for number in range(BIG_FILES):
        (folder / f"big-{number}").write_bytes(os.urandom(BIG_BYTES))
    return folder


def interrupted(
    program: Program, sign: signal.Signals, when: Callable[[], object], *arguments: str | Path
) -> subprocess.CompletedProcess[bytes]:
    with program.start(*map(str, arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        deadline = time.monotonic() + 60
        while not when() and running.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        running.send_signal(sign)
        out, error = running.communicate(timeout=60)
    return subprocess.CompletedProcess(running.args, running.returncode, out, error)


def packs(program: Program) -> int:
    return sum(1 for _ in (program.folder / "workdir" / ".store").rglob("packs/*"))


def names(program: Program) -> set[str]:
    return {project["name"] for project in program.json("project", "list")["items"]}


@pytest.mark.in_memory("watches the store's folder to know when to interrupt")
@pytest.mark.parametrize(("sign", "code"), SIGNALS)
def test_an_interrupted_import_leaves_no_project_that_it_made(
    program: Program, big: Path, sign: signal.Signals, code: int
) -> None:
    before, name = packs(program), f"interrupted-{code}"
    done = interrupted(program, sign, lambda: packs(program) > before, "import", name, big, "--create")
    assert (done.returncode, done.stdout) == (code, b"")
    assert b"Traceback" not in done.stderr
    assert name not in names(program)


@pytest.mark.in_memory("watches the store's folder to know when to interrupt")
def test_an_interrupted_import_leaves_a_project_that_was_there_or_that_others_use(program: Program, big: Path) -> None:
    before = packs(program)
    project = program.project()
    interrupted(program, signal.SIGINT, lambda: packs(program) > before + 1, "import", project, big, "--create")
    assert program.json("project", "show", project)["generation"] == 1
    assert program.json("verify", project, "--read-data")["ok"]

    def others_use_it() -> bool:
        if packs(program) == before:
            return False
        program("checkout", "in-use", "--session", "others")
        return True

    before = packs(program)
    done = interrupted(program, signal.SIGINT, others_use_it, "import", "in-use", big, "--create")
    assert done.returncode == 130
    assert "in-use" in names(program)
    said = done.stderr.decode()
    assert "note: the project in-use was made" in said
    for line in said.splitlines()[-2:]:
        program(*line.partition(":  ")[2].split()[1:])
    assert "in-use" not in names(program)


def test_a_failed_import_leaves_no_project_that_it_made(program: Program, tmp_path: Path) -> None:
    (tmp_path / "many").mkdir()
    for number in range(4):
        (tmp_path / "many" / str(number)).write_bytes(b"x")
    done = program("import", "too-many", tmp_path / "many", "--create", code=2, PROJECTS_QUOTAS_MAX_FILES="3")
    assert b"error" in done.stderr
    own = program.folder / "workdir"
    program("import", "own-data", own, "--create", code=2)
    program("import", "stale", tmp_path, "--create", "--expect-generation", "7", code=4)
    assert names(program).isdisjoint({"too-many", "own-data", "stale"})


@pytest.mark.in_memory("watches the store's folder to know when to interrupt")
def test_ctrl_c_on_a_terminal_ends_an_import_in_order(program: Program, big: Path) -> None:
    before = packs(program)
    master, slave = pty.openpty()
    running = subprocess.Popen(
        [EXECUTABLE, "import", "typed", str(big), "--create"],
        env=program.environ(TERM="xterm"),
        cwd=program.folder,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        preexec_fn=lambda: os.close(os.open(os.ttyname(0), os.O_RDWR)),  # which makes it the controlling terminal
    )
    os.close(slave)
    wait_until(lambda: packs(program) > before, 60)
    os.write(master, b"\x03")
    assert running.wait(60) == 130
    os.close(master)
    assert "typed" not in names(program)


@pytest.mark.parametrize(("sign", "code"), SIGNALS)
def test_an_interrupted_export_leaves_no_folder(
    program: Program, big: Path, tmp_path: Path, sign: signal.Signals, code: int
) -> None:
    if "to-export" not in names(program):
        program("import", "to-export", big, "--create")
    out = tmp_path / "new" / "out"
    done = interrupted(program, sign, lambda: out.is_dir() and any(out.iterdir()), "export", "to-export", out)
    assert done.returncode == code
    assert b"Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_checkout_leaves_no_session_that_nobody_can_name(program: Program, big: Path) -> None:
    if "to-export" not in names(program):
        program("import", "to-export", big, "--create")
    before = program.json("sessions")["items"]
    works = lambda: any(program.ram.rglob("big-*"))  # noqa: E731
    done = interrupted(program, signal.SIGTERM, works, "checkout", "to-export")
    assert (done.returncode, done.stdout) == (143, b"")
    assert program.json("sessions")["items"] == before
    assert not works()


def test_ctrl_c_is_for_the_database_program_that_is_run(program: Program) -> None:
    with program.start(
        "database", "psql", "-c", "SELECT pg_sleep(60)", stderr=subprocess.PIPE, start_new_session=True
    ) as running:
        sockets = program.folder / "workdir" / ".postgres" / "run"
        asked = "SELECT pid FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)'"
        wait_until(lambda: query(f"postgresql://manifold@/manifold?host={sockets}", asked))
        os.killpg(running.pid, signal.SIGINT)
        assert running.stderr is not None
        assert b"canceling statement due to user request" in running.stderr.read()
    assert running.returncode == 1


def test_a_session_is_closed_from_inside_its_folder_and_each_command_after_that_says_what_is_wrong(
    program: Program,
) -> None:
    folder = program.checkout(program.project(), "inside")
    script = """
    cd "$1" && "$0" close || exit 90
    "$0" sessions; echo $? >&2
    "$0" project list --json; echo $? >&2
    "$0" close; echo $? >&2
    cd "$2" && "$0" sessions
    """
    done = subprocess.run(
        ["/bin/sh", "-c", script, EXECUTABLE, folder, program.folder],
        env=program.environ(),
        capture_output=True,
        check=True,
    )
    assert not folder.exists()
    assert b"this shell is in its folder, which is gone now: cd ~" in done.stderr
    gone = b"error: the current folder no longer exists\nhint: go to one that does: cd ~\n2\n"
    assert done.stderr.count(gone) == 2
    assert b'"hint": "go to one that does: cd ~"' in done.stderr
