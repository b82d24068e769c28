"""What is left out of an artifact, because nothing in a function reads it."""

from __future__ import annotations

import shutil
from pathlib import Path

LEFT_OUT = (
    "adapters/memory",  # for tests
    "adapters/wrappers/counting.py",  # for tests and benchmarks
    "adapters/remote",  # the client's side
    "bootstrap/remote.py",
    "engine/granted_keys.py",
    "ports/remote.py",
    "services/remote",
    "shapes/answer_checks.py",  # what clients hold answers against
    "services/upkeep/store_check.py",  # for operators, at the command line
    "shapes/store.py",
    "settings/__main__.py",
)
"""Of ``manifold_common``: parts that no handler imports. ``tests/architecture`` holds this list against the source."""

AWS_SERVICES = ("kms", "s3", "sts")
"""Services that functions call through botocore, which describes more than 400, on 20 MB."""

_DEAD = ("zstandard/_cffi.*", "zstandard/backend_cffi.py")
"""Of packages: what CPython never loads. The first is as large as all of psycopg."""
_FOLDERS = ("tests", "test", "examples", "__pycache__")
_FILES = ("*.pyi", "*.pyx", "*.pxd", "*.c", "*.h", "*.a", "py.typed", "RECORD", "INSTALLER", "REQUESTED")


def trim(folder: Path) -> None:
    """Remove from installed packages what is not for running them. Licences stay."""
    shutil.rmtree(folder / "bin", ignore_errors=True)
    for package in [entry for entry in folder.iterdir() if entry.is_dir()]:
        for inner in sorted(package.rglob("*"), reverse=True):
            if inner.is_dir() and inner.name in _FOLDERS:
                shutil.rmtree(inner)
        for pattern in _FILES:
            for file in package.rglob(pattern):
                file.unlink()
    for pattern in _DEAD:
        for file in folder.glob(pattern):
            file.unlink()
    _trim_botocore(folder)


def _trim_botocore(folder: Path) -> None:
    for data in (folder / "botocore" / "data", folder / "boto3" / "data"):
        for service in [entry for entry in data.glob("*") if entry.is_dir()]:
            if service.name not in AWS_SERVICES:
                shutil.rmtree(service)
