"""All servers of enterprise mode, one's own, to be broken: what nodes reach of them passes through proxies."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from manifold_common.adapters.postgres.migrations import migrate
from manifold_common.adapters.system.clock import SystemClock, SystemRandomness
from manifold_common.bootstrap import (
    Manifold,
    assemble,
    build_catalog,
    build_generation_cache,
    build_key_providers,
    build_store,
)
from manifold_common.errors import Unavailable
from manifold_common.ports.clock import Clock
from manifold_common.services.events.relay import Relay
from manifold_local.embedded.postgres import EmbeddedPostgres
from manifold_local.host.following import following
from manifold_local.host.relaying import Relaying

from tests.support.kafka import KafkaBroker, running_kafka
from tests.support.manifold import settings_for
from tests.support.openbao import OpenBao, running_openbao
from tests.support.other_postgres import OtherPostgres
from tests.support.postgres import reached, running_postgres
from tests.support.postgres_proxy import PostgresProxy
from tests.support.redis import RedisServer, running_redis
from tests.support.s3_proxy import S3Proxy, running_proxy
from tests.support.seaweedfs import running_seaweedfs, s3_variables

MOUNT, KEY = "transit", "manifold-kek"
_UPKEEP_SECONDS = 0.3
_STOP_SECONDS = 30.0


@dataclass(frozen=True)
class Node:
    """A machine: its disk, its RAM, and the settings of what runs there. May be sent to another process."""

    folder: Path
    ram: Path
    dsn: str
    variables: dict[str, str]

    def build(self, clock: Clock | None = None) -> Manifold:
        """Return a process's Manifold; close it when done."""
        self.folder.mkdir(exist_ok=True)
        settings = settings_for(self.folder, self.ram, **self.variables)
        clock, randomness = clock or SystemClock(), SystemRandomness()
        return assemble(
            settings,
            catalog=build_catalog(settings, self.dsn, clock),
            store=build_store(settings, clock, randomness),
            providers=build_key_providers(settings, clock, randomness),
            generations=build_generation_cache(settings, clock, randomness),
            clock=clock,
            randomness=randomness,
        )


@dataclass
class Enterprise:
    postgres: EmbeddedPostgres | OtherPostgres
    network: PostgresProxy
    """Between nodes and PostgreSQL."""
    s3: S3Proxy
    vault: OpenBao
    redis: RedisServer
    kafka: KafkaBroker
    variables: dict[str, str]
    """Settings of nodes that use them."""

    def node(self, folder: Path, ram: Path, name: str, **variables: str) -> Node:
        return Node(folder / f"node-{name}", ram / name, self.network.dsn, {**self.variables, **variables})


@contextmanager
def running_enterprise() -> Iterator[Enterprise]:
    in_memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=in_memory, prefix="manifold-test-")))
        postgres = stack.enter_context(running_postgres(folder / "pg"))
        migrate(postgres.dsn)
        network = stack.enter_context(PostgresProxy(stack.enter_context(reached(postgres.dsn))))
        endpoint = stack.enter_context(running_seaweedfs()).endpoint
        s3 = stack.enter_context(running_proxy(endpoint.url))
        vault = stack.enter_context(running_openbao())
        vault.mount_transit(MOUNT)
        vault.make_key(KEY, MOUNT, derived=True)
        redis = stack.enter_context(running_redis())
        kafka = stack.enter_context(running_kafka())
        variables = {
            **s3_variables(endpoint),
            "S3_ENDPOINT": s3.url,
            "PROJECTS_ENCRYPTION_PROVIDER": "vault",
            "VAULT_ADDR": vault.url,
            "VAULT_TOKEN": vault.make_token(vault.make_least_policy(MOUNT, KEY), period="24h"),
            "VAULT_MOUNT_PATH": MOUNT,
            "VAULT_KEY_NAME": KEY,
            "PROJECTS_MAINTENANCE_CHECKPOINT_COMMITS": "16",
            **redis.variables,
        }
        yield Enterprise(postgres, network, s3, vault, redis, kafka, variables)


@contextmanager
def serving(manifold: Manifold, relays: Sequence[Relay] = ()) -> Iterator[None]:
    """What a host does beside requests: it follows the others, saves drafts, writes checkpoints, delivers events."""
    stop = threading.Event()

    def upkeep() -> None:
        while not stop.wait(_UPKEEP_SECONDS):
            for task in (manifold.maintenance.save_drafts, manifold.maintenance.write_checkpoints):
                with suppress(Unavailable):
                    task()

    thread = threading.Thread(target=upkeep, daemon=True)
    relaying = Relaying(relays, manifold.context.nudge)
    with following(manifold.prefetcher, patience_seconds=_STOP_SECONDS):
        relaying.start()
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(_STOP_SECONDS)
            relaying.stop(_STOP_SECONDS)
