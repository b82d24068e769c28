"""Events that ``sam local generate-event`` makes: those of our triggers are served, the others refused by name."""

from __future__ import annotations

import json
from typing import Any

import pytest
from manifold_common.domain.access import LOCAL_PRINCIPAL

from functions.invocation.entry import InvocationError
from tests.support.functions import Function
from tests.support.tools import run_in_tools

_GENERATE = """
import json
from samcli.lib.generated_sample_events.events import Events
events, found = Events(), {}
for service, kinds in events.event_mapping.items():
    for kind, facts in kinds.items():
        values = {name.replace("-", "_"): tag.get("default") for name, tag in facts["tags"].items()}
        found[f"{service} {kind}"] = json.loads(events.generate_event(service, kind, values))
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run_in_tools(_GENERATE, home=tmp_path_factory.mktemp("home")))
    return found


@pytest.mark.parametrize("kind", ["http-api-proxy", "aws-proxy"])
def test_an_api_event_reaches_its_route(function: Function, generated: dict[str, Any], kind: str) -> None:
    function.manifold.projects.create(LOCAL_PRINCIPAL, "demo")
    event = generated[f"apigateway {kind}"]
    answer = function("api", event)
    assert (answer["statusCode"], json.loads(answer["body"])["code"]) == (404, "unknown_address")

    listed = function("api", addressed(event, "GET", "/api/v1/projects", {"limit": "10"}))
    assert (listed["statusCode"], [one["name"] for one in json.loads(listed["body"])["items"]]) == (200, ["demo"])
    assert listed.keys() <= {"statusCode", "headers", "body", "isBase64Encoded"}

    event = event | {"headers": event["headers"] | {"Content-Type": "application/json"}}
    body = {"body": '{"name": "x"}', "isBase64Encoded": False}
    assert function("api", addressed(event, "POST", "/api/v1/projects") | body)["statusCode"] == 201
    planned = function("checkout", addressed(event, "POST", "/api/v1/sessions/agent-1/plan"))
    assert json.loads(planned["body"])["code"] == "malformed_event", "its body has fields that no plan has"


def addressed(event: dict[str, Any], method: str, path: str, query: dict[str, str] | None = None) -> dict[str, Any]:
    """Return an event with the method and path that options of ``generate-event`` would set; a GET without the body."""
    query = query or {}
    if method == "GET":
        event = event | {"body": None, "isBase64Encoded": False}
    if "version" in event:
        http = event["requestContext"]["http"] | {"method": method, "path": path}
        text = "&".join(f"{name}={value}" for name, value in query.items())
        context = event["requestContext"] | {"http": http}
        return event | {"rawPath": path, "rawQueryString": text, "requestContext": context}
    multiple = {name: [value] for name, value in query.items()}
    facts = {"path": path, "httpMethod": method, "queryStringParameters": query}
    return event | facts | {"multiValueQueryStringParameters": multiple}


def test_without_host_and_domain_the_request_is_refused_and_a_strangers_domain_too(
    function: Function, generated: dict[str, Any]
) -> None:
    event = addressed(generated["apigateway http-api-proxy"], "GET", "/api/v1/projects")
    for domain, says in ((None, "which server"), ("evil.example", "evil.example")):
        context = event["requestContext"] | {"domainName": domain}
        context = {name: value for name, value in context.items() if value is not None}
        answer = function("api", event | {"requestContext": context})
        assert (answer["statusCode"], says in answer["body"]) == (403, True)
    rebound = event | {"headers": {"Host": "evil.example"}}
    assert function("api", rebound)["statusCode"] == 403, "what the client asked for counts, not where AWS was reached"


def test_a_rest_apis_path_is_decoded_once(function: Function, generated: dict[str, Any]) -> None:
    project = function.manifold.projects.create(LOCAL_PRINCIPAL, "demo").id
    event = addressed(generated["apigateway aws-proxy"], "PUT", f"/api/v1/projects/{project}/files/a%2520b")
    assert function("api", event)["statusCode"] == 201
    names = [path for path, _ in function.manifold.history.list_tree(LOCAL_PRINCIPAL, project, b"").entries]
    assert names == [b"a%20b"]
    assert function("api", event | {"path": f"/api/v1/projects/{project}/files/a%2Fb"})["statusCode"] == 201
    names = [path for path, _ in function.manifold.history.list_tree(LOCAL_PRINCIPAL, project, b"a").entries]
    assert names == [b"a/b"]


def test_a_schedules_notice_asks_for_everything(function: Function, generated: dict[str, Any]) -> None:
    event = generated["cloudwatch scheduled-event"]
    assert "waiting" in function("fanout", event)
    assert "job" in function("reencrypt", event)
    assert "close_sessions" in function("maintenance", event)["chores"]


def test_a_message_that_is_no_nudge_comes_again(function: Function, generated: dict[str, Any]) -> None:
    event = generated["sqs receive-message"]
    failed = {"batchItemFailures": [{"itemIdentifier": event["Records"][0]["messageId"]}]}
    assert function("fanout", event) == failed
    event["Records"][0]["body"] = '{"nudge": 1}'
    assert function("fanout", event) == {"batchItemFailures": []}


def test_events_of_other_services_are_refused_by_the_field(function: Function, generated: dict[str, Any]) -> None:
    served = {"apigateway http-api-proxy", "apigateway aws-proxy", "cloudwatch scheduled-event", "sqs receive-message"}
    others = {name: event for name, event in generated.items() if name not in served and isinstance(event, dict)}
    assert len(others) > 50 and served <= generated.keys()
    for name, event in others.items():
        for target in ("api", "checkout", "commit", "fanout", "reencrypt", "maintenance"):
            with pytest.raises(InvocationError) as caught:
                function(target, event)
            assert type(caught.value).__name__ == "malformed_event", (name, target)
