"""The maintenance function: tasks by the clock, and what a commit makes due."""

from __future__ import annotations

import base64
import json
import os
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.job import JobFilter, JobState
from manifold_common.errors import CatalogUnavailable
from manifold_common.ids import ProjectId
from manifold_common.services.projects.edits import MakeFolder

from functions.invocation.entry import InvocationError
from tests.support.functions import Function, MakeFunction, metrics_of, printed, sample
from tests.support.panics import panic
from tests.support.work import new_project


@pytest.fixture
def function(make_function: MakeFunction) -> Function:
    return make_function(PROJECTS_MAINTENANCE_CHECKPOINT_COMMITS="2", PROJECTS_MAINTENANCE_COLLECTION_HOURS="0")


@pytest.fixture
def project(function: Function) -> ProjectId:
    """A project that has made a checkpoint due."""
    return make_due(function, "demo")


def make_due(function: Function, name: str) -> ProjectId:
    manifold = function.manifold
    project = manifold.projects.create(LOCAL_PRINCIPAL, name).id
    for folder in (b"a", b"b", b"c"):
        manifold.edits.apply(LOCAL_PRINCIPAL, project, [MakeFolder(folder)])
    return project


def checkpoints(function: Function, project: ProjectId) -> list[int]:
    rows = function.manifold.context.catalog.list_checkpoints(LOCAL_PRINCIPAL.tenant, project)
    return [row.generation for row in rows]


@pytest.mark.parametrize("event", ["schedule", "maintenance-direct"])
def test_each_task_is_reported_by_itself(function: Function, project: ProjectId, event: str) -> None:
    tasks = function("maintenance", sample(event))["chores"]
    assert {"close_sessions", "write_checkpoints", "prune_events"} <= tasks.keys()
    assert ("remove_unused_uploads" in tasks) is (event == "schedule")
    assert tasks["write_checkpoints"]["done"] == 1
    assert checkpoints(function, project) == [3]


@pytest.mark.parametrize("error", [CatalogUnavailable("the database is away"), ValueError("a bug"), "a panic"])
def test_a_task_that_fails_stops_no_other_and_the_invocation_fails(
    function: Function, project: ProjectId, monkeypatch: pytest.MonkeyPatch, capsys: Any, error: Any
) -> None:
    def away(*_: object, **__: object) -> None:
        if error == "a panic":
            panic()
        raise error

    monkeypatch.setattr(type(function.manifold.context.catalog), "expired_sessions", away)
    with pytest.raises(InvocationError) as caught:
        function("maintenance", sample("schedule"))
    assert type(caught.value).__name__ == "partly_done"
    measured = metrics_of(capsys.readouterr().out)
    assert (measured["maintenance.failures"], measured["invocation.errors"]) == (1, 1)
    assert [name for name in measured if name.startswith("maintenance.failures.")] == [
        "maintenance.failures.close_sessions"
    ]
    assert checkpoints(function, project) == [3]
    problem = function("maintenance", {**sample("maintenance-direct"), "errors": "return"})["error"]
    tasks = problem["details"]["chores"]
    assert tasks["close_sessions"]["error"] == getattr(error, "code", "internal")
    assert tasks["prune_events"]["done"] == 0


def test_a_project_whose_checkpoint_fails_is_told_once_the_others_have_theirs(
    function: Function, project: ProjectId, make_function: MakeFunction
) -> None:
    broken = make_due(function, "broken")
    for path in Path(function.variables["PROJECTS_FILESYSTEM_ROOT"]).rglob(f"{broken}/commits/*"):
        path.write_bytes(b"damaged")
    fresh = make_function(PROJECTS_MAINTENANCE_CHECKPOINT_COMMITS="2")
    shutil.rmtree(fresh.manifold.settings.projects.workspace.cache_dir)
    answer = fresh("maintenance", {"chores": ["write_checkpoints"], "errors": "return"})
    task = answer["error"]["details"]["chores"]["write_checkpoints"]
    assert (task["error"], list(task["failed"])) == ("partly_done", [f"project {broken}"])
    assert checkpoints(function, project) == [3]


def test_without_time_nothing_is_begun(function: Function, project: ProjectId) -> None:
    tasks = function("maintenance", {}, milliseconds=10_000)["chores"]
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
def test_a_record_that_fails_fails_the_batch_unless_the_source_asks_which(
    function: Function, project: ProjectId, document: bytes
) -> None:
    good = json.dumps(commit_event(project)).encode()
    with pytest.raises(InvocationError) as caught:
        function("maintenance", batch(good, document))
    assert type(caught.value).__name__ == "partly_done"
    assert checkpoints(function, project) == [3]


def test_what_comes_after_a_failed_record_in_its_partition_is_not_done_and_not_counted_as_done(
    make_function: MakeFunction, capsys: Any
) -> None:
    function = make_function(PROJECTS_MAINTENANCE_CHECKPOINT_COMMITS="2", FUNCTIONS_PARTIAL_BATCHES="true")
    due = [make_due(function, name) for name in ("first", "second", "third")]
    first, second, third = (json.dumps(commit_event(one)).encode() for one in due)
    event = batch(first, b"not json", second)
    (records,) = event["records"].values()
    value = base64.b64encode(third).decode()
    event["records"]["manifold.project.commits-1"] = [{**records[0], "partition": 1, "offset": 7, "value": value}]
    answer = function("maintenance", event)
    place = "manifold.project.commits-0"
    assert answer["batchItemFailures"] == [
        {"itemIdentifier": {"partition": place, "offset": offset}} for offset in (1, 2)
    ]
    assert [checkpoints(function, one) for one in due] == [[3], [], [3]]
    assert any("record 1 of" in str(line.get("message")) for line in printed(capsys.readouterr().out))


def _bug(*_: object) -> None:
    raise ZeroDivisionError


@pytest.mark.parametrize("bug", [_bug, panic])
def test_a_bug_met_by_a_record_of_kafka_is_no_success(
    function: Function, project: ProjectId, monkeypatch: pytest.MonkeyPatch, bug: Any
) -> None:
    monkeypatch.setattr(type(function.manifold.maintenance), "checkpoint_if_due", bug)
    with pytest.raises(InvocationError) as caught:
        function("maintenance", batch(json.dumps(commit_event(project)).encode()))
    assert type(caught.value).__name__ == "partly_done", "the others of the batch had their turn"


@pytest.mark.parametrize(
    ("event", "field"),
    [
        ({"chores": ["sleep"]}, "chores[0]"),
        ({"chores": "all"}, "chores"),
        ({"chore": []}, "chore"),
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


def test_jobs_about_content_are_worked_on_after_the_chores(function: Function, project: ProjectId, capsys: Any) -> None:
    (commit,) = function.manifold.context.catalog.list_commits(LOCAL_PRINCIPAL.tenant, project, limit=1)
    function.manifold.jobs.start(LOCAL_PRINCIPAL, "verify", {"project": project})
    named = function("maintenance", {"chores": ["write_checkpoints"]})
    assert "jobs" not in named, "who names chores asks for these alone"
    capsys.readouterr()
    answer = function("maintenance", sample("schedule"))
    assert answer["jobs"]["done"] == 1
    measured = metrics_of(capsys.readouterr().out)
    assert (measured["jobs.finished"], measured["objects.damaged"]) == (1, 0)
    (path,) = Path(function.variables["PROJECTS_FILESYSTEM_ROOT"]).rglob(f"commits/*-{commit.commit}")
    path.write_bytes(b"damaged")
    function.manifold.jobs.start(LOCAL_PRINCIPAL, "verify", {"project": project})
    alone = function("maintenance", {"chores": [], "jobs": True})
    assert (alone["chores"], alone["jobs"]["done"]) == ({}, 1)
    assert metrics_of(capsys.readouterr().out)["objects.damaged"] == 1


def test_without_time_no_job_is_begun(function: Function, project: ProjectId) -> None:
    begun = function.manifold.jobs.start(LOCAL_PRINCIPAL, "verify", {"project": project}).job
    assert function("maintenance", {}, milliseconds=10_000)["jobs"]["skipped"] == "no time is left"
    assert function.manifold.jobs.get(LOCAL_PRINCIPAL, begun.id).state.value == "running"


def test_what_was_collected_and_what_waits_is_measured(
    function: Function, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    manifold = function.manifold
    project = new_project(manifold, a=b"x")
    function("maintenance", sample("schedule"))
    quiet = metrics_of(capsys.readouterr().out)
    assert (quiet["garbage.waiting"], quiet["garbage.waiting.bytes"]) == (0, 0)
    assert not {name for name in quiet if "condemned" in name or "removed" in name}, "nothing was collected"
    with manifold.context.pack_writer(manifold.context.log.load(LOCAL_PRINCIPAL.tenant, project)) as writer:
        writer.add(os.urandom(1 << 20))
        writer.finish(0)
    monkeypatch.setattr(manifold.collector, "_grace", timedelta(seconds=-60))
    manifold.collector.collect(LOCAL_PRINCIPAL.tenant, project)
    function("maintenance", {"chores": ["close_sessions"]})
    found = metrics_of(capsys.readouterr().out)
    assert found["garbage.condemned"] == found["garbage.waiting"] == 1
    assert found["garbage.condemned.bytes"] == found["garbage.waiting.bytes"] > 1 << 20
    monkeypatch.setattr(manifold.condemned, "_grace_seconds", -60.0)
    function("maintenance", {"chores": ["remove_condemned_objects"]})
    gone = metrics_of(capsys.readouterr().out)
    assert (gone["garbage.removed"], gone["garbage.removed.bytes"]) == (1, found["garbage.waiting.bytes"])
    assert gone["garbage.waiting"] == 0 and "garbage.condemned" not in gone


def test_the_schedule_starts_a_collection_and_works_on_it(make_function: MakeFunction, capsys: Any) -> None:
    function = make_function()
    new_project(function.manifold, a=b"x")
    first = function("maintenance", sample("schedule"))
    assert (first["chores"]["collect_garbage"]["done"], first["jobs"]["done"]) == (1, 1)
    assert metrics_of(capsys.readouterr().out)["jobs.finished"] == 1
    assert function("maintenance", sample("schedule"))["chores"]["collect_garbage"]["done"] == 0
    (job,) = function.manifold.jobs.page(LOCAL_PRINCIPAL, JobFilter(kind="collect"))
    assert (job.params, job.state) == ({}, JobState.DONE)
