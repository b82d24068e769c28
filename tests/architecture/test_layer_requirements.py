"""The common layer and each function install what they import, and nothing else."""

from __future__ import annotations

import ast
import sys
import tomllib
from pathlib import Path

import pytest
from manifold_local.packaging.artifacts import SHARED
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
LAYER = ROOT / "layers" / "manifold_common"
FUNCTIONS = ROOT / "functions"
OURS = {"manifold_common", "functions"}
MODULE_OF = {"aws-lambda-powertools": "aws_lambda_powertools", "kafka-python": "kafka", "pyyaml": "yaml"}
WITH_OWN = sorted(path.parent.name for path in FUNCTIONS.glob("*/requirements.txt"))


def _listed(folder: Path) -> dict[str, Requirement]:
    lines = (folder / "requirements.txt").read_text().splitlines()
    found = [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]
    return {requirement.name: requirement for requirement in found}


def _modules(folder: Path) -> set[str]:
    return {MODULE_OF.get(name, name) for name in _listed(folder)}


def _imported(folder: Path) -> set[str]:
    modules: set[str] = set()
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                modules.update(alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                modules.add(node.module.split(".")[0])
    return modules - set(sys.stdlib_module_names) - OURS


def _of_functions_with_none_of_their_own() -> set[str]:
    folders = [path for path in FUNCTIONS.iterdir() if path.is_dir() and path.name not in WITH_OWN]
    return set().union(*(_imported(folder) for folder in folders))


def test_the_layer_lists_exactly_what_it_and_more_than_one_function_import() -> None:
    assert _modules(LAYER) == _imported(LAYER / "manifold_common") | _of_functions_with_none_of_their_own()


@pytest.mark.parametrize("name", WITH_OWN)
def test_a_function_lists_exactly_what_it_imports_beyond_the_layer(name: str) -> None:
    assert _modules(FUNCTIONS / name) == _imported(FUNCTIONS / name) - _modules(LAYER)
    assert name not in SHARED


@pytest.mark.parametrize("folder", [LAYER, *(FUNCTIONS / name for name in WITH_OWN)], ids=lambda path: path.name)
def test_requirements_are_among_the_projects_and_pinned_by_its_lock(folder: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = {Requirement(line).name for line in project["dependencies"]}
    indirect = {"anyio", "starlette"}  # which fastapi brings, and whose names are part of its own interface
    assert _listed(folder).keys() <= named | indirect
    lock = (ROOT / "requirements.lock").read_text().splitlines()
    pinned = {line.split("==")[0].split("[")[0].lower() for line in lock if "==" in line and not line.startswith(" ")}
    assert {name.lower() for name in _listed(folder)} <= pinned
