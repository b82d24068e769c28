"""Artifacts run by themselves: in a Python that has nothing installed, as it is on Lambda."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from manifold_local.packaging.artifacts import function_names
from manifold_local.packaging.sizes import LAYER_BUDGET_BYTES, packages

from tests.support.artifacts import Artifacts

_IMPORT_ALL = """
import importlib, json, pathlib, sys
package, *folders = sys.argv[1:]
sys.path[:0] = folders
for path in sorted(pathlib.Path(folders[0], package).rglob("*.py")):
    parts = path.relative_to(folders[0]).with_suffix("").parts
    importlib.import_module(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
print(json.dumps(sorted(name for name in sys.modules if name.split(".")[0] in ("functions", "manifold_common"))))
"""
"""Loads every module of a package, also those that handlers load late."""


def _import_all(package: str, *folders: Path) -> list[str]:
    """Import a package's modules in a Python that finds the standard library and ``folders``, and nothing else."""
    command = [sys.executable, "-I", "-S", "-c", _IMPORT_ALL, package, *folders]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={})
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("name", function_names())
def test_a_function_needs_nothing_but_its_artifact_and_the_layer(name: str, artifacts: Artifacts) -> None:
    assert f"functions.{name}.handler" in _import_all("functions", artifacts.function(name), artifacts.layer / "python")


def test_the_layer_needs_nothing_but_itself(artifacts: Artifacts) -> None:
    assert "manifold_common.adapters.kms.provider" in _import_all("manifold_common", artifacts.layer / "python")


def test_what_an_artifact_lacks_is_noticed(artifacts: Artifacts) -> None:
    with pytest.raises(AssertionError, match="No module named 'manifold_common'"):
        _import_all("functions", artifacts.function("fanout"))


def test_every_module_has_bytecode_beside_it(artifacts: Artifacts) -> None:
    for folder in (artifacts.layer, *map(artifacts.function, function_names())):
        sources = list(folder.rglob("*.py"))
        assert sources
        lacking = [path for path in sources if not list(path.parent.glob(f"__pycache__/{path.stem}.*.pyc"))]
        assert lacking == []


def test_the_layer_is_within_its_budget(artifacts: Artifacts) -> None:
    assert 0 < sum(size for _, size in packages(artifacts.layer / "python")) <= LAYER_BUDGET_BYTES
