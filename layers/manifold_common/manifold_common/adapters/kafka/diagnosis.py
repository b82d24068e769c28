"""Why no broker lets us in: kafka-python only says that it has found none."""

from __future__ import annotations

import socket
import ssl

from manifold_common.adapters.kafka.options import KafkaOptions

_ATTEMPT_SECONDS = 1.0


def why_no_broker(options: KafkaOptions) -> str:
    """Return what stands in the way, after at most a second for each of the first three brokers."""
    found = [_look_at(broker, options) for broker in options.brokers[:3]]
    return "; ".join(dict.fromkeys(found))


def _look_at(broker: str, options: KafkaOptions) -> str:
    host, _, port = broker.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _ATTEMPT_SECONDS) as connection:
            if options.tls:
                with options.ssl_context().wrap_socket(connection, server_hostname=host.strip("[]")):
                    pass
    except ssl.SSLCertVerificationError as error:
        return f"the certificate of {broker} is not trusted: {error.verify_message}"
    except ssl.SSLError as error:
        return f"no TLS connection to {broker}: {error.reason or type(error).__name__}"
    except OSError as error:
        return f"{broker} cannot be connected to: {error.strerror or type(error).__name__}"
    wanted = f"user {options.username!r} and mechanism {options.mechanism}" if options.username else "no sign-in"
    return f"{broker} answers, and does not let us in with {wanted}" + ("" if options.tls else ", without TLS")
