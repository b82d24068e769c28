"""Each function as its own process, driven by the AWS Runtime Interface Emulator."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.artifacts import Artifacts
from tests.support.emulator import MakeEmulated
from tests.support.functions import metrics_of, sample
from tests.support.webhooks import SECRET, WebhookEndpoint

pytestmark = pytest.mark.slow

NAMES = ("api", "checkout", "commit", "fanout", "reencrypt", "maintenance")
LOCAL = {"tenant": None, "user": None}


def test_a_project_lives_through_all_functions_as_they_are_deployed(
    emulated: MakeEmulated, webhook_endpoint: WebhookEndpoint, artifacts: Artifacts
) -> None:
    webhooks = {"WEBHOOKS_URLS": webhook_endpoint.url, "WEBHOOKS_SECRET": SECRET, "artifacts": artifacts}
    api = emulated("api", **webhooks)
    made = api.invoke(sample("http-post")).payload
    assert (made["statusCode"], json.loads(made["body"])["name"]) == (201, "demo")

    commit = emulated("commit", container="b", **webhooks)
    done = commit.invoke(sample("commit-direct", **LOCAL)).payload
    assert done["generation"] == 1

    checkout = emulated("checkout", container="c", **webhooks)
    event = sample("checkout-direct", **LOCAL, generation=None, paths=["*.txt"])
    assert checkout.invoke(event).payload["kind"] == "new"
    assert checkout.invoke(event).payload["kind"] == "warm"
    measured = metrics_of(checkout.log())
    assert {"cold_starts", "workspace.checkout.duration", "invocation.duration"} <= measured.keys()

    fanout = emulated("fanout", container="d", **webhooks)
    assert fanout.invoke(sample("sqs-nudges")).payload == {"batchItemFailures": []}
    assert [one["type"] for one in webhook_endpoint.events] == ["manifold.project.created", "manifold.project.commit"]

    assert fanout.invoke(sample("schedule")).payload["settled"] == 2

    maintenance = emulated("maintenance", container="e", **webhooks)
    assert "error" not in str(maintenance.invoke(sample("schedule")).payload["chores"])
    reencrypt = emulated("reencrypt", container="f", **webhooks, PROJECTS_ENCRYPTION_FILE_KEY_NAME="second")
    assert reencrypt.invoke(sample("schedule")).payload["job"]["done"] == 1
    assert checkout.invoke({**event, "session": "agent-2"}).payload["kind"] == "new", "keys may change meanwhile"


@pytest.mark.parametrize("name", NAMES)
def test_a_malformed_event_is_refused_with_the_name_of_the_field(emulated: MakeEmulated, name: str) -> None:
    answer = emulated(name).invoke({"what": 1})
    assert answer.error == "malformed_event"
    field = "requestContext.http" if name == "api" else "what"
    assert field in answer.payload["errorMessage"], answer.payload


def test_what_lambda_logs_of_a_failure_names_no_path(emulated: MakeEmulated) -> None:
    commit = emulated("commit")
    event: dict[str, Any] = sample("commit-direct", changes=[{"op": "delete", "path": "secret-name"}])
    answer = commit.invoke(event)
    assert answer.error == "not_found"
    assert "secret-name" not in json.dumps(answer.payload) + commit.log()
