"""Background work: tasks that come round again, each by itself, so that none can stop the others.

At the end no task is begun, and the one that runs is asked to stop where it can go on from the next time."""

from __future__ import annotations

import heapq
import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from manifold_common.bootstrap.chores import Stop
from manifold_common.domain.panic import panics_as_errors
from manifold_common.errors import ManifoldError, told

_log = logging.getLogger(__name__)

_JITTER = 0.1

_noting = threading.Lock()
"""Several schedulers may keep their warnings in one list."""


@dataclass(frozen=True, slots=True)
class Task:
    name: str
    period_seconds: float
    """From the end of one run to the start of the next, give or take a tenth, so that nodes do not go in step."""
    run: Callable[[Stop], object]
    """Returns how much it did, for the log; falsy for nothing."""
    is_long: bool = False
    """It is not to hold up those that are not."""


@dataclass(order=True, slots=True)
class _Due:
    at: float
    number: int
    task: Task = field(compare=False)


class Scheduler:
    """Runs tasks one after another in a thread of its own. A task that fails is tried again in its next turn.

    Args:
        warnings: where it stands, for health and people, which tasks have failed in their last turn.
    """

    def __init__(self, tasks: list[Task], warnings: list[str] | None = None) -> None:
        self._warnings = [] if warnings is None else warnings
        self._stop = threading.Event()
        self._jitter = random.Random()  # noqa: S311 - spreads load, guards nothing
        now = time.monotonic()
        self._due = [_Due(now + self._pause(task), number, task) for number, task in enumerate(tasks)]
        heapq.heapify(self._due)
        self._thread = threading.Thread(target=self._loop, name="manifold-scheduler", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_seconds: float) -> bool:
        """Start nothing more, have the running task stop early, and wait for it. Returns whether it ended in time."""
        self.end()
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    def end(self) -> None:
        """As ``stop``, without waiting."""
        self._stop.set()

    def _pause(self, task: Task) -> float:
        return task.period_seconds * self._jitter.uniform(1 - _JITTER, 1 + _JITTER)

    def _loop(self) -> None:
        while self._due:
            due = heapq.heappop(self._due)
            if self._stop.wait(max(0.0, due.at - time.monotonic())):
                return
            self._note(due.task, run_task(due.task, self._stop.is_set))
            heapq.heappush(self._due, _Due(time.monotonic() + self._pause(due.task), due.number, due.task))
        self._stop.wait()

    def _note(self, task: Task, failure: str | None) -> None:
        begin = f"the chore {task.name} has failed: "
        with _noting:
            self._warnings[:] = [text for text in self._warnings if not text.startswith(begin)]
            if failure is not None:
                self._warnings.append(f"{begin}{failure}; it is tried again, and the log says more")


def stop_all(schedulers: Sequence[Scheduler], timeout_seconds: float) -> bool:
    """Stop them together. Returns whether all ended in time."""
    until = time.monotonic() + timeout_seconds
    for scheduler in schedulers:
        scheduler.end()
    stopped = [scheduler.stop(max(0.0, until - time.monotonic())) for scheduler in schedulers]
    return all(stopped)


def run_task(task: Task, stop: Stop = lambda: False) -> str | None:
    """Run a task once. Whatever goes wrong is logged, not raised; return its code."""
    started = time.monotonic()
    try:
        with panics_as_errors():
            done = task.run(stop)
    except ManifoldError as error:
        _log.warning("chore %s failed and will be tried again: %s", task.name, told(error))
        return error.code
    except Exception:
        _log.exception("chore %s failed and will be tried again", task.name)
        return "internal"
    level = logging.INFO if done else logging.DEBUG
    _log.log(level, "chore %s: %s in %.0f ms", task.name, done, (time.monotonic() - started) * 1000)
    return None
