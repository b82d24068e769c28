"""A process that has imported the whole program, and from which its commands are forked: each starts at once.

The imports are most of what a command costs, and tests run hundreds. Everything else is as ever: a process of its own,
with the arguments, environment, folder and files that it is given, which ends as any program does.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import json
import os
import pkgutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

ROOT = Path(__file__).parents[2]
_MOST_BYTES = 1 << 20


class Zygote:
    """Starts with the first command. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._address = ""

    def run(
        self,
        arguments: Sequence[str | bytes | Path],
        *,
        env: Mapping[str, str],
        cwd: Path,
        input: bytes,
        timeout: float,
        stdout: BinaryIO | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """As ``subprocess.run`` does it, with the output captured, where it is not to go to ``stdout``."""
        self._ensure()
        wanted = {"arguments": [os.fsdecode(argument) for argument in arguments], "env": dict(env), "cwd": str(cwd)}
        with contextlib.ExitStack() as stack:
            given, out, err = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(3))
            given.write(input)
            given.seek(0)
            line = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
            line.settimeout(timeout)
            line.connect(self._address)
            files = [given.fileno(), (stdout or out).fileno(), err.fileno()]
            socket.send_fds(line, [json.dumps(wanted).encode()], files)
            pid = int(line.recv(64))
            try:
                code = int(line.recv(64))
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                raise
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess(["manifold", *arguments], code, out.read(), err.read())

    def _ensure(self) -> None:
        with self._lock:
            if self._process is not None:
                return
            self._address = f"{tempfile.mkdtemp(prefix='zygote-')}/socket"
            kept = {
                name: os.environ[name]
                for name in ("PATH", "HOME", "LANG", "TMPDIR", "PYTHONPATH")
                if name in os.environ
            }
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.zygote", self._address],
                env=kept, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            )  # fmt: skip
            assert self._process.stdout is not None
            assert self._process.stdout.readline() == b"ready\n"

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            os.unlink(self._address)
            os.rmdir(os.path.dirname(self._address))


def modules() -> Iterator[str]:
    """Yield what commands import, sooner or later."""
    for package in ("manifold_common", "manifold_local"):
        found = importlib.import_module(package)
        for module in pkgutil.walk_packages(found.__path__, f"{package}."):
            if not module.name.endswith("__main__"):
                yield module.name
    yield from ("psycopg", "rich.console", "rich.progress", "rich.table", "uvicorn", "functions.api.app")


def serve(address: str) -> NoReturn:
    """Fork a process for each command."""
    for name in modules():
        importlib.import_module(name)
    assert len(os.listdir("/proc/self/task")) == 1, "threads do not survive a fork"
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(address)
        listener.listen(64)
        print("ready", flush=True)
        while True:
            line, _ = listener.accept()
            if os.fork() == 0:
                break
            line.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    message, files, _, _ = socket.recv_fds(line, _MOST_BYTES, 3)
    child = os.fork()
    if child:
        line.send(str(child).encode())
        _, status = os.waitpid(child, 0)
        line.send(str(os.waitstatus_to_exitcode(status)).encode())
        os._exit(0)
    line.close()
    become(json.loads(message), files)


def become(wanted: dict[str, Any], files: Sequence[int]) -> NoReturn:
    for target, file in enumerate(files):
        os.dup2(file, target)
        os.close(file)
    os.environ.clear()
    os.environ.update(wanted["env"])
    os.chdir(wanted["cwd"])
    tempfile.tempdir = None  # what was found out before
    sys.argv = ["manifold", *wanted["arguments"]]
    from manifold_local.cli import main

    try:
        code = main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    # As the interpreter ends, but for taking all those modules to pieces, which takes longer than most commands.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    serve(sys.argv[1])
