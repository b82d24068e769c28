"""What the documents and `make demo` show is what happens."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from manifold_local.cli import document_reference
from manifold_local.cli.reference import reference
from manifold_local.embedded.postgres import ensure_embedded

from tests.support.cli import EXECUTABLE
from tests.support.postgres import as_role, direct_dsn

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


def _environ() -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ}
    return {**kept, "PATH": f"{EXECUTABLE.parent}:{os.environ['PATH']}"}


def test_the_tour_of_the_readme_works_as_it_stands(tmp_path: Path, ram_folder: Path) -> None:
    tour = re.search(r"as it stands\. -->\n```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert tour is not None
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    workdir = tmp_path / ".manifold"
    workdir.mkdir(mode=0o700)
    with ensure_embedded(workdir / ".postgres", linger_seconds=0.2) as server:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", tour[1]],
            cwd=tmp_path,
            env={**_environ(), "PROJECTS_WORKSPACE_TMPFS_DIR": str(ram_folder)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        server.close(stop_now=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "A hello.txt\nD threat-model.md\n" in done.stdout
    assert "all is well" in done.stdout


def test_the_database_roles_are_made_by_the_commands_that_the_page_shows(
    tmp_path: Path, empty_postgres_dsn: str
) -> None:
    blocks = re.findall(
        r"A test runs this block\. -->\n```sh\n(.*?)```", (ROOT / "docs/catalog.md").read_text(), re.DOTALL
    )
    assert len(blocks) == 2
    environ = {**_environ(), "DATABASE_URL": direct_dsn(empty_postgres_dsn), "WORKDIR": str(tmp_path / "workdir")}
    script = "\n".join(blocks)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "roles: manifold_owner, manifold_app, manifold_jobs" in done.stdout
    with psycopg.connect(as_role(empty_postgres_dsn, "manifold_app")) as connection:
        assert connection.execute("SELECT count(*) FROM commits").fetchall() == [(0,)]


def test_the_command_line_page_is_up_to_date() -> None:
    assert (ROOT / "docs" / "cli.md").read_text() == reference().rstrip("\n") + "\n"


def test_the_page_of_the_documents_of_commands_is_up_to_date() -> None:
    assert (ROOT / "docs" / "cli-documents.md").read_text() == document_reference.page().rstrip("\n") + "\n"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_the_documents_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_every_make_target_that_the_readme_names_exists() -> None:
    named = set(re.findall(r"`?make ([a-z]+)\b", (ROOT / "README.md").read_text()))
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert named
    assert named <= targets


def test_the_demonstration_holds_on_a_small_tree_and_cleans_up(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    for number in range(6):
        (source / "sub" / f"{number}.txt").write_text(f"{number}\n")
    before = {path: path.lstat().st_mtime_ns for path in source.rglob("*")}
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "manifold_local.demo", source],
        env={**_environ(), "TMPDIR": str(scratch)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All of it held" in done.stdout
    assert "Timings" in done.stdout
    assert {path: path.lstat().st_mtime_ns for path in source.rglob("*")} == before
    assert list(scratch.glob("manifold-demo-*")) == []


@pytest.mark.parametrize("content", [{}, {"only.txt": "one\n"}], ids=["empty", "one file"])
def test_the_demonstration_holds_on_nearly_nothing(tmp_path: Path, content: dict[str, str]) -> None:
    for name, text in content.items():
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "manifold_local.demo", tmp_path],
        env=_environ(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_demonstration_says_what_it_cannot_use(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "manifold_local.demo", tmp_path / "missing"],
        env=_environ(),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 2
    assert b"is not a folder" in done.stdout
