"""The program at a server: ``manifold --remote URL``, as a user has it who knows nothing but the address."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from manifold_local.embedded.stack.seaweedfs import S3Endpoint

from tests.support.cli import Program
from tests.support.hints import settle_conflicts
from tests.support.host import Host
from tests.support.lying_server import Answer, lying
from tests.support.seaweedfs import s3_variables
from tests.support.shown import run_shown
from tests.support.work import MAPPED, look, write_through_map
from tests.support.zygote import Zygote


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, s3_endpoint: S3Endpoint) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("server")
    ram = Path("/dev/shm") / f"manifold-test-{secrets.token_hex(6)}"
    host = Host(folder / "workdir", ram, **s3_variables(s3_endpoint), S3_PREFIX=f"cli/{secrets.token_hex(6)}")
    try:
        yield str(host.ready().base_url).rstrip("/")
    finally:
        host.stop()
        shutil.rmtree(ram, ignore_errors=True)


@pytest.fixture
def laptop(tmp_path: Path, ram_folder: Path, url: str, zygote: Zygote) -> Program:
    return Program(tmp_path, ram_folder / "laptop", zygote, {"MANIFOLD_REMOTE": url})


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    (folder / "docs").mkdir(parents=True)
    (folder / "docs" / "a.txt").write_text("one\n")
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    return folder


def test_a_project_goes_in_is_changed_committed_restored_and_comes_out(
    laptop: Program, tree: Path, tmp_path: Path
) -> None:
    name = f"tour-{secrets.token_hex(4)}"
    assert laptop.json("import", name, tree, "--create", "-m", "first")["generation"] == 1
    work = Path(laptop.text("checkout", name, "--session", f"{name}-s").strip())
    assert look(work) == look(tree)
    (work / "hello.txt").write_text("hello\n")
    (work / "docs" / "a.txt").unlink()
    assert laptop.text("status", cwd=work).splitlines() == ["D docs/a.txt", "A hello.txt"]
    assert laptop.json("commit", "-m", "say hello", cwd=work)["generation"] == 2
    assert [entry["message"] for entry in laptop.json("log", name)["items"]] == ["say hello", "first"]
    page = laptop.json("log", name, "--limit", "1", "--path", "docs", "--since", "2025-01-01T00:00:00+02:00")
    assert [entry["generation"] for entry in page["items"]] == [2]
    rest = laptop.json(
        "log", name, "--path", "docs", "--since", "2025-01-01T00:00:00+02:00", "--cursor", page["next_cursor"]
    )
    assert ([entry["generation"] for entry in rest["items"]], rest["next_cursor"]) == ([1], None)
    assert laptop.json("log", name, "--path", "run.sh", "--before", "2")["items"] == rest["items"]
    error = laptop.error("log", name, "--cursor", page["next_cursor"], code=2)
    assert error["code"] == "invalid_cursor"
    assert [one["name"] for one in laptop.json("project", "list", "--prefix", name)["items"]] == [name]
    restored = laptop.json("restore", name, "1", "docs/a.txt")
    assert (restored["generation"], restored["paths"]) == (3, [{"path": "docs/a.txt"}])
    laptop("checkout", name, "--session", f"{name}-s")
    assert (work / "docs" / "a.txt").read_text() == "one\n"
    laptop("export", name, tmp_path / "out", "--generation", "1")
    assert look(tmp_path / "out") == look(tree)
    assert name in {project["name"] for project in laptop.json("project", "list")["items"]}
    assert [row["has_working_set_here"] for row in laptop.json("sessions", name)["items"]] == [True]
    laptop("close", f"{name}-s")
    assert not work.exists()


def test_what_times_do_not_tell_is_found_by_content(laptop: Program) -> None:
    name = laptop.project({"mapped": MAPPED})
    work = laptop.checkout(name, f"{name}-s")
    write_through_map(work / "mapped")
    assert "not committed" in laptop.error("close", f"{name}-s", code=4)["message"]
    assert laptop.json("save", f"{name}-s", "--checksum")["changed"] == 1
    assert laptop.json("commit", f"{name}-s", "--checksum")["modified"] == 1
    laptop("close", f"{name}-s")


def test_a_conflict_has_the_same_exit_code_and_names_the_paths(laptop: Program, tree: Path, ram_folder: Path) -> None:
    name = f"conflict-{secrets.token_hex(4)}"
    laptop("import", name, tree, "--create")
    other = Program(laptop.folder / "other", ram_folder / "other", laptop.zygote, laptop.variables)
    other.folder.mkdir()
    works = []
    for number, program in enumerate((laptop, other)):
        works.append(Path(program.text("checkout", name, "--session", f"{name}-{number}").strip()))
        (works[-1] / "docs" / "a.txt").write_text(f"from {number}\n")
    laptop("commit", cwd=works[0])
    error = other.error("commit", f"{name}-1", code=4)
    assert (error["code"], error["details"]["paths"]) == ("commit_conflict", ["docs/a.txt"])
    other("commit", f"{name}-1", "--strategy", "theirs")


def test_what_was_made_at_the_server_for_work_that_fails_is_taken_back(laptop: Program, tree: Path) -> None:
    laptop("import", "failed", tree, "--create", "--expect-generation", "7", code=4)
    assert "failed" not in laptop.text("project", "list")
    laptop("import", "large", tree, "--create")
    laptop("checkout", "large", code=2, PROJECTS_QUOTAS_MAX_SESSION_RAM_BYTES="1")
    assert laptop.json("sessions", "large")["items"] == []


def test_a_project_is_not_deleted_nor_used_because_a_server_answers_about_another(
    laptop: Program, tree: Path, url: str, tmp_path: Path
) -> None:
    mine, precious = laptop.project(), laptop.project()
    theirs = laptop.json("project", "show", precious)
    with lying(url) as server:
        server.lie = lambda asked, answer: theirs if asked == f"GET /api/v1/projects/{mine}" else answer
        for command in (
            ("project", "delete", mine, "--yes"),
            ("project", "rename", mine, "taken"),
            ("project", "show", mine),
            ("import", mine, tree),
            ("export", mine, tmp_path / "out"),
            ("checkout", mine),
            ("log", mine),
            ("restore", mine, "1"),
            ("sessions", mine),
        ):
            assert laptop.error("--remote", server.url, *command, code=7)["code"] == "bad_answer"
    assert not (tmp_path / "out").exists()
    assert laptop.json("project", "show", precious) == theirs


def test_what_was_just_made_is_not_imported_into_where_it_turns_out_to_hold_something(
    laptop: Program, tree: Path, url: str
) -> None:
    precious = laptop.json("project", "show", laptop.project())
    with lying(url) as server:
        server.lie = lambda asked, answer: (
            {**answer, "id": precious["id"]} if asked == "POST /api/v1/projects" else answer
        )
        done = laptop("--remote", server.url, "import", f"new-{secrets.token_hex(4)}", tree, "--create", code=4)
    assert b"generation 1, not at 0" in done.stderr
    assert laptop.json("project", "show", precious["id"]) == precious


def test_an_import_says_what_it_could_not_take_back(laptop: Program, tree: Path, url: str) -> None:
    name = f"said-{secrets.token_hex(4)}"
    with lying(url) as server:
        server.lie = lambda asked, answer: Answer(b"", 503) if asked.startswith("DELETE /api/v1/sessions/") else answer
        done = laptop("--remote", server.url, "import", name, tree, "--create")
    assert b"as generation 1 of" in done.stdout
    note = done.stderr.decode()
    assert "may be open" in note
    assert re.search(r"close import-[0-9a-f]{16} --discard$", note.strip())


def test_an_interrupted_import_names_the_project_that_it_may_have_made(laptop: Program, tree: Path, url: str) -> None:
    name, asked = f"made-{secrets.token_hex(4)}", threading.Event()

    def hang(what: str, answer: Any) -> Any:
        if what == "POST /api/v1/projects":
            asked.set()
            time.sleep(3)
        return answer

    with lying(url) as server:
        server.lie = hang
        command = ("--remote", server.url, "import", name, str(tree), "--create")
        with laptop.start(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
            assert asked.wait(30)
            running.send_signal(signal.SIGINT)
            _, said = running.communicate(timeout=60)
    assert running.returncode == 130
    assert f"the project {name} may have been made" in said.decode()
    assert f"project delete {name}" in said.decode()


def test_what_is_no_text_is_refused_in_a_sentence(laptop: Program, tree: Path) -> None:
    known, odd = laptop.project(), b"a\xff"
    for command in (
        ("project", "show", odd),
        ("project", "create", odd),
        ("project", "rename", known, odd),
        ("project", "delete", odd, "--yes"),
        ("project", "list", "--prefix", odd),
        ("import", odd, tree, "--create"),
        ("checkout", known, "--session", odd),
        ("checkout", known, "--path", odd),
        ("sessions", odd),
        ("log", known, "--cursor", odd),
        ("log", known, "--author", odd),
        ("log", known, "--session", odd),
        ("log", known, "--provenance", odd),
        ("--remote", b"http://127.0.0.1:9/a\xff", "project", "list"),
    ):
        error = laptop.error(*command, code=2)
        assert error["kind"] == "invalid"
        assert "Unicode" not in error["message"]
    work = laptop.checkout(known, f"{known}-s")
    (Path(os.fsdecode(os.fsencode(work) + b"/\xff"))).write_bytes(b"x")
    laptop("commit", f"{known}-s", "-m", odd, "--provenance", b"a=\xff")
    assert [one["generation"] for one in laptop.json("log", known, "--path", b"\xff")["items"]] == [2]


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "a\nb", "?x=1", "#", "%2e%2e", " "])
def test_what_can_be_no_name_is_the_name_of_no_project(laptop: Program, name: str) -> None:
    assert laptop.error("project", "show", name, code=3)["code"] == "not_found"


def test_an_empty_address_is_a_mistake_and_not_this_machine(laptop: Program) -> None:
    for command in (("--remote", "", "project", "list"), ("project", "list", "--remote="), ("--remote=", "up")):
        assert "--remote" in laptop.error(*command, code=2)["message"]
    assert laptop.text("project", "list", MANIFOLD_REMOTE="", code=3) == ""


def test_an_empty_address_to_listen_on_is_a_mistake_and_not_every_address(laptop: Program) -> None:
    done = laptop("up", "--host", "", "--port", "0", code=2, MANIFOLD_REMOTE="")
    assert b"--host" in done.stderr


def test_an_empty_folder_name_is_a_mistake_and_not_the_current_folder(laptop: Program, tree: Path) -> None:
    name = laptop.project()
    before = laptop.json("project", "show", name)
    assert "DIR" in laptop("import", name, "", cwd=tree, code=2).stderr.decode()
    empty = tree / "empty"
    empty.mkdir()
    assert "DEST" in laptop("export", name, "", cwd=empty, code=2).stderr.decode()
    assert (laptop.json("project", "show", name), list(empty.iterdir())) == (before, [])


def test_what_only_its_own_machine_can_do_says_so(laptop: Program) -> None:
    error = laptop.error("verify", "any", code=2)
    assert "at the server" in error["message"]


def test_an_address_where_nothing_is_says_so(laptop: Program) -> None:
    error = laptop.error("--remote", "http://127.0.0.1:9", "project", "list", code=6)
    assert "cannot be reached" in error["message"]


def test_nothing_of_a_remote_working_set_is_on_the_clients_disk(laptop: Program, tmp_path: Path) -> None:
    folder, name, canary = tmp_path / "secret", f"canary-{secrets.token_hex(4)}", secrets.token_hex(16)
    folder.mkdir()
    (folder / f"name-{canary}").write_text(f"content {canary}\n" * 100)
    laptop("import", name, folder, "--create")
    work = Path(laptop.text("checkout", name, "--session", f"{name}-s").strip())
    (work / f"more-{canary}").write_text(canary)
    laptop("commit", cwd=work)
    shutil.rmtree(folder)
    found = [
        path
        for path in tmp_path.rglob("*")
        if canary in path.name or (path.is_file() and canary.encode() in path.read_bytes())
    ]
    assert found == []


def test_what_a_conflict_says_to_do_settles_it(laptop: Program, url: str) -> None:
    """By an option: what is told has to name the server again."""
    nowhere = Program(laptop.folder, laptop.ram, laptop.zygote)
    nowhere.project = laptop.project  # type: ignore[method-assign]
    settle_conflicts(nowhere, "--remote", url)


def test_an_address_is_all_that_a_client_needs(laptop: Program, url: str) -> None:
    """It keeps what it has in a folder of the user's own."""
    there = Path("/app/manifold/.cache/remote")
    before = sorted(there.iterdir()) if there.exists() else None
    laptop("--remote", url, "project", "list", WORKDIR="", MANIFOLD_REMOTE="", HOME=str(laptop.folder))
    assert (laptop.folder / ".local" / "state" / "manifold").stat().st_mode & 0o077 == 0
    assert (sorted(there.iterdir()) if there.exists() else None) == before


def test_what_the_documents_show_works_at_a_server(laptop: Program, tree: Path, url: str) -> None:
    (laptop.folder / "docs").symlink_to(tree / "docs")
    shown = {"environ": laptop.environ(), "cwd": laptop.folder}
    address = {"http://127.0.0.1:32180": url}
    run_shown("docs/functions-local.md: curl", **shown, **address)
    done = run_shown("README.md: make up-functions", **shown, **address, **{"make up-functions": "true"})
    assert Path(done.stdout.strip(), "a.txt").read_text() == "one\n"
    laptop("project", "delete", "demo", "--yes")
    run_shown("docs/direct-access.md: export MANIFOLD_REMOTE", **shown, **{"https://manifold.example": url})


def test_the_server_names_what_may_have_been_meant(laptop: Program) -> None:
    name = laptop.project({"docs/guide.md": b"a\n"})
    for command, meant in ((["log", f"{name}x"], name), (["restore", name, "1", "docs/giude.md"], "docs/guide.md")):
        assert f"did you mean {meant!r}" in laptop.error(*command, code=3)["hint"]
