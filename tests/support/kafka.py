"""A real Kafka broker for tests, on loopback: Tansu from its wheel, or Apache Kafka itself.

Tansu is one process that starts in a tenth of a second and forgets everything when it stops. Apache Kafka (KRaft mode,
on a disk) is used instead where MANIFOLD_TEST_KAFKA_LIBS names a folder with its jars, as ``make test-kafka`` has it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka import errors as kafka_errors
from manifold_common.adapters.kafka.options import KafkaOptions
from manifold_local.embedded.stack.child import Child, free_ports
from manifold_local.embedded.stack.tansu import Tansu

from tests.support.waiting import frozen

logging.getLogger("kafka").setLevel(logging.CRITICAL)  # as the host has it; records also keep dead sockets alive

READ_SECONDS = 30.0
LIBRARIES = "MANIFOLD_TEST_KAFKA_LIBS"


class KafkaBroker:
    """One broker at a fixed address. ``start`` returns when it answers."""

    forgets = True
    """Whether what was stored is gone after a stop."""

    def __init__(self, folder: Path, *, port: int | None = None, advertised_port: int | None = None) -> None:
        """``port``: a free one by default. ``advertised_port``: where clients are told to go, such as a proxy's."""
        self._folder = folder
        self.port = port or free_ports(1)[0]
        tansu = Tansu(folder, port=self.port, advertised_port=advertised_port)
        self._child, self._start = tansu.child, tansu.start

    @property
    def addr(self) -> str:
        return f"127.0.0.1:{self.port}"

    def options(self, topic: str, **more: Any) -> KafkaOptions:
        return KafkaOptions((self.addr,), topic, **{"timeout_seconds": 5.0, "partitions": 3, **more})

    def variables(self, topic: str) -> dict[str, str]:
        """Settings of a Manifold that uses it."""
        return {"KAFKA_ENABLED": "true", "KAFKA_BROKERS": self.addr, "KAFKA_TOPIC": topic, "KAFKA_TIMEOUT_SECONDS": "5"}

    def start(self) -> None:
        self._start()

    def stop(self) -> None:
        """End it at once, as a crash does."""
        self._child.kill()

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """It holds its connections, and answers nothing."""
        pid = self._child.pid
        assert pid is not None
        with frozen(pid):
            yield

    @contextlib.contextmanager
    def admin(self) -> Iterator[Any]:
        client = KafkaAdminClient(bootstrap_servers=self.addr, request_timeout_ms=5000, bootstrap_timeout_ms=5000)
        try:
            yield client
        finally:
            client.close()

    def make_topic(self, topic: str, partitions: int = 3) -> None:
        with self.admin() as admin:
            admin.create_topics({topic: {"num_partitions": partitions, "replication_factor": 1}})
            admin.wait_for_topics([topic])

    def records(self, topic: str) -> list[Any]:
        """Return all records of a topic as it is now, partition by partition."""
        consumer = KafkaConsumer(
            bootstrap_servers=self.addr, group_id=None, enable_auto_commit=False, auto_offset_reset="earliest"
        )
        try:
            partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
            if not partitions:
                return []
            ends = consumer.end_offsets(partitions)
            consumer.assign(partitions)
            found: list[Any] = []
            deadline = time.monotonic() + READ_SECONDS
            while any(consumer.position(partition) < end for partition, end in ends.items()):
                assert time.monotonic() < deadline, "the topic could not be read to its end"
                for records in consumer.poll(timeout_ms=200).values():
                    found += records
        finally:
            consumer.close()
        return sorted(found, key=lambda record: (record.partition, record.offset))

    def events(self, topic: str) -> list[dict[str, Any]]:
        """Return the documents of all records of a topic."""
        return [json.loads(record.value) for record in self.records(topic)]


USER, PASSWORD = "ann", "secret-of-ann"


class ApacheKafka(KafkaBroker):
    """Also listens at ``sasl_port``, for ``USER`` and ``PASSWORD``."""

    forgets = False

    _CONFIG = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},SASL://127.0.0.1:{sasl},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},SASL://127.0.0.1:{sasl}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL:SASL_PLAINTEXT
listener.name.sasl.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
listener.name.sasl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \\
  user_{user}="{password}";
listener.name.sasl.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
log.dirs={folder}/data
auto.create.topics.enable=false
"""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._child, self._start = Child("Kafka", folder), self._start_java
        self.sasl_port, controller = free_ports(2)
        facts = {"port": self.port, "sasl": self.sasl_port, "controller": controller, "folder": folder}
        (folder / "config").write_text(self._CONFIG.format(**facts, user=USER, password=PASSWORD))
        format_storage = ["kafka.tools.StorageTool", "format", "-t", "MkU3OEVBNTcwNTJENDM2Qk", "-c", "config"]
        for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512"):
            format_storage += ["--add-scram", f"{mechanism}=[name={USER},password={PASSWORD}]"]
        subprocess.run(self._java(*format_storage), cwd=folder, check=True, capture_output=True)

    def _start_java(self) -> None:
        self._child.start(self._java("kafka.Kafka", str(self._folder / "config")), self._answers, environ=os.environ)

    def _answers(self) -> bool:
        with (
            contextlib.suppress(kafka_errors.KafkaError, OSError),
            socket.create_connection(("127.0.0.1", self.port), 1),
            self.admin() as admin,
        ):
            admin.list_topics()
            return True
        return False

    def _java(self, *arguments: str) -> list[str]:
        frugal = ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        return [shutil.which("java") or "java", *frugal, "-cp", f"{os.environ[LIBRARIES]}/*", *arguments]


@contextlib.contextmanager
def running_kafka() -> Iterator[KafkaBroker]:
    """Start a broker of one's own; for tests that stop it."""
    folder = Path(tempfile.mkdtemp(prefix="kafka-"))
    broker = ApacheKafka(folder) if os.environ.get(LIBRARIES) else KafkaBroker(folder)
    try:
        broker.start()
        yield broker
    finally:
        broker.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def kafka_broker() -> Iterator[KafkaBroker]:
    """One broker for the whole run. Tests use a topic of their own, ``kafka_topic``."""
    with running_kafka() as broker:
        yield broker


@pytest.fixture
def kafka_topic() -> str:
    """The name of a topic that does not exist."""
    return "events-" + secrets.token_hex(6)
