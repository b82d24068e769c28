"""Jobs: what is asked of one, how far it is, and what its items have met."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from manifold_common.domain.job import MAX_RATE, MIN_RATE, ItemState, JobState
from manifold_common.ids import CommitId, Generation, JobId, ProjectId, UploadId, UserId
from manifold_common.shapes.base import Answer, Count, Dated, Moment, Request
from manifold_common.shapes.changes import GENERATION_COMMIT, Edited, ImportedArchive
from manifold_common.shapes.page import Page
from manifold_common.shapes.verification import REPAIR, Sample

KIND_PATTERN = r"^[a-z][a-z-]{0,63}$"
_RATE = "Items per second at most, of all workers together."


class JobParams(Request, frozen=True):
    """What every kind of job takes; one that takes more has a shape of its own that goes on from this one."""

    project: Annotated[str, Meta(description="Only what is of this project: name or id.")] | None = None


class RewrapParams(JobParams, frozen=True):
    """What a job of the kind ``rewrap`` takes."""

    to: (
        Annotated[
            str,
            Meta(
                max_length=2200,
                description="A key provider, or one of its master keys, as in `vault/manifold-kek-2`. That of the "
                "settings, in its newest version, by default.",
            ),
        ]
        | None
    ) = None
    create: Annotated[
        bool,
        Meta(description="`to` names a key of `file`, and that is made if it is not there. Else it has to be there."),
    ] = False


class VerifyParams(JobParams, frozen=True):
    """What a job of the kind ``verify`` takes."""

    read_data: Annotated[bool, Meta(description="Read and check all content; the same as a sample of 100.")] = False
    sample: Sample | None = None
    repair: Annotated[bool, Meta(description=REPAIR)] = False


class DeferredParams(JobParams, frozen=True, kw_only=True):
    """What a job takes that does one request, which is kept: ``restore``, ``import`` and ``archive``."""

    request: Annotated[UploadId, Meta(description="Which one. Its own answer (202) names the job that does it.")]


class StartJob(Request, frozen=True):
    kind: Annotated[str, Meta(max_length=64, examples=["rewrap"])]
    params: Annotated[
        dict[str, Any],
        Meta(max_length=64, description="What the kind takes (docs/jobs.md); all of it may be left out."),
    ] = {}
    rate: Annotated[float, Meta(ge=MIN_RATE, le=MAX_RATE, description=_RATE)] | None = None


class JobItem(Dated, frozen=True):
    """One of the things that a job works on."""

    number: Count
    item: Annotated[str, Meta(description="Which thing it is, in the words of the job's kind.")]
    state: ItemState
    begun: Annotated[Count, Meta(description="How often work on it was begun.")]
    error: Annotated[str | None, Meta(description="Stable name of the last error, for programs.")]
    message: Annotated[
        str | None, Meta(description="The error in words; null also where it could name what is encrypted at rest.")
    ]
    retry_at: Annotated[Moment | None, Meta(description="It is left alone until then.")]
    changed_at: Moment


class JobTrouble(Answer, frozen=True):
    """Why a whole job rests."""

    error: Annotated[str, Meta(description="Stable name of the error, for programs.")]
    message: str | None
    retry_at: Annotated[Moment | None, Meta(description="It is left alone until then.")]


class Job(Dated, frozen=True):
    id: Annotated[JobId, Meta(examples=["k5q2m7w3x4y5z6a7b2c3d4e5f4"])]
    kind: Annotated[str, Meta(examples=["rewrap"])]
    params: Annotated[dict[str, Any], Meta(description="What it was asked for with.")]
    user: Annotated[UserId, Meta(description="Who has started it.")]
    project: Annotated[ProjectId | None, Meta(description="Which it is about, if it is one.")]
    state: JobState
    planned: Annotated[bool, Meta(description="All its items are known: no more will be added.")]
    pending: Annotated[Count, Meta(description="Items that are still to be done.")]
    done: Count
    skipped: Annotated[Count, Meta(description="Items that had nothing to be done any more.")]
    failed: Annotated[Count, Meta(description="Items that failed for good.")]
    rate: Annotated[float | None, Meta(description=_RATE)]
    per_second: Annotated[float | None, Meta(description="Items that came to an end, a second of late.")]
    seconds_left: Annotated[float | None, Meta(description="At this speed, once all its items are known.")]
    created_at: Moment
    running_since: Annotated[Moment, Meta(description="When it was last started, resumed or retried.")]
    ended_at: Moment | None
    revision: Annotated[Count, Meta(description="Goes up with each change.")]
    trouble: Annotated[JobTrouble | None, Meta(description="Why it rests, if it does.")]
    troubles: Annotated[
        list[JobItem],
        Meta(description="The first items that have failed or rest. In lists of jobs there are none: ask for the job."),
    ]


class MadeArchive(Answer, frozen=True):
    """An archive that a job has made: `GET /api/v1/jobs/{job}/content` has it."""

    project: ProjectId
    generation: Generation
    generation_commit: Annotated[CommitId | None, Meta(description=GENERATION_COMMIT)]
    format: Literal["tar.gz", "zip", "tar"]
    total_bytes: Count
    etag: Annotated[str, Meta(description="Stands for these bytes, in conditions.")]


class JobResult(Dated, frozen=True):
    """What has come of a job that does one request: one of the three."""

    job: JobId
    kind: str
    restored: Annotated[Edited | None, Meta(description="As the restore is answered without a job.")]
    imported: Annotated[ImportedArchive | None, Meta(description="As the import is answered without a job.")]
    archive: MadeArchive | None
    expires_at: Annotated[Moment, Meta(description="Until then it is kept, and an archive can be downloaded.")]


class JobPage(Page, frozen=True):
    items: Annotated[list[Job], Meta(description="The newest first.")]


class JobItemPage(Page, frozen=True):
    items: Annotated[list[JobItem], Meta(description="By number.")]
