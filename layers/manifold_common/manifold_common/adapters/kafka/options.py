"""What the Kafka adapter has to know, and what its client is told."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Any, Final

SINK: Final = "kafka"
"""Name of the sink."""


@dataclass(frozen=True, slots=True)
class KafkaOptions:
    """Where Kafka is, how to get in, and which topic to use.

    Attributes:
        brokers: ``host:port`` each; some are enough, they name the others.
        partitions, replication_factor: of the topic, should it have to be made.
        timeout_seconds: longest wait for a broker: for a connection, for the topic, for the word that an event is
            stored.
        username, password: for SASL; without a user there is no sign-in.
        verify_tls: check the brokers' certificates.
        ca_file: certificates that are trusted (PEM); unset: the system's.
        cert_file, key_file: client certificate and its key (PEM).
    """

    brokers: tuple[str, ...]
    topic: str
    partitions: int = 6
    replication_factor: int = 1
    timeout_seconds: float = 10.0
    mechanism: str = "SCRAM-SHA-512"
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    verify_tls: bool = True
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None

    @property
    def timeout_ms(self) -> int:
        return max(1, int(self.timeout_seconds * 1000))

    def client(self) -> dict[str, Any]:
        """Return the arguments that every client of kafka-python takes.

        Raises:
            OSError: a certificate file cannot be read, or holds none.
        """
        arguments: dict[str, Any] = {
            "bootstrap_servers": list(self.brokers),
            "client_id": "manifold",
            "request_timeout_ms": max(1, self.timeout_ms // 2),
            "bootstrap_timeout_ms": self.timeout_ms,
            "reconnect_backoff_max_ms": 1000,
            "security_protocol": ("SASL_" if self.username else "") + ("SSL" if self.tls else "PLAINTEXT"),
        }
        if self.tls:
            arguments["ssl_context"] = self.ssl_context()
            arguments["ssl_check_hostname"] = self.verify_tls
        if self.username:
            arguments["sasl_mechanism"] = self.mechanism
            arguments["sasl_plain_username"] = self.username
            arguments["sasl_plain_password"] = self.password or ""
        return arguments

    def ssl_context(self) -> ssl.SSLContext:
        """Raises OSError: a certificate file cannot be read, or holds none."""
        context = ssl.create_default_context(cafile=self.ca_file)
        if not self.verify_tls:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.cert_file:
            context.load_cert_chain(self.cert_file, self.key_file)
        return context
