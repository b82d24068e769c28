"""Lambda's runtime client: what Lambda itself brings, beside the artifacts, to run a function in Python."""

from __future__ import annotations

import shutil
from importlib import metadata
from pathlib import Path

_PACKAGES = ("awslambdaric", "simplejson", "snapshot-restore-py")


def copy_runtime_client(folder: Path) -> Path:
    """Copy it from this environment, and return ``folder``."""
    for package in _PACKAGES:
        for file in metadata.files(package) or ():
            if ".." not in file.parts and file.suffix != ".pyc":
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file.locate(), folder / file)
    return folder
