"""What a container has besides the artifacts: Lambda's own runtime client, and what makes it end with the stand-in."""

from __future__ import annotations

import shutil
from importlib import metadata
from pathlib import Path

from manifold_local.functions_stack import container

_PACKAGES = ("awslambdaric", "simplejson", "snapshot-restore-py")


def copy_runtime_client(folder: Path) -> Path:
    """Copy all that from this environment, and return ``folder``."""
    for package in _PACKAGES:
        for file in metadata.files(package) or ():
            if ".." not in file.parts and file.suffix != ".pyc":
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file.locate(), folder / file)
    shutil.copyfile(container.__file__, folder / "sitecustomize.py")
    return folder
