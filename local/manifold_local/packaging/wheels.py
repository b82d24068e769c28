"""Third-party packages for a target: the versions of ``requirements.lock``, checked against its hashes.

Promise: only what the lock names is installed, and none of it is run.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from manifold_local.packaging.target import Target

ROOT = Path(__file__).resolve().parents[3]
LOCK = ROOT / "requirements.lock"
_ENTRY = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)")


class Unpinned(Exception):
    """A package is wanted that the lock does not name."""


def pinned() -> dict[str, str]:
    """Return the entries of the lock by normal name, each with its version and hashes, without its marker."""
    found: dict[str, str] = {}
    name = ""
    for line in LOCK.read_text().splitlines():
        if match := _ENTRY.match(line):
            name = normal(match[1])
            found[name] = f"{match[1]}=={match[2]}"
        elif "--hash=" in line:
            found[name] += " " + line.strip(" \\")
    return found


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def needed(requirements: Path, target: Target) -> set[str]:
    """Return the normal names of what ``requirements`` needs on the target, with all that this needs in turn.

    Raises:
        CalledProcessError: pip finds no such wheels. Unpinned.
    """
    lock = pinned()
    with tempfile.TemporaryDirectory() as folder:
        versions, report = Path(folder, "versions.txt"), Path(folder, "report.json")
        versions.write_text("".join(entry.split()[0] + "\n" for entry in lock.values()))
        options: list[str | Path] = ["--dry-run", "--ignore-installed", "--report", report]
        _pip(*options, *target.pip_options(), "--target", Path(folder, "x"), "-r", requirements, "-c", versions)
        answer: dict[str, Any] = json.loads(report.read_text())
    names = {normal(item["metadata"]["name"]) for item in answer["install"]}
    if unknown := names - lock.keys():
        raise Unpinned(f"{requirements}: requirements.lock does not name {', '.join(sorted(unknown))}; make it anew")
    return names


def install(names: Iterable[str], folder: Path, target: Target) -> None:
    """Unpack the wheels of packages into a folder.

    Raises:
        CalledProcessError: pip fails, or a hash is not the lock's.
    """
    lock = pinned()
    with tempfile.TemporaryDirectory() as aside:
        listed = Path(aside, "listed.txt")
        listed.write_text("".join(lock[name] + "\n" for name in sorted(names)))
        options: list[str | Path] = ["--no-deps", "--no-compile", "--require-hashes", "--target", folder]
        _pip(*options, *target.pip_options(), "-r", listed)


def _pip(*arguments: str | Path) -> None:
    quiet = ["--quiet", "--no-input", "--disable-pip-version-check", "--root-user-action=ignore", "--progress-bar=off"]
    subprocess.run([sys.executable, "-m", "pip", "install", "--no-user", *quiet, *map(str, arguments)], check=True)
