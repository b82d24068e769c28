"""Podman as a server of Docker's API, in the namespaces that ``python -m tests.containers`` has made.

Two services share its images: one runs containers in a network that reaches nothing outside, one builds images in that
of the machine, where package registries are.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

from tests.containers.docker_api import CorrectedApi
from tests.containers.place import FOLDER, HOST_NETWORK
from tests.support.waiting import wait_until

CONFIG = """
[containers]
default_ulimits = []
init_path = "{init}"

[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
tmp_dir = "{run}/libpod"

[network]
network_backend = "netavark"
network_config_dir = "{run}/networks"
"""
STORAGE = """
[storage]
driver = "overlay"
graphroot = "{folder}/storage"
runroot = "{run}/storage"
"""
PRIVATE_MOUNTS = ("/run/netns", "/run/containers", "/dev/shm")
SYSTEMD = Path("/run/systemd/private")
"""Where a systemd is, podman asks it to run health checks, outside of these namespaces. They are run by ``_Checks``."""


class Engine:
    def __init__(self) -> None:
        self._run = FOLDER / "run"
        self._config = FOLDER / "containers.conf"
        self._storage = FOLDER / "storage.conf"
        self._services: list[subprocess.Popen[bytes]] = []
        self._checks = _Checks(self)
        self._api = self._run / "docker.sock"
        self._podman = self._run / "podman.sock"
        self.url = f"unix://{self._api}"
        self.builder_url = f"unix://{self._run}/builder.sock"

    def __enter__(self) -> Engine:
        self._mount()
        self._config.write_text(CONFIG.format(run=self._run, init=shutil.which("catatonit")))
        self._storage.write_text(STORAGE.format(folder=FOLDER, run=self._run))
        self.remove_containers()
        self._serve(f"unix://{self._podman}")
        self._corrected = CorrectedApi(self._api, self._podman)
        self._corrected.start()
        self._serve(self.builder_url, before=self.host_network)
        self._checks.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._checks.stop()
        self._corrected.stop()
        self.remove_containers()
        for service in self._services:
            service.terminate()
        for service in self._services:
            service.wait()

    @property
    def environ(self) -> dict[str, str]:
        return {
            **os.environ,
            "CONTAINERS_CONF": str(self._config),
            "CONTAINERS_STORAGE_CONF": str(self._storage),
        }

    @property
    def host_network(self) -> list[str]:
        """What to put before a command that is to reach package registries."""
        return ["nsenter", f"--net=/proc/self/fd/{self.host_network_fd}"]

    @property
    def host_network_fd(self) -> int:
        """What ``host_network`` needs to inherit."""
        return int(os.environ[HOST_NETWORK])

    def run(self, command: Sequence[str | Path], *, outside: bool = False, stdin: int = subprocess.DEVNULL) -> str:
        """Run a command; return what it prints. ``outside``: in the machine's network."""
        done = subprocess.run(
            [*(self.host_network if outside else []), *map(str, command)],
            env=self.environ,
            stdin=stdin,
            capture_output=True,
            text=True,
            pass_fds=[self.host_network_fd],
            check=False,
        )
        assert done.returncode == 0, f"{' '.join(map(str, command))}: {done.stdout}{done.stderr}"
        return done.stdout

    def podman(self, *arguments: str | Path, outside: bool = False, stdin: int = subprocess.DEVNULL) -> str:
        return self.run(["podman", *arguments], outside=outside, stdin=stdin)

    def remove_containers(self) -> None:
        """And their volumes and networks. Images stay."""
        self.podman("rm", "--all", "--force", "--volumes")
        self.podman("volume", "rm", "--all", "--force")
        self.podman("network", "prune", "--force")

    def _mount(self) -> None:
        self._run.mkdir(parents=True, exist_ok=True)
        for folder in (*PRIVATE_MOUNTS, str(self._run)):
            Path(folder).mkdir(exist_ok=True)
            subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=1777", "tmpfs", folder], check=True)
        if SYSTEMD.exists():
            subprocess.run(["mount", "--bind", "/dev/null", SYSTEMD], check=True)
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)

    def _serve(self, url: str, before: list[str] | None = None) -> None:
        with (FOLDER / "service.log").open("ab") as log:
            service = subprocess.Popen(
                [*(before or []), "podman", "system", "service", "--time=0", url],
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for pytest, which stops it in order
                pass_fds=[self.host_network_fd],
            )
        self._services.append(service)
        socket = Path(url.removeprefix("unix://"))
        wait_until(lambda: socket.exists() or service.poll() is not None)
        assert service.poll() is None, f"podman does not serve; see {FOLDER}/service.log"


class _Checks:
    """Runs the health checks of containers when they are due, as Docker's own daemon does."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._stopped = threading.Event()
        self._due: dict[str, float] = {}
        self._thread = threading.Thread(target=self._run, name="health checks")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        with ThreadPoolExecutor(8) as pool:
            while not self._stopped.wait(0.5):
                for container, interval in self._intervals().items():
                    now = time.monotonic()
                    if now >= self._due.setdefault(container, now + interval):
                        self._due[container] = now + interval
                        pool.submit(self._check, container)

    def _intervals(self) -> Mapping[str, float]:
        running = self._ask("ps", "--quiet", "--no-trunc").split()
        if not running:
            return {}
        found = {}
        for container in json.loads(self._ask("container", "inspect", *running) or "[]"):
            check = container["Config"].get("Healthcheck") or {}
            if check.get("Test", ["NONE"])[0] != "NONE":
                found[container["Id"]] = check.get("Interval", 30e9) / 1e9
        return found

    def _check(self, container: str) -> None:
        self._ask("healthcheck", "run", container)

    def _ask(self, *arguments: str) -> str:
        """A container may be gone by now: that is no error."""
        done = subprocess.run(
            ["podman", *arguments], env=self._engine.environ, capture_output=True, text=True, check=False
        )
        return done.stdout


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)
