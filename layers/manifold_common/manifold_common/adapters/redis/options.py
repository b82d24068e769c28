"""What the Redis adapter has to know."""

from __future__ import annotations

from dataclasses import dataclass, field

REFUSED = "refused"
"""Reason of an error that says: nobody is let in with these credentials, or not to what was asked. Nothing was done."""


@dataclass(frozen=True, slots=True)
class RedisOptions:
    """Where Redis (or Valkey) is and how to get in.

    Attributes:
        timeout_seconds: longest wait for an answer, and for a connection.
        lock_seconds: life of a commit lock whose holder has died.
        hint_seconds: life of a hint since its generation last rose.
        pause_seconds: after a failure, no request is made for as long as this.
        verify_tls: check the server's certificate.
        ca_file: certificates that are trusted (PEM); unset: the system's.
        cert_file, key_file: client certificate and its key (PEM).
    """

    host: str
    port: int = 6379
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    timeout_seconds: float = 0.5
    lock_seconds: float = 30.0
    hint_seconds: float = 7 * 86_400.0
    pause_seconds: float = 5.0
    tls: bool = False
    verify_tls: bool = True
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None

    @property
    def where(self) -> str:
        """The server, for messages."""
        return f"{self.host}:{self.port}"
