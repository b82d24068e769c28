"""What nodes without Redis hear of each other: the events of commits, read from the Kafka topic.

Each node reads the whole topic on its own and commits no offsets: what was announced while it was not listening, it
finds in the catalog when it asks. A log gives no hints and no leases.
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager

from manifold_common.adapters.kafka.diagnosis import trouble_with_brokers
from manifold_common.adapters.kafka.options import KafkaOptions
from manifold_common.ports.credentials import Credentials, Fixed
from manifold_common.ports.generation_cache import CacheHealth, Listener, NoGenerationCache


class KafkaGenerations(NoGenerationCache):
    """Implements the GenerationCache port as far as a log can. What it hears was sent by the relay."""

    def __init__(self, options: KafkaOptions, credentials: Credentials[KafkaOptions] | None = None) -> None:
        """``credentials``: instead of the options' own, which are the ones to begin with."""
        self._credentials = credentials or Fixed(options)

    def listen(self) -> AbstractContextManager[Listener]:
        from manifold_common.adapters.kafka.listener import listen  # loads the client

        return listen(self._credentials)

    def health(self) -> CacheHealth:
        started = time.monotonic()
        trouble = trouble_with_brokers(self._credentials.current)
        return CacheHealth(not trouble, trouble or "a broker answers", time.monotonic() - started)
