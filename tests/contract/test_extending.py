"""What docs/extending.md shows, put into a copy of the source as it stands, keeps the contracts of its kind."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.architecture.test_imports import is_allowed
from tests.support.imports import PARENTS, ROOT, arrows

PAGE = ROOT / "docs" / "extending.md"
COPIED = ("docs", "events", "functions", "layers", "local", "tests", "pyproject.toml", "config.yaml.example")
KINDS = {
    "An object store": ("test_object_store.py", "sqlite and not thousand"),
    "A route": ("test_routes.py", "/size"),
    "A command": ("test_commands.py", "size or line_for_each"),
    "A chore": ("test_chores.py", "warn_of_quotas"),
    "A kind of job": ("test_job_kinds.py", "checkpoint"),
    "A sink of events": ("test_event_publisher.py", "publisher-"),
}

pytestmark = pytest.mark.slow


class Block(NamedTuple):
    path: str
    language: str
    text: str


def blocks() -> list[Block]:
    """Return the page's blocks, each with the file that the paragraph before it names last."""
    found = []
    for before, language, text in re.findall(r"([^\n]+)\n\n```(\w+)\n(.*?)```\n", PAGE.read_text(), re.DOTALL):
        found.append(Block([name for name in re.findall(r"`([^`]+)`", before) if "/" in name][-1], language, text))
    return found


def put(block: Block, tree: Path) -> None:
    """Make a new file, or add lines after the one that a block begins with."""
    path = tree / block.path
    if block.language == "python":
        assert not (ROOT / block.path).exists()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text)
        return
    lines = block.text.splitlines()
    (after,), added = ([line[1:] for line in lines if line[0] == sign] for sign in (" ", "+"))
    before = path.read_text().splitlines()
    assert before.count(after) == 1, f"{block.path} has one line {after!r}"
    at = before.index(after) + 1
    path.write_text("\n".join([*before[:at], *added, *before[at:]]) + "\n")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source with all that the page shows."""
    made = tmp_path_factory.mktemp("extended")
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, made / name, ignore=shutil.ignore_patterns("__pycache__", ".aws-sam"))
        else:
            shutil.copy(ROOT / name, made / name)
    for block in blocks():
        put(block, made)
    for page, program in (("cli.md", "reference"), ("cli-documents.md", "document_reference")):
        (made / "docs" / page).write_text(run(made, "-m", f"manifold_local.cli.{program}"))
    return made


def run(tree: Path, *arguments: str) -> str:
    path = os.pathsep.join(str(tree / name) for name in ("layers/manifold_common", "local", "."))
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV"))}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=tree,
        env={**environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    return done.stdout


def test_each_thing_that_the_page_adds_is_a_module_and_a_line() -> None:
    sections = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)[1:]
    assert [section.partition("\n")[0] for section in sections] == list(KINDS)
    for section in sections:
        registered = re.findall(r"^\+.*(?:manifold_common|functions)\.|^\+    \"size\"", section, re.MULTILINE)
        assert len(registered) == 1
        assert len(re.findall(r"^`(?!tests)[^\n]*:\n\n```python", section, re.MULTILINE)) == 1


def test_what_the_page_shows_imports_only_what_it_may() -> None:
    shown = [block for block in blocks() if block.language == "python" and not block.path.startswith("tests/")]
    assert len(shown) == len(KINDS)
    for block in shown:
        (name,) = [name for name, parent in PARENTS.items() if (ROOT / block.path).is_relative_to(parent / name)]
        module = ".".join((ROOT / block.path).relative_to(PARENTS[name]).with_suffix("").parts)
        found = list(arrows(module, block.text, is_package=False))
        assert found and [str(arrow) for arrow in found if not is_allowed(arrow)] == []


def test_what_the_page_shows_keeps_the_contract_of_its_kind(tree: Path) -> None:
    wanted = " or ".join(f"({words})" for _, words in KINDS.values())
    files = [f"tests/contract/{name}" for name, _ in KINDS.values()]
    said = run(tree, "-m", "pytest", *files, "-q", "-n", "0", "-p", "no:cacheprovider", "-k", wanted)
    assert re.search(r"\b[1-9]\d+ passed", said)
