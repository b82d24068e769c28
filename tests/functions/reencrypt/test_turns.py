"""Jobs are spread over invocations by a queue: who is woken, who goes on, and that it ends."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.job import ItemState, JobState
from manifold_common.errors import CatalogUnavailable
from manifold_common.ids import JobId
from manifold_common.ports.catalog import ItemReport

from tests.functions.invocation.test_nudge import Queue
from tests.support.functions import Function, MakeFunction, metrics_of, sample

NEW_KEY = {"PROJECTS_ENCRYPTION_FILE_KEY_NAME": "second"}
TENANT = LOCAL_PRINCIPAL.tenant
TURN = sample("sqs-reencrypt")
DONE = {"batchItemFailures": []}
LEASE = "b" * 26


class Turns:
    """Implements WorkQueue: what was asked for."""

    def __init__(self) -> None:
        self.asked: list[int | str] = []

    def wake_all(self) -> None:
        self.asked.append("all")

    def wake_one(self, *, delay_seconds: int = 0) -> None:
        self.asked.append(delay_seconds)

    def close(self) -> None:
        pass


@pytest.fixture
def queue(moto_url: str) -> Queue:
    return Queue(moto_url, "FUNCTIONS_REENCRYPT_QUEUE_URL")


@pytest.fixture
def make(make_function: MakeFunction) -> MakeFunction:
    """Makes functions under a new master key, with three projects whose keys are under the old one."""
    before = make_function()
    for name in ("one", "two", "three"):
        before.manifold.projects.create(LOCAL_PRINCIPAL, name)
    return lambda **variables: make_function(**NEW_KEY, **variables)


def ask(function: Function, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    event = sample("http-post", rawPath=f"/api/v1/jobs{path}", body=body and json.dumps(body), isBase64Encoded=False)
    answer = function("api", event)
    assert answer["statusCode"] in (200, 201), answer
    found: dict[str, Any] = json.loads(answer["body"])
    return found


def start(function: Function) -> JobId:
    return JobId(ask(function, "", {"kind": "rewrap"})["id"])


def state_of(function: Function, job: JobId) -> JobState:
    return function.manifold.jobs.get(LOCAL_PRINCIPAL, job).state


def asked_of(function: Function) -> list[int | str]:
    """Have what is asked of the queue noted from now on."""
    turns = Turns()
    function.manifold.work_queues = {"reencrypt": turns}
    return turns.asked


def test_a_job_that_is_started_over_http_is_done_by_the_queue_alone_and_then_the_queue_is_empty(
    make: MakeFunction, queue: Queue
) -> None:
    function = make(**queue.variables)
    job = start(function)
    bodies = queue.bodies()
    caller = sample("http-post")["requestContext"]["requestId"]
    assert list(map(json.loads, bodies)) == [{"work": 1, "correlation_id": caller}] * 2, "as many as there may be"
    for body in bodies:
        event = sample("sqs-reencrypt")
        event["Records"][0]["body"] = body
        assert function("reencrypt", event) == DONE
        assert state_of(function, job) is JobState.DONE
    assert (queue.bodies(), queue.delayed()) == ([], 0)


def test_so_many_workers_are_woken_as_the_settings_say_by_whatever_gives_a_job_something_to_do(
    make: MakeFunction, queue: Queue
) -> None:
    function = make(**queue.variables, FUNCTIONS_REENCRYPT_WORKERS="3")
    job = start(function)
    assert len(queue.bodies()) == 3
    for how, count in (("pause", 0), ("resume", 3), ("retry", 3), ("cancel", 0)):
        ask(function, f"/{job}/{how}")
        assert len(queue.bodies()) == count, how


def test_a_turn_whose_time_ran_out_leads_to_one_more_at_once(
    make: MakeFunction, queue: Queue, capsys: pytest.CaptureFixture[str]
) -> None:
    function = make(**queue.variables)
    job = start(function)
    queue.bodies()
    capsys.readouterr()
    event = sample("sqs-reencrypt")
    event["Records"] *= 3
    event["Records"][0]["body"] = '{"work": 1, "correlation_id": "run-17"}'
    assert function("reencrypt", event, milliseconds=5_000) == DONE
    assert state_of(function, job) is JobState.RUNNING
    assert '"woken_by":"run-17"' in capsys.readouterr().out.replace(": ", ":")
    (body,) = queue.bodies()
    assert json.loads(body)["work"] == 1
    assert function("reencrypt", TURN) == DONE
    assert state_of(function, job) is JobState.DONE
    assert queue.bodies() == []


def held(function: Function, job: JobId) -> None:
    catalog = function.manifold.context.catalog
    assert len(catalog.claim_items(TENANT, job, LEASE, seconds=60, limit=100)) == 3


def items_at_rest(function: Function, job: JobId) -> None:
    held(function, job)
    reports = [ItemReport(number, ItemState.PENDING, "x", rest_seconds=14) for number in (1, 2, 3)]
    function.manifold.context.catalog.report_items(TENANT, job, LEASE, reports)


def at_rest(function: Function, job: JobId) -> None:
    function.manifold.context.catalog.rest_job(TENANT, job, seconds=600, code="x", text=None)


def paused(function: Function, job: JobId) -> None:
    function.manifold.jobs.pause(LOCAL_PRINCIPAL, job)


def planned(function: Function, job: JobId) -> None:
    function.manifold.job_worker.step(function.manifold.jobs.row(TENANT, job))


@pytest.mark.parametrize("event", [TURN, {"errors": "return"}], ids=["by the queue", "by hand"])
@pytest.mark.parametrize(("hold_up", "next_turn"), [(held, 60), (items_at_rest, 15), (at_rest, 900), (paused, None)])
def test_where_something_can_be_done_only_later_the_next_turn_waits_for_that(
    make: MakeFunction, event: Any, hold_up: Callable[[Function, JobId], None], next_turn: int | None
) -> None:
    function = make()
    job = start(function)
    planned(function, job)
    hold_up(function, job)
    asked = asked_of(function)
    function("reencrypt", event)
    assert asked == ([] if next_turn is None else [next_turn])
    assert function.manifold.jobs.get(LOCAL_PRINCIPAL, job).pending == 3


def test_a_message_for_later_is_one_that_nobody_gets_now(make: MakeFunction, queue: Queue) -> None:
    function = make(**queue.variables)
    job = start(function)
    planned(function, job)
    held(function, job)
    assert len(queue.bodies()) == 2
    assert function("reencrypt", TURN) == DONE
    assert (queue.bodies(), queue.delayed()) == ([], 1)


def test_the_schedule_wakes_workers_for_a_new_rewrap_and_adds_one_turn_to_one_that_goes_on(make: MakeFunction) -> None:
    function = make()
    asked = asked_of(function)
    function("reencrypt", sample("schedule"), milliseconds=5_000)
    assert asked == ["all", 0]
    asked.clear()
    function("reencrypt", sample("schedule"), milliseconds=5_000)
    assert asked == [0]
    asked.clear()
    assert function("reencrypt", sample("schedule"))["job"]["state"] == "done"
    function("reencrypt", sample("schedule"))
    assert asked == []


def test_a_turn_starts_nothing(make: MakeFunction) -> None:
    function = make()
    asked = asked_of(function)
    assert function("reencrypt", TURN) == DONE
    assert (asked, next(function.manifold.rewrap.pending(), None) is not None) == ([], True)


def test_keys_that_fail_are_counted_and_no_reason_for_a_message_to_come_again(
    make: MakeFunction, capsys: pytest.CaptureFixture[str]
) -> None:
    function = make()
    job = start(function)
    with psycopg.connect(function.variables["DATABASE_URL"], autocommit=True) as connection:
        connection.execute(
            "UPDATE project_keys SET ciphertext = 'spoilt' WHERE project_id = (SELECT min(project_id) FROM projects)"
        )
    capsys.readouterr()
    asked = asked_of(function)
    assert function("reencrypt", TURN) == DONE
    measured = metrics_of(capsys.readouterr().out)
    assert (measured["keys.rewrapped"], measured["keys.failed"], measured["jobs.finished"]) == (2, 1, 3)
    assert (state_of(function, job), asked) == (JobState.FAILED, [])


@pytest.mark.parametrize("body", ["", "{", "[]", "null", '{"work": 2}', '{"nudge": 1}', '{"work": 1, "more": 1}'])
def test_a_malformed_message_fails_alone(make: MakeFunction, body: str) -> None:
    function = make()
    job = start(function)
    event = sample("sqs-reencrypt")
    event["Records"] = [{**event["Records"][0], "messageId": name} for name in ("bad", "good")]
    event["Records"][0]["body"] = body
    assert function("reencrypt", event) == {"batchItemFailures": [{"itemIdentifier": "bad"}]}
    assert state_of(function, job) is JobState.DONE


@pytest.mark.parametrize("statement", ["jobs_at_work", "claim_items"])
def test_a_message_comes_again_when_the_database_was_away(
    make: MakeFunction, statement: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    function = make()
    job = start(function)

    def away(*_: object, **__: object) -> None:
        raise CatalogUnavailable("the database is away")

    with monkeypatch.context() as patch:
        patch.setattr(type(function.manifold.context.catalog), statement, away)
        failed = function("reencrypt", TURN)["batchItemFailures"]
    assert failed == [{"itemIdentifier": TURN["Records"][0]["messageId"]}]
    assert function("reencrypt", TURN) == DONE
    assert state_of(function, job) is JobState.DONE


def test_a_queue_that_is_away_costs_neither_a_job_nor_a_turn(
    make: MakeFunction, queue: Queue, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
    function = make(**{**queue.variables, "AWS_ENDPOINT_URL": endpoint})
    job = start(function)
    assert capsys.readouterr().out.count("no worker was woken") == 1, "one that failed says enough"
    assert function("reencrypt", TURN, milliseconds=5_000) == DONE
    assert "no worker was woken" in capsys.readouterr().out
    assert function("reencrypt", sample("schedule"))["job"]["id"] == job
    assert state_of(function, job) is JobState.DONE


def test_records_of_kafka_are_refused(make_function: MakeFunction) -> None:
    answer = make_function()("reencrypt", {**sample("kafka-commits"), "errors": "return"})
    assert answer["error"]["code"] == "malformed_event"
