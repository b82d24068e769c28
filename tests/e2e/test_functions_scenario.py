"""The whole system as functions, without Docker: what is built runs on a stand-in for AWS, beside real servers.

Where docs/functions-local.md calls the stand-in the same as AWS, it is shown here or in tests/infra. The scenario is a
user's: a project of two thousand real files goes in by the command line, is checked out, edited and
committed through the commit function, another client meets a conflict, an older state is brought back, and every change
is an event that a Kafka consumer reads. Meanwhile the schedules fire.
"""

from __future__ import annotations

import io
import json
import os
import re
import secrets
import shutil
import subprocess
import sysconfig
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError
from kafka import KafkaConsumer, TopicPartition
from manifold_common.bootstrap import build
from manifold_common.domain.event import PROJECT_COMMIT
from manifold_common.settings import load_settings
from manifold_local.functions_stack.deploy import STACK
from manifold_local.functions_stack.front_door import FrontDoor
from manifold_local.functions_stack.stack import FunctionFailed, FunctionsStack, running_functions_stack
from manifold_local.host.port import reserve

from tests.support.cli import EXECUTABLE, Program
from tests.support.tools import tools
from tests.support.work import look
from tests.support.zygote import Zygote

pytestmark = pytest.mark.early("their stack takes long to start, and its schedules fire by the minute")

FILES = 2000
PATIENCE_SECONDS = 90.0


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FunctionsStack]:
    folder = tmp_path_factory.mktemp("functions")
    ram = Path("/dev/shm") / f"manifold-test-{secrets.token_hex(6)}"
    ram.mkdir(mode=0o700)
    environ = {
        "WORKDIR": str(folder / "work"),
        "SERVER_PORT": "0",
        "PROJECTS_WORKSPACE_TMPFS_DIR": str(ram / "host"),
        "PROJECTS_QUOTAS_MAX_FILE_BYTES": "2MiB",
    }
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XDG_RUNTIME_DIR", str(folder))
            with running_functions_stack(load_settings(environ=environ, cwd=folder), tools()) as running:
                yield running
    finally:
        shutil.rmtree(ram, ignore_errors=True)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two thousand real files: sources of this Python's library."""
    folder = tmp_path_factory.mktemp("tree") / "tree"
    library = Path(sysconfig.get_path("stdlib"))
    sources = sorted(path for path in library.rglob("*.py") if "site-packages" not in path.parts)
    sources = (sources * (FILES // len(sources) + 1))[:FILES]
    for number, source in enumerate(sources):
        target = folder / f"part-{number // 500}" / source.relative_to(library)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)
    return folder


@pytest.fixture
def make_client(stack: FunctionsStack, tmp_path: Path, ram_folder: Path, zygote: Zygote) -> Callable[[str], Program]:
    def make(name: str) -> Program:
        folder = tmp_path / name
        folder.mkdir()
        return Program(folder, ram_folder / name, zygote, {"MANIFOLD_REMOTE": stack.url})

    return make


def eventually(found: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    return value


def events_of(stack: FunctionsStack, project: str) -> list[dict[str, Any]]:
    """Return what a consumer reads of one project, in order."""
    topic, brokers = stack.settings.projects.events.topic, list(stack.settings.projects.events.brokers)
    consumer = KafkaConsumer(bootstrap_servers=brokers, group_id=None, enable_auto_commit=False)
    try:
        partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
        consumer.assign(partitions)
        consumer.seek_to_beginning(*partitions)
        ends, found = consumer.end_offsets(partitions), []
        while any(consumer.position(one) < end for one, end in ends.items()):
            found += [record for records in consumer.poll(timeout_ms=500).values() for record in records]
    finally:
        consumer.close()
    documents = [json.loads(record.value) for record in sorted(found, key=lambda one: (one.partition, one.offset))]
    return [document for document in documents if document["data"]["project_id"] == project]


def messages_in(stack: FunctionsStack, queue: str) -> list[int]:
    """Return how many messages of a queue wait, are being worked on, and are delayed."""
    names = [f"ApproximateNumberOfMessages{kind}" for kind in ("", "NotVisible", "Delayed")]
    with stack.aws.client("sqs") as sqs:
        url = sqs.get_queue_url(QueueName=f"{STACK}-{queue}")["QueueUrl"]
        found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return [int(found[name]) for name in names]


def woken_by(stack: FunctionsStack, function: str) -> set[str]:
    """Return whose messages a function has taken."""
    lines = [json.loads(line) for line in stack.logs(function) if line.startswith("{")]
    return {line["woken_by"] for line in lines if "woken_by" in line}


def commits_of(stack: FunctionsStack, project: str, count: int) -> list[dict[str, Any]]:
    """Return a project's commits as a consumer reads them, once there are ``count``; none before."""
    found = [event for event in events_of(stack, project) if event["type"] == PROJECT_COMMIT]
    return found if len(found) >= count else []


def test_two_thousand_files_go_through_the_deployed_functions(
    stack: FunctionsStack, tree: Path, tmp_path: Path, make_client: Callable[[str], Program]
) -> None:
    one, two = make_client("one"), make_client("two")
    name = f"scenario-{secrets.token_hex(4)}"
    made = one.json("project", "create", name)
    project = made["id"]
    imported = one.json("import", name, tree, "-m", "first")
    assert (imported["generation"], imported["entries"] >= FILES) == (1, True)

    here = Path(one.text("checkout", name, "--session", f"{name}-1").strip())
    there = Path(two.text("checkout", name, "--session", f"{name}-2").strip())
    assert look(here) == look(there) == look(tree)
    (here / "hello.txt").write_text("hello\n")
    (here / "part-0" / "abc.py").write_text("# from the first client\n")
    assert one.json("commit", "-m", "edit", cwd=here)["generation"] == 2

    (there / "part-0" / "abc.py").write_text("# from the second client\n")
    conflict = two.error("commit", f"{name}-2", code=4)
    assert (conflict["code"], conflict["details"]["paths"]) == ("commit_conflict", ["part-0/abc.py"])
    assert two.json("commit", f"{name}-2", "--strategy", "theirs")["commit"] is None

    assert one.json("restore", name, "1")["generation"] == 3
    one("export", name, tmp_path / "out")
    assert look(tmp_path / "out") == look(tree)

    committed = eventually(lambda: commits_of(stack, project, 3))
    assert [event["data"]["generation"] for event in committed] == [1, 2, 3]
    assert {event["specversion"] for event in committed} == {"1.0"}
    with httpx.Client(base_url=stack.url, timeout=60) as api:
        assert api.get("/health").json()["status"] == "ok"
        assert api.get(f"/api/v1/projects/{name}").json()["generation"] == 3


def test_a_direct_invocation_commits_once_for_one_request_and_checks_out(stack: FunctionsStack) -> None:
    name = f"direct-{secrets.token_hex(4)}"
    with httpx.Client(base_url=stack.url, timeout=60) as api:
        assert api.post("/api/v1/projects", json={"name": name}).status_code == 201
    event = {
        "project": name,
        "message": "by an agent",
        "request_id": f"{name}-r1",
        "changes": [{"op": "put", "path": "a.txt", "text": "one\n"}],
    }
    first, second = stack.invoke("commit", event), stack.invoke("commit", event)
    assert (first["generation"], second["generation"], second["commit"]) == (1, 1, first["commit"])
    done = stack.invoke("checkout", {"project": name, "session": f"{name}-s"})
    assert (done["generation"], done["entries"]) == (1, 1)


def test_a_job_that_is_started_over_http_is_done_by_the_queue_without_a_schedule(stack: FunctionsStack) -> None:
    name = f"rewrapped-{secrets.token_hex(4)}"
    with httpx.Client(base_url=stack.url, timeout=60) as api, closing(build(stack.settings, stack.dsn)) as manifold:
        for number in range(3):
            assert api.post("/api/v1/projects", json={"name": f"{name}-{number}"}).status_code == 201
        manifold.rewrap.rotate()
        begun = api.post("/api/v1/jobs", json={"kind": "rewrap"}, headers={"X-Correlation-Id": name})
        assert begun.status_code == 201, begun.text
        job = f"/api/v1/jobs/{begun.json()['id']}"
        done = eventually(lambda: (found := api.get(job).json())["state"] == "done" and found)
        assert (done["done"] >= 3, done["failed"]) == (True, 0)
        assert next(manifold.rewrap.pending(), None) is None
    assert name in woken_by(stack, "reencrypt")
    eventually(lambda: messages_in(stack, "reencrypt") == [0, 0, 0])


def test_a_job_about_content_is_done_by_a_queue_of_its_own_without_a_schedule(stack: FunctionsStack) -> None:
    name = f"verified-{secrets.token_hex(4)}"
    with httpx.Client(base_url=stack.url, timeout=60) as api:
        assert api.post("/api/v1/projects", json={"name": name}).status_code == 201
        assert api.put(f"/api/v1/projects/{name}/files/a", content=b"one").status_code == 201
        headers = {"X-Correlation-Id": name, "Prefer": "respond-async"}
        wanted = {"read_data": True, "repair": True}
        begun = api.post(f"/api/v1/projects/{name}/verify", json=wanted, headers=headers)
        assert begun.status_code == 202, begun.text
        job = f"/api/v1/jobs/{begun.json()['id']}"
        done = eventually(lambda: (found := api.get(job).json())["state"] == "done" and found)
        assert (done["done"], done["failed"]) == (1, 0)
    assert name in woken_by(stack, "maintenance")
    eventually(lambda: messages_in(stack, "maintenance") == [0, 0, 0])


def test_a_message_for_later_wakes_nobody_now(stack: FunctionsStack) -> None:
    name = f"later-{secrets.token_hex(4)}"
    body = json.dumps({"work": 1, "correlation_id": name})
    eventually(lambda: messages_in(stack, "reencrypt") == [0, 0, 0])
    with stack.aws.client("sqs") as sqs:
        url = sqs.get_queue_url(QueueName=f"{STACK}-reencrypt")["QueueUrl"]
        sqs.send_message(QueueUrl=url, MessageBody=body, DelaySeconds=5)
    time.sleep(2)
    assert (messages_in(stack, "reencrypt"), name in woken_by(stack, "reencrypt")) == ([0, 0, 1], False)
    eventually(lambda: name in woken_by(stack, "reencrypt"))


def test_what_was_set_for_this_machine_counts_in_the_functions(stack: FunctionsStack) -> None:
    event = {
        "project": f"limited-{secrets.token_hex(4)}",
        "changes": [{"op": "put", "path": "a", "text": "x" * (3 << 20)}],
    }
    with httpx.Client(base_url=stack.url, timeout=60) as api:
        assert api.post("/api/v1/projects", json={"name": event["project"]}).status_code == 201
    with pytest.raises(FunctionFailed, match="quota"):
        stack.invoke("commit", {**event, "request_id": f"{event['project']}-r1"})


def test_commands_in_another_shell_work_with_what_the_functions_have(stack: FunctionsStack, tmp_path: Path) -> None:
    """Those that find the stack by themselves, and those that were told."""
    name = f"shell-{secrets.token_hex(4)}"
    user = {key: os.environ[key] for key in ("PATH", "HOME", "XDG_RUNTIME_DIR") if key in os.environ}
    told = {"PATH": user["PATH"], **stack.handover.variables}
    for number, environ in enumerate((user, told)):
        for command in (["project", "create", f"{name}-{number}"], ["health"]):
            subprocess.run([EXECUTABLE, *command], cwd=tmp_path, env=environ, check=True, capture_output=True)
    listed = httpx.get(f"{stack.url}/api/v1/projects", params={"limit": 500}, timeout=60).json()["items"]
    assert {f"{name}-0", f"{name}-1"} <= {project["name"] for project in listed}


def test_an_event_that_is_wrong_is_refused_with_its_field(stack: FunctionsStack) -> None:
    with pytest.raises(FunctionFailed, match="session"):
        stack.invoke("checkout", {"project": "demo", "session": 7})


def test_the_schedules_fire(stack: FunctionsStack) -> None:
    """The fan-out's sweep and the upkeep run each minute, without anybody asking for them."""
    before = {function: len(stack.logs(function)) for function in ("fanout", "maintenance")}
    eventually(lambda: all(len(stack.logs(function)) > seen for function, seen in before.items()), seconds=150)
    upkeep = stack.invoke("maintenance", {"source": "manifold.schedule"})["chores"]
    assert all("done" in outcome for outcome in upkeep.values())


# --- the stand-in as AWS ----------------------------------------------------------------------------------------------

ROOT = Path(__file__).parents[2]


def _guide() -> tuple[str, list[str]]:
    """Return the address in the guide's commands for the samples, and these."""
    page = (ROOT / "docs" / "functions-local.md").read_text()
    block = re.search(r"^```sh\nINVOKE=(http://[\d.:]+)(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert block
    first, *lines = block[2].splitlines()
    return first, lines


def test_each_sample_is_served_by_the_guides_commands(stack: FunctionsStack) -> None:
    path, lines = _guide()
    answers: dict[str, Any] = {}
    for line in lines:
        script = f"INVOKE={stack.aws.url}{path}\n{line}"
        done = subprocess.run(["bash", "-euc", script], cwd=ROOT, capture_output=True, text=True, check=True)
        sample = re.search(r"events/([a-z-]+)\.json", line)
        assert sample
        answers[sample[1]] = json.loads(done.stdout)
    assert answers.keys() == {path.stem for path in (ROOT / "events").glob("*.json")}
    assert not {name: answer for name, answer in answers.items() if "errorType" in answer}
    statuses = {name: answer["statusCode"] for name, answer in answers.items() if "statusCode" in answer}
    assert statuses == {"http-post": 201, "http-get": 200, "http-plan": 200, "http-publish": 400}
    assert json.loads(answers["http-publish"]["body"])["code"] == "bad_upload"
    assert (answers["commit-direct"]["generation"], answers["checkout-direct"]["entries"]) == (1, 3)
    batches = ("sqs-nudges", "sqs-reencrypt", "sqs-maintenance", "kafka-commits")
    assert [answers[name] for name in batches] == [{"batchItemFailures": []}] * len(batches)
    assert all("done" in outcome for outcome in answers["maintenance-direct"]["chores"].values())


def _tries(stack: FunctionsStack, function: str, code: str) -> list[dict[str, Any]]:
    """Return what a function has logged at the end of invocations that came to ``code``."""
    lines = [json.loads(line) for line in stack.logs(function) if line.startswith("{")]
    return [line for line in lines if str(line.get("message", "")).startswith(f"{function}: {code} in")]


def test_an_error_is_named_for_its_code_and_the_container_goes_on(stack: FunctionsStack) -> None:
    before = len(_tries(stack, "reencrypt", "malformed_event"))
    for _ in range(2):
        with pytest.raises(FunctionFailed) as caught:
            stack.invoke("reencrypt", {"what": 1})
        assert caught.value.content["errorType"] == "malformed_event"
        assert caught.value.content["stackTrace"]
    assert [one["cold_start"] for one in _tries(stack, "reencrypt", "malformed_event")[before:]][1:] == [False]


def test_what_is_too_large_is_refused_before_a_function_sees_it(stack: FunctionsStack) -> None:
    with stack.aws.client("lambda") as functions, pytest.raises(ClientError) as caught:
        functions.invoke(FunctionName=f"{STACK}-reencrypt", Payload=b'"' + b"x" * 6_291_455 + b'"')
    assert caught.value.response["Error"]["Code"] == "RequestEntityTooLargeException"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 413
    with stack.aws.client("lambda") as functions, pytest.raises(ClientError, match="request body into json"):
        functions.invoke(FunctionName=f"{STACK}-reencrypt", Payload=b"no json")
    with httpx.Client(base_url=stack.url, timeout=60) as api:
        for size in (5_000_000, 10_485_761):  # as base64 over Lambda's limit; over that of the HTTP API
            refused = api.put("/api/v1/projects/demo/files/x", content=b"x" * size)
            assert (refused.status_code, refused.json()) == (413, {"message": "Request Entity Too Large"})
        assert api.get("/api/v1/projects", headers={"x-long": "x" * 10_240}).status_code == 431
        assert api.get("/api/v1/projects", headers={"x-long": "x" * 9_000}).status_code == 200


def test_a_503_hides_a_success_that_the_same_request_finds_by_its_name(stack: FunctionsStack) -> None:
    name = f"hidden-{secrets.token_hex(4)}"
    body = {"changes": [{"op": "put", "path": "a", "text": "once"}]}
    path, named = f"/api/v1/projects/{name}/commits", {"Idempotency-Key": name}
    with stack.aws.client("apigatewayv2") as gateway:
        (api_id,) = [one["ApiId"] for one in gateway.get_apis()["Items"]]
    listener = reserve("127.0.0.1", 0)
    hasty = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with FrontDoor(listener, stack.aws.url, api_id, answer_seconds=0.01), httpx.Client(timeout=60) as client:
        assert client.post(f"{stack.url}/api/v1/projects", json={"name": name}).status_code == 201
        lost = client.post(hasty + path, json=body, headers=named)
        assert (lost.status_code, lost.json()) == (503, {"message": "Service Unavailable"})
        assert "problem" not in lost.headers["content-type"]
        again = client.post(stack.url + path, json=body, headers=named)
        assert (again.status_code, again.json()["generation"]) == (201, 1)
        eventually(lambda: _tries(stack, "api", "ok"))
        assert [one["generation"] for one in client.get(stack.url + path).json()["items"]] == [1]


def test_an_asynchronous_call_that_fails_is_tried_twice_more_and_then_kept(stack: FunctionsStack) -> None:
    event = {"what": secrets.token_hex(8)}
    before = len(_tries(stack, "commit", "malformed_event"))
    with stack.aws.client("lambda") as functions:
        functions.invoke(FunctionName=f"{STACK}-commit", InvocationType="Event", Payload=json.dumps(event))
    with stack.aws.client("sqs") as sqs:
        url = sqs.get_queue_url(QueueName=f"{STACK}-dead-letters")["QueueUrl"]
        (message,) = eventually(lambda: sqs.receive_message(QueueUrl=url).get("Messages"))
        sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    kept = json.loads(message["Body"])
    assert (kept["requestPayload"], kept["responsePayload"]["errorType"]) == (event, "malformed_event")
    assert len(_tries(stack, "commit", "malformed_event")) == before + 3


def test_of_a_batch_only_the_messages_that_failed_come_again(stack: FunctionsStack) -> None:
    with stack.aws.client("sqs") as sqs:
        url = sqs.get_queue_url(QueueName=f"{STACK}-nudges")["QueueUrl"]
        entries = [{"Id": str(n), "MessageBody": body} for n, body in enumerate(['{"nudge": 1}', "no nudge"])]
        sqs.send_message_batch(QueueUrl=url, Entries=entries)
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]

        def left() -> bool:
            found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
            return [int(found[name]) for name in names] == [0, 1]

        eventually(left)
        sqs.purge_queue(QueueUrl=url)


def test_a_function_without_concurrency_left_is_throttled(stack: FunctionsStack) -> None:
    name = f"{STACK}-checkout"
    with stack.aws.client("lambda") as functions:
        functions.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
        try:
            with pytest.raises(functions.exceptions.TooManyRequestsException):
                functions.invoke(FunctionName=name, Payload=b"{}")
            answer = httpx.post(f"{stack.url}/api/v1/sessions/agent-9/plan", json={}, timeout=60)
            assert (answer.status_code, answer.json()) == (503, {"message": "Service Unavailable"})
        finally:
            functions.delete_function_concurrency(FunctionName=name)


ECHO = """
def handler(event, context):
    if event["rawPath"] == "/echo/raise":
        raise KeyError("x")
    return event
"""


def test_an_http_request_becomes_the_event_that_aws_makes_of_it(stack: FunctionsStack) -> None:
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as package:
        package.writestr("echo.py", ECHO)
    role, content = "arn:aws:iam::000000000000:role/echo", {"ZipFile": code.getvalue()}
    with stack.aws.client("lambda") as functions, stack.aws.client("apigatewayv2") as gateway:
        made = functions.create_function(
            FunctionName="echo", Runtime="python3.13", Handler="echo.handler", Role=role, Code=content
        )
        (api_id,) = [one["ApiId"] for one in gateway.get_apis()["Items"]]
        how = {"IntegrationType": "AWS_PROXY", "PayloadFormatVersion": "2.0", "IntegrationUri": made["FunctionArn"]}
        integration = gateway.create_integration(ApiId=api_id, **how)["IntegrationId"]
        gateway.create_route(ApiId=api_id, RouteKey="ANY /echo/{rest+}", Target=f"integrations/{integration}")
    host = stack.url.removeprefix("http://")
    with httpx.Client(base_url=stack.url, timeout=60) as client:
        headers = [("X-Twice", "one"), ("X-Twice", "two"), ("Content-Type", "application/octet-stream")]
        event = client.post("/echo/a%2Fb%20c/%C3%BC?x=1&x=2&y=a%20b", headers=headers, content=b"\x00\xff").json()
        assert (event["version"], event["rawPath"]) == ("2.0", "/echo/a/b c/ü")
        assert event["rawQueryString"] == "x=1&x=2&y=a%20b"
        assert event["queryStringParameters"] == {"x": "1,2", "y": "a b"}
        assert (event["headers"]["x-twice"], event["headers"]["host"]) == ("one,two", host)
        assert event["headers"]["x-forwarded-for"] == event["requestContext"]["http"]["sourceIp"] == "127.0.0.1"
        assert event["headers"]["x-forwarded-proto"] == "http"
        assert (event["isBase64Encoded"], event["body"]) == (True, "AP8=")
        assert event["requestContext"]["http"]["method"] == "POST"
        assert event["requestContext"]["stage"] == "$default"
        text = client.post("/echo/x", json={"a": "ü"}).json()
        assert (text["isBase64Encoded"], json.loads(text["body"])) == (False, {"a": "ü"})
        failed = client.get("/echo/raise")
        assert (failed.status_code, failed.json()) == (500, {"message": "Internal Server Error"})
