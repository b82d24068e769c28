"""After a change the fan-out is woken through SQS, before the container can be frozen; and nothing depends on it."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from manifold_common.domain.access import LOCAL_PRINCIPAL

from functions.invocation.container import CONTAINER
from tests.support.aws import operator_client
from tests.support.functions import Function, MakeFunction, sample

REGION = "eu-central-1"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "AKIDFORTESTS", "AWS_SECRET_ACCESS_KEY": "the-secret-of-the-tests"}
COMMIT = sample("commit-direct", tenant=None, user=None, request_id=None)


class Queue:
    def __init__(self, endpoint: str, variable: str = "FUNCTIONS_NUDGE_QUEUE_URL") -> None:
        self._sqs: Any = operator_client("sqs", endpoint, REGION)
        self.url: str = self._sqs.create_queue(QueueName=f"queue-{time.monotonic_ns()}")["QueueUrl"]
        self.variables = {
            **CREDENTIALS,
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": endpoint,
            variable: self.url,
        }

    def bodies(self) -> list[str]:
        found = self._sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10).get("Messages", [])
        return [message["Body"] for message in found]

    def delayed(self) -> int:
        """Return how many messages nobody gets yet."""
        name = "ApproximateNumberOfMessagesDelayed"
        found = self._sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=[name])
        return int(found["Attributes"][name])


@pytest.fixture
def queue(moto_url: str) -> Queue:
    return Queue(moto_url)


def test_one_message_follows_a_commit_and_none_what_changes_nothing(make_function: MakeFunction, queue: Queue) -> None:
    function = make_function(**queue.variables)
    function.manifold.projects.create(LOCAL_PRINCIPAL, "demo")
    CONTAINER.wake_fanout()
    assert queue.bodies() == ['{"nudge": 1}']
    function("commit", COMMIT)
    assert [json.loads(body)["nudge"] for body in queue.bodies()] == [1]
    function("commit", {**COMMIT, "errors": "return", "changes": [{"op": "delete", "path": "absent"}]})
    function("checkout", {"project": "demo"})
    assert queue.bodies() == []


def test_the_message_is_one_that_the_fan_out_takes(make_function: MakeFunction, queue: Queue) -> None:
    function = make_function(**queue.variables)
    function.manifold.projects.create(LOCAL_PRINCIPAL, "demo")
    CONTAINER.wake_fanout()
    batch = sample("sqs-nudges")
    batch["Records"][0]["body"] = queue.bodies()[0]
    assert json.loads(batch["Records"][0]["body"]) == json.loads(batch["Records"][1]["body"]), "as the sample has it"
    assert function("fanout", batch) == {"batchItemFailures": []}


def test_a_commit_through_the_api_wakes_the_fan_out_as_well(make_function: MakeFunction, queue: Queue) -> None:
    function = make_function(**queue.variables)
    assert function("api", sample("http-post"))["statusCode"] == 201
    assert len(queue.bodies()) == 1


@pytest.fixture
def silent_endpoint() -> Iterator[str]:
    """An address that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def closed_endpoint() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def wake_at(make_function: MakeFunction, endpoint: str) -> tuple[Function, float]:
    variables = {**CREDENTIALS, "AWS_REGION": REGION, "AWS_ENDPOINT_URL": endpoint}
    function = make_function(**variables, FUNCTIONS_NUDGE_QUEUE_URL=f"{endpoint}/1/nudges")
    function.manifold.projects.create(LOCAL_PRINCIPAL, "demo")
    begun = time.monotonic()
    assert function("commit", COMMIT)["generation"] == 1
    return function, time.monotonic() - begun


def test_a_queue_that_is_away_costs_no_commit(
    make_function: MakeFunction, closed_endpoint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    wake_at(make_function, closed_endpoint)
    out = capsys.readouterr().out
    assert "the fan-out was not woken" in out and CREDENTIALS["AWS_SECRET_ACCESS_KEY"] not in out


def test_a_queue_that_does_not_answer_holds_a_commit_up_for_seconds_at_most(
    make_function: MakeFunction, silent_endpoint: str
) -> None:
    _, seconds = wake_at(make_function, silent_endpoint)
    assert 2 < seconds < 8


def test_a_connection_that_died_while_frozen_is_made_again(make_function: MakeFunction, queue: Queue) -> None:
    with Relay(queue.variables["AWS_ENDPOINT_URL"]) as relay:
        function = make_function(**{**queue.variables, "AWS_ENDPOINT_URL": relay.url})
        function.manifold.projects.create(LOCAL_PRINCIPAL, "demo")
        CONTAINER.wake_fanout()
        relay.cut()
        function("commit", COMMIT)
        assert len(queue.bodies()) == 2
        assert relay.connections == 2


class Relay:
    """A TCP relay whose connections can be cut."""

    def __init__(self, endpoint: str) -> None:
        host, port = endpoint.removeprefix("http://").split(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.connections = 0
        self._ends: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *_: object) -> None:
        _end(self._listener)
        self.cut()
        for thread in self._threads:
            thread.join(5)

    def cut(self) -> None:
        for end in self._ends:
            _end(end)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            self.connections += 1
            self._ends += [client, server]
            for source, target in ((client, server), (server, client)):
                thread = threading.Thread(target=self._pass_on, args=(source, target), daemon=True)
                self._threads.append(thread)
                thread.start()

    @staticmethod
    def _pass_on(source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                target.sendall(data)
        except OSError:
            pass
        _end(source)
        _end(target)


def _end(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
