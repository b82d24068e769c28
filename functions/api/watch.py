"""Wakes requests that wait, for events or for what becomes of a job. A request that waits holds neither a thread nor a
connection to the database.

What this process writes itself wakes at once. For what others write there is one look at the database a second for all
that wait together, and none while nobody does. Everything but the nudge is called on the event loop.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random
from collections.abc import Callable, Collection, Hashable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

import anyio
from manifold_common.domain.event_place import Followed
from manifold_common.domain.job import SeenJob
from manifold_common.errors import ManifoldError

from functions.api.traffic import Wait

if TYPE_CHECKING:
    from manifold_common.services.context import Nudge

_log = logging.getLogger("manifold.api")

_LOOK_SECONDS = 1.0
_REST_SECONDS = 0.02
"""Between two looks at least, however often this process writes."""

P = TypeVar("P", bound=Hashable)


class Watch(Generic[P]):
    """One for all that wait for the same kind of thing."""

    def __init__(self, look: Callable[[list[P]], Collection[int]], nudge: Nudge) -> None:
        """
        Args:
            look: returns the indexes of the places at which there may be something new, in one look.
        """
        self._ask = look
        self._sleepers: dict[asyncio.Future[bool], P] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._woken = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None
        self._jitter = random.Random()  # noqa: S311 - spreads load, guards nothing
        self.nudges = 0
        """How often this process has written, or may have."""
        nudge.tell(self._on_nudge)

    async def news(self, wait: Wait, place: P, *, nudges: int, seconds: float) -> bool:
        """Sleep until there may be something new at a place, the time is over, or the server ends. Returns whether it
        is worth a look.

        Args:
            nudges: how many there had been before the caller looked.
        """
        loop = asyncio.get_running_loop()
        if self._looking is None:
            self._loop, self._woken = loop, asyncio.Event()
        if wait.is_over or self.nudges != nudges:
            return True
        sleeper: asyncio.Future[bool] = loop.create_future()
        self._sleepers[sleeper] = place
        wait.wake = partial(_wake, sleeper)
        if self._looking is None:  # of nobody's request: with nobody's patience and correlation id
            self._looking = loop.create_task(self._look_on(), context=contextvars.Context())
        try:
            async with asyncio.timeout(seconds):
                return await sleeper
        except TimeoutError:
            return False
        finally:
            del self._sleepers[sleeper]
            if not self._sleepers and self._looking is not None:
                self._looking.cancel()
                self._looking = None

    def _on_nudge(self) -> None:
        self.nudges += 1
        loop, woken = self._loop, self._woken
        if loop is not None:
            with suppress(RuntimeError):  # it has ended
                loop.call_soon_threadsafe(woken.set)

    async def _look_on(self) -> None:
        """Look for as long as somebody sleeps."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS * self._jitter.uniform(0.8, 1.2)):
                    await self._woken.wait()
            self._woken.clear()
            try:
                await self._look()
            except ManifoldError as error:
                _log.debug("nobody who waits can be told of anything: %s", error.code)
            except Exception:
                _log.exception("looking for what others wait for failed, and will be tried again")
            await asyncio.sleep(_REST_SECONDS)

    async def _look(self) -> None:
        places = list(dict.fromkeys(self._sleepers.values()))
        found = await anyio.to_thread.run_sync(self._ask, places)
        due = {places[index] for index in found}
        for sleeper, place in list(self._sleepers.items()):
            if place in due:
                _wake(sleeper)


EventWatch: TypeAlias = Watch[tuple[Followed, int]]
"""For events after a sequence."""
JobWatch: TypeAlias = Watch[SeenJob]
"""For the next change of a job."""


def _wake(sleeper: asyncio.Future[bool]) -> None:
    if not sleeper.done():
        sleeper.set_result(True)
