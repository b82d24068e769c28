"""The functions as they are deployed, built for the Python and the machine that the tests run on.

They run in a Python that sees nothing but the artifacts and what Lambda itself brings, its runtime client: what an
artifact lacks is missed here, and not first on Lambda.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from manifold_local.functions_stack.runtime_client import copy_runtime_client
from manifold_local.packaging.artifacts import build_function, build_layer, function_names
from manifold_local.packaging.target import this_machine

from tests.support.workers import made_once


@dataclass(frozen=True)
class Artifacts:
    folder: Path

    @property
    def layer(self) -> Path:
        return self.folder / "layer"

    def function(self, name: str) -> Path:
        return self.folder / name

    def paths(self, name: str) -> tuple[Path, ...]:
        """Return where a function's modules are, in Lambda's order."""
        return self.function(name), self.layer / "python", self.folder / "runtime"


def python(*arguments: str) -> list[str]:
    """Return the command of a Python that has only what ``PYTHONPATH`` names."""
    return [sys.executable, "-S", *arguments]


def build_artifacts(folder: Path, names: Sequence[str]) -> Artifacts:
    """Build the layer and these functions. The first time, packages are fetched; later they are taken from a cache."""
    made = Artifacts(folder)
    build_layer(made.layer, this_machine())
    for name in names:
        build_function(name, made.function(name), this_machine())
    copy_runtime_client(folder / "runtime")
    return made


@pytest.fixture(scope="session")
def artifacts(shared_folder: Path) -> Artifacts:
    """The layer and all functions, built once for the whole run."""
    folder = shared_folder / "artifacts"
    made_once(folder, lambda: build_artifacts(folder, function_names()))
    return Artifacts(folder)
