"""What the command line prints: JSON for programs, bytes as they are, nothing that a terminal obeys."""

from __future__ import annotations

import base64
import json
import os
import pty
import re
import select
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.cli import EXECUTABLE, Program

COMMANDS = (
    "up project import export checkout status save commit close sessions log show diff ls cat restore fork verify "
    "config migrate-db health database stop"
)
EVERY_BYTE = bytes(range(256)) * 5000


def test_every_command_answers_in_json(program: Program, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "f").write_text("x\n")
    name = "json-project"
    created = program.json("project", "create", name)
    assert program.json("project", "show", name) == created
    assert created in program.json("project", "list")["items"]
    imported = program.json("import", name, tmp_path / "in")
    assert (imported["generation"], imported["entries"], imported["total_bytes"]) == (1, 1, 2)
    checked_out = program.json("checkout", name, "-s", "json-1")
    Path(checked_out["path"], "f").write_text("y\n")
    status = program.json("status", "json-1")
    assert [(d["path"], d["change"], d["after"]["size"]) for d in status["differences"]] == [("f", "modified", 2)]
    assert program.json("save", "json-1")["changed"] >= 1
    assert program.json("commit", "json-1", "-m", "two", "--provenance", "cost=0.5")["generation"] == 2
    assert [session["session"] for session in program.json("sessions", name)["items"]] == ["json-1"]
    commits = program.json("log", name)["items"]
    assert (commits[0]["message"], commits[0]["provenance"]) == ("two", {"cost": 0.5})
    assert program.json("log", name, "--limit", "1", "--before", "2")["items"] == commits[1:]
    assert [d["path"] for d in program.json("diff", name, "1", "2")["items"]] == ["f"]
    assert program.json("diff", name, "2")["after"] == 2
    shown = program.json("show", name, "2")
    assert shown.pop("differences")[0]["change"] == "modified"
    assert shown == commits[0]
    assert program.json("ls", name)["items"][0]["kind"] == "file"
    assert program.json("cat", name, "f")["size"] == 2
    assert program.json("restore", name, "1")["paths"] == [{"path": "f"}]
    assert program.json("export", name, tmp_path / "out")["entries"] == 1
    assert program.json("fork", name, "json-fork")["generation"] == 1
    assert program.json("project", "rename", "json-fork", "json-fork-2")["name"] == "json-fork-2"
    assert program.json("project", "delete", "json-fork-2", "-y")["name"] == "json-fork-2"
    verified = program.json("verify", name, "--read-data")
    assert (verified["ok"], verified["problems"], verified["commits"]) == (True, [], 3)
    closed = {"session": "json-1", "left": "", "set_aside": "", "has_newer": False}
    assert program.json("close", "json-1") == closed
    assert program.json("migrate-db") == {"applied": []}
    assert "CREATE ROLE" in program.json("migrate-db", "--print-roles")["script"]
    assert program.json("config", "check")["ok"] is True
    assert program.json("config", "show")["settings"]["projects.encrypt"] == {
        "value": True,
        "source": "variable PROJECTS_ENCRYPT",
    }


def test_secrets_are_masked_in_the_configuration(program: Program) -> None:
    printed = program("config", "show", S3_ACCESS_KEY_ID="key", S3_SECRET_ACCESS_KEY="canary-secret").stdout
    assert b"********" in printed
    assert b"canary" not in printed


def test_config_check_names_what_has_no_effect_yet_and_config_show_leaves_it_out(program: Program) -> None:
    given = {"OPENAI_API_KEY": "canary", "LOG_PAYLOADS": "true"}
    found = program.json("config", "check", **given)
    assert found["ok"] is True
    assert {(one["key"], one["where"]) for one in found["warnings"]} == {
        ("llm.apiKey", "variable OPENAI_API_KEY"),
        ("logPayloads", "variable LOG_PAYLOADS"),
    }
    said = program("config", "check", **given)
    assert said.stdout.decode().count("warning: variable ") == 2 and b"the configuration is valid" in said.stdout
    assert b"canary" not in said.stdout + said.stderr
    assert program.json("config", "check")["warnings"] == []
    shown = program.json("config", "show", **given)["settings"]
    assert "server.port" in shown and not {"llm.apiKey", "logPayloads"} & shown.keys()


def test_a_host_is_not_started_where_a_server_elsewhere_was_named(program: Program) -> None:
    error = program.error("up", "--remote", "http://server.example", code=2)
    assert "http://server.example" in error["message"] and "--remote" in error["hint"]


@pytest.mark.parametrize("command", ["project list", "config check", "health", "up", "project list --remote http://h"])
def test_what_is_not_there_is_refused_by_every_command_alike(program: Program, command: str) -> None:
    said = program(*command.split(), code=2, AUTH_ENABLED="true").stderr.decode()
    assert "variable AUTH_ENABLED: auth.enabled: has no effect yet: this release has no sign-in (remove it, " in said


def test_cat_gives_every_byte_back(program: Program) -> None:
    project = program.project({"bytes.bin": EVERY_BYTE, "empty": b""})
    assert program("cat", project, "bytes.bin").stdout == EVERY_BYTE
    assert program("cat", project, "empty").stdout == b""


def test_names_that_are_not_utf8_go_in_and_come_out(program: Program, tmp_path: Path) -> None:
    name = b"caf\xe9\x1b[31m"
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(b"odd\n")
    project = program.project()
    program("import", project, tmp_path)
    assert program("cat", project, name).stdout == b"odd\n"
    entry = program.json("ls", project)["items"][0]
    assert base64.b64decode(entry["path_base64"]) == name
    assert r"A caf\xe9\x1b[31m" in program.text("diff", project, "1").splitlines()
    error = program("cat", project, name + b"x", code=3).stderr
    assert b"\x1b" not in error
    program("restore", project, "1")
    program("restore", project, "2", name)
    assert program("cat", project, name).stdout == b"odd\n"


def test_messages_cannot_paint_the_terminal(program: Program) -> None:
    project = program.project()
    (program.checkout(project, "painter") / "f").write_text("x")
    program("commit", "painter", "-m", "red \x1b[31m\nsecond line", "--provenance", "k\x1b=v\x1b")
    log = program("log", project).stdout
    assert b"\x1b" not in log
    assert rb"red \x1b[31m" in log
    assert b"second line" in log


def test_what_is_not_kept_is_said_in_one_line_of_each_kind(program: Program, tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_bytes(name.encode())
        (tmp_path / name).chmod(0o4755)
        os.link(tmp_path / name, tmp_path / f"{name}-again")
    project = program.project()
    said = program("import", project, tmp_path).stderr.decode()
    assert re.search("not kept: set-user-ID, set-group-ID or sticky bits, of 4 paths, such as [ab]", said)
    assert re.search("not kept: being a hard link to another file, of 2 paths, such as [ab]", said)
    found = program.json("import", project, tmp_path)["not_kept"]
    assert {item["kind"]: item["count"] for item in found} == {"special_bits": 4, "hard_links": 2}
    (program.checkout(project, "special") / "new").write_bytes(b"x")
    (program.checkout(project, "special") / "new").chmod(0o2755)
    assert program.json("commit", "special")["not_kept"] == [
        {"kind": "special_bits", "count": 1, "example": {"path": "new"}}
    ]


def test_a_reader_that_stops_early_is_no_error(program: Program) -> None:
    project = program.project({f"file-{number:04}": b"x" for number in range(3000)} | {"big": EVERY_BYTE})
    for command in (["cat", project, "big"], ["ls", project], ["diff", project, "0", "--json"]):
        with program.start(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
            assert running.stdout is not None
            assert running.stderr is not None
            running.stdout.read(10)
            running.stdout.close()
            assert running.stderr.read().count(b"\n") <= 1, command
        assert running.returncode == 141, command


def test_a_full_disk_under_the_output_is_reported(program: Program) -> None:
    project = program.project({"big": EVERY_BYTE})
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [EXECUTABLE, "cat", project, "big"],
            env=program.environ(),
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode == 6
    assert b"No space left" in done.stderr


def test_no_progress_is_printed_when_nobody_watches(program: Program, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(os.urandom(20_000_000))
    done = program("import", "quiet-import", tmp_path, "--create")
    assert done.stderr == b""
    assert b"\x1b" not in done.stdout


def test_a_terminal_gets_escaped_names_and_colours_in_patches_only_there(program: Program) -> None:
    project = program.project({"a.txt": b"one\n"})
    (program.checkout(project, "tty") / "a.txt").write_bytes(b"two \x1b[5m\n")
    program("commit", "tty")
    piped = program("diff", project, "1", "2", "--patch").stdout
    assert b"+two \x1b[5m\n" in piped
    shown = _on_terminal(program, "diff", project, "1", "2", "--patch")
    assert rb"+two \x1b[5m" in shown
    assert b"\x1b[5m" not in shown
    assert b"\x1b[32m+two" in shown
    assert b"\x1b[32m" not in _on_terminal(program, "diff", project, "1", "2", "--patch", NO_COLOR="1")


def test_a_patch_says_on_standard_error_what_it_leaves_out(program: Program, tmp_path: Path) -> None:
    project = program.project({"a.bin": b"\0one", "kept": b"x\n"})
    folder = program.checkout(project, "patching")
    (folder / "a.bin").write_bytes(b"\0two" * 500_000)
    (folder / "hollow").mkdir()
    program("commit", "patching")
    for command in (["diff", project, "1", "2"], ["show", project, "2"]):
        done = program(*command, "--patch")
        assert b"the patch leaves out 1 path that is a folder without files" in done.stderr
        assert b"hollow" in done.stderr
        assert b"hollow" not in program(*command, "--patch", "--quiet").stderr
        patch = done.stdout[done.stdout.index(b"diff --git") :]
    (tmp_path / "a.bin").write_bytes(b"\0one")
    subprocess.run(["git", "apply", "-"], cwd=tmp_path, input=patch, check=True)
    assert (tmp_path / "a.bin").read_bytes() == b"\0two" * 500_000


IMPATIENT = [
    EXECUTABLE.with_name("python"),
    "-c",
    "from manifold_local.cli import progress, run; progress.PATIENCE_SECONDS = 0; raise SystemExit(run.run())",
]
"""The program, for which all work is long work."""


def _on_terminal(
    program: Program, *arguments: str, executable: Sequence[str | Path] = (EXECUTABLE,), **variables: str
) -> bytes:
    """Return what a command writes to a terminal."""
    master, slave = pty.openpty()
    running = subprocess.Popen(
        [*executable, *arguments],
        env=program.environ(**{"TERM": "xterm", **variables}),
        stdin=slave,
        stdout=slave,
        stderr=slave,
        close_fds=True,
    )
    os.close(slave)
    written = b""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if select.select([master], [], [], 0.2)[0]:
            try:
                part = os.read(master, 65536)
            except OSError:
                break
            if not part:
                break
            written += part
        elif running.poll() is not None:
            break
    os.close(master)
    assert running.wait(10) == 0, written
    return written


def test_no_progress_is_shown_on_a_terminal_that_cannot_go_back(program: Program, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(os.urandom(5_000_000))
    shown = _on_terminal(program, "import", "dumb-import", str(tmp_path), "--create", executable=IMPATIENT, TERM="dumb")
    assert b"importing" not in shown and b"\x1b" not in shown


def test_progress_is_shown_on_a_terminal_for_long_work(program: Program, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(os.urandom(5_000_000))
    shown = _on_terminal(program, "import", "watched", str(tmp_path), "--create", executable=IMPATIENT)
    assert b"importing" in shown
    assert b"generation 1 of watched" in shown
    for quiet in ("--quiet", "--json"):
        shown = _on_terminal(program, "export", "watched", str(tmp_path / quiet), quiet, executable=IMPATIENT)
        assert b"exporting" not in shown
    assert b"exporting" in _on_terminal(program, "export", "watched", str(tmp_path / "out"), executable=IMPATIENT)


def test_help_names_every_command_and_starts_without_the_engine(program: Program) -> None:
    printed = program.text("--help")
    for name in COMMANDS.split():
        assert re.search(rf"^  {name}\b", printed, re.MULTILINE), name
    assert program.text("-h") == printed
    assert program.text() == printed
    loaded = subprocess.run(
        [EXECUTABLE.with_name("python"), "-X", "importtime", EXECUTABLE, "--help"],
        env=program.environ(),
        capture_output=True,
        check=True,
    ).stderr.decode()
    for heavy in ("manifold_common.engine", "psycopg", "pydantic", "rich", "cryptography", "obstore", "fastapi"):
        assert not re.search(rf"\| +{heavy}\b", loaded), heavy


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_get_a_completion_script(program: Program, shell: str) -> None:
    script = program(
        "--show-completion", shell, SHELL=f"/bin/{shell}", _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1"
    )
    assert b"_MANIFOLD_COMPLETE" in script.stdout


def test_project_and_session_names_are_completed(program: Program) -> None:
    project = program.project()
    program.checkout(project, "complete-me")

    def complete(line: str) -> list[str]:
        words = {"_MANIFOLD_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
        return program.text(**words).split()

    assert complete(f"manifold log {project[:6]}") == [project]
    assert complete("manifold status complete-") == ["complete-me"]
    assert complete("manifold proj") == ["project"]


def test_completion_is_silent_when_nothing_is_set_up(program: Program, tmp_path: Path) -> None:
    for variables in ({"WORKDIR": str(tmp_path / "none")}, {"DATABASE_URL": "nonsense"}):
        done = program(_MANIFOLD_COMPLETE="complete_bash", COMP_WORDS="manifold log ", COMP_CWORD="2", **variables)
        assert (done.stdout.strip(), done.stderr) == (b"", b"")
    assert not (tmp_path / "none").exists()


def test_errors_in_json_have_a_stable_shape(program: Program) -> None:
    error = program.error("log", "no-such-project", code=3)
    assert set(error) == {"code", "kind", "message", "hint", "details"}
    assert (error["code"], error["kind"]) == ("not_found", "not_found")
    plain = program("log", "no-such-project", code=3).stderr.decode().splitlines()
    assert plain == [f"error: {error['message']}", f"hint: {error['hint']}"]


def test_debug_shows_where_an_error_arose(program: Program) -> None:
    assert b"Traceback" in program("log", "no-such-project", "--debug", code=3).stderr


def test_options_may_stand_before_the_command_too(program: Program) -> None:
    assert "items" in json.loads(program.text("--json", "project", "list"))


def test_the_version_is_that_of_the_package(program: Program) -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", program.text("--version"))
