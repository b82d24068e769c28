"""One id leads from the access log of the HTTP API to the function's log, the fan-out's message, and the event."""

from __future__ import annotations

import json
import logging
import re
from typing import Any

import pytest
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.correlation import Correlation, correlated
from manifold_local.host.logs import set_up_logging

from functions.invocation.entry import InvocationError
from functions.invocation.ids import ids_of
from tests.functions.invocation.test_nudge import COMMIT, Queue
from tests.support.api import Api
from tests.support.functions import FakeContext, Function, MakeFunction, printed, sample
from tests.support.logs import logging_restored
from tests.support.manifold import MakeManifold
from tests.support.templates import resources
from tests.support.webhooks import SECRET, WebhookEndpoint

TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE}-b7ad6b7169203331-01"
OWN = FakeContext().aws_request_id


@pytest.fixture
def queue(moto_url: str) -> Queue:
    return Queue(moto_url)


@pytest.fixture
def function(make_function: MakeFunction, queue: Queue, webhook_endpoint: WebhookEndpoint) -> Function:
    return make_function(**queue.variables, WEBHOOKS_URLS=webhook_endpoint.url, WEBHOOKS_SECRET=SECRET)


def keys_of(lines: str, name: str) -> set[Any]:
    """Return what stands under a key in the lines of a function's log."""
    return {line[name] for line in printed(lines) if name in line}


def test_the_access_logs_id_is_found_in_the_functions_log_the_message_and_the_event(
    function: Function, queue: Queue, webhook_endpoint: WebhookEndpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    api = resources("template", "AWS::Serverless::HttpApi")["HttpApi"]
    access = json.loads(api["AccessLogSettings"]["Format"])
    assert (access["id"], access["function_id"]) == ("$context.requestId", "$context.integration.requestId")
    event = sample("http-post")
    found = event["requestContext"]["requestId"]

    answer = function("api", event)
    assert (answer["statusCode"], answer["headers"]["x-correlation-id"]) == (201, found)
    log = capsys.readouterr().out
    assert keys_of(log, "correlation_id") == keys_of(log, "api_request_id") == {found}
    assert keys_of(log, "request_id") == {OWN}

    (body,) = queue.bodies()
    assert json.loads(body) == {"nudge": 1, "correlation_id": found}
    batch = sample("sqs-nudges")
    batch["Records"][0]["body"] = body
    assert function("fanout", batch) == {"batchItemFailures": []}
    assert keys_of(capsys.readouterr().out, "woken_by") == {found}
    (sent,) = webhook_endpoint.events
    assert sent["correlationid"] == found
    assert "origin" not in sent["data"]


def test_a_commit_carries_the_id_and_the_trace_that_its_caller_chose(
    function: Function, webhook_endpoint: WebhookEndpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    function("api", sample("http-post"))
    headers = {"X-Correlation-Id": "run-17/step-4", "Traceparent": TRACEPARENT}
    change = {"changes": [{"op": "put", "path": "a.txt", "text": "a"}]}
    event = sample("http-post", rawPath="/api/v1/projects/demo/commits", body=json.dumps(change), isBase64Encoded=False)
    capsys.readouterr()
    answer = function("api", {**event, "headers": {**event["headers"], **headers}})
    assert answer["statusCode"] in (200, 201), answer
    log = capsys.readouterr().out
    assert keys_of(log, "correlation_id") == {"run-17/step-4"}
    assert keys_of(log, "api_request_id") == {event["requestContext"]["requestId"]}, "ours is there whatever theirs is"
    assert keys_of(log, "trace_id") == {TRACE}
    function("fanout", {})
    commit = webhook_endpoint.events[-1]
    assert (commit["type"], commit["correlationid"]) == ("manifold.project.commit", "run-17/step-4")
    assert commit["traceparent"] == TRACEPARENT


def test_a_direct_call_may_name_its_request(function: Function, webhook_endpoint: WebhookEndpoint) -> None:
    function.manifold.projects.create(LOCAL_PRINCIPAL, "demo")
    function("commit", {**COMMIT, "correlation_id": "job-9"})
    function("commit", {**COMMIT, "changes": [{"op": "mkdir", "path": "d"}]})
    function("fanout", {})
    assert [one.get("correlationid") for one in webhook_endpoint.events] == [None, "job-9", OWN]


FORGED = ["", " ", "a b", "a\nb", 'a","level":"ERROR', "x" * 129, "\u2028", "a\u0000", "-a", "é"]


@pytest.mark.parametrize("forged", FORGED)
def test_an_id_that_could_forge_a_line_is_replaced_by_ours(forged: str) -> None:
    event = sample("http-get")
    event["headers"] |= {"x-correlation-id": forged, "traceparent": forged, "x-amzn-trace-id": forged}
    ids = ids_of(event, OWN)
    assert ids.correlation == Correlation(event["requestContext"]["requestId"])
    assert ids.trace is None
    event["requestContext"]["requestId"] = forged
    assert ids_of(event, OWN).log_keys() == {
        "correlation_id": OWN, "request_id": OWN, "api_request_id": None, "trace_id": None
    }  # fmt: skip


@pytest.mark.parametrize("forged", FORGED)
def test_a_direct_call_with_such_an_id_is_refused(function: Function, forged: str) -> None:
    with pytest.raises(InvocationError, match="correlation_id: ") as caught:
        function("commit", {**COMMIT, "correlation_id": forged})
    assert type(caught.value).__name__ == "malformed_event"


@pytest.mark.parametrize(
    "traceparent",
    [
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-b7ad6b7169203331-01",
        f"{TRACEPARENT}\n",
        f"{TRACEPARENT}-more",
    ],
)
def test_a_malformed_trace_is_left_aside(traceparent: str) -> None:
    assert Correlation.of("a", traceparent, "b") == Correlation("a")


def test_a_trace_of_x_ray_is_named_in_the_log() -> None:
    assert ids_of(sample("http-get"), OWN).trace == "1-681740ee-3b2c1d0e4f5a6b7c8d9e0f1a"


def test_every_problem_document_names_the_id(function: Function) -> None:
    for event, status in (
        (sample("http-get", rawPath="/nowhere", rawQueryString=""), 404),
        (sample("http-get", rawPath="/api/v1/projects/absent", rawQueryString=""), 404),
        (sample("http-post", body="{}", isBase64Encoded=False), 400),
        (sample("http-get", version="1.0"), 400),
    ):
        answer = function("api", event)
        assert answer["statusCode"] == status
        assert json.loads(answer["body"])["correlation_id"] == event["requestContext"]["requestId"]
    refused = function("commit", {**COMMIT, "correlation_id": "job-9", "errors": "return"})
    assert refused["error"]["correlation_id"] == "job-9"


def test_the_host_takes_the_callers_id_and_gives_one_where_there_is_none(api: Api) -> None:
    made = api.post("/api/v1/projects", json={"name": "demo"}, headers={"X-Correlation-Id": "run-1"})
    assert (made.status_code, made.headers["x-correlation-id"]) == (201, "run-1")
    (event,) = api.manifold.events.recent()
    assert event.document["correlationid"] == "run-1"
    missing = api.get("/api/v1/projects/absent", headers={"X-Correlation-Id": "a b"})
    assert re.fullmatch("[0-9a-f]{32}", missing.json()["correlation_id"])
    assert missing.headers["x-correlation-id"] == missing.json()["correlation_id"]


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ({"X-Request-Id": "a-1"}, "a-1"),
        ({"X-Request-Id": "a-1", "X-Correlation-Id": "b-2"}, "a-1"),
        ({"X-Request-Id": "a b", "X-Correlation-Id": "b-2"}, "b-2"),
    ],
)
def test_either_header_names_the_request_and_both_are_answered(
    api: Api, function: Function, headers: dict[str, str], found: str
) -> None:
    made = api.post("/api/v1/projects", json={"name": "demo"}, headers=headers)
    assert (made.headers["x-request-id"], made.headers["x-correlation-id"]) == (found, found)
    (event,) = api.manifold.events.recent()
    assert event.document["correlationid"] == found
    event_of_aws = sample("http-get")
    event_of_aws["headers"] |= headers
    answer = function("api", event_of_aws)
    assert (answer["headers"]["x-request-id"], answer["headers"]["x-correlation-id"]) == (found, found)


def test_every_answer_names_the_request(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    api.project()
    api.put("/api/v1/projects/demo/files/a", content=b"x" * 2_000_000)
    etag = api.head("/api/v1/projects/demo/files/a").headers["etag"]

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(type(api.manifold.history), "compare", broken)
    for method, path, more, status in (
        ("GET", "/api/v1/projects/demo/files/a", {}, 200),
        ("GET", "/api/v1/projects/demo/files/a", {"If-None-Match": etag}, 304),
        ("OPTIONS", "/api/v1/projects", {}, 204),
        ("GET", "/api/v1/projects?x=1", {}, 400),
        ("GET", "/api/v1/projects/%zz", {}, 400),
        ("GET", "/api/v1/projects", {"Host": "elsewhere.example"}, 403),
        ("GET", "/api/nothing", {}, 404),
        ("TRACE", "/api/v1/projects", {}, 405),
        ("POST", "/api/v1/projects", {"Content-Length": "9999999", "Content-Type": "application/json"}, 413),
        ("GET", "/api/v1/projects", {"Expect": "more"}, 417),
        ("GET", "/api/v1/projects/demo/diff?before=0&after=1", {}, 500),
        ("HEAD", "/api/v1/projects/absent", {}, 404),
    ):
        answer = api.raw(method, path, {"X-Request-Id": "mine-1", **more})
        assert (answer.status, answer.headers.get("x-request-id")) == (status, "mine-1"), path
        if answer.body and status >= 400:
            assert answer.json()["correlation_id"] == "mine-1"


def test_an_answer_that_a_function_cannot_pass_on_names_the_request_too(
    function: Function, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("functions.api.gateway.MAX_ANSWER_BYTES", 10)
    event = sample("http-get")
    answer = function("api", event)
    assert (answer["statusCode"], json.loads(answer["body"])["code"]) == (413, "answer_too_large")
    assert answer["headers"]["x-request-id"] == event["requestContext"]["requestId"]


@pytest.mark.parametrize("as_json", [True, False])
def test_a_line_that_the_host_logs_names_the_request(as_json: bool, capsys: pytest.CaptureFixture[str]) -> None:
    with logging_restored():
        set_up_logging("info", discreet=True, json_lines=as_json)
        log = logging.getLogger("manifold.api")
        with correlated(Correlation("run-17/step-4")):
            log.info("something")
            log.info("[run-17/step-4] something")
        log.info("something else")
    with_id, once, without = capsys.readouterr().err.splitlines()
    assert once.count("run-17/step-4") == (2 if as_json else 1)
    if as_json:
        assert json.loads(with_id)["correlation_id"] == "run-17/step-4"
        assert "correlation_id" not in json.loads(without)
    else:
        assert "[run-17/step-4] something" in with_id and "[" not in without


def test_what_is_done_for_no_request_names_none(make_manifold: MakeManifold) -> None:
    manifold = make_manifold()
    with correlated(Correlation("a", TRACEPARENT)):
        manifold.projects.create(LOCAL_PRINCIPAL, "one")
    manifold.projects.create(LOCAL_PRINCIPAL, "two")
    with_id, without = (event.document for event in manifold.events.recent())
    assert (with_id["correlationid"], with_id["traceparent"]) == ("a", TRACEPARENT)
    assert not {"correlationid", "traceparent"} & without.keys()
