"""Artifacts run by themselves: in a Python that has nothing installed, as it is on Lambda."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from manifold_local.packaging.artifacts import build_function, build_layer, function_names
from manifold_local.packaging.sizes import LAYER_BUDGET_BYTES, packages
from manifold_local.packaging.target import this_machine

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


class Built(NamedTuple):
    layer: Path
    functions: dict[str, Path]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    folder = tmp_path_factory.mktemp("artifacts")
    build_layer(folder / "layer", this_machine())
    for name in function_names():
        build_function(name, folder / name, this_machine())
    yield Built(folder / "layer", {name: folder / name for name in function_names()})


def _import_all(package: str, *folders: Path) -> list[str]:
    """Import a package's modules in a Python that finds the standard library and ``folders``, and nothing else."""
    command = [sys.executable, "-I", "-S", "-c", _IMPORT_ALL, package, *folders]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={})
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("name", function_names())
def test_a_function_needs_nothing_but_its_artifact_and_the_layer(name: str, built: Built) -> None:
    assert f"functions.{name}.handler" in _import_all("functions", built.functions[name], built.layer / "python")


def test_the_layer_needs_nothing_but_itself(built: Built) -> None:
    assert "manifold_common.adapters.kms.provider" in _import_all("manifold_common", built.layer / "python")


def test_what_an_artifact_lacks_is_noticed(built: Built) -> None:
    with pytest.raises(AssertionError, match="No module named 'manifold_common'"):
        _import_all("functions", built.functions["fanout"])


def test_every_module_has_bytecode_beside_it(built: Built) -> None:
    for folder in (built.layer, *built.functions.values()):
        sources = list(folder.rglob("*.py"))
        assert sources
        lacking = [path for path in sources if not list(path.parent.glob(f"__pycache__/{path.stem}.*.pyc"))]
        assert lacking == []


def test_the_layer_is_within_its_budget(built: Built) -> None:
    assert 0 < sum(size for _, size in packages(built.layer / "python")) <= LAYER_BUDGET_BYTES
