"""Events as they are read: CloudEvents, the same as sinks get."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, cast

from msgspec import UNSET, Meta, Raw, UnsetType

from manifold_common.domain.correlation import ID_PATTERN, TRACEPARENT_PATTERN
from manifold_common.ids import CommitId, Generation, JobId, ProjectId, SessionId, TagName, TenantId, UserId
from manifold_common.shapes.base import Answer, Count
from manifold_common.shapes.page import Cursor

_SEQUENCE = "The project's generation after the event, so that sequences order as text. Only commits raise it."

Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]


class EventData(Answer, frozen=True, kw_only=True):
    """What happened. From ``session_id`` on, fields are a commit's, ``tag`` is a tag's, from ``job_id`` on a job's,
    from ``keep_generations`` on of how long history is kept, from ``first`` on of what was removed of it."""

    tenant_id: TenantId
    project_id: Annotated[
        ProjectId, Meta(description="The project. Of a job that is about no project, or about many: the job's id.")
    ]
    user_id: UserId
    timestamp: Time
    session_id: (
        Annotated[SessionId | None, Meta(description="The session that committed, if it was one.")] | UnsetType
    ) = UNSET
    generation: Generation | UnsetType = UNSET
    skills_generation: (
        Annotated[
            Generation,
            Meta(description="The last generation that changed something in a skills folder; 0 for none."),
        ]
        | UnsetType
    ) = UNSET
    commit_id: CommitId | UnsetType = UNSET
    changed_count: Count | UnsetType = UNSET
    changed_paths: (
        Annotated[
            list[str] | None,
            Meta(
                description="The first of the changed paths, in order; fewer than `changed_count` when there are many. "
                r"Null where events may not name paths. Bytes that are not UTF-8 read as \xNN."
            ),
        ]
        | UnsetType
    ) = UNSET
    changes_url: (
        Annotated[
            str,
            Meta(description="Where all changes can be read. Relative unless server.publicUrl is set."),
        ]
        | UnsetType
    ) = UNSET
    tag: Annotated[TagName, Meta(description="The tag that was set or removed.")] | UnsetType = UNSET
    job_id: JobId | UnsetType = UNSET
    kind: Annotated[str, Meta(description="Kind of the job.", examples=["rewrap"])] | UnsetType = UNSET
    state: Annotated[str, Meta(description="The state that the job has come into.")] | UnsetType = UNSET
    pending: Annotated[Count, Meta(description="Items of the job that are still to be done.")] | UnsetType = UNSET
    done: Annotated[Count, Meta(description="Those that are done.")] | UnsetType = UNSET
    skipped: Annotated[Count, Meta(description="Those that had nothing to be done.")] | UnsetType = UNSET
    failed: Annotated[Count, Meta(description="Those that failed for good.")] | UnsetType = UNSET
    keep_generations: (
        Annotated[
            Count | None,
            Meta(
                description="So many of the newest generations are kept from now on; 0 sets no number, null: as the "
                "deployment says."
            ),
        ]
        | UnsetType
    ) = UNSET
    keep_days: (
        Annotated[
            Count | None,
            Meta(
                description="Those that are younger than so many days are kept; 0 sets no age, null: as the deployment "
                "says."
            ),
        ]
        | UnsetType
    ) = UNSET
    first: Annotated[Generation, Meta(description="The oldest generation that was removed.")] | UnsetType = UNSET
    last: Annotated[Generation, Meta(description="The newest one that was removed.")] | UnsetType = UNSET
    generations: Annotated[Count, Meta(description="How many were: all from the one to the other.")] | UnsetType = UNSET


class Event(Answer, frozen=True, kw_only=True):
    """A CloudEvent. Fields are added without a new version, so readers leave aside what they do not know."""

    specversion: Literal["1.0"]
    id: Annotated[
        str,
        Meta(
            min_length=1,
            description="The same each time that the event is sent or shown, and of no other event of its source.",
        ),
    ]
    source: Annotated[
        str, Meta(pattern=r"\A/tenants/[^/]+/(projects|jobs)/[a-z2-7]{26}\Z", description="The project, or the job.")
    ]
    type: Annotated[str, Meta(examples=["manifold.project.commit"])]
    time: Time
    datacontenttype: Literal["application/json"]
    dataschema: Annotated[
        str,
        Meta(
            description="Names the shape of `data`, and its version, which changes only when a field is taken away or "
            "changed."
        ),
    ]
    partitionkey: Annotated[ProjectId, Meta(description="The project, or the job: its events stay in order.")]
    sequence: Annotated[str, Meta(pattern=r"\A[0-9]{12}\Z", description=_SEQUENCE)]
    correlationid: (
        Annotated[
            str,
            Meta(
                pattern=ID_PATTERN,
                description="`X-Request-Id` of the request that it came from, as logs and error answers have it. "
                "Absent where no request made it.",
            ),
        ]
        | UnsetType
    ) = UNSET
    traceparent: (
        Annotated[
            str,
            Meta(
                pattern=TRACEPARENT_PATTERN,
                description="Of the trace that the request belonged to, if it said so.",
            ),
        ]
        | UnsetType
    ) = UNSET
    data: EventData


class RecentEvents(Answer, frozen=True, kw_only=True):
    """The newest events."""

    events: Annotated[list[Event], Meta(description="Oldest first.")]

    @classmethod
    def of(cls, documents: Iterable[Mapping[str, Any]]) -> RecentEvents:
        """Return events exactly as they are sent, whatever wrote them."""
        return cls(events=cast(list[Event], list(documents)))


class EventPage(Answer, frozen=True, kw_only=True):
    """What has happened since a cursor. There may be nothing yet."""

    events: list[Event]
    next_cursor: Annotated[Cursor, Meta(description="Give it as `since` to go on; it is there on every page.")]
    has_more: Annotated[bool, Meta(description="There is more already: go on without waiting.")]

    @classmethod
    def of(cls, documents: Iterable[bytes], next_cursor: str, *, has_more: bool) -> EventPage:
        """Return a page of events that are encoded already: exactly as they are sent, whatever wrote them."""
        events = cast(list[Event], [Raw(document) for document in documents])
        return cls(events=events, next_cursor=next_cursor, has_more=has_more)
