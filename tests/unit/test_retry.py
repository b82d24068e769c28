"""Repeating requests: what is repeated, how often, and for how long."""

from __future__ import annotations

import pytest
from manifold_common.adapters.memory.clock import ManualClock, SeededRandomness
from manifold_common.domain.retry_after import asked_wait
from manifold_common.errors import NoSpace, StoreUnavailable
from manifold_common.ports.retry import RetryPolicy, retry

POLICY = RetryPolicy(attempts=5, budget_seconds=100.0, base_seconds=1.0, cap_seconds=4.0)


class Flaky:
    """Fails ``failures`` times, each time after ``seconds``, then answers."""

    def __init__(self, clock: ManualClock, failures: int, error: Exception, seconds: float = 0.0) -> None:
        self.clock, self.failures, self.error, self.seconds = clock, failures, error, seconds
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        self.clock.advance(self.seconds)
        if self.calls <= self.failures:
            raise self.error
        return "done"


def passing() -> StoreUnavailable:
    return StoreUnavailable("busy", retryable=True)


def test_a_passing_error_is_repeated_until_it_passes() -> None:
    clock = ManualClock()
    work = Flaky(clock, 4, passing())
    assert retry(POLICY, clock, SeededRandomness(), work) == "done"
    assert work.calls == 5


def test_attempts_are_bounded_and_the_last_error_is_told() -> None:
    clock = ManualClock()
    work = Flaky(clock, 99, passing())
    with pytest.raises(StoreUnavailable) as caught:
        retry(POLICY, clock, SeededRandomness(), work)
    assert caught.value is work.error
    assert work.calls == 5
    assert len(clock.slept) == 4, "no wait after the last attempt"


@pytest.mark.parametrize("error", [StoreUnavailable("refused"), NoSpace("full"), ValueError("a bug")])
def test_an_error_not_marked_as_passing_is_raised_at_once(error: Exception) -> None:
    clock = ManualClock()
    work = Flaky(clock, 99, error)
    with pytest.raises(type(error)):
        retry(POLICY, clock, SeededRandomness(), work)
    assert (work.calls, clock.slept) == (1, [])


def test_no_attempt_begins_after_the_budget() -> None:
    clock = ManualClock()
    work = Flaky(clock, 99, passing(), seconds=40.0)
    with pytest.raises(StoreUnavailable):
        retry(POLICY, clock, SeededRandomness(), work)
    assert work.calls == 3
    assert clock.monotonic() < POLICY.budget_seconds + 40.0


def test_waits_are_spread_over_the_whole_of_a_doubling_bound() -> None:
    waits: list[list[float]] = [[], [], [], []]
    for seed in range(200):
        clock = ManualClock()
        retry(POLICY, clock, SeededRandomness(seed), Flaky(clock, 4, passing()))
        for column, wait in zip(waits, clock.slept, strict=True):
            column.append(wait)
    for column, bound in zip(waits, (1.0, 2.0, 4.0, 4.0), strict=True):
        assert max(column) <= bound
        assert max(column) > bound * 0.9
        assert min(column) < bound * 0.1


def test_an_interrupt_is_not_repeated() -> None:
    clock = ManualClock()

    def interrupted() -> None:
        clock.advance(1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        retry(POLICY, clock, SeededRandomness(), interrupted)
    assert clock.monotonic() == 1


@pytest.mark.parametrize("changes", [{"attempts": 0}, {"budget_seconds": -1.0}, {"base_seconds": -1.0}])
def test_a_policy_that_makes_no_sense_is_refused(changes: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="makes no sense"):
        RetryPolicy(**changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("asked", [7, 7.0])
def test_a_server_that_says_when_is_not_asked_before(asked: float) -> None:
    clock = ManualClock()
    work = Flaky(clock, 1, StoreUnavailable("busy", retryable=True, **asked_wait(asked)))
    assert retry(POLICY, clock, SeededRandomness(), work) == "done"
    assert len(clock.slept) == 1
    assert 7 <= clock.slept[0] <= 8, "and not all at once then"


def test_where_it_asks_for_more_time_than_there_is_nobody_waits() -> None:
    clock = ManualClock()
    work = Flaky(clock, 1, StoreUnavailable("busy", retryable=True, **asked_wait(101.0)))
    with pytest.raises(StoreUnavailable):
        retry(POLICY, clock, SeededRandomness(), work)
    assert (work.calls, clock.slept) == (1, [])


def test_what_is_no_number_is_no_time() -> None:
    clock = ManualClock()
    work = Flaky(clock, 1, StoreUnavailable("busy", retryable=True, retry_after_seconds="soon"))
    assert retry(POLICY, clock, SeededRandomness(), work) == "done"
    assert clock.slept[0] <= POLICY.base_seconds
