"""Jobs and their items as they are told to people and programs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from manifold_common.domain.job import JobState
from manifold_common.ports.catalog import JobItem as ItemRow
from manifold_common.ports.catalog import JobRow
from manifold_common.shapes.jobs import Job, JobItem, JobTrouble


def job_answer(row: JobRow, now: datetime, troubled: Sequence[ItemRow] = ()) -> Job:
    """Return what is told of a job.

    Args:
        troubled: items of it that have met an error.
    """
    speed = _speed(row, now) if row.state is JobState.RUNNING and row.trouble_code is None else None
    left = row.pending / min(speed, row.rate or speed) if speed and row.is_planned else None
    trouble = None
    if row.trouble_code is not None:
        trouble = JobTrouble(error=row.trouble_code, message=row.trouble_text, retry_at=row.rests_until)
    return Job(
        id=row.job,
        kind=row.kind,
        params=_params(row),
        user=row.user,
        project=row.project,
        state=row.state,
        planned=row.is_planned,
        pending=row.pending,
        done=row.done,
        skipped=row.skipped,
        failed=row.failed,
        rate=row.rate,
        per_second=speed,
        seconds_left=left,
        created_at=row.created_at,
        running_since=row.running_since,
        ended_at=row.ended_at,
        revision=row.revision,
        trouble=trouble,
        troubles=list(map(item_answer, troubled)),
    )


def item_answer(row: ItemRow) -> JobItem:
    return JobItem(
        number=row.number,
        item=row.item,
        state=row.state,
        begun=row.begun,
        error=row.code,
        message=row.text,
        retry_at=row.rests_until,
        changed_at=row.changed_at,
    )


def _params(row: JobRow) -> dict[str, Any]:
    """Return what it was asked for with; nothing, where somebody else has written the row."""
    try:
        found = msgspec.json.decode(row.params)
    except msgspec.DecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _speed(row: JobRow, now: datetime) -> float | None:
    """Return items per second of late; until that was measured, since the job was started, if it has run since."""
    if row.speed is not None or row.running_since != row.created_at:
        return row.speed
    seconds = (now - row.running_since).total_seconds()
    return row.finished / seconds if row.finished and seconds > 0 else None
