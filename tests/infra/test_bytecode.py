"""Nothing that set-up has installed is compiled again by those who use it, also where they may not keep the result."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import os
import re
import runpy
import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAKE = Path("local/make_environment.py")
FORBIDDEN = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PIP_COMPILE": "0"}

IMPORT_ALL = """
import importlib, pkgutil, sys
from importlib.machinery import SourceFileLoader

compiled = []
compile_source = SourceFileLoader.source_to_code

def noting(loader, data, path, **options):
    compiled.append(path)
    return compile_source(loader, data, path, **options)

SourceFileLoader.source_to_code = noting
for name in ("manifold_common", "manifold_local", "functions"):
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(package.__path__, f"{name}."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
print(len(sys.modules), *(path for path in compiled if path.startswith(tuple(sys.argv[1:]))), sep="\\n")
"""


def compile_sources(root: Path) -> None:
    """Do what every target of make does in a checkout whose environment is there."""
    runpy.run_path(str(root / MAKE))["compile_sources"]()


def is_compiled(source: Path) -> bool:
    """Tell whether Python takes the bytecode beside a source as its own."""
    try:
        header = Path(importlib.util.cache_from_source(str(source))).read_bytes()[:16]
    except OSError:
        return False
    found = source.stat()
    return header == importlib.util.MAGIC_NUMBER + struct.pack("<III", 0, int(found.st_mtime), found.st_size)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with one module."""
    root = tmp_path / "checkout"
    for name in (MAKE, Path("pyproject.toml")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, root / name)
    (root / "functions").mkdir()
    (root / "functions/one.py").write_text("x = 1\n")
    return root


def test_no_module_of_the_project_or_that_it_imports_is_compiled_by_a_program() -> None:
    compile_sources(ROOT)
    program = [sys.executable, "-W", "ignore", "-c", IMPORT_ALL, str(ROOT), sys.prefix]
    done = subprocess.run(program, cwd=ROOT, env=FORBIDDEN, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    count, *compiled = done.stdout.splitlines()
    assert int(count) > 1000
    assert compiled == []


def test_a_source_that_has_changed_is_compiled_the_next_time(checkout: Path) -> None:
    source = checkout / "functions/one.py"
    for number, text in enumerate(("x = 1\n", "x = 2\n", "x = 33\n")):
        source.write_text(text)
        os.utime(source, (number, number))
        assert not is_compiled(source)
        compile_sources(checkout)
        assert is_compiled(source)


def test_what_cannot_be_compiled_or_kept_stops_nobody(checkout: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (checkout / "functions/broken.py").write_text("x = (\n")
    closed = checkout / "functions/closed/two.py"
    closed.parent.mkdir()
    closed.write_text("x = 2\n")
    (closed.parent / "__pycache__").write_text("in the way, as a checkout that is read-only would be")
    compile_sources(checkout)
    assert is_compiled(checkout / "functions/one.py") and not is_compiled(closed)
    assert capfd.readouterr() == ("", "")


def test_set_up_compiles_what_it_installs_whatever_pip_was_told(checkout: Path, make_wheel: Callable[[], Path]) -> None:
    wheel = make_wheel()
    lock = checkout / "tools.lock"
    lock.write_text(f"tiny @ {wheel.as_uri()} --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n")
    command = [sys.executable, str(checkout / MAKE), str(checkout / "env"), str(lock)]
    done = subprocess.run(command, env=FORBIDDEN, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (tiny,) = (checkout / "env").glob("lib/*/site-packages/tiny.py")
    assert is_compiled(tiny)
    assert is_compiled(tiny.parent / "pip/__init__.py"), "and what was there before"


@pytest.fixture
def make_wheel(tmp_path: Path) -> Callable[[], Path]:
    """Make the wheel of a package with one module."""

    def make() -> Path:
        files = {
            "tiny.py": "x = 1\n",
            "not_python.py": "<template>\n",
            "tiny-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1\n",
            "tiny-1.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        sums = {name: base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()) for name, text in files.items()}
        record = "".join(f"{name},sha256={digest.decode().rstrip('=')},\n" for name, digest in sums.items())
        path = tmp_path / "tiny-1-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as wheel:
            for name, text in {**files, "tiny-1.dist-info/RECORD": record + "tiny-1.dist-info/RECORD,,\n"}.items():
                wheel.writestr(name, text)
        return path

    return make


def test_the_image_compiles_what_it_installs_and_the_library_of_python() -> None:
    """Python's own image has no bytecode, and who runs in ours may write none."""
    steps = (ROOT / "local/Dockerfile").read_text()
    assert re.search(r"uv pip install .*--compile-bytecode", steps)
    found = re.search(r"^RUN python -c '(.*)'$", steps, re.MULTILINE)
    assert found is not None and steps.index(found[0]) < steps.index("USER 10001")
    library: list[str] = []
    exec(found[1].replace("compileall.compile_dir", "note"), {"note": lambda folder, quiet: library.append(folder)})
    assert [Path(folder, "json/__init__.py").exists() for folder in library] == [True]
