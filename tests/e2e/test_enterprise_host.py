"""``manifold up --enterprise``: real servers beside the host, from wheels, under one supervisor."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from tests.support.cli import EXECUTABLE
from tests.support.up import SERVERS, Up
from tests.support.waiting import wait_until


@pytest.fixture
def enterprise(tmp_path: Path, ram_folder: Path) -> Iterator[Up]:
    (tmp_path / "own.yaml").write_text("projects:\n  backend: filesystem\n  quotas: {maxFileBytes: 1MiB}\n")
    # Longer than the path of a socket may be.
    host = Up(tmp_path / ("work" * 20), ram_folder / "ram", "--enterprise", "--config", "own.yaml")
    yield host
    host.end()


def documented_commands() -> list[str]:
    """Return the lines by which docs/operations.md looks into the servers."""
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    return page.partition("test_enterprise_host.py runs these. -->\n```sh\n")[2].partition("```")[0].splitlines()


def gone(pids: list[int]) -> bool:
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_the_whole_stack_starts_works_heals_stops_and_comes_back(enterprise: Up, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_text("content")
    url = enterprise.start()
    states = {one["name"]: one["state"] for one in httpx.get(f"{url}/health").json()["dependencies"]}
    assert {"postgres", "object store", "keys (vault)", "redis", "events"} <= states.keys()
    assert set(states.values()) == {"ok"}
    enterprise.cli("import", "demo", str(tmp_path / "tree"), "--create")
    assert httpx.get(f"{url}/api/v1/projects/demo/files/file").text == "content"
    refused = httpx.put(f"{url}/api/v1/projects/demo/files/large", content=bytes(2 << 20)).json()
    assert refused["code"] == "quota_exceeded", "the configuration file that was named counts"

    running = enterprise.children()
    assert set(running) == set(SERVERS)
    for pid in running.values():
        shown = Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
        assert not [secret for secret in enterprise.secrets() if secret.encode() in shown]
    told = [httpx.get(f"{url}{path}").text for path in ("/health", "/", "/api/v1/openapi.json")]
    told += [enterprise.cli("health", "--json"), enterprise.cli("config", "show"), enterprise.cli("store", "check")]
    told += [path.read_text(errors="replace") for path in enterprise.folder.glob("*/log")]
    assert not [secret for secret in enterprise.secrets() for text in told if secret in text]
    for name in ("config.yaml", "secrets.json", "clients.env"):
        assert (enterprise.folder / name).stat().st_mode & 0o077 == 0
    settings = yaml.safe_load((enterprise.folder / "config.yaml").read_text())
    assert settings["projects"]["encryption"]["provider"] == "vault"

    os.kill(running["valkey-server"], signal.SIGKILL)
    before = running["valkey-server"]
    wait_until(lambda: enterprise.children().get("valkey-server", before) != before, 30)
    running = enterprise.children()

    code, out, err = enterprise.stop()
    assert code == 0, err
    _, config, *_ = enterprise.lines(out)
    assert f"MANIFOLD_CONFIG={enterprise.folder}/config.yaml" in config
    assert f"{enterprise.folder}/clients.env" in out
    assert not [secret for secret in enterprise.secrets() if secret in out + err]
    assert gone(list(running.values()))

    # As it is filled in for the compose files.
    dotenv = [
        "VAULT_TOKEN=of-the-compose-files",
        "REDIS_PASSWORD=$$x",
        "KAFKA_BROKERS=kafka:29092",
        "LOG_LEVEL=warning",
    ]
    (tmp_path / ".env").write_text("\n".join(dotenv))
    url = enterprise.start(VAULT_KEY_NAME="another-kek")
    assert httpx.get(f"{url}/api/v1/projects/demo/files/file").text == "content", (
        "its key was wrapped by the former one"
    )
    typed = "\n".join([*enterprise.lines(out), "manifold cat demo file"])
    assert enterprise.type(typed) == "content", "in the shell of the tour, which has another WORKDIR"
    enterprise.cli("import", "demo-2", str(tmp_path / "tree"), "--create")
    shown = json.loads(enterprise.cli("config", "show", "--changed", "--json"))["settings"]
    assert shown["logLevel"]["value"] == "warning"
    keys = json.loads(enterprise.cli("keys", "status", "--json"))["keys"]
    assert sorted(one["key_name"] for one in keys) == ["another-kek", "manifold-kek"]
    listing, ping = documented_commands()
    assert enterprise.shell(listing).split()[2:] == ["another-kek", "manifold-kek"]
    port = yaml.safe_load((enterprise.folder / "config.yaml").read_text())["projects"]["redis"]["addr"].partition(":")[
        2
    ]
    assert enterprise.shell(ping.replace("6379", port)) == "PONG\n"
    running = enterprise.children()
    enterprise.stop(signal.SIGKILL)
    wait_until(lambda: gone(list(running.values())), 30)


def test_a_setting_that_no_server_can_work_with_is_named_before_one_is_started(tmp_path: Path) -> None:
    environ = {**os.environ, "WORKDIR": str(tmp_path / "work"), "VAULT_KEY_NAME": "a/b"}
    command = [EXECUTABLE, "up", "--enterprise"]
    done = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "vault.keyName: 'a/b'" in done.stderr
    assert not list(tmp_path.glob("work/enterprise/*/log"))
