"""Clocks and what is kept of them."""

from __future__ import annotations

import gc
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Samples:
    """Seconds of repeated runs of one thing."""

    name: str
    values: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    """Processor seconds of this process in each run, all threads; empty for other programs."""

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def median_cpu(self) -> float:
        return statistics.median(self.cpu)

    @property
    def spread(self) -> str:
        """Lowest and highest run, relative to the median."""
        if len(self.values) < 2:
            return "1 run"
        low, high = min(self.values) / self.median - 1, max(self.values) / self.median - 1
        return f"{low:+.0%} {high:+.0%}, {len(self.values)} runs"

    def as_json(self) -> dict[str, object]:
        return {"name": self.name, "median": self.median, "seconds": self.values, "cpu_seconds": self.cpu}


class Watch:
    seconds = 0.0
    cpu_seconds = 0.0


@contextmanager
def timed(samples: Samples | None = None) -> Iterator[Watch]:
    """Time a block. Garbage that others left is collected first, so that it is not charged to this block."""
    gc.collect()
    watch = Watch()
    cpu_begun, begun = time.process_time(), time.perf_counter()
    yield watch
    watch.seconds = time.perf_counter() - begun
    watch.cpu_seconds = time.process_time() - cpu_begun
    if samples is not None:
        samples.values.append(watch.seconds)
        samples.cpu.append(watch.cpu_seconds)


def touch_memory(folder: Path, size_bytes: int) -> None:
    """Use so much memory in ``folder``, which is in RAM, and give it back.

    The first use of a page of a virtual machine can cost more than all that is measured, and says nothing about it:
    the same ``cp -r`` of 1 GiB took 0.4 s or 1.9 s.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(size_bytes >> 20):
            file.write(bytes(1 << 20))


class Patience:
    """Waits for a machine that others use as well to have its processors free, and gives up in time."""

    def __init__(self, budget_seconds: float = 120.0, once_seconds: float = 3.0, idle_share: float = 0.85) -> None:
        self.left_seconds = budget_seconds
        self._once_seconds = once_seconds
        self._idle_share = idle_share

    def wait(self) -> None:
        """Return at a quiet moment, or when this wait or all waits together have lasted long enough."""
        begun = time.monotonic()
        while (waited := time.monotonic() - begun) < min(self._once_seconds, self.left_seconds):
            if _idle_share(0.06) >= self._idle_share:
                break
        self.left_seconds -= waited


patience = Patience()


def _idle_share(seconds: float) -> float:
    """Return how much of all processors' time was idle during the next ``seconds``."""
    idle, total = _processor_ticks()
    time.sleep(seconds)
    idle_then, total_then = _processor_ticks()
    return (idle_then - idle) / max(1, total_then - total)


def _processor_ticks() -> tuple[int, int]:
    ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


Run = Callable[[int], float | Watch]
"""Given the number of the run, prepares, does the work, and returns the time of the work alone."""


def side_by_side(runs: dict[str, tuple[Run, int]]) -> dict[str, Samples]:
    """Run each thing as often as it says, taking turns, so that a busy moment of the machine hits them alike."""
    result = {name: Samples(name) for name in runs}
    for number in range(max(times for _, times in runs.values())):
        for name, (run, times) in runs.items():
            if number < times:
                patience.wait()
                taken = run(number)
                if isinstance(taken, Watch):
                    result[name].cpu.append(taken.cpu_seconds)
                    taken = taken.seconds
                result[name].values.append(taken)
    return result
