"""Enterprise mode on one machine: its servers under one supervisor, and the settings of a Manifold that uses them.

Everything lies in ``WORKDIR/enterprise``, apart from what simple mode keeps in ``WORKDIR``: two catalogs that know
nothing of each other. A folder belongs to one stack at a time.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import yaml
from manifold_common.errors import AlreadyExists, ManifoldError
from manifold_common.settings import Settings, load_settings

from manifold_local.embedded.filelock import FileLock
from manifold_local.embedded.stack.child import Child, usual_port
from manifold_local.embedded.stack.openbao import OpenBao
from manifold_local.embedded.stack.seaweedfs import SeaweedFS
from manifold_local.embedded.stack.tansu import Tansu
from manifold_local.embedded.stack.valkey import Valkey

FOLDER = "enterprise"
CONFIG_NAME = "config.yaml"
BUCKET = "manifold-workspaces"
KEY_NAME = "manifold-kek"
S3_PORT, REDIS_PORT, KAFKA_PORT, VAULT_PORT = 9002, 6379, 9092, 8200
"""Those of the deployment guide; where one is taken, another that is free."""

POLICY = """
path "transit/keys/{key}"    {{ capabilities = ["read"] }}
path "transit/encrypt/{key}" {{ capabilities = ["update"] }}
path "transit/decrypt/{key}" {{ capabilities = ["update"] }}
path "transit/rewrap/{key}"  {{ capabilities = ["update"] }}
path "auth/token/lookup-self" {{ capabilities = ["read"] }}
path "auth/token/renew-self"  {{ capabilities = ["update"] }}
"""
_CHECK_SECONDS = 1.0

_log = logging.getLogger(__name__)


class Server(Protocol):
    """Something with a process of its own."""

    child: Child

    def start(self) -> None: ...

    def stop(self) -> None: ...


@dataclass(frozen=True)
class Running:
    """A line of the table that says what runs where."""

    what: str
    address: str
    pid: int | None
    log: Path


@dataclass(frozen=True)
class Stack:
    settings: Settings
    config: Path
    """A file with the same settings, secrets included, for other commands; only its owner may read it."""
    servers: dict[str, Server]
    addresses: dict[str, str]

    def table(self) -> list[Running]:
        return [
            Running(what, self.addresses[what], server.child.pid, server.child.log)
            for what, server in self.servers.items()
        ]


@contextmanager
def running_stack(settings: Settings) -> Iterator[Stack]:
    """Start the servers and look after them. For the main thread: the servers end when it does.

    Raises:
        AlreadyExists: another process runs the stack of this folder. ConfigError: a server is not installed.
        Unavailable: a server does not start.
    """
    folder = settings.workdir / FOLDER
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with ExitStack() as stack:
        stack.enter_context(_only_one(folder))
        known = _secrets(folder)
        s3 = SeaweedFS(
            _subfolder(folder, "s3"),
            port=usual_port(S3_PORT),
            bucket=BUCKET,
            access_key_id=known["s3_access_key_id"],
            secret_access_key=known["s3_secret_access_key"],
        )
        redis = Valkey(_subfolder(folder, "redis"), port=usual_port(REDIS_PORT), password=known["redis_password"])
        kafka = Tansu(_subfolder(folder, "kafka"), port=usual_port(KAFKA_PORT))
        vault = OpenBao(_subfolder(folder, "vault"), port=usual_port(VAULT_PORT))
        servers: dict[str, Server] = {"S3": s3, "Redis": redis, "Kafka": kafka, "Vault": vault}
        for server in servers.values():
            stack.callback(server.stop)
            server.start()
        vault.prepare(mount="transit", key=KEY_NAME, policy=POLICY.format(key=KEY_NAME), token=known["vault_token"])
        stack.callback(_Supervisor(list(servers.values())).stop)
        values = {
            "workdir": str(folder),
            "projects.backend": "s3",
            "projects.encrypt": "true",
            "projects.encryption.provider": "vault",
            "projects.encryption.vault.address": vault.url,
            "projects.encryption.vault.token": known["vault_token"],
            "projects.encryption.vault.keyName": KEY_NAME,
            "projects.workspace.mode": "ephemeral",
            "projects.s3.endpoint": s3.endpoint.url,
            "projects.s3.bucket": s3.endpoint.bucket,
            "projects.s3.accessKeyId": s3.endpoint.access_key_id,
            "projects.s3.secretAccessKey": s3.endpoint.secret_access_key,
            "projects.s3.usePathStyle": "true",
            "projects.redis.enabled": "true",
            "projects.redis.addr": redis.addr,
            "projects.redis.password": redis.password,
            "projects.events.enabled": "true",
            "projects.events.brokers": kafka.addr,
        }
        addresses = {"S3": s3.endpoint.url, "Redis": redis.addr, "Kafka": kafka.addr, "Vault": vault.url}
        yield Stack(
            load_settings(settings.config_file, overrides=values), _write_config(folder, values), servers, addresses
        )


def _write_config(folder: Path, values: Mapping[str, str]) -> Path:
    tree: dict[str, Any] = {}
    for key, value in values.items():
        *parents, last = key.split(".")
        place = tree
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = {"true": True, "false": False}.get(value, value)
    path = folder / CONFIG_NAME
    _write_private(path, "# Written by `manifold up --enterprise` at each start.\n" + yaml.safe_dump(tree))
    return path


def _secrets(folder: Path) -> dict[str, str]:
    """Return passwords and tokens, made at the first start."""
    path = folder / "secrets.json"
    if not path.exists():
        made = {
            "s3_access_key_id": "manifold-" + secrets.token_hex(8),
            "s3_secret_access_key": secrets.token_hex(24),
            "redis_password": secrets.token_hex(24),
            "vault_token": "manifold-" + secrets.token_hex(24),
        }
        _write_private(path, json.dumps(made))
    found: dict[str, str] = json.loads(path.read_text())
    return found


def _write_private(path: Path, text: str) -> None:
    aside = path.with_suffix(".new")
    with open(aside, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def _subfolder(folder: Path, name: str) -> Path:
    path = folder / name
    path.mkdir(mode=0o700, exist_ok=True)
    return path


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    lock = FileLock(folder / "stack.lock")
    try:
        if not lock.try_exclusive():
            raise AlreadyExists(
                f"the servers of {folder} run already", hint="use that host, stop it, or set another WORKDIR"
            )
        yield
    finally:
        lock.close()


class _Supervisor:
    """Starts servers again that have ended. What its thread has started ends with the thread."""

    def __init__(self, servers: list[Server]) -> None:
        self._servers = servers
        self._turn = threading.Lock()
        self._stopping, self._stopped = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="manifold-stack", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop the servers in order, then the thread."""
        self._stopping.set()
        with self._turn:
            for server in reversed(self._servers):
                server.stop()
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(_CHECK_SECONDS):
            for server in self._servers:
                with self._turn:
                    self._revive(server)
        self._stopped.wait()

    def _revive(self, server: Server) -> None:
        if self._stopping.is_set() or server.child.is_running():
            return
        _log.warning("%s has ended, and is started again: see %s", server.child.name, server.child.log)
        try:
            server.start()
        except (ManifoldError, OSError) as error:
            _log.error("%s", error)
