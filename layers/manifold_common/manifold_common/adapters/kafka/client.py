"""Starting a client of kafka-python, so that one that cannot start leaves nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from kafka import errors as kafka_errors
from kafka.net.compat import KafkaNetClient
from kafka.net.selector import NetworkSelector

from manifold_common.adapters.kafka.options import KafkaOptions


def start(kind: Callable[..., Any], options: KafkaOptions, **arguments: Any) -> Any:
    """Return a started ``KafkaProducer``, ``KafkaConsumer`` or ``KafkaAdminClient``.

    One that finds no broker would leave its thread and its sockets, and one more of each with every attempt.

    Raises:
        KafkaError: no broker could be reached, or it let nobody in. OSError: a certificate file cannot be used.
        ValueError: an option cannot be used.
    """
    made: list[tuple[Any, Any]] = []

    def network(**configs: Any) -> Any:
        net = NetworkSelector(**configs)
        made.append((net, KafkaNetClient(net=net, **configs)))
        return made[-1][1]

    try:
        return kind(**options.client(), **arguments, kafka_client=network)
    except BaseException:
        for net, client in made:
            with suppress(kafka_errors.KafkaError, OSError, RuntimeError):
                client.close()
                net.stop(timeout_ms=options.timeout_ms)
        raise
