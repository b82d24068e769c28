"""Prints ``docs/asyncapi.yaml``: ``python -m functions.api.asyncapi > docs/asyncapi.yaml``.

The schemas of events are those of their shapes, by which the API describes them, too.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import yaml
from manifold_common.domain.event import (
    JOB_EVENTS,
    MEDIA_TYPE,
    PROJECT_COMMIT,
    PROJECT_CREATED,
    PROJECT_DELETED,
    PROJECT_RENAMED,
    PROJECT_RETENTION,
    PROJECT_TAGGED,
    PROJECT_TRIMMED,
    PROJECT_UNDELETED,
    PROJECT_UNTAGGED,
    data_schema,
)
from manifold_common.domain.job import JobState
from manifold_common.shapes.events import Event, EventData

from functions.api.openapi_schemas import schemas_of
from functions.api.references import SCHEMAS

_MESSAGES: Final = "#/components/messages/"
_KEY: Final = "#/components/messageTraits/kafkaKey"


class _Kind(NamedTuple):
    type: str
    message: str
    title: str
    data: str


_PROJECT_DATA, _COMMIT_DATA, _TAG_DATA, _JOB_DATA = "ProjectData", "CommitData", "TagData", "JobData"
_RETENTION_DATA, _TRIMMED_DATA = "RetentionData", "TrimmedData"
_FIELDS: Final[Mapping[str, Sequence[str]]] = {
    _PROJECT_DATA: (),
    _COMMIT_DATA: (
        "session_id",
        "generation",
        "skills_generation",
        "commit_id",
        "changed_count",
        "changed_paths",
        "changes_url",
    ),
    _TAG_DATA: ("tag", "generation", "commit_id"),
    _RETENTION_DATA: ("keep_generations", "keep_days"),
    _TRIMMED_DATA: ("first", "last", "generations"),
    _JOB_DATA: ("job_id", "kind", "state", "pending", "done", "skipped", "failed"),
}
"""What each kind of data has beside the fields of every event."""
_KINDS: Final = (
    _Kind(PROJECT_CREATED, "projectCreated", "A project was created, or came to be as a fork", _PROJECT_DATA),
    _Kind(
        PROJECT_COMMIT,
        "projectCommit",
        "A project has a new generation, by a commit, a restore, or as the first one of a fork",
        _COMMIT_DATA,
    ),
    _Kind(PROJECT_TAGGED, "projectTagged", "A generation has a tag, which is new or was moved", _TAG_DATA),
    _Kind(PROJECT_UNTAGGED, "projectUntagged", "A tag was removed", _TAG_DATA),
    _Kind(PROJECT_RENAMED, "projectRenamed", "A project has another name", _PROJECT_DATA),
    _Kind(
        PROJECT_RETENTION, "projectRetention", "A project's history is kept for another length of time", _RETENTION_DATA
    ),
    _Kind(PROJECT_TRIMMED, "projectTrimmed", "Generations that no rule kept were removed", _TRIMMED_DATA),
    _Kind(PROJECT_DELETED, "projectDeleted", "A project was deleted", _PROJECT_DATA),
    _Kind(PROJECT_UNDELETED, "projectUndeleted", "A deleted project was brought back", _PROJECT_DATA),
    *(
        _Kind(JOB_EVENTS + state.value, f"job{state.value.capitalize()}", title, _JOB_DATA)
        for state, title in {
            JobState.RUNNING: "A job was started, resumed or retried",
            JobState.PAUSED: "A job is held up",
            JobState.DONE: "Every item of a job is done",
            JobState.FAILED: "Every item of a job was tried, and some failed",
            JobState.CANCELLED: "Somebody has ended a job",
        }.items()
    ),
)
_ABOUT: Final = (
    "What Manifold says when a project has changed, or a job has come into another state: CloudEvents 1.0 in their "
    "JSON format, to a Kafka topic and to webhooks. Delivery is at least once and in order within a project, and "
    "within a job. See events.md."
)


def document() -> dict[str, Any]:
    """Return the AsyncAPI document."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Manifold events",
            "version": "1.0.0",
            "description": _ABOUT,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": MEDIA_TYPE,
        "servers": {
            "kafka": _server("brokers", "localhost:9092", "kafka", "projects.events.brokers"),
            "webhook": _server("endpoint", "example.com", "https", "An entry of projects.events.webhooks.urls"),
        },
        "channels": {
            "topic": _channel("kafka", "manifold.project.commits", "The topic of projects.events.topic."),
            "endpoint": _channel(
                "webhook",
                None,
                "Whatever URL is configured. Each event is a POST of its own, signed as Standard Webhooks has it.",
            ),
        },
        "operations": {
            "sendToTopic": _sending("topic", {"kafka": {"bindingVersion": "0.5.0"}}),
            "postToEndpoint": _sending("endpoint", {"http": {"method": "POST", "bindingVersion": "0.3.0"}}),
        },
        "components": {
            "messageTraits": {"kafkaKey": {"bindings": {"kafka": _KAFKA_KEY}}},
            "messages": {kind.message: _message(kind) for kind in _KINDS},
            "schemas": _schemas(),
        },
    }


_KAFKA_KEY: Final = {
    "key": {
        "type": "string",
        "description": "`tenant:partitionkey`: the events of one project, or of one job, are in one partition.",
    },
    "bindingVersion": "0.5.0",
}


def _server(variable: str, default: str, protocol: str, description: str) -> dict[str, Any]:
    return {
        "host": f"{{{variable}}}",
        "protocol": protocol,
        "description": description,
        "variables": {variable: {"default": default}},
    }


def _channel(server: str, address: str | None, description: str) -> dict[str, Any]:
    return {
        "address": address,
        "description": description,
        "servers": [{"$ref": f"#/servers/{server}"}],
        "messages": {kind.message: {"$ref": _MESSAGES + kind.message} for kind in _KINDS},
    }


def _sending(channel: str, bindings: dict[str, Any]) -> dict[str, Any]:
    return {"action": "send", "channel": {"$ref": f"#/channels/{channel}"}, "bindings": bindings}


def _message(kind: _Kind) -> dict[str, Any]:
    own = {
        "type": {"const": kind.type},
        "dataschema": {"const": data_schema(kind.type)},
        "data": {"$ref": SCHEMAS + kind.data},
    }
    return {
        "title": kind.title,
        "traits": [{"$ref": _KEY}],
        "payload": {"allOf": [{"$ref": SCHEMAS + Event.__name__}, {"properties": own}]},
    }


def _schemas() -> dict[str, Any]:
    """Return the schemas of an event and of each kind of data. The API has one shape for all kinds."""
    found = schemas_of({"$ref": SCHEMAS + Event.__name__})
    data = found.pop(EventData.__name__)
    del data["description"]
    found[Event.__name__]["properties"]["data"] = {"type": "object"}
    for name, more in _FIELDS.items():
        fields = [*data["required"], *more]
        own = {field: data["properties"][field] for field in fields}
        if name != _JOB_DATA:
            own = {field: _of_no_job(said) for field, said in own.items()}
        found[name] = {**data, "properties": own, "required": fields}
    return found


def _of_no_job(said: dict[str, Any]) -> dict[str, Any]:
    """Return what is said of a field, without what is said of it in events of jobs."""
    text = said.get("description", "").partition(" Of a job ")[0]
    return {**said, "description": text} if text else said


class _Plain(yaml.SafeDumper):
    """Writes what stands in several places in each of them: readers of AsyncAPI need not know YAML's anchors."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True


def page() -> str:
    """Return the document as YAML."""
    note = "# Generated from the shapes of events by `python -m functions.api.asyncapi`. Do not edit.\n"
    return note + yaml.dump(document(), Dumper=_Plain, sort_keys=False, width=118, allow_unicode=True)


if __name__ == "__main__":
    sys.stdout.write(page())
