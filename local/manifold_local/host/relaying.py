"""Delivering events in threads of their own, one for each sink, for as long as the host runs."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Sequence

from manifold_common.domain.panic import panics_as_errors
from manifold_common.errors import ManifoldError, told
from manifold_common.services.context import Nudge
from manifold_common.services.events.relay import Relay

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
"""Between two looks for what other processes wrote. What this one writes, it sends at once."""
_TROUBLE_SECONDS = 2.0
_LONGEST_PAUSE_SECONDS = 5.0
"""After a failure this process holds back for so long at most; that the sink rests longer, the catalog says."""


class Relaying:
    """Threads that feed the sinks. A sink that is slow or away holds up no other."""

    def __init__(self, relays: Sequence[Relay], nudge: Nudge) -> None:
        self._stop = threading.Event()
        self._jitter = random.Random()  # noqa: S311 - spreads load, guards nothing
        self._woken = [nudge.listen() for _ in relays]
        self._threads = [
            threading.Thread(target=self._run, args=(relay, woken), name=f"manifold-relay-{relay.sink}", daemon=True)
            for relay, woken in zip(relays, self._woken, strict=True)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self, timeout_seconds: float) -> bool:
        """Claim nothing more, and wait for what is being sent. Returns whether all ended in time.

        What is cut off is not lost: it is sent again when its claim has run out.
        """
        self._stop.set()
        for woken in self._woken:
            woken.set()
        deadline = time.monotonic() + timeout_seconds
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _run(self, relay: Relay, woken: threading.Event) -> None:
        try:
            while not self._stop.is_set():
                woken.clear()
                self._pass(relay, woken)
        finally:
            relay.close()

    def _pass(self, relay: Relay, woken: threading.Event) -> None:
        """Deliver what waits, then rest until there is a reason to look again."""
        try:
            with panics_as_errors():
                done = relay.run_once()
        except ManifoldError as error:
            _log.warning("events for %s were not delivered and will be tried again: %s", relay.sink, told(error))
            self._stop.wait(_TROUBLE_SECONDS)
        except Exception:
            _log.exception("events for %s were not delivered and will be tried again", relay.sink)
            self._stop.wait(_TROUBLE_SECONDS)
        else:
            if done.failed:
                self._stop.wait(min(relay.pause_seconds(), _LONGEST_PAUSE_SECONDS))
            elif not done.more:
                woken.wait(_LOOK_SECONDS * self._jitter.uniform(0.8, 1.2))
