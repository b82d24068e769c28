"""What functions without a web framework make of HTTP events."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from manifold_common.domain.access import LOCAL_PRINCIPAL

from functions.invocation.decode import MalformedEvent
from functions.invocation.http import direct_event
from tests.support.functions import Function, sample


def test_path_body_and_headers_say_what_a_direct_event_would() -> None:
    assert direct_event(sample("http-plan")) == {
        "action": "plan", "session": "agent-1", "project": "demo", "paths": ["docs/", "*.txt"]
    }  # fmt: skip
    published = direct_event(sample("http-publish"))
    assert (published["action"], published["expected_generation"], published["request_id"]) == (
        "publish", 1, "run-17/step-4"
    )  # fmt: skip


def test_an_address_is_the_same_however_its_letters_are_written() -> None:
    context = sample("http-plan")["requestContext"] | {"domainName": "x.lambda-url.eu-west-1.on.aws"}
    event = sample("http-plan", rawPath="/%61pi/v1/sessions/agent%2d1/p%6Can", requestContext=context)
    assert (direct_event(event)["action"], direct_event(event)["session"]) == ("plan", "agent-1")


def test_a_body_may_come_as_base64_and_may_be_absent() -> None:
    encoded = base64.b64encode(b'{"project": "demo"}').decode()
    assert direct_event(sample("http-plan", body=encoded, isBase64Encoded=True))["project"] == "demo"
    assert direct_event(sample("http-plan", body=None)) == {"action": "plan", "session": "agent-1"}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"rawPath": "/api/v1/sessions/agent-1"}, "rawPath"),
        ({"rawPath": "/api/v1/sessions/a/b/plan"}, "rawPath"),
        ({"rawPath": "/api/v1/sessions//plan"}, "rawPath"),
        ({"rawPath": "/api/v1/sessions/agent-1/plan/"}, "rawPath"),
        ({"rawPath": "/api/v1/sessions/agent-1/%2561"}, "rawPath"),
        ({"body": "{"}, ""),
        ({"body": "[]"}, "body"),
        ({"body": {"project": "demo"}}, "body"),
        ({"body": "%%%", "isBase64Encoded": True}, "body"),
        ({"body": '{"tenant": "umbrella"}'}, "body.tenant"),
        ({"body": '{"user": "bob"}'}, "body.user"),
        ({"body": '{"errors": "return"}'}, "body.errors"),
        ({"headers": {"Content-Type": "application/json", "If-Match": "7"}}, "headers.if-match"),
        ({"headers": {"Content-Type": "application/json", "If-Match": 'W/"7"'}}, "headers.if-match"),
        ({"headers": {"Content-Type": "application/json", "If-None-Match": "*"}}, "headers.if-none-match"),
    ],
)
def test_a_malformed_request_is_refused_with_the_name_of_the_field(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(MalformedEvent) as caught:
        direct_event(sample("http-plan", **changes))
    assert caught.value.details == {"field": field}


def test_a_checkout_can_be_had_over_http_for_the_local_user(function: Function) -> None:
    function.manifold.projects.create(LOCAL_PRINCIPAL, "demo")
    event = sample("http-plan", rawPath="/api/v1/sessions/agent-1/checkout")
    found = function("checkout", event)
    assert (found["statusCode"], found["headers"]["Content-Type"]) == (200, "application/json")
    assert json.loads(found["body"])["kind"] == "new"
    view = function.manifold.sessions.view(LOCAL_PRINCIPAL, json.loads(found["body"])["session"])
    assert view.session.session == "agent-1"


def test_a_refusal_over_http_is_a_problem_document(function: Function) -> None:
    found = function("checkout", sample("http-plan", rawPath="/api/v1/sessions/agent-1/checkout"))
    problem = json.loads(found["body"])
    assert (found["statusCode"], found["headers"]["Content-Type"]) == (404, "application/problem+json")
    assert (problem["code"], problem["status"]) == ("not_found", 404)
    assert found["headers"]["Cache-Control"] == "no-store"


def test_a_plan_over_http_needs_a_store_that_clients_reach(function: Function) -> None:
    function.manifold.projects.create(LOCAL_PRINCIPAL, "demo")
    problem = json.loads(function("checkout", sample("http-plan"))["body"])
    assert problem["code"] == "config_error" and "s3" in problem["hint"]


def test_a_publication_of_what_was_never_uploaded_is_refused(function: Function) -> None:
    function.manifold.projects.create(LOCAL_PRINCIPAL, "demo")
    function("checkout", sample("checkout-direct", tenant=None, user=None, generation=None, seen_generation=None))
    problem = json.loads(function("commit", sample("http-publish"))["body"])
    assert (problem["status"], problem["code"]) == (400, "bad_upload"), problem


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"draft": {"name": "x", "size": 1, "blake3": ""}}, "draft.name"),
        ({"packs": [{}]}, "packs[0].name"),
        ({"draft": {"name": "a" * 26, "size": 0, "blake3": ""}}, "draft.size"),
        ({"drafts": {}}, "drafts"),
    ],
)
def test_a_malformed_publication_is_refused_with_the_name_of_the_field(
    function: Function, body: dict[str, Any], field: str
) -> None:
    problem = json.loads(function("commit", sample("http-publish", body=json.dumps(body)))["body"])
    assert (problem["code"], problem["details"]) == ("malformed_event", {"field": field})
