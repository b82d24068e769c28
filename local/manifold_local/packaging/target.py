"""Which Python, on which processor, an artifact is for."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ARCHITECTURES = {"x86_64": "x86_64", "arm64": "aarch64"}
"""Lambda's names of processors, and those of wheels."""
# Amazon Linux 2023, which runs Python 3.12 and later, has glibc 2.34; Amazon Linux 2, which runs 3.11, has 2.26.
_OLDEST_ON_2023 = 12
_GLIBC_2023, _GLIBC_2 = 34, 26
_OLDEST_GLIBC = 5
_LEGACY_NAMES = ("manylinux2014", "manylinux2010", "manylinux1")


@dataclass(frozen=True)
class Target:
    python: str
    """Such as ``3.13``."""
    architecture: str
    """A key of ``ARCHITECTURES``."""
    native: bool = False
    """Whatever runs on this machine, instead of what runs on Lambda."""

    def pip_options(self) -> list[str]:
        """Return what makes pip choose wheels for this target, and only wheels: none runs code when it is installed."""
        options = ["--only-binary=:all:"]
        if self.native:
            return options
        minor = int(self.python.split(".")[1])
        glibc = _GLIBC_2023 if minor >= _OLDEST_ON_2023 else _GLIBC_2
        # pip takes a platform by its letters: a wheel for glibc 2.24 is for 2.34 too, but only if it is named.
        tags = [*(f"manylinux_2_{version}" for version in range(glibc, _OLDEST_GLIBC - 1, -1)), *_LEGACY_NAMES]
        options += ["--implementation=cp", f"--python-version={self.python}"]
        return options + [f"--platform={tag}_{ARCHITECTURES[self.architecture]}" for tag in tags]

    def interpreter(self) -> Path | None:
        """Return a Python of the target's version on this machine, or ``None``."""
        if "{}.{}".format(*sys.version_info) == self.python:
            return Path(sys.executable)
        found = shutil.which(f"python{self.python}")
        return Path(found) if found and _works(found) else None


def this_machine() -> Target:
    """Return the target that runs in this Python, here."""
    ours = {wheels: name for name, wheels in ARCHITECTURES.items()}
    machine = platform.machine()
    return Target("{}.{}".format(*sys.version_info), ours.get(machine, machine), native=True)


def _works(python: str) -> bool:
    return subprocess.run([python, "-c", "import compileall"], capture_output=True, check=False).returncode == 0
