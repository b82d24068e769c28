from __future__ import annotations

import logging
import threading
import time

import pytest
from manifold_common.bootstrap.chores import Stop
from manifold_common.errors import PartlyDone, StoreUnavailable
from manifold_local.host.scheduler import Scheduler, Task, run_task


def test_a_task_comes_round_again_and_again() -> None:
    runs = threading.Semaphore(0)
    scheduler = Scheduler([Task("often", 0.001, lambda _: runs.release())])
    scheduler.start()
    assert all(runs.acquire(timeout=10) for _ in range(5))
    assert scheduler.stop(10)


@pytest.mark.parametrize("error", [ZeroDivisionError("canary"), StoreUnavailable("canary")])
def test_a_task_that_fails_stops_neither_itself_nor_others(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    failed, worked = threading.Semaphore(0), threading.Semaphore(0)

    def fail(_: object) -> None:
        failed.release()
        raise error

    scheduler = Scheduler([Task("bad", 0.001, fail), Task("good", 0.001, lambda _: worked.release())])
    with caplog.at_level(logging.WARNING):
        scheduler.start()
        assert all(found.acquire(timeout=10) for found in (failed, worked) for _ in range(3))
        assert scheduler.stop(10)
    assert "chore bad failed" in caplog.text


def test_a_task_that_fails_is_among_the_warnings_of_health_until_it_works_again() -> None:
    warnings, broken, seen = ["another"], threading.Event(), threading.Semaphore(0)
    broken.set()

    def work(_: object) -> None:
        seen.release()
        if broken.is_set():
            raise PartlyDone("2 of them failed")

    scheduler = Scheduler([Task("upkeep", 0.001, work)], warnings)
    scheduler.start()
    assert all(seen.acquire(timeout=10) for _ in range(4))
    told = "the chore upkeep has failed: partly_done; it is tried again, and the log says more"
    assert warnings == ["another", told], "once, however often it fails"
    broken.clear()
    assert all(seen.acquire(timeout=10) for _ in range(3))
    assert scheduler.stop(10)
    assert warnings == ["another"]


def test_a_known_error_is_logged_by_its_code_alone(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        run_task(Task("bad", 0, _raise_known))
    assert "store_unavailable" in caplog.text and "secret.txt" not in caplog.text


def _raise_known(_: object) -> None:
    raise StoreUnavailable("the object of secret.txt cannot be had")


def test_stop_waits_for_the_task_that_runs_and_starts_no_other() -> None:
    entered, release, after = threading.Event(), threading.Event(), threading.Event()

    def slow(_: object) -> None:
        entered.set()
        release.wait(30)

    scheduler = Scheduler([Task("slow", 0.001, slow), Task("later", 1000, lambda _: after.set())])
    scheduler.start()
    assert entered.wait(10)
    assert not scheduler.stop(0.01)
    release.set()
    assert scheduler.stop(10)
    assert not after.is_set()


def test_the_task_that_runs_is_asked_to_stop() -> None:
    entered = threading.Event()

    def long(stop: Stop) -> None:
        entered.set()
        while not stop():
            time.sleep(0.001)

    scheduler = Scheduler([Task("long", 0.001, long)])
    scheduler.start()
    assert entered.wait(10)
    assert scheduler.stop(10)


def test_a_scheduler_without_tasks_stops_too() -> None:
    scheduler = Scheduler([])
    scheduler.start()
    assert scheduler.stop(10)
