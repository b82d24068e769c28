"""Whatever a command is given, it says what is wrong, returns the right code, and leaves everything as it was."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.cli import Program
from tests.support.privileges import ignores_permissions

BAD_PATHS = ["../etc/passwd", "a/../../b", "/etc/passwd", "", "a//b", "./..", "x" * 256, "y/" * 2500 + "z"]
BAD_SESSIONS = ["../escape", "/abs", "a/b", "UPPER", "", ".", "..", "a..b", "x" * 65, "sp ace", "nl\n"]
BAD_NAMES = ["", " ", "a/b", "..", ".hidden", "back\\slash", "x" * 201, "new\nline", "esc\x1b[1m", " padded ", "\udcff"]


@pytest.fixture(scope="module")
def project(program: Program) -> str:
    return program.project({"src/a.txt": b"a\n"})


def _state(program: Program, project: str) -> object:
    return program.json("project", "show", project), program.json("project", "list"), program.json("sessions")


@pytest.mark.parametrize("path", BAD_PATHS)
def test_paths_that_leave_the_project_or_cannot_be_are_refused(program: Program, project: str, path: str) -> None:
    for command in (["cat", project, path], ["restore", project, "1", path], ["ls", project, path]):
        error = program.error(*command, code=2)
        assert error["code"] == "unsafe_path", command
        assert error["hint"]


@pytest.mark.parametrize("session", BAD_SESSIONS)
def test_session_ids_that_are_no_ids_are_refused(program: Program, project: str, session: str) -> None:
    for command in (["checkout", project, "--session", session], ["commit", session]):
        assert program.error(*command, code=2)["code"] == "invalid_input", command
    assert not any((program.folder / name).exists() for name in ("escape", "ram/escape", "ram/default/escape"))


def test_project_names_that_cannot_be_used_are_refused(program: Program, project: str) -> None:
    before = _state(program, project)
    for name in BAD_NAMES:
        for command in (["project", "create", name], ["project", "rename", project, name], ["fork", project, name]):
            assert program.error(*command, code=2)["code"] == "invalid_input", command
    assert _state(program, project) == before


def test_what_does_not_exist_is_not_found(program: Program, project: str) -> None:
    foreign = "a" * 25 + "q"
    commands = [
        ["log", "no-such-project"],
        ["log", foreign],
        ["log", "../" + project],
        ["project", "show", ""],
        ["cat", project, "missing"],
        ["cat", project, "src/a.txt", "-g", "99"],
        ["ls", project, "missing"],
        ["show", project, "99"],
        ["show", project, "0"],
        ["diff", project, "1", "99"],
        ["diff", project, str(2**52)],
        ["restore", project, "99"],
        ["restore", project, "1", "missing"],
        ["checkout", project, "--generation", "99"],
        ["export", project, "never", "-g", "99"],
        ["fork", project, "never", "-g", "99"],
        ["status", "no-such-session"],
        ["save", "no-such-session"],
        ["commit", "no-such-session"],
        ["close", "no-such-session"],
        ["import", "no-such-project", "."],
    ]
    before = _state(program, project)
    for command in commands:
        error = program.error(*command, code=3)
        assert error["code"] == "not_found", command
    assert not (program.folder / "never").exists()
    assert _state(program, project) == before


@pytest.mark.parametrize(
    "line",
    [
        "nope",
        "log",
        "project",
        "project nope",
        "log PROJECT extra",
        "log PROJECT --nope",
        "log PROJECT --limit 0",
        "log PROJECT --limit many",
        "show PROJECT -1",
        "show PROJECT 1.5",
        "show PROJECT 1.5",
        "checkout PROJECT --generation=-1",
        "commit SESSION --strategy maybe",
        "commit SESSION --provenance nothing",
        "up --port 70000",
        "cat PROJECT src",
        "ls PROJECT src/a.txt",
        "import PROJECT no-such-folder",
        "import PROJECT /dev/null",
        "project delete PROJECT",
        "config show --config no-such-file",
    ],
)
def test_command_lines_that_mean_nothing_are_refused(program: Program, project: str, line: str) -> None:
    words = [{"PROJECT": project, "SESSION": "bad-input"}.get(word, word) for word in line.split(" ")]
    error = program.error(*words, code=2)
    assert error["kind"] == "invalid"
    assert error["message"]
    assert "Traceback" not in error["message"]


def test_whoever_is_asked_about_the_end_of_a_project_hears_of_its_sessions(program: Program) -> None:
    project = program.project()
    asked = program.error("project", "delete", project, code=2)["message"]
    assert "session" not in asked
    for number in range(7):
        program.checkout(project, f"of-{project}-{number}")
    asked = program.error("project", "delete", project, code=2)["message"]
    assert "its 7 open sessions" in asked
    assert f"of-{project}-0" in asked
    assert "not committed" in asked
    assert program.json("project", "show", project)["name"] == project


def test_empty_and_impossible_patterns_are_refused(program: Program, project: str) -> None:
    for pattern in ("", "   ", "x" * 20_000):
        program.error("checkout", project, "--path", pattern, code=2)


def test_a_session_of_another_project_is_refused(program: Program, project: str) -> None:
    program.checkout(project, "mine")
    other = program.project()
    assert "another project" in program.error("checkout", other, "--session", "mine", code=2)["message"]
    assert "other paths" in program.error("checkout", project, "-s", "mine", "--path", "*.md", code=2)["message"]


def test_export_never_overwrites(program: Program, project: str, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine\n")
    assert program.error("export", project, tmp_path, code=4)["code"] == "already_exists"
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]
    program.error("export", project, tmp_path / "precious", code=4)
    assert (tmp_path / "precious").read_text() == "mine\n"


def test_a_condition_that_does_not_hold_changes_nothing(program: Program, project: str, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    generation = program.json("project", "show", project)["generation"]
    wrong = str(generation + 7)
    work = program.checkout(project, "conditional")
    (work / "f").write_text("x")
    for command in (
        ["import", project, tmp_path, "--expect-generation", wrong],
        ["restore", project, "0", "--expect-generation", wrong],
        ["commit", "conditional", "--expect-generation", wrong],
    ):
        assert program.error(*command, code=4)["code"] == "generation_mismatch", command
    assert program.json("project", "show", project)["generation"] == generation
    assert program.json("commit", "conditional", "--expect-generation", str(generation))["generation"] == generation + 1


def test_a_store_that_has_less_than_was_seen_is_refused(program: Program, project: str) -> None:
    error = program.error("checkout", project, "-s", "seen", "--seen-generation", "99", code=7)
    assert error["code"] == "stale_store"


def test_two_projects_cannot_have_one_name(program: Program, project: str) -> None:
    assert program.error("project", "create", project, code=4)["code"] == "already_exists"
    other = program.project()
    assert program.error("project", "rename", other, project, code=4)["code"] == "already_exists"


def test_quotas_are_checked_before_anything_is_written(program: Program, project: str, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(os.urandom(200_000))
    before = _state(program, project)
    for limit in ("PROJECTS_QUOTAS_MAX_FILE_BYTES", "PROJECTS_QUOTAS_MAX_PROJECT_BYTES"):
        done = program("import", project, tmp_path, code=2, **{limit: "100000"})
        assert b"limit of 100000" in done.stderr
    assert _state(program, project) == before


def test_settings_that_are_wrong_are_named_with_their_place(program: Program, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("projects:\n  backendd: s3\nlogLevel: loud\n")
    done = program("config", "check", "--config", tmp_path / "bad.yaml", code=2).stderr.decode()
    assert "bad.yaml:2" in done
    assert "bad.yaml:3" in done


@pytest.mark.skipif(ignores_permissions(), reason="permissions do not bind this user")
def test_a_workdir_that_cannot_be_made_is_explained(program: Program, tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    done = program("project", "list", code=2, WORKDIR=str(tmp_path / "closed" / "below")).stderr.decode()
    assert "WORKDIR" in done
    done = program("project", "list", code=2, WORKDIR=str(tmp_path / "closed")).stderr.decode()
    assert "cannot be written to" in done


def test_a_workdir_that_is_a_file_is_explained(program: Program, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for command, workdir in (("list", tmp_path / "file"), ("create p", tmp_path / "file" / "below")):
        done = program("project", *command.split(), code=2, WORKDIR=str(workdir)).stderr.decode()
        assert "WORKDIR" in done
        assert "cannot be made" in done


def test_a_workdir_is_made_private(program: Program, tmp_path: Path) -> None:
    workdir = tmp_path / "some" / "where"
    program("project", "create", "p", WORKDIR=str(workdir))
    assert workdir.stat().st_mode & 0o077 == 0


def test_a_database_that_is_not_there_is_unavailable(program: Program) -> None:
    done = program(
        "project", "list", "--json", code=6, DATABASE_URL="postgresql://x@127.0.0.1:1/x", DATABASE_TIMEOUT_SECONDS="1"
    )
    assert b"catalog_unavailable" in done.stderr


def test_encryption_without_ram_is_refused(program: Program, project: str, tmp_path: Path) -> None:
    disk = program.folder.parent != tmp_path.parent and not str(tmp_path).startswith("/dev/shm")
    ram = "/proc/none" if not disk else str(tmp_path / "not-ram")
    done = program("checkout", project, "-s", "no-ram", "--json", code=6, PROJECTS_WORKSPACE_TMPFS_DIR=ram)
    assert b"ram_unavailable" in done.stderr


def test_a_name_that_is_nearly_right_is_answered_with_the_right_one(program: Program) -> None:
    files = {"docs/guide.md": b"a\n", "docs/deep/notes.txt": b"b\n"}
    name = program.project(files)
    program.checkout(name, f"{name}-agent")
    for command, meant in (
        (["project", "show", name.upper()], name),
        (["cat", f"{name}x", "docs/guide.md"], name),
        (["import", f"{name}x", "."], name),
        (["cat", name, "docs/giude.md"], "docs/guide.md"),
        (["cat", name, "notes.txt"], "docs/deep/notes.txt"),
        (["ls", name, "dcos"], "docs"),
        (["restore", name, "1", "docs/giude.md"], "docs/guide.md"),
        (["status", f"{name}-agnet"], f"{name}-agent"),
        (["commit", f"{name}-agnet"], f"{name}-agent"),
        (["save", f"{name}-agnet"], f"{name}-agent"),
        (["close", f"{name}-agnet"], f"{name}-agent"),
        (["leftovers", "set-aside", f"{name}-agnet"], f"{name}-agent"),
        (["sessions", f"{name}x"], name),
        (["events", "redrive", f"{name}x"], name),
    ):
        error = program.error(*command, code=3)
        assert f"did you mean {meant!r}" in error["hint"], (command, error)
    assert "did you mean" not in program.error("project", "show", "zebra", code=3)["hint"]
