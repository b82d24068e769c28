"""Tests side by side: any number at a time, or one that is alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from tests.support.workers import Turns, made_once, part_of, pytest_xdist_auto_num_workers

ArgsSource = pytest.Config.ArgsSource


class TestOfAWorker:
    """One that has asked for its turn, on a worker of its own unless it is given one."""

    __test__ = False

    def __init__(self, folder: Path, *, alone: bool = False, next_is_alone: bool = False, turns: Turns | None = None):
        self.turns = turns or Turns(folder)
        self.runs, self.may_end = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, args=(alone, next_is_alone))
        self._thread.start()

    def _run(self, alone: bool, next_is_alone: bool) -> None:
        with self.turns.turn(alone=alone, next_is_alone=next_is_alone):
            self.runs.set()
            assert self.may_end.wait(60)

    def end(self) -> None:
        self.may_end.set()
        self._thread.join(60)


Begin = Callable[..., TestOfAWorker]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    begun: list[TestOfAWorker] = []

    def make(**how: object) -> TestOfAWorker:
        begun.append(TestOfAWorker(tmp_path, **how))  # type: ignore[arg-type]
        return begun[-1]

    yield make
    for test in begun:
        test.may_end.set()
    for test in begun:
        test.end()


def _waits(test: TestOfAWorker) -> bool:
    return not test.runs.wait(0.1)


def test_ordinary_tests_run_side_by_side(begin: Begin) -> None:
    assert begin().runs.wait(10) and begin().runs.wait(10)


def test_a_test_that_is_alone_waits_for_all_that_run(begin: Begin) -> None:
    first, second = begin(), begin()
    assert first.runs.wait(10) and second.runs.wait(10)
    lonely = begin(alone=True)
    assert _waits(lonely)
    first.end()
    assert _waits(lonely)
    second.end()
    assert lonely.runs.wait(10)


def test_nobody_runs_beside_a_test_that_is_alone(begin: Begin) -> None:
    lonely = begin(alone=True)
    assert lonely.runs.wait(10)
    ordinary, other = begin(), begin(alone=True)
    assert _waits(ordinary) and _waits(other)
    lonely.end()
    assert ordinary.runs.wait(10) or other.runs.wait(10)


def test_who_waits_to_be_alone_is_not_overtaken(begin: Begin) -> None:
    running = begin()
    assert running.runs.wait(10)
    lonely = begin(alone=True)
    assert _waits(lonely)
    late = begin()
    assert _waits(late)
    running.end()
    assert lonely.runs.wait(10) and _waits(late)


def test_a_turn_is_handed_to_the_next_test_that_is_alone(begin: Begin) -> None:
    first = begin(alone=True, next_is_alone=True)
    assert first.runs.wait(10)
    ordinary = begin()
    assert _waits(ordinary)
    first.end()
    assert _waits(ordinary)
    second = begin(alone=True, turns=first.turns)
    assert second.runs.wait(10) and _waits(ordinary)
    second.end()
    assert ordinary.runs.wait(10)


def test_what_workers_share_is_made_by_one_of_them(tmp_path: Path) -> None:
    made: list[int] = []
    threads = [
        threading.Thread(target=made_once, args=(tmp_path / "shared", lambda n=n: made.append(n))) for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(made) == 1


def test_what_could_not_be_made_is_made_by_the_next(tmp_path: Path) -> None:
    def fail() -> None:
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        made_once(tmp_path / "shared", fail)
    made: list[bool] = []
    made_once(tmp_path / "shared", lambda: made.append(True))
    assert made


@pytest.mark.parametrize(("source", "has_workers"), [(ArgsSource.TESTPATHS, True), (ArgsSource.ARGS, False)])
def test_only_the_whole_suite_has_workers(source: object, has_workers: bool) -> None:
    config = cast(pytest.Config, SimpleNamespace(args_source=source))
    assert (pytest_xdist_auto_num_workers(config) > 0) == has_workers


@pytest.mark.parametrize("count", [1, 3, 4])
def test_every_port_is_that_of_one_worker(count: int) -> None:
    ports = range(20_000, 20_100)
    parts = [part_of(ports, number, count) for number in range(count)]
    assert [port for part in parts for port in part] == list(ports)
    assert part_of(ports, count, count) == parts[0]
