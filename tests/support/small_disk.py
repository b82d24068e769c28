"""A file system of a few megabytes, to be filled for real. Only root may mount one: others skip these tests."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

MIB = 1 << 20


class SmallDisk:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def resize(self, **options: int) -> None:
        """Change ``size`` (bytes) or ``nr_inodes`` of the file system."""
        _mount("-o", f"remount,{_joined(options)}", self.folder)

    def bytes_below(self, name: str) -> int:
        """Return what the files in one of its folders take."""
        return sum(path.lstat().st_blocks * 512 for path in (self.folder / name).rglob("*") if path.is_file())


MakeSmallDisk = Callable[..., SmallDisk]


@pytest.fixture
def small_disk() -> Iterator[MakeSmallDisk]:
    """Return a function that mounts a small file system on a folder; options as for ``SmallDisk.resize``."""
    mounted: list[Path] = []

    def make(folder: Path, **options: int) -> SmallDisk:
        folder.mkdir(parents=True, exist_ok=True)
        if os.geteuid() != 0:
            pytest.skip("only root may mount a file system")
        try:
            _mount("-t", "tmpfs", "-o", f"mode=0755,{_joined(options)}", "manifold-test", folder)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"this machine lets nobody mount a file system: {error.stderr.strip()}")
        mounted.append(folder)
        return SmallDisk(folder)

    yield make
    for folder in mounted:
        subprocess.run(["umount", "--lazy", folder], check=True)


def _joined(options: dict[str, int]) -> str:
    return ",".join(f"{name}={value}" for name, value in options.items())


def _mount(*arguments: str | Path) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True, text=True)
