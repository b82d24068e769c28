"""Events posted to one URL, each as a signed request of its own.

Only the URL that was configured is ever called: a redirect is an answer like any other, no proxy is taken from the
environment, and only the status and ``Retry-After`` of an answer are used. An answer is awaited for a bounded time and
read to a bounded length.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from urllib.parse import urlsplit

import manifold_common
from manifold_common.adapters.webhook.names import name_of
from manifold_common.adapters.webhook.signature import key_of, sign
from manifold_common.domain.event import MEDIA_TYPE, CloudEvent
from manifold_common.domain.retry_after import seconds_asked
from manifold_common.ports.clock import Clock
from manifold_common.ports.credentials import Credentials, Fixed
from manifold_common.ports.event_publisher import Delivery, Outcome

_MAX_ANSWER_BYTES = 64 * 1024
_STEPS = 3
"""Each takes the time-out at most: the connection, TLS, and the request with its answer."""

_ABOUT_THE_EVENT = frozenset({400, 406, 409, 413, 415, 422, 431})
"""Statuses with which an endpoint turns down what was sent. With any other, the endpoint itself is the trouble."""
_GONE = 410
_BUSY = 429
_TOO_LARGE_NOW = 413
"""With ``Retry-After`` it is not about the event: RFC 9110 says so."""
_PASSING = frozenset({408, 425})
"""Besides 5xx: what may be gone the next time. Other statuses below 500 say that the address or the secret is wrong."""

_ABOUT_THE_SIGNATURE = {401, 403}
"""Statuses of an endpoint that does not know who sends: nothing was taken."""

_TAKEN = Outcome(Delivery.TAKEN)
_UNSENT = Outcome(Delivery.UNSENT)


class WebhookPublisher:
    """Implements the EventPublisher port."""

    def __init__(self, url: str, secret: str | Credentials[str], *, timeout_seconds: float, clock: Clock) -> None:
        """Raises ConfigError: the secret cannot be used."""
        self._secret: Credentials[str] = Fixed(secret) if isinstance(secret, str) else secret
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        key_of(self._secret.current)
        self._timeout_seconds = timeout_seconds
        self._clock = clock
        self._name = name_of(url)

    @property
    def name(self) -> str:
        return self._name

    @property
    def timeout_seconds(self) -> float:
        return self._timeout_seconds * _STEPS

    def publish(self, events: Sequence[CloudEvent], *, seconds: float) -> list[Outcome]:
        until = time.monotonic() + seconds
        outcomes = [_UNSENT] * len(events)
        stopped: set[str] = set()
        with closing(self._connection()) as connection:
            for index, event in enumerate(events):
                if event.key in stopped:
                    continue
                if time.monotonic() >= until:
                    break
                try:
                    outcomes[index] = self._deliver(connection, event)
                except (OSError, http.client.HTTPException) as error:
                    outcomes[index] = Outcome(Delivery.FAILED, _reason(error))
                    break
                if outcomes[index].delivery.is_trouble:
                    break
                if outcomes[index].delivery is not Delivery.TAKEN:
                    stopped.add(event.key)
        return outcomes

    def close(self) -> None:
        """Nothing is held between two calls."""

    def _connection(self) -> http.client.HTTPConnection:
        if self._tls is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_seconds)
        return http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout_seconds, context=self._tls)

    def _deliver(self, connection: http.client.HTTPConnection, event: CloudEvent) -> Outcome:
        """Post an event, signed anew if the endpoint refuses the signature and there is another secret by now.

        Raises:
            OSError, HTTPException: there was no answer.
        """
        secret = self._secret.current
        status, asked_seconds = self._post(connection, event, secret)
        if status in _ABOUT_THE_SIGNATURE:
            fresh = self._secret.instead_of(secret)
            if fresh is not None:
                status, asked_seconds = self._post(connection, event, fresh)
        return _outcome(status, asked_seconds)

    def _post(self, connection: http.client.HTTPConnection, event: CloudEvent, secret: str) -> tuple[int, float | None]:
        """Return the status of the answer, and for how long it asks to be left alone. Raises OSError, HTTPException:
        there was none."""
        body = event.encode()
        timestamp = int(self._clock.now().timestamp())
        headers = {
            "content-type": f"{MEDIA_TYPE}; charset=UTF-8",
            "user-agent": f"Manifold/{manifold_common.__version__}",
            "webhook-id": event.id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(key_of(secret), event.id, timestamp, body),
        }
        if connection.sock is None:
            connection.connect()
        with _limited(connection, self._timeout_seconds):
            connection.request("POST", self._target, body, headers)
            response = connection.getresponse()
            response.read(_MAX_ANSWER_BYTES)
        if not response.isclosed():
            connection.close()  # there is more that nobody wants
        asked = seconds_asked(response.getheader("retry-after"), self._clock.now())
        return response.status, asked


def _outcome(status: int, asked_seconds: float | None) -> Outcome:
    if 200 <= status < 300:
        return _TAKEN
    reason = f"the endpoint answered {status}"
    if status == _GONE:
        return Outcome(Delivery.GONE, f"{reason}: it was switched off")
    if status in _ABOUT_THE_EVENT and not (status == _TOO_LARGE_NOW and asked_seconds is not None):
        return Outcome(Delivery.REFUSED, reason)
    if status == _BUSY or asked_seconds is not None:
        return Outcome(Delivery.BUSY, reason, asked_seconds)
    return Outcome(Delivery.FAILED if status >= 500 or status in _PASSING else Delivery.TURNED_AWAY, reason)


@contextmanager
def _limited(connection: http.client.HTTPConnection, seconds: float) -> Iterator[None]:
    """Cut the connection when the block takes longer. Its own time-out bounds silences only, not what trickles in.

    Raises:
        TimeoutError: it was cut; what was read until then is not to be trusted.
    """
    is_cut = False

    def cut() -> None:
        nonlocal is_cut
        is_cut = True
        with suppress(OSError, AttributeError):
            connection.sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        if is_cut:
            raise TimeoutError


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "the endpoint did not answer in time"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or type(error).__name__}"
    text = error.strerror if isinstance(error, OSError) else None
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
