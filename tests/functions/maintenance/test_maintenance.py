"""The maintenance function: tasks by the clock, and what a commit makes due."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.errors import CatalogUnavailable
from manifold_common.ids import ProjectId
from manifold_common.services.edits import MakeFolder

from functions.invocation.entry import InvocationError
from tests.support.functions import Function, MakeFunction, metrics_of, sample


@pytest.fixture
def function(make_function: MakeFunction) -> Function:
    return make_function(PROJECTS_MAINTENANCE_CHECKPOINT_COMMITS="2")


@pytest.fixture
def project(function: Function) -> ProjectId:
    """A project that has made a checkpoint due."""
    manifold = function.manifold
    project = manifold.projects.create(LOCAL_PRINCIPAL, "demo").project
    for name in (b"a", b"b", b"c"):
        manifold.edits.apply(LOCAL_PRINCIPAL, project, [MakeFolder(name)])
    return project


def checkpoints(function: Function, project: ProjectId) -> list[int]:
    rows = function.manifold.context.catalog.list_checkpoints(LOCAL_PRINCIPAL.tenant, project)
    return [row.generation for row in rows]


@pytest.mark.parametrize("event", ["schedule", "maintenance-direct"])
def test_each_task_is_reported_by_itself(function: Function, project: ProjectId, event: str) -> None:
    tasks = function("maintenance", sample(event))["tasks"]
    assert {"close_sessions", "write_checkpoints", "settle_events", "prune_events"} <= tasks.keys()
    assert ("remove_unused_uploads" in tasks) is (event == "schedule")
    assert tasks["write_checkpoints"]["done"] == 1
    assert tasks["settle_events"]["done"] == 4, "no sink is configured, so each event is where it should be"
    assert checkpoints(function, project) == [3]


def test_a_task_that_fails_stops_no_other(
    function: Function, project: ProjectId, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def away(*_: object, **__: object) -> None:
        raise CatalogUnavailable("the database is away")

    monkeypatch.setattr(type(function.manifold.context.catalog), "expired_sessions", away)
    tasks = function("maintenance", sample("maintenance-direct"))["tasks"]
    assert tasks["close_sessions"]["error"] == "catalog_unavailable"
    assert tasks["write_checkpoints"]["done"] == 1
    assert metrics_of(capsys.readouterr().out)["maintenance.failures"] == 1


def test_without_time_nothing_is_begun(function: Function, project: ProjectId) -> None:
    tasks = function("maintenance", {}, milliseconds=10_000)["tasks"]
    assert {outcome.get("skipped") for outcome in tasks.values()} == {"no time is left"}
    assert checkpoints(function, project) == []


def batch(*documents: Any) -> dict[str, Any]:
    """Return the sample with other records."""
    event = sample("kafka-commits")
    (records,) = event["records"].values()
    event["records"] = {
        "manifold.project.commits-0": [
            {**records[0], "offset": number, "value": base64.b64encode(document).decode()}
            for number, document in enumerate(documents)
        ]
    }
    return event


def commit_event(project: str) -> dict[str, Any]:
    (records,) = sample("kafka-commits")["records"].values()
    event: dict[str, Any] = json.loads(base64.b64decode(records[0]["value"]))
    event["data"] |= {"tenant_id": "default", "project_id": project}
    return event


def test_the_sample_is_about_projects_that_are_gone_which_is_no_failure(function: Function) -> None:
    assert function("maintenance", sample("kafka-commits")) == {"batchItemFailures": []}


def test_a_commit_that_is_heard_of_gets_its_checkpoint_once(
    function: Function, project: ProjectId, capsys: Any
) -> None:
    document = json.dumps(commit_event(project)).encode()
    assert function("maintenance", batch(document, document)) == {"batchItemFailures": []}
    assert checkpoints(function, project) == [3]
    function("maintenance", batch(document))
    assert checkpoints(function, project) == [3]


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"not json",
        b"[]",
        b'{"data": {}}',
        b'{"type": "manifold.project.commit"}',
        b'{"type": "manifold.project.commit", "data": {"tenant_id": "default", "project_id": "no id"}}',
    ],
)
def test_a_malformed_record_fails_alone(function: Function, project: ProjectId, document: bytes) -> None:
    good = json.dumps(commit_event(project)).encode()
    answer = function("maintenance", batch(document, good))
    (failure,) = answer["batchItemFailures"]
    assert failure["itemIdentifier"]["offset"] == 0
    assert checkpoints(function, project) == [3]


@pytest.mark.parametrize(
    ("event", "field"),
    [
        ({"tasks": ["sleep"]}, "tasks[0]"),
        ({"tasks": "all"}, "tasks"),
        ({"task": []}, "task"),
        (sample("sqs-nudges"), "Records"),
    ],
)
def test_other_events_are_refused_with_the_name_of_the_field(
    make_function: MakeFunction, event: Any, field: str
) -> None:
    function = make_function()
    with pytest.raises(InvocationError) as caught:
        function("maintenance", event)
    assert type(caught.value).__name__ == "malformed_event"
    assert f"{field}: " in str(caught.value)
