"""``manifold events`` beside a running host whose sinks have trouble."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from manifold_common.ids import ProjectId

from tests.e2e.test_events import dependency, make_project, put, wait_until
from tests.support.cli import Program
from tests.support.host import MakeHost
from tests.support.shown import run_shown
from tests.support.webhooks import SECRET, WebhookEndpoint
from tests.support.zygote import Zygote


@pytest.fixture
def variables(webhook_endpoint: WebhookEndpoint) -> dict[str, str]:
    return {
        "WEBHOOKS_URLS": webhook_endpoint.url,
        "WEBHOOKS_SECRET": SECRET,
        "KAFKA_MAX_ATTEMPTS": "2",
        "SERVER_PUBLIC_URL": "http://m.example",
    }


@pytest.fixture
def program(
    tmp_path: Path, ram_folder: Path, empty_postgres_dsn: str, zygote: Zygote, variables: dict[str, str]
) -> Program:
    """The program with the settings of the host that ``make_host`` starts."""
    shared = {"WORKDIR": str(tmp_path / "work"), "DATABASE_URL": empty_postgres_dsn}
    return Program(tmp_path, ram_folder / "ram", zygote, {**variables, **shared})


def streams(program: Program) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = program.json("events", "list")["streams"]
    return found


def sequences(endpoint: WebhookEndpoint) -> list[int]:
    return [int(event["sequence"]) for event in endpoint.events]


def test_an_operator_sees_a_parked_event_and_lets_it_go_on_or_leaves_it_out(
    make_host: MakeHost, program: Program, variables: dict[str, str], webhook_endpoint: WebhookEndpoint
) -> None:
    webhook_endpoint.answer = lambda request, handler: 422 if request.event["sequence"].endswith("01") else 204
    host = make_host(**variables)
    client = host.ready()
    project = make_project(client, "demo")
    put(client, project, "a.txt")
    put(client, project, "b.txt")
    shown = program.json("events", "tail", "demo")["events"]
    assert shown == client.get("/api/v1/projects/demo/events").json()["events"]
    wait_until(lambda: "parked" in dependency(client, "events")["detail"])
    (stream,) = streams(program)
    assert (stream["project"], stream["waiting"], stream["refusals"]) == (project, 2, 2)
    assert stream["error"] == "the endpoint answered 422"
    assert stream["sink"].startswith("webhook:127.0.0.1-")
    assert sequences(webhook_endpoint) == [0]
    table = program.text("events", "list")
    assert "parked after 2 refusals" in table
    assert "hidden" not in table, "the query of the URL may be a secret"
    events = dependency(client, "events")
    assert (events["state"], events["detail"]) == ("degraded", "1 stream parked: see 'manifold events list'")

    assert program.json("events", "redrive", "demo") == {"redriven": 1, "redriven_sinks": 0}
    wait_until(lambda: len(webhook_endpoint.requests) >= 5 and "parked" in dependency(client, "events")["detail"])
    assert sequences(webhook_endpoint) == [0]

    assert program.error("events", "redrive", "--skip", code=2)["message"] == "--skip needs a PROJECT"
    assert program.error("events", "redrive", "--sink", "fax", code=3)["hint"].endswith(stream["sink"])
    assert program.json("events", "redrive", project, "--skip", "--sink", stream["sink"]) == {
        "redriven": 1,
        "redriven_sinks": 0,
    }
    wait_until(lambda: sequences(webhook_endpoint) == [0, 2])
    wait_until(lambda: dependency(client, "events")["detail"] == "0 waiting")
    assert "nothing waits" in program.text("events", "list")
    assert host.stop()[0] == 0


def test_an_operator_sees_a_receiver_that_was_switched_off_and_has_it_tried_again(
    make_host: MakeHost, program: Program, variables: dict[str, str], webhook_endpoint: WebhookEndpoint
) -> None:
    webhook_endpoint.answer = lambda request, handler: 410
    host = make_host(**variables)
    client = host.ready()
    (name,) = [sink["sink"] for sink in program.json("events", "list")["sinks"]]
    for project in ("one", "two"):
        make_project(client, project)
    wait_until(lambda: dependency(client, name)["state"] == "degraded")
    seen = dependency(client, name)
    assert "answered 410: it was switched off; parked since" in seen["detail"]
    assert "hidden" not in seen["detail"]
    assert client.get("/readyz").status_code == 200
    (sink,) = program.json("events", "list")["sinks"]
    assert (sink["state"], sink["failures"], sink["ok_at"]) == ("parked", 1, None)
    assert "parked" in program.text("events", "list")
    assert dependency(client, "events")["detail"] == "2 streams parked: see 'manifold events list'"
    done = program("events", "redrive", "one")
    assert f"manifold events redrive --sink {name}" in done.stderr.decode()
    assert len(webhook_endpoint.requests) == 1

    webhook_endpoint.answer = lambda request, handler: 204
    assert program.json("events", "redrive", "--sink", name)["redriven_sinks"] == 1
    wait_until(lambda: len(webhook_endpoint.taken) == 2)
    wait_until(lambda: dependency(client, name)["state"] == "ok")
    assert len(webhook_endpoint.requests) == 3
    assert host.stop()[0] == 0


def test_events_are_shown_newest_last_and_followed(program: Program) -> None:
    program("migrate-db")
    ids = [program.json("project", "create", name)["id"] for name in ("one", "two")]
    program("project", "rename", "one", "three")
    found = program.json("events", "tail")["events"]
    assert [event["type"] for event in found] == [
        "manifold.project.created",
        "manifold.project.created",
        "manifold.project.renamed",
    ]
    assert [event["partitionkey"] for event in found] == [ids[0], ids[1], ids[0]]
    assert program.json("events", "tail", "-n", "1")["events"] == found[2:]
    assert program.json("events", "tail", "three")["events"] == [found[0], found[2]]
    assert program.json("events", "tail", ids[1])["events"] == [found[1]]
    lines = program.text("events", "tail", "two").splitlines()
    assert len(lines) == 1
    assert ids[1] in lines[0]
    assert "project.created" in lines[0]

    read, write = os.pipe()
    follower = program.start("events", "tail", "--follow", "--json", "-n", "1", stdout=write)
    os.close(write)
    with os.fdopen(read) as output:
        assert json.loads(output.readline()) == found[2]
        program("project", "create", "four")
        assert json.loads(output.readline())["type"] == "manifold.project.created"
        follower.send_signal(signal.SIGINT)
        assert follower.wait(30) == 130
        assert output.read() == ""


def test_events_of_a_deleted_project_are_found_by_its_id(program: Program) -> None:
    program("migrate-db")
    project = ProjectId(program.json("project", "create", "gone")["id"])
    program("project", "delete", "gone", "--yes")
    types = [event["type"] for event in program.json("events", "tail", project)["events"]]
    assert types == ["manifold.project.created", "manifold.project.deleted"]
    assert program.error("events", "tail", "gone", code=3)["code"] == "not_found"


def test_without_a_sink_it_says_that_events_go_nowhere(program: Program) -> None:
    program("migrate-db")
    nowhere = {"WEBHOOKS_URLS": "", "WEBHOOKS_SECRET": ""}
    done = program("events", "list", **nowhere)
    assert b"events go nowhere" in done.stderr
    assert program.json("events", "list", **nowhere) == {"sinks": [], "streams": []}


def test_sinks_are_completed(program: Program) -> None:
    line = "manifold events list --sink web"
    words = {"_MANIFOLD_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": "4"}
    (found,) = program.text(**words).split()
    assert found.startswith("webhook:127.0.0.1-")


def test_the_commands_that_the_page_shows(program: Program) -> None:
    program("migrate-db")
    project = program.project()
    (sink,) = program.json("events", "list")["sinks"]
    done = run_shown(
        "docs/events.md: manifold events list",
        environ=program.environ(),
        cwd=program.folder,
        PROJECT=project,
        SINK=sink["sink"],
    )
    assert sink["sink"] in done.stdout
