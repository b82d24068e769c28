"""The environment that ``make tools`` makes: sam, and the stand-in for AWS."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from manifold_common.errors import ConfigError, Unavailable

from manifold_local.packaging.wheels import ROOT

FOLDER = ROOT / ".venv-aws"
_TAIL_LINES = 25


@dataclass(frozen=True)
class Tools:
    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def packages(self) -> Path:
        """Where its packages are."""
        (found,) = self.folder.glob("lib/python3.*/site-packages")
        return found

    def sam(self, *arguments: str | Path, home: Path, environ: Mapping[str, str] | None = None) -> str:
        """Run the SAM CLI at the top of the repository, and return what it says.

        Its environment is ``environ`` and nothing of this process's.

        Raises:
            Unavailable: it failed; the message has the end of its output.
        """
        return self._run(arguments, {"HOME": str(home), **(environ or {})}, ["-i"])

    def sam_build(self, *arguments: str | Path, environ: Mapping[str, str]) -> str:
        """Like ``sam``, but with this process's environment, which may say where pip finds packages."""
        # What a make around this was told is not for those that sam runs: their PYTHON is another one.
        return self._run(("build", *arguments), environ, ["-u", "MAKEFLAGS", "-u", "MAKEOVERRIDES"])

    def _run(self, arguments: Sequence[str | Path], environ: Mapping[str, str], options: list[str]) -> str:
        variables = {
            "PATH": os.pathsep.join([str(self.folder / "bin"), *os.get_exec_path()]),
            "PYTHON": str(self.python),
            "SAM_CLI_TELEMETRY": "0",
            "AWS_DEFAULT_REGION": "us-east-1",
            **environ,
        }
        given = [f"{name}={value}" for name, value in variables.items()]
        command = ["env", *options, *given, str(self.folder / "bin" / "sam"), *map(str, arguments)]
        done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        said = done.stdout + done.stderr
        if done.returncode != 0:
            tail = "\n".join(said.strip().splitlines()[-_TAIL_LINES:])
            raise Unavailable(f"sam {arguments[0]} failed with code {done.returncode}:\n{tail}")
        return said


def find_tools(folder: Path = FOLDER) -> Tools:
    """Raises ConfigError: they are not there."""
    tools = Tools(folder.expanduser().absolute())
    if not (tools.folder / "bin" / "sam").is_file():
        raise ConfigError(f"there are no tools for functions in {tools.folder}", hint="make tools")
    return tools
