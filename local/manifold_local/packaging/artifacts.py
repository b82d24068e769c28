"""Builds artifacts, laid out as Lambda wants them.

A layer::

    python/manifold_common/     without what no handler imports (``trim.LEFT_OUT``)
    python/<package>/           of layers/manifold_common/requirements.txt, and all that these need

A function, with the handler ``functions.<name>.handler.handler``::

    functions/__init__.py
    functions/<room>/           what handlers share (``SHARED``)
    functions/<name>/
    <package>/                  of functions/<name>/requirements.txt, as far as the layer has it not

Both with the bytecode of every module, when a Python of the target's version is there to make it.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from manifold_local.packaging.target import Target
from manifold_local.packaging.trim import LEFT_OUT, trim
from manifold_local.packaging.wheels import LOCK, ROOT, install, needed

COMMON = ROOT / "layers" / "manifold_common"
FUNCTIONS = ROOT / "functions"
REQUIREMENTS = "requirements.txt"
PACKAGES = ROOT / ".aws-sam" / "packages"
"""Where third-party packages are kept between builds."""
SHARED = ("data_plane", "invocation")
"""Rooms of ``functions`` that are no function."""
LAYER_MOUNT = "/opt/python"
TASK_ROOT = "/var/task"


def function_names() -> list[str]:
    return sorted(path.parent.name for path in FUNCTIONS.glob("*/handler.py"))


def build_layer(folder: Path, target: Target) -> None:
    """Raises CalledProcessError, Unpinned."""
    inside = folder / "python"
    _copy(third_party([COMMON], [], target, LAYER_MOUNT), inside)
    _copy(COMMON / "manifold_common", inside / "manifold_common", leave_out=LEFT_OUT)
    compile_modules(inside / "manifold_common", target, f"{LAYER_MOUNT}/manifold_common")


def build_function(name: str, folder: Path, target: Target) -> None:
    """Raises FileNotFoundError: there is no such function. CalledProcessError, Unpinned."""
    if not (FUNCTIONS / name / "handler.py").is_file():
        raise FileNotFoundError(f"there is no function {name!r}; there are {', '.join(function_names())}")
    inside = folder / "functions"
    inside.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(FUNCTIONS / "__init__.py", inside / "__init__.py")
    for room in (*SHARED, name):
        _copy(FUNCTIONS / room, inside / room)
    if (FUNCTIONS / name / REQUIREMENTS).is_file():
        _copy(third_party([FUNCTIONS / name], [COMMON], target, TASK_ROOT), folder)
    compile_modules(inside, target, f"{TASK_ROOT}/functions")


def third_party(wanted: Sequence[Path], without: Sequence[Path], target: Target, mount: str) -> Path:
    """Return a folder with the packages that some requirements need and others do not: trimmed, compiled, kept.

    It is made anew when a version or a rule has changed, by one of the builds that run at once, and is not to be
    written to.
    """
    digest = hashlib.sha256(f"{target} {mount} {target.interpreter() is not None}".encode())
    here = Path(__file__).parent
    files = [folder / REQUIREMENTS for folder in (*wanted, *without)]
    for file in (LOCK, *files, *sorted(here.glob("*.py"))):
        digest.update(file.read_bytes())
    kept = PACKAGES / digest.hexdigest()[:24]
    PACKAGES.mkdir(parents=True, exist_ok=True)
    with kept.with_suffix(".lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another build may be at it
        if not kept.is_dir():
            names = set().union(*(needed(folder / REQUIREMENTS, target) for folder in wanted))
            names -= set().union(*(needed(folder / REQUIREMENTS, target) for folder in without))
            with tempfile.TemporaryDirectory(dir=PACKAGES, prefix="making-") as aside:
                made = Path(aside, "packages")
                install(names, made, target)
                trim(made)
                compile_modules(made, target, mount)
                made.rename(kept)
    return kept


def compile_modules(folder: Path, target: Target, mount: str) -> bool:
    """Write bytecode that Lambda takes without looking at the source's time, which an upload may change."""
    python = target.interpreter()
    if python is None:
        print(
            f"warning: no python{target.python} is on the PATH, so {folder} has no bytecode, and each cold start takes "
            f"longer. Install it, or build for Python {'{}.{}'.format(*sys.version_info)}.",
            file=sys.stderr,
        )
        return False
    # Named as they will lie, so that tracebacks are right.
    names = ["-s", str(folder), "-p", mount]
    command = [str(python), "-m", "compileall", "-q", "-j0", "--invalidation-mode", "unchecked-hash", *names]
    subprocess.run([*command, str(folder)], check=True)
    return True


def _copy(source: Path, destination: Path, *, leave_out: tuple[str, ...] = ()) -> None:
    out = {source / path for path in leave_out}
    ours = not source.is_relative_to(PACKAGES)

    def ignored(folder: str, names: list[str]) -> set[str]:
        # Bytecode that lies beside the source is for another Python, and asks for the source's time.
        return {name for name in names if (name == "__pycache__" and ours) or Path(folder, name) in out}

    shutil.copytree(source, destination, ignore=ignored, dirs_exist_ok=True)
