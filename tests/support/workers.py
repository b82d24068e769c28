"""Several processes that run the tests side by side (pytest-xdist), each with servers of its own.

Much of what tests do is waiting, so there are more workers than cores. A test that is marked ``alone`` measures time or
memory so closely, or loads the machine so much, that no other test may run meanwhile: it waits for those that do, and
all others wait for it.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import psutil
import pytest
from manifold_local.embedded.stack import child

MORE_THAN_CORES = 2
WORKER_BYTES = 3 << 29
"""Memory of a worker with its servers."""
_SHARED = "manifold_shared_folder"
_WORKER = "manifold-worker"
_PREFIX = "manifold-test-shared-"


class Turns:
    """Who may run, of all workers: any number of tests, or one that is alone. Nobody overtakes who waits for that."""

    def __init__(self, folder: Path) -> None:
        self._queue, self._tests = folder / "queue", folder / "tests"
        self._alone: IO[bytes] | None = None

    @contextmanager
    def turn(self, *, alone: bool, next_is_alone: bool) -> Iterator[None]:
        """Wait for a test's turn. One that is alone hands its turn to the next of this worker that is alone, too."""
        held = self._alone or self._wait(fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        self._alone = None
        try:
            yield
        finally:
            if alone and next_is_alone:
                self._alone = held
            else:
                held.close()

    def _wait(self, how: int) -> IO[bytes]:
        with self._queue.open("ab") as queue:
            fcntl.flock(queue, fcntl.LOCK_EX)
            held = self._tests.open("ab")
            fcntl.flock(held, how)
            return held


class Controller:
    """The process that hands out the tests."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix=_PREFIX)

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        node.workerinput[_SHARED] = self._folder.name

    def pytest_unconfigure(self) -> None:
        self._folder.cleanup()


class Worker:
    """One of the processes that run tests. Its servers have ports that those of others do not come upon."""

    def __init__(self, shared: Path, number: int, count: int) -> None:
        self.shared = shared
        self._turns = Turns(shared)
        child._SERVER_PORTS = part_of(child._SERVER_PORTS, number, count)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Let what takes long come first, where no other worker takes over a part of it, and what is to be alone last,
        so that workers wait for each other once and not every time."""
        items.sort(key=lambda item: (_is_alone(item), item.get_closest_marker("early") is None))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
        next_is_alone = nextitem is not None and _is_alone(nextitem)
        with self._turns.turn(alone=_is_alone(item), next_is_alone=next_is_alone):
            return (yield)


@pytest.fixture(scope="session")
def shared_folder(pytestconfig: pytest.Config) -> Iterator[Path]:
    """A folder that all workers of this run share."""
    worker: Worker | None = pytestconfig.pluginmanager.get_plugin(_WORKER)
    if worker is not None:
        yield worker.shared
        return
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as name:
        yield Path(name)


def made_once(folder: Path, make: Callable[[], object]) -> None:
    """Make what is to be in a folder, unless another worker has; wait for one that is at it."""
    with folder.with_suffix(".lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = folder.with_suffix(".done")
        if not done.exists():
            make()
            done.touch()


def part_of(ports: range, number: int, count: int) -> range:
    """Return the ports of one worker, where there are ``count``. One that replaces a dead one has a higher number."""
    return ports[number % count * len(ports) // count : (number % count + 1) * len(ports) // count]


def _is_alone(item: pytest.Item) -> bool:
    return item.get_closest_marker("alone") is not None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return for ``-n auto`` how many workers there are for the whole suite, and none for a part that was named."""
    if config.args_source is not pytest.Config.ArgsSource.TESTPATHS:
        return 0
    fit = psutil.virtual_memory().available // WORKER_BYTES
    return max(1, min((os.cpu_count() or 1) + MORE_THAN_CORES, fit))


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "alone(why): no other test may run at the same time")
    config.addinivalue_line("markers", "early(why): with the others of its file on one worker, before all others")
    given = getattr(config, "workerinput", None)
    if given is not None:
        number = int(given["workerid"].removeprefix("gw"))
        config.pluginmanager.register(Worker(Path(given[_SHARED]), number, given["workercount"]), _WORKER)
    elif config.getoption("numprocesses", None):
        config.pluginmanager.register(Controller())
