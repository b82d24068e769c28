"""How jobs and their troubles read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from manifold_common.domain.job import ItemState, JobState
from manifold_common.ids import DEFAULT_USER, parse_job_id
from manifold_common.shapes.jobs import Job, JobItem, JobTrouble
from manifold_local.cli.job_views import (
    became,
    error_text,
    pace_text,
    print_job,
    progress_text,
    rests_until,
    speed_text,
)

NOW = datetime.now(UTC)


def job(**facts: Any) -> Job:
    usual: dict[str, Any] = {
        "id": parse_job_id("b" * 25 + "a"), "kind": "rewrap", "params": {}, "user": DEFAULT_USER, "project": None,
        "state": JobState.RUNNING, "planned": True, "pending": 0, "done": 0, "skipped": 0, "failed": 0, "rate": None,
        "per_second": None, "seconds_left": None, "created_at": NOW, "running_since": NOW, "ended_at": None,
        "trouble": None, "troubles": [], "revision": 1,
    }  # fmt: skip
    return Job(**{**usual, **facts})


def item(**facts: Any) -> JobItem:
    usual: dict[str, Any] = {
        "number": 7, "item": "a/b", "state": ItemState.PENDING, "begun": 3, "error": "key_unavailable",
        "message": "the vault is sealed", "retry_at": None, "changed_at": NOW,
    }  # fmt: skip
    return JobItem(**{**usual, **facts})


def test_a_speed_has_the_digits_that_mean_something() -> None:
    speeds = (12_345.6, 35.4, 9.96, 0.5, 0.04)
    assert list(map(speed_text, speeds)) == [
        "12,346 a second", "35 a second", "10.0 a second", "0.5 a second", "2.4 a minute"
    ]  # fmt: skip


def test_progress_says_whether_all_items_are_known() -> None:
    assert progress_text(job(done=1200, skipped=2, failed=1, pending=340)) == "1,203 of 1,543"
    assert progress_text(job(planned=False)) == "0 of 0+"
    assert pace_text(job()) == ""
    assert pace_text(job(per_second=2.0, seconds_left=180.0)) == "2.0 a second, 3 minutes left"


def test_it_is_said_until_when_something_is_left_alone() -> None:
    assert rests_until(item()) is None
    assert rests_until(item(retry_at=NOW - timedelta(seconds=1))) is None, "that is over"
    far = NOW + timedelta(days=3)
    assert rests_until(item(retry_at=far)) == f"{far.astimezone():%Y-%m-%d %H:%M:%S}"


def test_an_item_is_tried_again_or_has_failed() -> None:
    far = NOW + timedelta(days=3)
    assert became(item(begun=1)) == "is tried again (begun 1 time)"
    assert became(item(retry_at=far)) == f"is tried again at {rests_until(item(retry_at=far))} (begun 3 times)"
    failed = item(state=ItemState.FAILED)
    assert (became(failed), became(failed, "stays as it was")) == ("failed", "stays as it was")
    assert error_text(item(message=None)) == "error key_unavailable"
    assert error_text(item(message="\x1b[2J")) == "\\x1b[2J"


def test_all_that_is_known_of_a_job_is_printed(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    trouble = JobTrouble(error="key_unavailable", message="the vault is sealed", retry_at=None)
    facts: dict[str, Any] = {
        "done": 5, "skipped": 1, "failed": 2, "pending": 4, "planned": False, "rate": 50.0, "ended_at": NOW,
        "params": {"project": "é"}, "trouble": trouble, "troubles": [item(state=ItemState.FAILED)],
    }  # fmt: skip
    print_job(job(state=JobState.FAILED, **facts))
    first, started, *rest = capfdbinary.readouterr().out.decode().splitlines()
    assert first == f"job {'b' * 25}a (rewrap) has failed: 8 of 12+"
    assert started.endswith(" by local")
    assert rest == [
        '  with {"project": "é"}',
        "  items: 5 done, 1 with nothing to be done, 2 failed, 4 to be done; more may be found",
        "  at most 50 a second",
        "  rests: the vault is sealed",
        f"  over since {NOW.astimezone():%Y-%m-%d %H:%M:%S}",
        "item 7 (a/b) failed: the vault is sealed",
    ]
