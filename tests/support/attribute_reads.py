"""A plugin of mypy that writes down which attributes are read of instances of which classes; and what runs it.

Only where the type of an expression is known does it count: the same name in another class is another attribute.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from mypy.nodes import MemberExpr
from mypy.plugin import AttributeContext, Plugin
from mypy.types import Instance, Type, UnionType, get_proper_type

ROOT = Path(__file__).parents[2]
SOURCES = (ROOT / "layers" / "manifold_common", ROOT / "local", ROOT)
_OUTPUT = "ATTRIBUTE_READS"
_OUTPUT_NAME = "reads"
_CONFIGURATION = f"""
[mypy]
plugins = {__file__}
python_version = 3.11
explicit_package_bases = True
namespace_packages = True
follow_imports = skip
ignore_missing_imports = True
"""


class Read(NamedTuple):
    """An attribute that is read: of which class, and in which file."""

    owner: str
    attribute: str
    file: str


class _Reads(Plugin):
    def get_attribute_hook(self, fullname: str) -> Callable[[AttributeContext], Type] | None:
        return _note if fullname.startswith("manifold_common.") else None


def _note(found: AttributeContext) -> Type:
    # A declaration in the body of a class is asked about too, and is no expression with a dot.
    if isinstance(found.context, MemberExpr):
        owners = found.type.items if isinstance(found.type, UnionType) else [found.type]
        with open(os.environ[_OUTPUT], "a") as output:
            for owner in map(get_proper_type, owners):
                if isinstance(owner, Instance):
                    place: Any = found.api  # the type checker, whose path mypy's interface for plugins leaves out
                    output.write(f"{owner.type.fullname}\t{found.context.name}\t{place.path}\n")
    return found.default_attr_type


def plugin(_version: str) -> type[Plugin]:
    return _Reads


def run_mypy(files: Iterable[Path], folder: Path) -> None:
    """Write down what ``files`` read of each other's classes; imports of other files are not followed.

    Args:
        folder: for what mypy writes.
    """
    output, configuration, names = folder / _OUTPUT_NAME, folder / "mypy.ini", folder / "files"
    output.write_text("")
    configuration.write_text(_CONFIGURATION)
    names.write_text("\n".join(map(str, files)))
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", configuration, "--cache-dir", folder / "cache", f"@{names}"],
        env={**os.environ, _OUTPUT: str(output), "MYPYPATH": os.pathsep.join(map(str, SOURCES))},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    # 1: what it does not know of imports looks wrong to it here and there.
    assert done.returncode in (0, 1) and "source file" in done.stdout, done.stdout + done.stderr


def reads_in(folder: Path) -> set[Read]:
    """Return what ``run_mypy`` has written down there."""
    return {Read(*line.split("\t")) for line in (folder / _OUTPUT_NAME).read_text().splitlines()}
