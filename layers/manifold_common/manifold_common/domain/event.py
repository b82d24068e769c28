"""What is said to the outside world when something has happened: CloudEvents 1.0. The names are stable.

docs/events.md explains them; ``shapes/events.py`` describes them for readers. Whoever changes what an event carries,
other than by adding to it, gives it a new version.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias

from manifold_common.domain.api_address import API
from manifold_common.domain.correlation import correlation
from manifold_common.domain.paths import ROOT, to_display
from manifold_common.ids import (
    CommitId,
    Generation,
    JobId,
    ProjectId,
    SessionId,
    TagName,
    TenantId,
    UserId,
    parse_project_id,
)

PROJECT_CREATED: Final = "manifold.project.created"
PROJECT_RENAMED: Final = "manifold.project.renamed"
PROJECT_DELETED: Final = "manifold.project.deleted"
PROJECT_UNDELETED: Final = "manifold.project.undeleted"
PROJECT_COMMIT: Final = "manifold.project.commit"
PROJECT_TAGGED: Final = "manifold.project.tagged"
PROJECT_UNTAGGED: Final = "manifold.project.untagged"
PROJECT_RETENTION: Final = "manifold.project.retention"
PROJECT_TRIMMED: Final = "manifold.project.trimmed"

JOB_EVENTS: Final = "manifold.job."
"""With the state that a job has come into: ``manifold.job.done``."""

SinkCondition: TypeAlias = Literal["ok", "resting", "failing", "parked", "unused"]
"""How a sink of events does. ``resting``: nothing is sent for now; ``failing``: it is about to be tried again."""

MEDIA_TYPE: Final = "application/cloudevents+json"
DEFAULT_LISTED_PATHS: Final = 200
MAX_LISTED_BYTES: Final = 256 * 1024
"""Of the paths in one event, so that it fits into a Kafka message (1 MiB by default) whatever the paths are."""

ORIGIN: Final = "origin"
"""Where the data of an event that waits says which request it came from. It is sent beside the data, not in it."""

_SCHEMA_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class CloudEvent:
    """An event as it is sent."""

    id: str
    """Unique for its source. A second delivery of the same event has the same id."""
    type: str
    tenant: TenantId
    project: ProjectId
    """Of an event of a job, the job: its events are in order among themselves."""
    generation: Generation
    """Where the project stood after it."""
    time: datetime
    data: Mapping[str, Any]
    origin: Mapping[str, str] = field(default_factory=dict)
    """``correlationid`` and ``traceparent`` of the request that it came from, where they are known."""

    @property
    def key(self) -> str:
        """What orders events: those of one key stay in order."""
        return f"{self.tenant}:{self.project}"

    def document(self) -> dict[str, Any]:
        """Return the event in CloudEvents' JSON format."""
        return {
            "specversion": "1.0",
            "id": self.id,
            "source": f"/tenants/{self.tenant}/{'jobs' if is_of_job(self.type) else 'projects'}/{self.project}",
            "type": self.type,
            "time": self.time.isoformat(),
            "datacontenttype": "application/json",
            "dataschema": data_schema(self.type),
            "partitionkey": self.project,
            "sequence": f"{self.generation:012d}",
            **self.origin,
            "data": dict(self.data),
        }

    def encode(self) -> bytes:
        """Return the document as UTF-8."""
        return json.dumps(self.document(), ensure_ascii=False, separators=(",", ":")).encode()


def data_schema(type_: str) -> str:
    """Return what names the shape of the data of a type of event, and its version."""
    return f"urn:manifold:event:{type_.removeprefix('manifold.')}:{_SCHEMA_VERSION}"


def project_event(
    tenant: TenantId, project: ProjectId, user: UserId, timestamp: datetime, **more: Any
) -> dict[str, Any]:
    """Return the data of an event about a project as a whole."""
    return {
        "tenant_id": tenant,
        "project_id": project,
        "user_id": user,
        "timestamp": timestamp.isoformat(),
        **more,
        **event_origin(),
    }


def commit_event(
    tenant: TenantId,
    project: ProjectId,
    user: UserId,
    session: SessionId | None,
    generation: Generation,
    skills_generation: Generation,
    commit: CommitId,
    paths: Collection[bytes],
    timestamp: datetime,
    *,
    listed_paths: int | None,
) -> dict[str, Any]:
    """Return the data of a commit's event.

    Args:
        listed_paths: at most so many paths are named, and ``MAX_LISTED_BYTES`` of them; ``None``: paths are not to be
            named at all, and ``changed_paths`` is ``None``.

    The root folder, whose time changes with what is in it, is not counted: it has no name.
    """
    named = [path for path in paths if path != ROOT]
    return {
        "tenant_id": tenant,
        "project_id": project,
        "user_id": user,
        "session_id": session,
        "generation": generation,
        "skills_generation": skills_generation,
        "commit_id": commit,
        "changed_count": len(named),
        "changed_paths": None if listed_paths is None else _listed(named, listed_paths),
        "timestamp": timestamp.isoformat(),
        **event_origin(),
    }


def tag_event(
    tenant: TenantId,
    project: ProjectId,
    user: UserId,
    tag: TagName,
    generation: Generation,
    commit: CommitId | None,
    timestamp: datetime,
) -> dict[str, Any]:
    """Return the data of an event of a tag: the generation that it names from now on, or named until now."""
    return project_event(tenant, project, user, timestamp, tag=tag, generation=generation, commit_id=commit)


def job_event(
    tenant: TenantId,
    project: ProjectId | None,
    user: UserId,
    job: JobId,
    kind: str,
    state: str,
    timestamp: datetime,
    **counts: int,
) -> dict[str, Any]:
    """Return the data of an event of a job: which state it has come into, and how many items are in each of theirs.

    The place of a project is the job's where it is about none: it is never left out, since readers count on it.
    """
    of = stream_of_job(job) if project is None else project
    return project_event(tenant, of, user, timestamp, job_id=job, kind=kind, state=state, **counts)


def stream_of_job(job: JobId) -> ProjectId:
    """Return what stands in the place of a project for a job: its id, which is made as a project's is."""
    return parse_project_id(job)


def is_of_job(type_: str) -> bool:
    """Tell whether events of a type are about a job."""
    return type_.startswith(JOB_EVENTS)


def event_origin() -> dict[str, Any]:
    """Return what the data of an event that waits has of the request that is under way, if one is."""
    found = correlation()
    return {ORIGIN: found.fields()} if found is not None else {}


def linked(data: Mapping[str, Any], base_url: str, project: ProjectId, generation: Generation) -> dict[str, Any]:
    """Return the data of a commit's event with a link to all its changes; relative when ``base_url`` is empty."""
    link = f"{base_url.rstrip('/')}{API}/projects/{project}/diff?before={generation - 1}&after={generation}"
    return {**data, "changes_url": link}


def user_of(data: Mapping[str, Any]) -> str | None:
    """Return who has made an event's data true."""
    return data.get("user_id")


def _listed(paths: Collection[bytes], count: int) -> list[str]:
    listed, size = [], 0
    for path in heapq.nsmallest(count, paths):
        shown = to_display(path)
        size += len(shown.encode())
        if size > MAX_LISTED_BYTES:
            break
        listed.append(shown)
    return listed
