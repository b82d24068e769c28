"""docs/deployment-guide.md from its first command to its last.

There is no container engine here. Compose itself reads every command and its files, and says that only the engine is
missing; what talks to servers talks to those of ``manifold up``, which stand in for the containers.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from manifold_common.settings import load_settings

from tests.support.cli import EXECUTABLE
from tests.support.compose import ENTERPRISE, STACKS, Compose, program
from tests.support.guide import Command, Needs, blocks, commands, filled, needs
from tests.support.templates import ROOT
from tests.support.up import CLIENT_PROGRAMS, Up

PLACEHOLDERS = {
    "strong-password": "a-strong-password",
    "access-key": "an-access-key",
    "secret-key": "a-secret-key",
    "vault-token": "a-vault-token",
    "redis-password": "a-redis-password",
    "manifold-token": "a-token-of-manifold",
    "root-token": "a-root-token",
}
ENV_BLOCKS = [block for block in blocks() if block.language == "env"]
NO_ENGINE = {"DOCKER_HOST": "unix:///nonexistent/docker.sock"}


def edited(dotenv: str, block: str) -> str:
    """Return ``.env`` after the lines of ``block`` have taken the place of those of the same names."""
    lines = [line for line in filled(block, PLACEHOLDERS).splitlines() if line[:1].isalpha()]
    for line in lines:
        name = line.partition("=")[0]
        dotenv, found = re.subn(rf"(?m)^(?:# )?{name}=.*$", line, dotenv, count=1)
        dotenv += "" if found else f"{line}\n"
    return dotenv


# --- what is read ---------------------------------------------------------------------------------------------------


def test_every_command_is_known_and_one_that_is_not_is_an_error() -> None:
    found = commands()
    assert {command.needs for command in found} == set(Needs)
    assert len(found) > 40
    with pytest.raises(LookupError, match="a-new-program"):
        needs("a-new-program --option")


def test_the_guides_variables_are_enough_without_any_other(tmp_path: Path) -> None:
    block = next(block for block in ENV_BLOCKS if "VAULT_DEV_ROOT_TOKEN" in block.text)
    alone = Compose(tmp_path, filled(block.text, PLACEHOLDERS))
    for files in STACKS:
        assert alone.project(files)["name"] == "manifold"
    assert "minio" in alone.services(ENTERPRISE)
    environ = alone.services(ENTERPRISE)["manifold"]["environment"]
    assert (environ["VAULT_TOKEN"], environ["REDIS_PASSWORD"]) == ("a-vault-token", "a-redis-password")


def test_a_vault_that_lasts_is_chosen_by_the_variables_that_the_guide_shows(tmp_path: Path) -> None:
    dotenv = ""
    for block in ENV_BLOCKS:
        dotenv = edited(dotenv, block.text)
    services = Compose(tmp_path, dotenv).services(ENTERPRISE)
    assert services["vault"]["image"].startswith("openbao/openbao:")
    assert [one["source"] for one in services["vault"]["volumes"] if one["type"] == "volume"] == ["vault"]
    setup = services["vault-setup"]["environment"]
    assert (setup["VAULT_TOKEN"], setup["MANIFOLD_TOKEN"]) == ("", "a-token-of-manifold")
    assert services["manifold"]["environment"]["VAULT_TOKEN"] == "a-token-of-manifold"


def test_the_examples_of_files_are_valid(tmp_path: Path, compose: Compose) -> None:
    examples = [block.text for block in blocks() if block.language == "yaml"]
    assert len(examples) == 2
    for text in examples:
        if "services" in yaml.safe_load(text):
            (compose.folder / "mine.yml").write_text(text)
            found = compose.services((*ENTERPRISE, "mine.yml"))
            assert found["manifold"]["environment"]["VAULT_ADDR"] == "https://vault.example.com:8200"
        else:
            (tmp_path / "config.yaml").write_text(text)
            assert load_settings(environ={}, cwd=tmp_path).log_level == "debug"


def test_each_port_and_container_that_a_command_names_is_there(compose: Compose) -> None:
    services = compose.services(ENTERPRISE)
    ports = {one["published"] for facts in services.values() for one in facts.get("ports", [])}
    names = {facts.get("container_name") for facts in services.values()}
    for command in commands():
        assert set(re.findall(r"localhost:(\d+)", command.text)) <= ports, command
        assert set(re.findall(r"^docker exec (?:-i )?(\w+)", command.text)) <= names, command
        assert set(re.findall(r"docker-compose .*exec (?:-e \S+ )?(\w+)", command.text)) <= services.keys(), command


def test_the_table_of_sizes_is_what_the_files_have(compose: Compose) -> None:
    table = (ROOT / "docs" / "deployment-guide.md").read_text().partition("### Resource sizing")[2].partition("## ")[0]
    said = dict(re.findall(r"`([A-Z_]+)` \(`?([^`)]+)`?\)", table))
    files = "".join(path.read_text() for path in (ROOT / "local" / "compose").glob("*.yml"))
    files += (ROOT / "docker-compose.scale.yml").read_text()
    names = r"\$\{((?:\w+_)?(?:MEMORY|MAXMEMORY|SIZE|FILES|HEAP_OPTS)):-([^}]+)\}"
    assert said | dict(re.findall(r"`(CONTAINER_LOG_\w+)` \((\w+)\)", table)) == dict(re.findall(names, files))


# --- the walk -------------------------------------------------------------------------------------------------------

_CURL = """exec /usr/bin/env PATH=/usr/bin:/bin curl --connect-to "localhost:32180:127.0.0.1:$API_PORT" "$@" """
_REDIS = """exec valkey-cli -p "$REDIS_PORT" "$@" """
_VAULT = """exec env VAULT_ADDR="$REAL_VAULT_ADDR" bao "$@" """
_EXEC = """
while [ "$1" != exec ]; do shift; done
service=$2
shift 2
case "$service" in
    redis | vault) set -a; . "$FOLDER/clients.env"; exec "$@" ;;
    manifold) MANIFOLD_CONFIG="$FOLDER/config.yaml" exec "$@" ;;
    postgres) MANIFOLD_CONFIG="$FOLDER/config.yaml" exec manifold database "$1" ;;
    *) echo "nothing stands in for $service" >&2; exit 1 ;;
esac
"""
STAND_INS = {"curl": _CURL, "redis-cli": _REDIS, "vault": _VAULT, "docker-compose": _EXEC, "docker": _EXEC}


class Walk:
    """Somebody who types the guide's commands, at the top of a copy of the repository."""

    def __init__(self, folder: Path, ram: Path) -> None:
        self._cwd = self._start = folder
        self._hosts = {
            "simple": Up(folder / "simple", ram / "simple"),
            "enterprise": Up(folder / "enterprise", ram / "enterprise", "--enterprise"),
        }
        self._running = ""
        self._programs = folder / "programs"
        self._programs.mkdir()
        for name, script in STAND_INS.items():
            path = self._programs / name
            path.write_text(f"#!/bin/sh\nset -eu\n{script}")
            path.chmod(0o700)
        self._compose: Compose | None = None
        self._api_port = ""
        self.said: dict[str, str] = {}
        """What each command of ``Needs.SERVERS`` has printed."""

    def close(self) -> None:
        for host in self._hosts.values():
            host.end()

    def do(self, command: Command) -> None:
        if command.needs is Needs.NETWORK:
            self._clone()
        elif command.text.startswith("cd "):
            self._cwd = self._start / command.text.removeprefix("cd ")
        elif command.needs is Needs.FILES:
            subprocess.run(command.text, shell=True, check=True, cwd=self._cwd)
            self._edit()
        else:
            if "docker-compose " in command.text:
                self._have_compose_read(command)
            self._have_run(command)
            if command.needs is Needs.SERVERS:
                self.said[command.text] = self._type(command)

    def _clone(self) -> None:
        (folder := self._start / "manifold").mkdir(exist_ok=True)
        self._cwd = self._start
        if self._compose is None:
            self._compose = Compose(folder, "")
            for name in ("example.env", "config.yaml.example", "README.md"):
                (folder / name).write_bytes((ROOT / name).read_bytes())

    def _edit(self) -> None:
        """Write ``.env`` as the steps up to here say."""
        dotenv = (self._cwd / "example.env").read_text()
        for block in ENV_BLOCKS[:2]:
            dotenv = edited(dotenv, block.text)
        (self._cwd / ".env").write_text(dotenv)

    def _have_compose_read(self, command: Command) -> None:
        environ = {**NO_ENGINE, "HOME": str(self._start), "PATH": f"{program().parent}:/usr/bin:/bin"}
        done = self._shell(filled(command.text, PLACEHOLDERS), environ)
        assert done.returncode != 0
        assert done.stderr.startswith("failed to connect to the docker API"), f"{command.text}: {done.stderr}"

    def _have_run(self, command: Command) -> None:
        """Let ``manifold up`` be what the compose files of an ``up`` would be."""
        wanted = {(): "simple", ENTERPRISE: "enterprise"}.get(command.compose_files, "")
        if " up -d" not in command.text or command.needs is not Needs.CONTAINERS or wanted in ("", self._running):
            return
        if self._running:
            self._hosts[self._running].stop()
        self._running = wanted
        self._api_port = self._hosts[wanted].start().rpartition(":")[2]

    def _type(self, command: Command) -> str:
        folder = self._hosts[self._running].folder
        environ = {
            **{name: os.environ[name] for name in ("HOME", "TMPDIR") if name in os.environ},
            "PATH": f"{self._programs}:{CLIENT_PROGRAMS}:{EXECUTABLE.parent}:/usr/bin:/bin",
            "FOLDER": str(folder),
            "API_PORT": self._api_port,
        }
        placeholders = PLACEHOLDERS
        if self._running == "enterprise":
            found = yaml.safe_load((folder / "config.yaml").read_text())["projects"]
            root_token = json.loads((folder / "vault" / "unseal.json").read_text())["root_token"]
            environ["REDIS_PORT"] = found["redis"]["addr"].rpartition(":")[2]
            environ["REAL_VAULT_ADDR"] = found["encryption"]["vault"]["address"]
            placeholders = {**placeholders, "redis-password": found["redis"]["password"], "vault-token": root_token}
        done = self._shell(filled(command.text, placeholders), environ)
        assert done.returncode == 0, f"{command.text}: {done.stdout}{done.stderr}"
        return done.stdout

    def _shell(self, line: str, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", line],
            cwd=self._cwd, env=environ, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip


@pytest.fixture
def walk(tmp_path: Path, ram_folder: Path) -> Iterator[Walk]:
    walker = Walk(tmp_path, ram_folder)
    yield walker
    walker.close()


def test_the_guide_can_be_walked_from_its_first_command_to_its_last(walk: Walk, tmp_path: Path) -> None:
    for command in commands():
        walk.do(command)
    said = "".join(walk.said.values())
    assert said.count((ROOT / "README.md").read_text()) == 1
    assert "PONG" in said
    assert "manifold-kek" in said
    assert re.search(r"Sealed +false", said)
    status = next(text for line, text in walk.said.items() if line.endswith("keys status"))
    assert "manifold-kek" in status, status
    assert "CREATE TABLE" in (tmp_path / "manifold" / "backup.sql").read_text()
    assert (tmp_path / "manifold" / "demo.tar.gz").stat().st_size > 0
