"""``manifold up --enterprise``: real servers beside the host, from wheels, under one supervisor."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
import yaml
from manifold_local.embedded.stack.stack import FOLDER
from manifold_local.host import host_is_running

from tests.support.cli import EXECUTABLE
from tests.support.waiting import wait_until

SERVERS = ("weed", "valkey-server", "tansu", "bao")


class Enterprise:
    """A host with its servers, on one WORKDIR; may be started again and again."""

    def __init__(self, workdir: Path, ram: Path) -> None:
        self.folder = workdir / FOLDER
        self._cwd = workdir.parent
        self._environ = {
            **{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
            "WORKDIR": str(workdir),
            "PROJECTS_WORKSPACE_TMPFS_DIR": str(ram),
            "SERVER_PORT": "0",
        }
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> str:
        """Return the URL of the API."""
        self._process = subprocess.Popen(
            [EXECUTABLE, "up", "--enterprise"], env=self._environ, cwd=self._cwd, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        deadline = time.monotonic() + 120
        while (found := host_is_running(self.folder)) is None or not found.url:
            assert self._process.poll() is None, self._process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return found.url

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> tuple[int, str, str]:
        assert self._process is not None
        self._process.send_signal(sign)
        out, err = self._process.communicate(timeout=60)
        return self._process.returncode, out, err

    def end(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.communicate()

    def children(self) -> dict[str, int]:
        """Return the process id of each server, by its program."""
        assert self._process is not None
        found = {}
        for child in psutil.Process(self._process.pid).children():
            with contextlib.suppress(psutil.Error):
                found[Path(child.exe()).name] = child.pid
        return {name: pid for name, pid in found.items() if name in SERVERS}

    def cli(self, *arguments: str) -> str:
        """Run another command on the same stack, the way that the host's output says."""
        environ = {**self._environ, "MANIFOLD_CONFIG": str(self.folder / "config.yaml")}
        del environ["WORKDIR"]
        done = subprocess.run(
            [EXECUTABLE, *arguments], env=environ, cwd=self._cwd, capture_output=True, text=True, timeout=60, check=True
        )
        return done.stdout

    def secrets(self) -> list[str]:
        made = json.loads((self.folder / "secrets.json").read_text())
        del made["s3_access_key_id"]  # a name
        return [*made.values(), *json.loads((self.folder / "vault" / "unseal.json").read_text()).values()]


@pytest.fixture
def enterprise(tmp_path: Path, ram_folder: Path) -> Iterator[Enterprise]:
    place = tmp_path / ("long" * 20)  # longer than the path of a socket may be
    place.mkdir()
    host = Enterprise(place / "work", ram_folder / "ram")
    yield host
    host.end()


def gone(pids: list[int]) -> bool:
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_the_whole_stack_starts_works_heals_stops_and_comes_back(enterprise: Enterprise, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_text("content")
    url = enterprise.start()
    states = {one["name"]: one["state"] for one in httpx.get(f"{url}/health").json()["dependencies"]}
    assert {"postgres", "object store", "keys (vault)", "redis", "events"} <= states.keys()
    assert set(states.values()) == {"ok"}
    enterprise.cli("import", "demo", str(tmp_path / "tree"), "--create")
    assert httpx.get(f"{url}/api/projects/demo/files/file").text == "content"

    running = enterprise.children()
    assert set(running) == set(SERVERS)
    for pid in running.values():
        shown = Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
        assert not [secret for secret in enterprise.secrets() if secret.encode() in shown]
    told = [httpx.get(f"{url}{path}").text for path in ("/health", "/", "/api/openapi.json")]
    told += [enterprise.cli("health", "--json"), enterprise.cli("config", "show"), enterprise.cli("store", "check")]
    told += [path.read_text(errors="replace") for path in enterprise.folder.glob("*/log")]
    assert not [secret for secret in enterprise.secrets() for text in told if secret in text]
    for path in (enterprise.folder / "config.yaml", enterprise.folder / "secrets.json"):
        assert path.stat().st_mode & 0o077 == 0
    settings = yaml.safe_load((enterprise.folder / "config.yaml").read_text())
    assert settings["projects"]["encryption"]["provider"] == "vault"

    os.kill(running["valkey-server"], signal.SIGKILL)
    before = running["valkey-server"]
    wait_until(lambda: enterprise.children().get("valkey-server", before) != before, 30)
    running = enterprise.children()

    code, out, err = enterprise.stop()
    assert code == 0, err
    assert "MANIFOLD_CONFIG" in out
    assert not [secret for secret in enterprise.secrets() if secret in out + err]
    assert gone(list(running.values()))

    url = enterprise.start()
    assert httpx.get(f"{url}/api/projects/demo/files/file").text == "content"
    running = enterprise.children()
    enterprise.stop(signal.SIGKILL)
    wait_until(lambda: gone(list(running.values())), 30)
