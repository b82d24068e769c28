"""Deleting a project and bringing it back as people do it: on this machine and at a server."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree

import pytest

from tests.support.cli import Program
from tests.support.host import Host
from tests.support.zygote import Zygote


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("server")
    ram = Path("/dev/shm") / f"manifold-test-{secrets.token_hex(6)}"
    host = Host(folder / "workdir", ram)
    try:
        yield str(host.ready().base_url).rstrip("/")
    finally:
        host.stop()
        rmtree(ram, ignore_errors=True)


@pytest.fixture(params=["here", "at a server"])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path, ram_folder: Path, zygote: Zygote) -> Program:
    if request.param == "here":
        found: Program = request.getfixturevalue("program")
        return found
    return Program(tmp_path, ram_folder / "laptop", zygote, {"MANIFOLD_REMOTE": request.getfixturevalue("url")})


def test_a_deletion_says_how_to_undo_it_and_that_does(anywhere: Program, tmp_path: Path) -> None:
    name = anywhere.project({"a": b"one"})
    project, session = anywhere.json("project", "show", name)["id"], f"s-{secrets.token_hex(4)}"
    (anywhere.checkout(name, session) / "b").write_text("saved")
    anywhere("save", session)
    said = anywhere("project", "delete", name, "--yes")
    assert said.stdout.decode() == f"deleted {name}\n"
    hint = said.stderr.decode()
    assert f"'manifold project undelete {project}' brings it back" in hint
    [listed] = anywhere.json("project", "list", "--deleted", "--prefix", name)["items"]
    assert (listed["id"], listed["name"]) == (project, name)
    until = listed["restorable_until"]
    assert until[:10] in hint
    table = anywhere.text("project", "list", "--deleted", "--prefix", name).splitlines()
    assert table[0].split() == ["NAME", "GENERATION", "ENTRIES", "SIZE", "DELETED", "UNTIL", "ID"]
    assert table[1].split()[0] == name and table[1].endswith(project)
    back = anywhere("project", "undelete", project)
    assert back.stdout.decode() == f"brought back {name}  {project}\n"
    assert session in back.stderr.decode()
    assert anywhere.json("project", "list", "--deleted", "--prefix", name)["items"] == []
    assert (anywhere.checkout(name, session) / "b").read_text() == "saved"
    out = tmp_path / "out"
    anywhere("export", name, out)
    assert (out / "a").read_bytes() == b"one"


def test_the_document_of_a_deletion_has_its_time_and_until_when_it_can_be_undone(anywhere: Program) -> None:
    name = anywhere.project({"a": b"one"})
    gone = anywhere.json("project", "delete", name, "--yes")
    assert (gone["name"], gone["generation"]) == (name, 1)
    assert gone["deleted_at"] < gone["restorable_until"]
    back = anywhere.json("project", "undelete", name)
    assert (back["id"], back["deleted_at"], back["restorable_until"]) == (gone["id"], None, None)


def test_a_name_that_is_taken_by_then_is_told_of_with_the_way_out(anywhere: Program) -> None:
    name = anywhere.project({"a": b"one"})
    gone = anywhere.json("project", "delete", name, "--yes")
    anywhere("project", "create", name)
    error = anywhere.error("project", "undelete", gone["id"], code=4)
    assert error["code"] == "already_exists" and "--name" in error["hint"]
    back = anywhere.json("project", "undelete", gone["id"], "--name", f"{name}-2")
    assert (back["id"], back["name"]) == (gone["id"], f"{name}-2")


def test_a_project_that_was_never_deleted_is_not_said_to_be_brought_back(anywhere: Program) -> None:
    name = anywhere.project({"a": b"one"})
    project = anywhere.json("project", "show", name)["id"]
    for named in (name, project):
        said = anywhere.text("project", "undelete", named)
        assert said == f"{name} is not deleted: there is nothing to bring back  {project}\n"
    assert anywhere.json("project", "undelete", name)["id"] == project


def test_what_cannot_be_brought_back_is_said_to_be_so(anywhere: Program) -> None:
    error = anywhere.error("project", "undelete", f"never-{secrets.token_hex(4)}", code=3)
    assert error["code"] == "not_found" and "project list --deleted" in error["hint"]
    assert anywhere.text("project", "list", "--deleted", "--prefix", f"x-{secrets.token_hex(4)}") == ""


def test_where_nothing_is_kept_the_deletion_says_so(program: Program) -> None:
    name = program.project({"a": b"one"})
    said = program("project", "delete", name, "--yes", PROJECTS_RETENTION_DELETED_PROJECT_DAYS="0")
    assert "it cannot be brought back" in said.stderr.decode()
    gone = program.json("project", "list", "--deleted", PROJECTS_RETENTION_DELETED_PROJECT_DAYS="0")
    assert gone["items"] == []
