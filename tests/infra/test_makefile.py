"""Where checkout, tools and Python are is up to who runs make: relative or not, with spaces or without."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.tools import tools

ROOT = Path(__file__).parents[2]
# What sam build does for each artifact, as far as make is concerned.
SAM = """#!/bin/sh
exec make -s -f infra/Makefile build-ApiFunction ARTIFACTS_DIR="$PWD/my artifacts"
"""
PYTHON = """#!/bin/sh
printf '%s|' "$0" "$@" >> "$SAID"; echo >> "$SAID"
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout in a folder whose name has a space, beside tools whose programs say how they were called."""
    folder = tmp_path / "a checkout"
    for name in ("Makefile", "infra/Makefile", "infra/tools.lock", "local/make_environment.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    for name, program in (("sam", SAM), *((name, PYTHON) for name in ("python", "cfn-lint", "ruff", "mypy"))):
        file = tmp_path / "my tools" / "bin" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(program)
        file.chmod(0o755)
    return folder


def make(checkout: Path, *arguments: str) -> list[list[str]]:
    """Run make as if the environments were there, and return how programs were called."""
    return make_and_listen(checkout, *arguments)[0]


def make_and_listen(checkout: Path, *arguments: str) -> tuple[list[list[str]], str]:
    """The same, with what was printed."""
    said = checkout.parent / "said"
    environ = {"PATH": "/usr/bin:/bin", "SAID": str(said), "HOME": str(checkout.parent)}
    command = ["make", "-s", "-o", "tools", "-o", "environment", "-o", "clients", *arguments]
    done = subprocess.run(command, cwd=checkout, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [line.rstrip("|").split("|") for line in said.read_text().splitlines()], done.stdout


@pytest.mark.parametrize("place", ["../my tools", "~/my tools", "{}/my tools"])
def test_functions_are_built_by_the_python_of_the_tools_wherever_these_are(checkout: Path, place: str) -> None:
    """Also where another Python was chosen, for the environments: make hands that down to what it runs."""
    called = make(checkout, "functions", f"TOOLS={place.format(checkout.parent)}", "PYTHON=python3")
    (build, sizes) = called
    assert Path(build[0]).resolve() == checkout.parent / "my tools" / "bin" / "python"
    assert build[1:5] == ["-m", "manifold_local.packaging", "function", "api"]
    assert build[5] == str(checkout / "my artifacts")
    assert sizes[1:] == ["-m", "manifold_local.packaging", "sizes", ".aws-sam/build"]


@pytest.mark.parametrize("place", ["../my tools", "{}/my tools"])
def test_the_stack_is_told_where_the_tools_are(checkout: Path, place: str) -> None:
    given = place.format(checkout.parent)
    (called,) = make(checkout, "up-functions", f"TOOLS={given}", "VENV=../my tools")
    assert called[1:] == ["-m", "manifold_local.functions_stack", "--tools", given]


@pytest.mark.parametrize("options", ["", "--enterprise"])
def test_up_serves_the_folder_that_the_readme_names(checkout: Path, options: str) -> None:
    program = checkout / "my env" / "bin" / "manifold"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\nprintf "%s|" "$@" "$WORKDIR" >> "$SAID"\n')
    program.chmod(0o755)
    (called,) = make(checkout, "up", "VENV=my env", f"UP_ARGS={options}")
    assert called == ["up", *options.split(), str(checkout / ".manifold")]


def test_check_runs_the_linters_and_the_fast_tests_and_says_which_folders_it_leaves_out(checkout: Path) -> None:
    folders = {file.parent for file in ROOT.glob("tests/**/test_*.py")}
    for folder in folders:
        (checkout / folder.relative_to(ROOT)).mkdir(parents=True, exist_ok=True)
        (checkout / folder.relative_to(ROOT) / "test_one.py").touch()
    called, printed = make_and_listen(checkout, "check", "VENV=../my tools", "PYTEST_ARGS=-x")
    assert [[Path(call[0]).name, *call[1:]] for call in called[:3]] == [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["mypy"],
    ]
    tests = called[3]
    assert tests[1:3] == ["-m", "pytest"] and tests[-3:] == ["-m", "not slow", "-x"]
    (run,) = [option.removeprefix("testpaths=").split() for option in tests if option.startswith("testpaths=")]
    every = {"/".join(folder.relative_to(ROOT).parts[:2]) for folder in folders}
    assert set(run) | set(re.findall(r"tests/\w+", printed)) == every
    assert not set(run) & set(re.findall(r"tests/\w+", printed))


def test_clean_removes_nothing_but_the_environments(checkout: Path) -> None:
    (checkout / "my").mkdir()
    (checkout / "my env").mkdir()
    make_clean = ["make", "-s", "clean", "VENV=my env", "TOOLS=../my tools"]
    subprocess.run(make_clean, cwd=checkout, check=True, capture_output=True)
    assert (checkout / "my").exists()
    assert not (checkout / "my env").exists() and not (checkout.parent / "my tools").exists()


def test_tools_are_shared_by_checkouts_and_not_made_anew_by_each(checkout: Path) -> None:
    folder = tools().folder
    python = (folder / "bin" / "python").resolve()
    command = ["make", "-s", "tools", f"TOOLS={folder}", f"PYTHON={python}"]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
