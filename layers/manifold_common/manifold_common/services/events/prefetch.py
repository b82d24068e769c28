"""Following other nodes: what they commit to the projects in use here is fetched before anybody asks for it.

Nothing depends on it. A checkout asks the catalog where the project stands, and finds in the encrypted cache what was
fetched in advance; what was not, it fetches itself. So an announcement that is lost, late, doubled, made up, or about a
number that a restored catalog gives a second time costs a request at most.
"""

from __future__ import annotations

import logging
import threading

from manifold_common.domain.history import Point
from manifold_common.domain.panic import panics_as_errors
from manifold_common.engine.working_set.working_sets import WorkingSets
from manifold_common.errors import ManifoldError, NotFound, Unavailable
from manifold_common.ids import TenantProject
from manifold_common.ports.generation_cache import Invalidation, Listener
from manifold_common.services.context import Context

_log = logging.getLogger(__name__)

_POLL_SECONDS = 0.25
_SHORTEST_REST_SECONDS = 0.02
_REST_FACTOR = 3.0
"""Fetching takes a quarter of the time at most: what is announced meanwhile is fetched together."""
_FIRST_PAUSE_SECONDS = 0.25
_LONGEST_PAUSE_SECONDS = 15.0
_STEADY_SECONDS = 60.0
_MOST_BYTES = 64 << 20
"""Of one project at one time. What lies further back is left to whoever asks for it."""


class Prefetcher:
    """Listens in a thread that the host gives it. One for each process."""

    def __init__(self, context: Context, working_sets: WorkingSets) -> None:
        self._context = context
        self._working_sets = working_sets
        self._fetched: dict[TenantProject, Point] = {}

    def run(self, stop: threading.Event) -> None:
        """Follow until ``stop`` is set. A connection that breaks is made again, ever more slowly while it keeps
        breaking; each change between hearing and not hearing is logged once."""
        clock, randomness = self._context.clock, self._context.randomness
        pause, failing = _FIRST_PAUSE_SECONDS, False
        while not stop.is_set():
            started = clock.monotonic()
            try:
                with panics_as_errors(), self._context.generations.listen() as listener:
                    if failing:
                        _log.info("commits of other nodes are heard of again")
                    failing = False
                    self._follow(listener, stop)
            except Unavailable as error:
                if not failing:
                    _log.warning("commits of other nodes are not heard of, only found when asked for: %s", error)
                failing = True
            except Exception:
                _log.exception("following other nodes failed, and will be tried again")
            if clock.monotonic() - started > _STEADY_SECONDS:
                pause = _FIRST_PAUSE_SECONDS
            stop.wait(pause * (0.5 + randomness.uniform()))
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    def _follow(self, listener: Listener, stop: threading.Event) -> None:
        """Raises Unavailable: the connection is lost."""
        clock = self._context.clock
        due = set(self._held())  # for what was announced while nobody listened
        rested_at = clock.monotonic()
        while not stop.is_set():
            rest = rested_at - clock.monotonic()
            news = listener.next(min(max(rest, 0.0), _POLL_SECONDS) if due else _POLL_SECONDS)
            if news is not None and self._is_news(news):
                due.add((news.tenant, news.project))
            started = clock.monotonic()
            if due and started >= rested_at:
                self.fetch(due)
                due.clear()
                ended = clock.monotonic()
                rested_at = ended + max(_SHORTEST_REST_SECONDS, _REST_FACTOR * (ended - started))

    def fetch(self, projects: set[TenantProject]) -> int:
        """Fetch what was committed to those of ``projects`` that are in use here. Returns how many objects came."""
        held = self._held()
        self._fetched = {owner: point for owner, point in self._fetched.items() if owner in held}
        count = 0
        for owner in projects & held.keys():
            try:
                point, came = self._context.log.prefetch(*owner, held[owner], most_bytes=_MOST_BYTES)
            except NotFound:
                continue  # deleted
            except ManifoldError as error:
                _log.debug("project %s: its new commits could not be fetched in advance: %s", owner[1], error.code)
                continue
            self._fetched[owner] = point
            count += came
        return count

    def _is_news(self, news: Invalidation) -> bool:
        known = self._held().get((news.tenant, news.project))
        return known is not None and known.generation < news.generation

    def _held(self) -> dict[TenantProject, Point]:
        """Return the projects in use here, and up to where their log has been read or fetched."""
        held: dict[TenantProject, Point] = {}
        for known in (self._context.log.remembered(), self._working_sets.bases()):
            for owner, point in known.items():
                points = (held.get(owner, point), self._fetched.get(owner, point), point)
                held[owner] = max(points, key=lambda one: one.generation)
        return held
