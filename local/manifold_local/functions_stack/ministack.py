"""A stand-in for AWS: ministack, one process, on loopback, which keeps nothing when it ends.

Functions are run by the package ``lambda_service`` inside it, in a Python that has nothing installed but the runtime
client of Lambda: what their artifacts lack is missing here as it would be there.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from manifold_local.embedded.stack.child import Child
from manifold_local.functions_stack.runtime_client import copy_runtime_client
from manifold_local.functions_stack.tools import Tools
from manifold_local.packaging.wheels import ROOT

REGION = "us-east-1"
ACCOUNT = "000000000000"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": ACCOUNT, "AWS_SECRET_ACCESS_KEY": "none-is-checked"}

_FOLDERS = ("tmp", "runtime", "code", "containers")

# Packages of the tools come last on the path, for this process alone: the Python itself has none.
_LAUNCHER = (
    "import runpy, sys; sys.path += sys.argv[1:3]; del sys.argv[1:3]; runpy.run_module(sys.argv.pop(1), {}, '__main__')"
)


class Ministack:
    """One server. ``start`` returns when it answers."""

    def __init__(self, folder: Path, ram: Path, tools: Tools, *, port: int) -> None:
        self.child = Child("ministack", folder)
        self.url = f"http://127.0.0.1:{port}"
        self._folder = folder
        self._ram = ram
        self._tools = tools
        self._port = port

    def start(self) -> None:
        """Raises Unavailable, ConfigError."""
        environ = {
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(self._port),
            "MINISTACK_HOST": "127.0.0.1",
            "IOT_MTLS_ENABLED": "0",  # or else it listens on a port of every address
            "MINISTACK_REGION": REGION,
            "TMPDIR": str(self._fresh("tmp")),
        }
        places = {
            "endpoint": self.url,
            "runtime": str(copy_runtime_client(self._fresh("runtime"))),
            "code": str(self._fresh("code")),
            "disk": str(self._fresh("containers")),
            "ram": str(self._ram),
        }
        command: list[str | Path] = [self._bare_python(), "-c", _LAUNCHER, self._tools.packages, ROOT / "local"]
        command += ["manifold_local.lambda_service.service", json.dumps(places)]
        self.child.start(command, self._is_ready, environ=environ)

    def stop(self) -> None:
        self.child.stop()
        for name in _FOLDERS:
            remove(self._folder / name)

    @contextmanager
    def client(self, service: str) -> Iterator[Any]:
        """Yield a client of one service."""
        session = boto3.session.Session(
            CREDENTIALS["AWS_ACCESS_KEY_ID"], CREDENTIALS["AWS_SECRET_ACCESS_KEY"], region_name=REGION
        )
        # A function that is invoked may take as long as Lambda allows, and is not to be invoked twice.
        config = Config(read_timeout=905, retries={"total_max_attempts": 1})
        client = session.client(service, endpoint_url=self.url, config=config)
        try:
            yield client
        finally:
            client.close()

    def _bare_python(self) -> Path:
        bare = self._folder / "python"
        shutil.rmtree(bare, ignore_errors=True)
        subprocess.run([self._tools.python, "-m", "venv", "--without-pip", bare], check=True, env={})
        return bare / "bin" / "python"

    def _fresh(self, name: str) -> Path:
        folder = self._folder / name
        remove(folder)
        folder.mkdir(mode=0o700)
        return folder

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/_ministack/health", timeout=2) as answer:  # noqa: S310 - http, as made above
                return int(answer.status) == 200
        except OSError:
            return False


def remove(folder: Path) -> None:
    """Remove a folder in which some cannot be written to, as code of functions cannot."""
    for place, names, _ in os.walk(folder):
        for name in names:
            os.chmod(os.path.join(place, name), 0o700, follow_symlinks=False)
    shutil.rmtree(folder, ignore_errors=True)
