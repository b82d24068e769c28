"""Whether a broker can be reached, and if not, why: kafka-python only says that it has found none.

A look connects and asks for the versions of the protocol, which a broker answers before any sign-in. It does not load
the client.
"""

from __future__ import annotations

import socket
import ssl
import struct
import time
from collections.abc import Callable
from typing import NamedTuple

from manifold_common.adapters.kafka.options import KafkaOptions

_ATTEMPT_SECONDS = 1.0
_LOOKED_AT = 3
"""Brokers, at most, so that a look ends in time."""
_ALL_SECONDS = 3.0

_API_VERSIONS, _CORRELATION = 18, 0x4D464C44
_CLIENT = b"manifold-health"
_REQUEST = struct.pack(f">hhih{len(_CLIENT)}s", _API_VERSIONS, 0, _CORRELATION, len(_CLIENT), _CLIENT)
_ANSWER = struct.Struct(">iih")
"""Length, correlation id, error code."""


class Obstacle(NamedTuple):
    """What stands in the way, and whether it may be the credentials: a broker answers, and does not let us in."""

    reason: str
    refuses: bool


def trouble_with_brokers(options: KafkaOptions) -> str:
    """Return ``""`` if one of the first three brokers answers, and otherwise what stands in the way of each.

    Takes some three seconds at most, unless names are resolved slowly.
    """
    found: list[str] = []
    until = time.monotonic() + _ALL_SECONDS - _ATTEMPT_SECONDS
    for broker in options.brokers[:_LOOKED_AT]:
        if found and time.monotonic() > until:
            break
        trouble = _trouble(broker, options, _ask)
        if not trouble:
            return ""
        found.append(trouble)
    return "; ".join(dict.fromkeys(found))


def why_no_broker(options: KafkaOptions) -> Obstacle:
    """Return what stands in the way of a client that found no broker, after at most a second for each of three."""
    wanted = f"user {options.username!r} and mechanism {options.mechanism}" if options.username else "no sign-in"
    refusal = f"answers, and does not let us in with {wanted}" + ("" if options.tls else ", without TLS")
    found = {broker: _trouble(broker, options, lambda _: None) for broker in options.brokers[:_LOOKED_AT]}
    reasons = [trouble or f"{broker} {refusal}" for broker, trouble in found.items()]
    return Obstacle("; ".join(dict.fromkeys(reasons)), options.username is not None and "" in found.values())


def _trouble(broker: str, options: KafkaOptions, ask: Callable[[socket.socket], None]) -> str:
    host, _, port = broker.rpartition(":")
    name = host.strip("[]")
    try:
        with socket.create_connection((name, int(port)), _ATTEMPT_SECONDS) as connection:
            if not options.tls:
                ask(connection)
            else:
                with options.ssl_context().wrap_socket(connection, server_hostname=name) as wrapped:
                    ask(wrapped)
    except ssl.SSLCertVerificationError as error:
        return f"the certificate of {broker} is not trusted: {error.verify_message}"
    except ssl.SSLError as error:
        return f"no TLS connection to {broker}: {error.reason or type(error).__name__}"
    except _NotKafka:
        return f"{broker} does not answer as Kafka does"
    except TimeoutError:
        return f"{broker} does not answer in time"
    except OSError as error:
        return f"{broker} cannot be connected to: {error.strerror or type(error).__name__}"
    return ""


class _NotKafka(Exception):
    """Something other than Kafka answers, or the connection was made and nothing answers."""


def _ask(connection: socket.socket) -> None:
    """Raises _NotKafka, OSError."""
    connection.settimeout(_ATTEMPT_SECONDS)
    connection.sendall(struct.pack(">i", len(_REQUEST)) + _REQUEST)
    answer = b""
    while len(answer) < _ANSWER.size:
        part = connection.recv(_ANSWER.size - len(answer))
        if not part:
            raise _NotKafka
        answer += part
    _, correlation, error = _ANSWER.unpack(answer)
    if correlation != _CORRELATION or error not in (0, 35):  # 35: another version of this request, but a broker
        raise _NotKafka
