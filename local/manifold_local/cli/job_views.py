"""What commands say about jobs and their items, as short text."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from manifold_common.domain.job import ItemState, JobState
from manifold_common.domain.wording import plural, span

from manifold_local.cli.output import human_bytes, human_time, print_line, safe

if TYPE_CHECKING:
    from manifold_common.shapes.changes import Edited
    from manifold_common.shapes.jobs import Job, JobItem, JobResult, JobTrouble

_STANDS = {
    JobState.RUNNING: "is running",
    JobState.PAUSED: "is paused",
    JobState.DONE: "is done",
    JobState.FAILED: "has failed",
    JobState.CANCELLED: "is cancelled",
}
_MINUTE = 60


def finished(job: Job) -> int:
    """Return how many items have come to an end."""
    return job.done + job.skipped + job.failed


def progress_text(job: Job) -> str:
    """Return ``12 of 340``, and ``12 of 340+`` as long as more items may be found."""
    return f"{finished(job):,} of {finished(job) + job.pending:,}{'' if job.planned else '+'}"


def pace_text(job: Job) -> str:
    """Return how fast a job is and how long it takes yet, as far as that is known, or nothing."""
    said = [] if job.per_second is None else [speed_text(job.per_second)]
    if job.seconds_left is not None:
        said.append(f"{span(round(job.seconds_left))} left")
    return ", ".join(said)


def speed_text(per_second: float) -> str:
    """Return a speed with digits that mean something: ``35 a second``, ``0.5 a second``, ``2.4 a minute``."""
    if per_second >= 10:
        return f"{per_second:,.0f} a second"
    return f"{per_second:.1f} a second" if per_second >= 0.1 else f"{per_second * _MINUTE:.1f} a minute"


def rests_until(one: JobItem | JobTrouble) -> str | None:
    """Return until when it is left alone, in the local time zone; ``None``: it is not, or not any more."""
    if one.retry_at is None or one.retry_at <= datetime.now(UTC):
        return None
    at = one.retry_at.astimezone()
    return f"{at:%H:%M:%S}" if at.date() == datetime.now().astimezone().date() else human_time(at)


def error_text(one: JobItem | JobTrouble) -> str:
    return safe(one.message or f"error {one.error}")


def became(item: JobItem, failed: str = "failed") -> str:
    """Return what becomes of an item that has met an error.

    Args:
        failed: how it is called that it has failed for good.
    """
    if item.state is ItemState.FAILED:
        return failed
    until = rests_until(item)
    return f"is tried again{f' at {until}' if until else ''} (begun {plural(item.begun, 'time')})"


def print_result(found: JobResult) -> None:
    if found.restored is not None:
        changed = plural(found.restored.paths_total, "path")
        _print_made(found.restored, f"restored {changed}", "nothing to restore")
    if found.imported is not None:
        taken = f"{plural(found.imported.entries, 'entry')}, {human_bytes(found.imported.total_bytes)}"
        _print_made(found.imported, f"imported {taken}", f"nothing to import ({taken})")
    if found.archive is not None:
        made = found.archive
        print_line(f"{made.format} of generation {made.generation}, {human_bytes(made.total_bytes)}")
    print_line(f"kept until {human_time(found.expires_at)}")


def _print_made(done: Edited, made: str, nothing: str) -> None:
    if done.commit is None:
        print_line(f"{nothing}; generation {done.generation}")
    else:
        print_line(f"{made} as generation {done.generation}")


def print_state(job: Job) -> None:
    """Print one line: which job it is, and how it stands."""
    print_line(f"job {job.id} ({job.kind}) {_STANDS[job.state]}: {progress_text(job)}")


def print_job(job: Job) -> None:
    """Print a job over several lines, with the items that are in trouble."""
    print_state(job)
    about = f", about project {job.project}" if job.project is not None else ""
    print_line(f"  started {human_time(job.created_at)} by {safe(job.user)}{about}")
    if job.params:
        print_line(f"  with {safe(json.dumps(job.params, ensure_ascii=False))}")
    counts = [
        f"{count:,} {what}"
        for count, what in (
            (job.done, "done"),
            (job.skipped, "with nothing to be done"),
            (job.failed, "failed"),
            (job.pending, "left undone" if job.state is JobState.CANCELLED else "to be done"),
        )
        if count
    ]
    print_line(f"  items: {', '.join(counts) or 'none'}{'' if job.planned else '; more may be found'}")
    if job.rate is not None:
        print_line(f"  at most {speed_text(job.rate)}")
    if pace_text(job):
        print_line(f"  {pace_text(job)}")
    if job.trouble is not None:
        until = rests_until(job.trouble)
        print_line(f"  rests{f' until {until}' if until else ''}: {error_text(job.trouble)}")
    if job.ended_at is not None:
        print_line(f"  over since {human_time(job.ended_at)}")
    for item in job.troubles:
        print_trouble(item)


def print_trouble(item: JobItem) -> None:
    """Print one line: what became of an item that has met an error, and which."""
    print_line(f"item {item.number} ({safe(item.item)}) {became(item)}: {error_text(item)}")
