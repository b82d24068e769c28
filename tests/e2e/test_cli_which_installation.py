"""Which installation a command means: what is copied from the screen works, and nothing is made unasked."""

from __future__ import annotations

import html
import json
import os
import pty
import re
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from manifold_local.host_lock import host_is_running

from tests.support.cli import EXECUTABLE
from tests.support.waiting import wait_until
from tests.support.zygote import Zygote

DEFAULT = Path("/app/manifold")
READING = [
    ["project", "list"], ["project", "show", "p"], ["project", "rename", "p", "q"], ["project", "delete", "p", "--yes"],
    ["import", "p", "."], ["export", "p", "out"], ["checkout", "p"], ["status"], ["save"], ["commit"], ["close"],
    ["sessions"], ["log", "p"], ["show", "p", "1"], ["diff", "p", "1"], ["ls", "p"], ["cat", "p", "a"],
    ["restore", "p", "1"], ["fork", "p", "q"], ["verify", "p"], ["events", "list"], ["events", "redrive", "p"],
    ["keys", "status"], ["keys", "rewrap"], ["jobs", "list"], ["jobs", "work"], ["health"], ["store", "check"],
    ["adopt", "--same"], ["leftovers", "list"], ["leftovers", "remove", "--all"],
    ["leftovers", "set-aside", "s"], ["database", "pg_dump"], ["stop"],
]  # fmt: skip
NOT_FOUND, INVALID = 3, 2


class Shell(NamedTuple):
    """A folder of its own, and the environment of somebody who has set nothing."""

    folder: Path
    zygote: Zygote

    def environ(self, **more: str) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        return {**kept, "XDG_RUNTIME_DIR": str(self.folder), "TMPDIR": str(self.folder), **more}

    def run(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[bytes]:
        return self.zygote.run(arguments, env=self.environ(**more), cwd=self.folder, input=b"", timeout=120)


@pytest.fixture
def shell(tmp_path: Path, zygote: Zygote) -> Shell:
    return Shell(tmp_path, zygote)


class Up(NamedTuple):
    """A host on a folder whose name a shell would take apart."""

    process: subprocess.Popen[str]
    workdir: Path
    said: str
    url: str

    def lines(self) -> list[str]:
        """Return what is said to be typed in another shell, and what then."""
        told = self.said.split("In another shell (sh, bash, zsh):\n")[1].split("\n\n")[0]
        return [line.strip() for line in told.splitlines() if line != "Then:"]


@pytest.fixture
def up(shell: Shell, ram_folder: Path) -> Iterator[Up]:
    workdir = shell.folder / "it's here"
    screen = shell.folder / "screen"
    variables = {
        "WORKDIR": str(workdir),
        "PROJECTS_ENCRYPT": "true",
        "PROJECTS_WORKSPACE_MODE": "ephemeral",
        "PROJECTS_WORKSPACE_TMPFS_DIR": str(ram_folder),
        "SERVER_PORT": "0",
    }
    with screen.open("w") as out:
        process = subprocess.Popen([EXECUTABLE, "up"], env=shell.environ(**variables), cwd=shell.folder, stdout=out)
    try:
        wait_until(lambda: process.poll() is not None or "Stop with" in screen.read_text(), 90)
        found = host_is_running(workdir)
        assert found is not None
        yield Up(process, workdir, screen.read_text(), found.url)
    finally:
        process.terminate()
        process.wait(60)


def test_a_command_that_only_looks_makes_no_installation(shell: Shell) -> None:
    workdir = shell.folder / "none"
    for command in READING:
        done = shell.run(*command, WORKDIR=str(workdir))
        assert done.returncode == NOT_FOUND, (command, done.stdout, done.stderr)
        assert f"there is no installation in {workdir}" in done.stderr.decode(), command
        assert not workdir.exists(), command


@pytest.mark.skipif(DEFAULT.exists(), reason=f"{DEFAULT} is there")
def test_nothing_is_made_in_the_default_folder_unasked(shell: Shell) -> None:
    for command in (["project", "create", "p"], ["import", "p", ".", "--create"], ["migrate-db"]):
        done = shell.run(*command)
        assert done.returncode == INVALID, (command, done.stderr)
        said = done.stderr.decode()
        assert f"WORKDIR is not set: make a new installation in {DEFAULT}?" in said
        assert f"export WORKDIR={DEFAULT}" in said
    done = shell.run("project", "list")
    assert done.returncode == NOT_FOUND
    assert "WORKDIR is not set, and no server runs" in done.stderr.decode()

    ours, theirs = pty.openpty()
    asked = subprocess.Popen(
        [EXECUTABLE, "project", "create", "p"], env=shell.environ(), stdin=theirs, stderr=subprocess.PIPE
    )
    os.close(theirs)
    os.write(ours, b"n\n")
    assert b"make a new installation in" in asked.communicate(timeout=60)[1]
    os.close(ours)
    assert asked.returncode != 0
    assert not DEFAULT.exists()


def test_what_the_host_shows_can_be_typed_in_another_shell(shell: Shell, up: Up) -> None:
    """The lines of its screen and of its page, and commands without any of them."""
    (shell.folder / "folder").mkdir()
    (shell.folder / "folder" / "a.txt").write_text("a\n")
    page = urllib.request.urlopen(up.url).read().decode()
    on_page = [html.unescape(one) for one in re.findall(r"<code>(manifold [^<]*)</code>", page)]
    assert len(on_page) == 2
    lines = up.lines()
    exports = [line for line in lines if line.startswith("export ")]
    assert len(exports) == 2
    assert shell.environ()["PATH"] == os.environ["PATH"] and str(EXECUTABLE.parent) in exports[0]

    for program in ("sh", "bash"):
        for typed in (lines, [*exports, *on_page]):
            done = subprocess.run(
                [program, "-euc", "\n".join(re.sub(r" {3,}.*", "", line) for line in typed)],
                env=shell.environ(PATH="/usr/bin:/bin"),
                cwd=shell.folder,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stdout + done.stderr
            assert "imported 1 entry" in done.stdout
            assert shell.run("project", "delete", "my-project", "--yes").returncode == 0

    # Without any of it: the host that runs is found, and its settings count.
    shell.run("project", "create", "found")
    listed = shell.run("project", "list", "--json")
    assert [one["name"] for one in json.loads(listed.stdout)["items"]] == ["found"], listed.stderr
    assert str(up.workdir) in shell.run("project", "list").stderr.decode()
    shown = json.loads(shell.run("config", "show", "--json").stdout)
    settings: dict[str, Any] = shown.get("settings", shown)
    assert settings["projects.encrypt"]["value"] is True
    assert settings["projects.workspace.mode"]["value"] == "ephemeral"

    # A folder that is named is meant, and a host that has stopped is not found any more.
    assert shell.run("project", "list", WORKDIR=str(shell.folder / "other")).returncode == NOT_FOUND
    up.process.terminate()
    up.process.wait(60)
    assert shell.run("project", "list").returncode == NOT_FOUND or DEFAULT.exists()
    assert list((shell.folder / "manifold").iterdir()) == []
