"""Sends requests to Redis, through redis-py. Knows nothing of generations.

Importing this module imports redis-py (50 to 150 ms); the cache does so when it is first used.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.client import PubSub
from redis.retry import Retry

from manifold_common.adapters.redis.failures import unavailable
from manifold_common.adapters.redis.options import RedisOptions
from manifold_common.ports.clock import Clock
from manifold_common.ports.deadline import within

T = TypeVar("T")

_QUIET_SECONDS = 5.0
"""A subscription that has heard nothing for this long asks the server whether it is still there."""


class _Connection(redis.Connection):
    """Its connect time-out covers the whole attempt: a name look-up has none of its own, and a name may have many
    addresses."""

    def _connect(self) -> Any:
        return within(float(self.socket_connect_timeout or 0), super()._connect)


class _TlsConnection(redis.SSLConnection):
    """The same, and the TLS handshake with it."""

    def _connect(self) -> Any:
        return within(float(self.socket_connect_timeout or 0), super()._connect)


class RedisClient:
    """Safe for threads. Each request is made once. A server that is silent costs one time-out."""

    def __init__(self, options: RedisOptions) -> None:
        self._options = options
        tls: dict[str, Any] = {}
        if options.tls:
            tls = {
                "ssl_cert_reqs": ssl.CERT_REQUIRED if options.verify_tls else ssl.CERT_NONE,
                "ssl_check_hostname": options.verify_tls,
                "ssl_ca_certs": options.ca_file,
                "ssl_certfile": options.cert_file,
                "ssl_keyfile": options.key_file,
            }
        pool = redis.ConnectionPool(
            connection_class=_TlsConnection if options.tls else _Connection,
            host=options.host,
            port=options.port,
            db=options.db,
            username=options.username,
            password=options.password,
            socket_timeout=options.timeout_seconds,
            socket_connect_timeout=options.timeout_seconds,
            retry=Retry(NoBackoff(), 0),
            protocol=2,  # what every Redis and Valkey speaks
            driver_info=None,  # saves two requests per connection
            **tls,
        )
        self._redis = redis.Redis.from_pool(pool)

    @property
    def options(self) -> RedisOptions:
        return self._options

    def ping(self) -> None:
        self._guarded(self._redis.ping)

    def read(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the values of keys that hold strings; ``None`` for others."""
        found: Any = self._guarded(lambda: self._redis.mget(keys))
        return [value if isinstance(value, bytes) else None for value in found]

    def run(self, script: str, keys: Sequence[str], arguments: Sequence[str | int]) -> object:
        """Run a Lua script, which the server keeps from the first run on."""
        return self._guarded(lambda: self._redis.register_script(script)(keys=list(keys), args=list(arguments)))

    def subscribe(self, pattern: str, clock: Clock) -> RedisSubscription:
        """Return a subscription that the server has confirmed."""
        pubsub: PubSub = self._redis.pubsub()  # type: ignore[no-untyped-call]
        try:
            self._guarded(lambda: pubsub.psubscribe(pattern))
            subscription = RedisSubscription(self._options, pubsub, clock)
            subscription.confirm()
        except BaseException:
            pubsub.close()
            raise
        return subscription

    def close(self) -> None:
        self._redis.close()

    def _guarded(self, operation: Callable[[], T]) -> T:
        return _guarded(self._options, operation)


class RedisSubscription:
    """A connection that hears a pattern of channels. Not for several threads."""

    def __init__(self, options: RedisOptions, pubsub: PubSub, clock: Clock) -> None:
        self._options = options
        self._pubsub = pubsub
        self._clock = clock
        self._heard = clock.monotonic()
        self._asked = False

    def confirm(self) -> None:
        """Wait until the server hears for us. Raises Unavailable."""
        while self._receive(self._options.timeout_seconds) is None:
            self._check_patience(self._options.timeout_seconds)

    def next(self, timeout_seconds: float) -> tuple[str, bytes] | None:
        """Return (channel, data) of the next message, or ``None``. Raises Unavailable: the connection is lost."""
        message = self._receive(timeout_seconds)
        if message is None:
            self._check_patience(_QUIET_SECONDS + self._options.timeout_seconds)
            if not self._asked and self._clock.monotonic() - self._heard >= _QUIET_SECONDS:
                self._asked = True
                self._guarded(self._pubsub.ping)
            return None
        if message["type"] != "pmessage":
            return None
        return message["channel"].decode("ascii", "replace"), message["data"]

    def close(self) -> None:
        self._pubsub.close()

    def _receive(self, timeout_seconds: float) -> dict[str, Any] | None:
        message: dict[str, Any] | None = self._guarded(lambda: self._pubsub.get_message(timeout=timeout_seconds))
        if message is not None:
            self._heard, self._asked = self._clock.monotonic(), False
        return message

    def _check_patience(self, seconds: float) -> None:
        if self._clock.monotonic() - self._heard >= seconds:
            raise unavailable(self._options, TimeoutError())

    def _guarded(self, operation: Callable[[], T]) -> T:
        return _guarded(self._options, operation)


def _guarded(options: RedisOptions, operation: Callable[[], T]) -> T:
    """Raises Unavailable: whatever went wrong."""
    try:
        return operation()
    except Exception as error:  # also what the parser makes of an answer that is not Redis's
        failure = unavailable(options, error)
    raise failure
