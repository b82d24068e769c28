"""Jobs about content are woken by a queue as well; its messages run no chores, and the schedule adds no turns."""

from __future__ import annotations

import json
from typing import Any

import pytest
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.job import JobState
from manifold_common.ids import JobId

from functions.maintenance import handler
from tests.functions.invocation.test_nudge import Queue
from tests.functions.reencrypt.test_turns import DONE, LEASE, TENANT, Turns, ask, state_of
from tests.support.functions import Function, MakeFunction, sample

TURN = sample("sqs-maintenance")


@pytest.fixture
def queue(moto_url: str) -> Queue:
    return Queue(moto_url, "FUNCTIONS_MAINTENANCE_QUEUE_URL")


def make_with_work(make_function: MakeFunction, **variables: str) -> Function:
    function = make_function(**variables)
    for name in ("one", "two", "three"):
        function.manifold.projects.create(LOCAL_PRINCIPAL, name)
    return function


def start(function: Function, kind: str = "verify", **params: object) -> JobId:
    return JobId(ask(function, "", {"kind": kind, "params": params})["id"])


def turns_of(function: Function) -> dict[str, Turns]:
    turns = {"reencrypt": Turns(), "maintenance": Turns()}
    function.manifold.work_queues = turns
    return turns


@pytest.mark.parametrize("kind", ["verify", "collect"])
def test_a_job_that_is_started_over_http_is_done_by_the_queue_alone_and_then_the_queue_is_empty(
    make_function: MakeFunction, queue: Queue, kind: str
) -> None:
    function = make_with_work(make_function, **queue.variables)
    job = start(function, kind)
    bodies = queue.bodies()
    caller = sample("http-post")["requestContext"]["requestId"]
    assert list(map(json.loads, bodies)) == [{"work": 1, "correlation_id": caller}] * 2, "as many as there may be"
    for body in bodies:
        event = sample("sqs-maintenance")
        event["Records"][0]["body"] = body
        assert function("maintenance", event) == DONE
        assert state_of(function, job) is JobState.DONE
    assert (queue.bodies(), queue.delayed()) == ([], 0)


def test_each_queue_has_as_many_workers_woken_as_its_settings_say(make_function: MakeFunction, queue: Queue) -> None:
    function = make_with_work(make_function, **queue.variables, FUNCTIONS_MAINTENANCE_WORKERS="3")
    start(function)
    assert len(queue.bodies()) == 3
    start(function, "rewrap")
    assert queue.bodies() == [], "that has a queue of its own"


@pytest.mark.parametrize(("kind", "woken"), [("rewrap", "reencrypt"), ("verify", "maintenance")])
def test_a_kind_of_job_wakes_the_function_that_works_on_it(make_function: MakeFunction, kind: str, woken: str) -> None:
    function = make_with_work(make_function)
    turns = turns_of(function)
    start(function, kind)
    assert {name: one.asked for name, one in turns.items() if one.asked} == {woken: ["all"]}


def test_a_message_runs_no_chore(make_function: MakeFunction, monkeypatch: pytest.MonkeyPatch) -> None:
    function = make_with_work(make_function)
    job = start(function)

    def run(name: str, *_: object) -> dict[str, Any]:
        raise AssertionError(f"chore {name} was run")

    with monkeypatch.context() as patch:
        patch.setattr(handler, "_run", run)
        assert function("maintenance", TURN) == DONE
    assert state_of(function, job) is JobState.DONE


def test_a_turn_whose_time_ran_out_leads_to_one_more_at_once(make_function: MakeFunction) -> None:
    function = make_with_work(make_function)
    job = start(function)
    asked = turns_of(function)["maintenance"].asked
    assert function("maintenance", TURN, milliseconds=10_000) == DONE
    assert (asked, state_of(function, job)) == ([0], JobState.RUNNING)
    assert function("maintenance", TURN) == DONE
    assert (asked, state_of(function, job)) == ([0], JobState.DONE)


def test_where_others_hold_what_there_is_the_next_turn_waits_for_that(make_function: MakeFunction) -> None:
    function = make_with_work(make_function)
    job = start(function)
    function.manifold.job_worker.step(function.manifold.jobs.row(TENANT, job))
    assert len(function.manifold.context.catalog.claim_items(TENANT, job, LEASE, seconds=60, limit=100)) == 3
    asked = turns_of(function)["maintenance"].asked
    function("maintenance", TURN)
    assert asked == [60]


def test_the_schedule_works_on_jobs_and_adds_no_turn(
    make_function: MakeFunction, monkeypatch: pytest.MonkeyPatch
) -> None:
    function = make_with_work(make_function)
    job = start(function)
    asked = turns_of(function)["maintenance"].asked
    with monkeypatch.context() as patch:
        patch.setattr(handler, "_JOB_SECONDS", 0.0)
        function("maintenance", {"chores": [], "jobs": True})
    assert (asked, state_of(function, job)) == ([], JobState.RUNNING)
    function("maintenance", {"chores": [], "jobs": True})
    assert (asked, state_of(function, job)) == ([], JobState.DONE)


def test_what_a_chore_starts_wakes_workers(make_function: MakeFunction) -> None:
    function = make_with_work(make_function)
    asked = turns_of(function)["maintenance"].asked
    function("maintenance", {"chores": ["collect_garbage"], "jobs": False})
    assert asked == ["all"]


def test_a_message_that_is_none_of_ours_fails_alone(make_function: MakeFunction) -> None:
    function = make_with_work(make_function)
    job = start(function)
    event = sample("sqs-maintenance")
    event["Records"] = [{**event["Records"][0], "messageId": name} for name in ("bad", "good")]
    event["Records"][0]["body"] = sample("sqs-nudges")["Records"][0]["body"]
    assert function("maintenance", event) == {"batchItemFailures": [{"itemIdentifier": "bad"}]}
    assert state_of(function, job) is JobState.DONE
