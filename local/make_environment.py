"""Make a virtual environment that the Makefile's targets run in.

``make_environment.py .venv`` installs exactly what ``requirements.lock`` lists, each file checked against its hash, and
this project itself in editable form. ``make_environment.py .venv-aws infra/tools.lock`` installs what that lock lists
and nothing else. Needs nothing but Python. Done once for each state of the lock; several may run at once.

All that is installed is compiled, and each time also what has changed of the project's sources: where programs may not
keep what they compile (``PYTHONDONTWRITEBYTECODE``, as in many images), each would do it anew.
"""

from __future__ import annotations

import compileall
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from dataclasses import dataclass
from pathlib import Path
from py_compile import PycInvalidationMode

OLDEST_PYTHON = (3, 11)
ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
PROJECT = ROOT / "pyproject.toml"

NEUTRAL_PIP = {
    "PIP_USER": "0",  # a user's configuration may ask for installs into the home folder, which an environment refuses
    "PIP_REQUIRE_VIRTUALENV": "0",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_NO_INPUT": "1",
    "PIP_ROOT_USER_ACTION": "ignore",
    "PIP_PROGRESS_BAR": "off",
}
UNWANTED = (
    "PIP_TARGET",
    "PIP_PREFIX",
    "PIP_ROOT",
    "PIP_REQUIRE_HASHES",
    "PYTHONHOME",
    "PYTHONPATH",
    "__PYVENV_LAUNCHER__",
)


def main() -> int:
    if sys.version_info < OLDEST_PYTHON:
        print(f"Python {'.'.join(map(str, OLDEST_PYTHON))} or newer is needed, not {sys.version}", file=sys.stderr)
        return 1
    arguments = [Path(argument).absolute() for argument in sys.argv[1:3]]
    environment = Environment(*arguments or [ROOT / ".venv"])
    with environment.lock.open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not environment.is_current():
            started = time.monotonic()
            print(f"Setting up {environment.folder} with Python {sys.version.split()[0]} ...", flush=True)
            try:
                environment.make()
            except subprocess.CalledProcessError as error:
                command = " ".join(map(str, error.cmd[:6]))
                print(f"error: {command} ... failed with code {error.returncode}", file=sys.stderr)
                return 1
            print(f"Set up in {time.monotonic() - started:.0f} s.", flush=True)
        if environment.has_project:
            compile_sources()
    return 0


def compile_sources() -> None:
    """Compile what of the project has changed. What cannot be compiled or kept, each program reports or compiles."""
    import tomllib  # an older Python, which has none, is to be told what is wrong

    packages = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"]["wheel"]
    for package in packages["packages"]:
        compileall.compile_dir(ROOT / package, quiet=2, invalidation_mode=PycInvalidationMode.TIMESTAMP)


@dataclass(frozen=True)
class Environment:
    folder: Path
    lock: Path = LOCK

    def is_current(self) -> bool:
        try:
            return self._stamp.read_text() == self._wanted() and self._works()
        except OSError:
            return False

    def make(self) -> None:
        """Raises CalledProcessError."""
        variables = {name: value for name, value in os.environ.items() if name not in UNWANTED} | NEUTRAL_PIP
        if not self._works():
            shutil.rmtree(self.folder, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", self.folder], check=True, env=variables)
        pip: list[str | Path] = [self._python, "-m", "pip"]
        if subprocess.run([*pip, "--version"], capture_output=True, check=False, env=variables).returncode != 0:
            subprocess.run([self._python, "-m", "ensurepip"], check=True, env=variables, stdout=subprocess.DEVNULL)
        # A lock is complete, and pip 23 does not find what a lock pins once it is wanted with an extra, too.
        listed: list[str | Path] = ["--no-deps", "--require-hashes", "-r", self.lock]
        install: list[str | Path] = [*pip, "install", "--quiet", "--no-compile"]
        subprocess.run([*install, *listed], check=True, env=variables)
        if self.has_project:
            itself: list[str | Path] = ["--no-deps", "--no-build-isolation", "--editable", ROOT]
            subprocess.run([*install, *itself], check=True, env=variables)
        subprocess.run([*pip, "check"], check=True, env=variables, stdout=subprocess.DEVNULL)
        # At once with all processors, and also what was installed before without. Some packages carry files that are
        # no Python, which is no failure.
        compiling = [self._python, "-m", "compileall", "-qq", "-j0", "--invalidation-mode", "timestamp"]
        subprocess.run([*compiling, self.folder / "lib"], check=False, env=variables)
        self._stamp.write_text(self._wanted())

    @property
    def has_project(self) -> bool:
        return self.lock == LOCK

    @property
    def _python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def _stamp(self) -> Path:
        return self.folder / ".manifold-stamp"

    def _wanted(self) -> str:
        """Return what the environment depends on, as one word."""
        digest = hashlib.sha256(f"{sysconfig.get_platform()} {sys.implementation.cache_tag}".encode())
        if self.has_project:
            digest.update(str(ROOT).encode())  # where it is installed from
        for file in (self.lock, *([PROJECT] if self.has_project else []), Path(__file__)):
            digest.update(file.read_bytes())
        return digest.hexdigest()

    def _works(self) -> bool:
        """Tell whether the environment's Python is there, and is the version that is to be used."""
        check = f"import sys; sys.exit(sys.version_info[:2] != {sys.version_info[:2]!r})"
        try:
            return subprocess.run([self._python, "-c", check], capture_output=True, check=False).returncode == 0
        except OSError:
            return False


if __name__ == "__main__":
    sys.exit(main())
