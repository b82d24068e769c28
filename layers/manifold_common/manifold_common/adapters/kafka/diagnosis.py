"""Why no broker lets us in: kafka-python only says that it has found none."""

from __future__ import annotations

import socket
import ssl
from typing import NamedTuple

from manifold_common.adapters.kafka.options import KafkaOptions

_ATTEMPT_SECONDS = 1.0


class Obstacle(NamedTuple):
    """What stands in the way, and whether it may be the credentials: a broker answers, and does not let us in."""

    reason: str
    refuses: bool


def why_no_broker(options: KafkaOptions) -> Obstacle:
    """Look at the first three brokers, for at most a second each."""
    found = [_look_at(broker, options) for broker in options.brokers[:3]]
    return Obstacle("; ".join(dict.fromkeys(one.reason for one in found)), any(one.refuses for one in found))


def _look_at(broker: str, options: KafkaOptions) -> Obstacle:
    host, _, port = broker.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _ATTEMPT_SECONDS) as connection:
            if options.tls:
                with options.ssl_context().wrap_socket(connection, server_hostname=host.strip("[]")):
                    pass
    except ssl.SSLCertVerificationError as error:
        return Obstacle(f"the certificate of {broker} is not trusted: {error.verify_message}", False)
    except ssl.SSLError as error:
        return Obstacle(f"no TLS connection to {broker}: {error.reason or type(error).__name__}", False)
    except OSError as error:
        return Obstacle(f"{broker} cannot be connected to: {error.strerror or type(error).__name__}", False)
    wanted = f"user {options.username!r} and mechanism {options.mechanism}" if options.username else "no sign-in"
    tls = "" if options.tls else ", without TLS"
    return Obstacle(f"{broker} answers, and does not let us in with {wanted}{tls}", options.username is not None)
