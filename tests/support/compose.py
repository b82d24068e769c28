"""The compose files as Docker's own Compose reads them. It needs no engine for that."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.templates import ROOT
from tests.support.tools import tools

SIMPLE: tuple[str, ...] = ()
ENTERPRISE = ("docker-compose.enterprise.yml",)
SCALE = ("docker-compose.scale.yml",)
SCALE_UPON_ENTERPRISE = (*ENTERPRISE, *SCALE)
LOCALSTACK = (*ENTERPRISE, "docker-compose.localstack.yml")
STACKS = (SIMPLE, ENTERPRISE, SCALE, SCALE_UPON_ENTERPRISE, LOCALSTACK)
"""What is given with ``-f``."""

SECRETS = {
    "POSTGRES_PASSWORD": "the-postgres-password",
    "MINIO_ROOT_USER": "the-access-key",
    "MINIO_ROOT_PASSWORD": "the-secret-key",
    "VAULT_DEV_ROOT_TOKEN": "the-root-token",
    "REDIS_PASSWORD": "the-redis-password",
}
"""The least that has to be filled in, and the password of Redis."""


def program() -> Path:
    return tools().folder / "bin" / "docker-compose"


class Compose:
    """A copy of the repository's compose files and what they mount, with a ``.env`` of its own."""

    def __init__(self, folder: Path, dotenv: Mapping[str, str] | str) -> None:
        self.folder = folder
        self._projects: dict[tuple[Any, ...], dict[str, Any]] = {}
        for path in ROOT.glob("docker-compose*.yml"):
            shutil.copy(path, folder)
        for name in ("configs", "local/compose", "local/localstack"):
            shutil.copytree(ROOT / name, folder / name)
        shutil.copy(ROOT / "local" / "Dockerfile", folder / "local")
        text = dotenv if isinstance(dotenv, str) else "".join(f"{name}={value}\n" for name, value in dotenv.items())
        (folder / ".env").write_text(text)

    def run(self, *arguments: str, environ: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run ``docker-compose`` at the top, in a shell that has nothing set but ``environ``."""
        variables = {"PATH": "/usr/bin:/bin", "HOME": str(self.folder), **(environ or {})}
        return subprocess.run(
            [program(), *arguments], cwd=self.folder, env=variables, capture_output=True, text=True, check=False
        )

    def project(self, files: tuple[str, ...], **environ: str) -> dict[str, Any]:
        """Return the project that Compose makes of ``files``."""
        key = (files, *sorted(environ.items()))
        if key not in self._projects:
            options = [word for file in files for word in ("-f", file)]
            done = self.run(*options, "config", "--format", "json", environ=environ)
            assert (done.returncode, done.stderr) == (0, ""), "Compose refuses or warns"
            self._projects[key] = json.loads(done.stdout)
        return self._projects[key]

    def services(self, files: tuple[str, ...], **environ: str) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = self.project(files, **environ)["services"]
        return found


@pytest.fixture(scope="session")
def compose(tmp_path_factory: pytest.TempPathFactory) -> Compose:
    """The compose files with a ``.env`` of ``SECRETS`` and nothing else."""
    return Compose(tmp_path_factory.mktemp("compose"), SECRETS)
