"""Events as they are read: CloudEvents, the same as sinks get."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal, cast

from msgspec import UNSET, Meta, Raw, UnsetType

from manifold_common.domain.correlation import ID_PATTERN
from manifold_common.ids import CommitId, Generation, ProjectId, SessionId, TenantId, UserId
from manifold_common.shapes.base import Answer, Count
from manifold_common.shapes.page import Cursor

Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]


class EventData(Answer, frozen=True, kw_only=True):
    """What happened. The fields from ``session_id`` on are a commit's."""

    tenant_id: TenantId
    project_id: ProjectId
    user_id: UserId
    timestamp: Time
    session_id: Annotated[SessionId | None, Meta(description="That committed, if one did.")] | UnsetType = UNSET
    generation: Generation | UnsetType = UNSET
    skills_generation: (
        Annotated[Generation, Meta(description="The last that changed something in a skills folder; 0 for none.")]
        | UnsetType
    ) = UNSET
    commit_id: CommitId | UnsetType = UNSET
    changed_count: Count | UnsetType = UNSET
    changed_paths: (
        Annotated[
            list[str] | None,
            Meta(description="The first of them; null where events may not name paths."),
        ]
        | UnsetType
    ) = UNSET
    changes_url: Annotated[str, Meta(description="Where all changes can be read.")] | UnsetType = UNSET


class Event(Answer, frozen=True, kw_only=True):
    """A CloudEvent. Fields are added without a new version, so readers leave aside what they do not know."""

    specversion: Literal["1.0"]
    id: Annotated[str, Meta(description="The same each time that the event is sent or shown.")]
    source: str
    type: Annotated[str, Meta(examples=["manifold.project.commit"])]
    time: Time
    datacontenttype: Literal["application/json"]
    dataschema: Annotated[str, Meta(description="Names the shape of `data`, and its version.")]
    partitionkey: ProjectId
    sequence: Annotated[str, Meta(pattern=r"\A[0-9]{12}\Z", description="The project's generation after it.")]
    correlationid: (
        Annotated[str, Meta(pattern=ID_PATTERN, description="`X-Request-Id` of the request that it came from.")]
        | UnsetType
    ) = UNSET
    traceparent: str | UnsetType = UNSET
    data: EventData


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
