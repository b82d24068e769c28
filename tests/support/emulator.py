"""A function as AWS runs it: its own process, driven by the AWS Runtime Interface Emulator and Lambda's runtime client.

The emulator comes with the SAM CLI (``make tools``). It keeps one container: one invocation at a time, and a container
that was killed or timed out is started again with the next one, over the same folders. When a container dies between
invocations, whatever runs in it, the emulator notices with the next one: it does not pass that on, and answers
``Runtime.ExitError``. A container whose time is over while it starts is answered with ``Task timed out`` or, rarely,
with a ``Sandbox.Failure`` of ``ErrGateCanceled``: the emulator's own word for a start that it waits for no longer.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psutil
import pytest
from manifold_common.bootstrap import Manifold, build
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.settings import load_settings
from manifold_local.embedded.stack.child import free_ports

from tests.support.artifacts import Artifacts, python
from tests.support.functions import function_variables
from tests.support.tools import tools
from tests.support.waiting import frozen

ROOT = Path(__file__).parents[2]
SOURCES = (ROOT / "layers" / "manifold_common", ROOT)
"""Where functions are imported from, unless artifacts were built."""
_PROCESSORS = {"x86_64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}
_START_SECONDS = 60.0


class NoAnswer(Exception):
    """The emulator ended the connection without an answer: it was killed."""


def emulator_binary() -> Path:
    """Return the emulator. Raises ConfigError: the tools are not there."""
    return tools().packages / f"samcli/local/rapid/aws-lambda-rie-{_PROCESSORS[platform.machine()]}"


@dataclass(frozen=True)
class Answer:
    payload: Any
    seconds: float

    @property
    def error(self) -> str | None:
        """The type of the exception with which the invocation failed."""
        if isinstance(self.payload, dict) and "errorType" in self.payload:
            return str(self.payload["errorType"])
        return None

    @property
    def out_of_time(self) -> bool:
        """Whether the emulator ended the container for its time, be it at work or still starting."""
        return any(words in str(self.payload) for words in ("timed out after", "ErrGateCanceled"))


class EmulatedFunction:
    """One function with a container of its own.

    Args:
        paths: where its modules are.
        starter: what runs it; gets the handler's name as its last argument.
    """

    def __init__(
        self,
        name: str,
        variables: Mapping[str, str],
        folder: Path,
        *,
        paths: Sequence[Path] = SOURCES,
        timeout_seconds: int = 30,
        starter: Sequence[str | Path] = (sys.executable, "-m", "awslambdaric"),
    ) -> None:
        self.port, runtime_port = free_ports(2)
        self._folder = folder
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the function
        environ = {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "PYTHONPATH": os.pathsep.join(map(str, paths)),
            "PYTHONDONTWRITEBYTECODE": "1",
            "AWS_LAMBDA_FUNCTION_TIMEOUT": str(timeout_seconds),
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769",
            "LAMBDA_TASK_ROOT": str(folder),
            **variables,
        }
        self.process = subprocess.Popen(
            [
                emulator_binary(),
                "--log-level", "error",
                "--runtime-interface-emulator-address", f"127.0.0.1:{self.port}",
                "--runtime-api-address", f"127.0.0.1:{runtime_port}",
                *starter,
                f"functions.{name}.handler.handler",
            ],
            env=environ,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        self._wait_until_it_listens()

    def invoke(self, event: Any, *, wait_seconds: float = 120.0) -> Answer:
        """Raises NoAnswer."""
        begun = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=wait_seconds)
        try:
            connection.request("POST", "/2015-03-31/functions/function/invocations", json.dumps(event))
            data = connection.getresponse().read()
        except (http.client.HTTPException, ConnectionError) as error:
            raise NoAnswer(f"{type(error).__name__}\n{self.log()[-4000:]}") from None
        finally:
            connection.close()
        try:
            payload = json.loads(data)
        except ValueError:
            payload = data.decode(errors="replace")
        return Answer(payload, time.monotonic() - begun)

    def begin(self, event: Any) -> threading.Thread:
        """Invoke without waiting for the answer."""

        def run() -> None:
            with contextlib.suppress(NoAnswer, OSError):
                self.invoke(event)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    @property
    def runtime(self) -> psutil.Process:
        """The process in which the function's code runs."""
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            for child in psutil.Process(self.process.pid).children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    if any("awslambdaric" in part for part in child.cmdline()):
                        return child
            time.sleep(0.005)
        raise AssertionError(f"no runtime process\n{self.log()}")

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Do to the runtime what Lambda does between invocations."""
        with frozen(self.runtime.pid):
            yield

    def log(self) -> str:
        """Return all that the function has printed."""
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), size, 0).decode(errors="replace")

    def stop(self) -> None:
        """End the emulator and its container, by what they are to us."""
        with contextlib.suppress(psutil.Error):
            for child in psutil.Process(self.process.pid).children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    child.kill()
        self.process.kill()
        self.process.wait()
        self._log.close()

    def _wait_until_it_listens(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                assert self.process.poll() is None, self.log()
                assert time.monotonic() < deadline, self.log()
                time.sleep(0.002)


MakeEmulated = Any
"""``make(name, **variables)``, with ``container``, ``timeout_seconds`` and ``artifacts`` (from which it then runs)."""


@pytest.fixture
def emulated(tmp_path: Path, postgres_dsn: str) -> Iterator[MakeEmulated]:
    """Return a function that starts one of the functions; all of a test share database, store and keys."""
    started: list[EmulatedFunction] = []

    def make(
        name: str,
        *,
        container: str = "a",
        timeout_seconds: int = 30,
        artifacts: Artifacts | None = None,
        **variables: str,
    ) -> EmulatedFunction:
        folder = tmp_path / f"container-{container}" / "tmp"
        folder.mkdir(parents=True, exist_ok=True)
        found = function_variables(folder, postgres_dsn, **{**_shared(tmp_path), **variables})
        how: dict[str, Any] = {}
        if artifacts is not None:
            how = {"paths": artifacts.paths(name), "starter": python("-m", "awslambdaric")}
        started.append(EmulatedFunction(name, found, folder, timeout_seconds=timeout_seconds, **how))
        return started[-1]

    yield make
    for function in started:
        function.stop()


@pytest.fixture
def observer(tmp_path: Path, postgres_dsn: str) -> Iterator[Manifold]:
    """A host that shares database, store and keys with the functions; it has made the project ``demo``."""
    folder = tmp_path / "container-observer" / "tmp"
    folder.mkdir(parents=True)
    variables = function_variables(folder, postgres_dsn, **_shared(tmp_path))
    manifold = build(load_settings(environ=variables, cwd=folder), postgres_dsn)
    manifold.projects.create(LOCAL_PRINCIPAL, "demo")
    yield manifold
    manifold.close()


def _shared(tmp_path: Path) -> dict[str, str]:
    return {
        "PROJECTS_FILESYSTEM_ROOT": str(tmp_path / "store"),
        "PROJECTS_ENCRYPTION_FILE_KEYSTORE_PATH": str(tmp_path / "keystore"),
    }
