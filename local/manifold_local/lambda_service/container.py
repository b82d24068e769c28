"""One container: a process that runs a function's code, one invocation at a time, and stands still in between.

Its working folders are its own, as ``/tmp`` is on Lambda: ciphertext on the disk, working sets in RAM. Its code is not:
all containers of a function read the same unpacked files. It ends with the process that started it, however that ended.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from manifold_local.lambda_service.limits import INIT_SECONDS
from manifold_local.lambda_service.runtime_api import Invocation, RuntimeApi

PARENT = "MANIFOLD_CONTAINER_PARENT"
"""The variable by which a container's Python knows with whom it is to end (sitecustomize.py)."""
_SETTLE_SECONDS = 1.0

# The kernel ends a child with the thread that started it. So it is always the same thread, which lasts.
_starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="containers")


@dataclass(frozen=True)
class Outcome:
    """What became of an invocation."""

    body: Any
    """The function's answer, or Lambda's description of what went wrong."""
    is_error: bool
    log: str
    """What the container has printed meanwhile."""
    is_usable: bool
    """Whether the container can take another invocation."""


@dataclass(frozen=True)
class Code:
    """What a container runs. Args: ``paths``: where its modules are, in Lambda's order; the first is the function's."""

    python: Path
    handler: str
    paths: Sequence[Path]


class Container:
    """Its process starts as soon as it is made. For one thread at a time.

    Args:
        disk, ram: below these it makes folders of its own.
    """

    def __init__(self, name: str, code: Code, environ: Mapping[str, str], disk: Path, ram: Path) -> None:
        self.idle_since = time.monotonic()
        self._code = code
        self._api = RuntimeApi()
        self._disk = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=disk))
        self._ram = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=ram))
        temporary = self._disk / "tmp"
        temporary.mkdir()
        self._log = (self._disk / "log").open("w+b", buffering=0)
        self._read = 0
        self._environ = {
            **environ,
            "AWS_LAMBDA_RUNTIME_API": self._api.address,
            "LAMBDA_TASK_ROOT": str(code.paths[0]),
            "PYTHONPATH": os.pathsep.join(map(str, code.paths)),
            "PYTHONDONTWRITEBYTECODE": "1",  # on Lambda the code's folders cannot be written to
            "TMPDIR": str(temporary),
            "HOME": str(temporary),
            "WORKDIR": str(self._disk / "work"),
            "PROJECTS_WORKSPACE_TMPFS_DIR": str(self._ram / "sets"),
            PARENT: str(os.getpid()),
        }
        self._process: subprocess.Popen[bytes] = _starter.submit(self._start).result()

    def invoke(self, invocation: Invocation, timeout_seconds: float) -> Outcome:
        self._signal(signal.SIGCONT)
        api, begun = self._api, time.time()
        ready = api.wait(lambda: api.waits or api.init_error, self._is_alive, begun + INIT_SECONDS)
        # The start takes nothing of the function's own time, unless it takes longer than that.
        invocation = replace(invocation, deadline=invocation.deadline + time.time() - begun)
        if not ready and self._is_alive():
            ready = api.wait(lambda: api.waits or api.init_error, self._is_alive, invocation.deadline)
        if ready and api.init_error is None:
            api.hand_over(invocation)
            ready = api.wait(api.said, self._is_alive, invocation.deadline)
        said = api.init_error or api.said() if ready else None
        if said is None:
            return self._given_up(invocation, timeout_seconds)
        # What it prints after its answer still belongs to this invocation, until it asks for the next one.
        settled = api.wait(lambda: api.waits, self._is_alive, time.time() + _SETTLE_SECONDS)
        log = self._new_log()
        if settled:
            self._signal(signal.SIGSTOP)
        self.idle_since = time.monotonic()
        return Outcome(_parsed(said.body), said.is_error, log, is_usable=settled)

    def stop(self) -> None:
        """End it, and remove what it kept."""
        self._signal(signal.SIGKILL)
        self._process.wait()
        self._api.close()
        self._log.close()
        for folder in (self._disk, self._ram):
            shutil.rmtree(folder, ignore_errors=True)

    def _given_up(self, invocation: Invocation, timeout_seconds: float) -> Outcome:
        who = f"RequestId: {invocation.request_id} Error: "
        if self._is_alive():
            kind, why = "Sandbox.Timedout", f"Task timed out after {timeout_seconds:.2f} seconds"
        else:
            code = self._process.wait()
            how = f"exit status {code}" if code >= 0 else f"signal: {signal.Signals(-code).name}"
            kind, why = "Runtime.ExitError", f"Runtime exited with error: {how}"
        self._signal(signal.SIGKILL)
        body = {"errorType": kind, "errorMessage": who + why}
        return Outcome(body, True, self._new_log() + f"\n{who}{why}", is_usable=False)

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [self._code.python, "-m", "awslambdaric", self._code.handler],
            cwd=self._code.paths[0],
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that what a function has started stops and ends with it
        )

    def _is_alive(self) -> bool:
        return self._process.poll() is None

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def _new_log(self) -> str:
        end = os.fstat(self._log.fileno()).st_size
        found = os.pread(self._log.fileno(), end - self._read, self._read)
        self._read = end
        return found.decode(errors="replace")


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode(errors="replace")
