"""Commands beside a running host: on the same projects, the same sessions, the same database."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from manifold_common.domain.api_address import API
from manifold_common.ids import encode_id

from tests.support.cli import Program
from tests.support.operations import BOTH


@pytest.fixture(scope="module")
def url(program: Program) -> Iterator[str]:
    """Address of a host that serves the program's projects."""
    with (
        (program.folder / "host.log").open("wb") as log,
        program.start("up", "--port", "0", stdout=log, stderr=subprocess.STDOUT) as host,
    ):
        deadline = time.monotonic() + 60
        answer: dict[str, Any] = {}
        while not (answer.get("host") or {}).get("url") and time.monotonic() < deadline:
            assert host.poll() is None, (program.folder / "host.log").read_text()
            answer = program.json("health")
        yield answer["host"]["url"]
        host.send_signal(signal.SIGTERM)
        assert host.wait(60) == 0


def _send(url: str, method: str, body: Any = None) -> Any:
    """Return the answer to a request with JSON, or with bytes."""
    data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    kind = "application/octet-stream" if isinstance(body, bytes) else "application/json"
    request = urllib.request.Request(url, data, {"Content-Type": kind} if data is not None else {}, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return None if answer.status == HTTPStatus.NO_CONTENT else json.load(answer)


def _get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.load(answer)


def test_health_says_where_the_host_is(program: Program, url: str) -> None:
    assert url in program.text("health")
    health = program.json("health")
    assert health["status"] in ("ok", "degraded")
    assert {"postgres", "object store", "RAM folder", "cache"} <= {check["name"] for check in health["dependencies"]}


def test_a_second_host_on_the_same_folder_is_refused(program: Program, url: str) -> None:
    done = program("up", "--port", "0", code=4)
    assert url.encode() in done.stderr


def test_what_the_command_line_commits_the_host_serves(program: Program, url: str) -> None:
    project = program.project({"a.txt": b"one\n"})
    shown = program.json("project", "show", project)
    work = program.checkout(project, "beside")
    (work / "a.txt").write_text("two\n")
    program("commit", "beside", "-m", "from the command line")
    served = _get(f"{url}/api/v1/projects/{shown['id']}")
    assert served["generation"] == 2


READ = (
    "project list", "project show", "log", "show", "diff", "ls", "sessions", "status", "jobs list", "jobs show",
    "jobs result",
    "tags", "garbage", "usage", "damage", "verify", "health",
)  # fmt: skip
"""What answers the same more than once: the very documents are compared, and of other operations their form."""


def make_job(program: Program) -> str:
    """Return the id of a job of a kind that no host works on."""
    job = encode_id(os.urandom(16))
    columns = "tenant_id, job_id, kind, params, user_id, state, measured_at, created_at, running_since"
    values = f"'default', '{job}', 'other', '{{\"n\": \"{job}\"}}', 'local', 'running', now(), now(), now()"
    program("database", "psql", "-c", f"INSERT INTO jobs ({columns}) VALUES ({values})")
    return job


def form_of(document: Any) -> Any:
    """Return a document with its values left out: their types alone."""
    if isinstance(document, dict):
        return {name: form_of(value) for name, value in document.items()}
    if isinstance(document, list):
        return [form_of(value) for value in document]
    return type(document).__name__


def test_json_of_a_command_that_changes_something_has_the_form_of_the_apis_answer(program: Program, url: str) -> None:
    """The same is done in two projects, by commands in one and over the API in the other."""
    mine, theirs = f"{program.project()}-cli", f"{program.project()}-api"
    compared: set[str] = set()

    def same(command: tuple[str, ...], method: str, path: str, body: Any = None) -> tuple[Any, Any]:
        said, answered = program.json(*command), _send(f"{url}{API}{path}", method, body)
        assert form_of(said) == form_of(answered), command
        compared.update(name for name in BOTH if " ".join(command).startswith(f"{name} "))
        return said, answered

    same(("project", "create", mine), "POST", "/projects", {"name": theirs})
    for opened in range(2):  # a new session, and one that is open already
        if opened:
            _send(f"{url}{API}/projects/{mine}/files/theirs", "PUT", b"theirs")
            _send(f"{url}{API}/projects/{theirs}/files/theirs", "PUT", b"theirs")
        here, there = same(
            ("checkout", mine, "-s", mine),
            "POST",
            "/sessions" if not opened else f"/sessions/{theirs}/checkout",
            {} if opened else {"project": theirs, "session": theirs},
        )
        for one in (here, there):
            (Path(one["path"]) / "a").write_text(f"{opened}")
            (Path(one["path"]) / "fifo").exists() or os.mkfifo(Path(one["path"]) / "fifo")
        same(("save", mine), "POST", f"/sessions/{theirs}/save")
        same(("commit", mine, "-m", "two"), "POST", f"/sessions/{theirs}/commit", {"message": "two"})
    same(("commit", mine), "POST", f"/sessions/{theirs}/commit", {})  # nothing
    same(("restore", mine, "1"), "POST", f"/projects/{theirs}/restore", {"generation": 1})
    same(("tag", mine, "1", "first"), "PUT", f"/projects/{theirs}/tags/first", {"generation": 1})
    same(("retention", mine, "--generations", "9"), "PUT", f"/projects/{theirs}/retention", {"generations": 9})
    same(("fork", mine, f"{mine}-2"), "POST", f"/projects/{theirs}/fork", {"name": f"{theirs}-2"})
    same(("project", "rename", f"{mine}-2", f"{mine}-3"), "PATCH", f"/projects/{theirs}-2", {"name": f"{theirs}-3"})
    program("project", "delete", mine, "--yes")
    _send(f"{url}{API}/projects/{theirs}", "DELETE")
    same(("project", "undelete", mine), "POST", f"/projects/{theirs}/undelete")
    job, other = make_job(program), make_job(program)
    for verb in ("pause", "resume", "retry", "cancel"):
        same(("jobs", verb, job), "POST", f"/jobs/{other}/{verb}")
    assert compared == BOTH.keys() - set(READ)


def test_json_of_a_command_is_what_the_api_answers_of_the_same_thing(program: Program, url: str) -> None:
    project = program.project({"a.txt": b"one\n", "docs/b.md": b"two\n"})
    session = f"{project}-1"
    work = program.checkout(project, session)
    (work / "a.txt").write_text("more\n")
    (work / "docs" / "b.md").chmod(0o600)
    (work / "link").symlink_to("a.txt")
    (work / b"caf\xe9".decode("utf-8", "surrogateescape")).write_bytes(b"")
    compared: set[str] = set()
    job = make_job(program)
    done = program.json("restore", project, "1", "--background")["id"]
    program.json("jobs", "watch", done)
    status = program.json("status", session)
    assert status == _get(f"{url}/api/v1/sessions/{session}/status")
    assert {one["change"] for one in status["differences"]} == {"added", "modified", "mode"}
    program("commit", session, "-m", "two", "--provenance", "model=example")
    program("tag", project, "2", "release-1")
    at = f"{url}/api/v1/projects/{project}"
    for command, address in (
        (("project", "show", project), at),
        (("project", "list"), f"{url}/api/v1/projects?limit=500"),
        (("log", project), f"{at}/commits"),
        (("log", project, "--limit", "1"), f"{at}/commits?limit=1"),
        (
            ("log", project, "--path", "docs", "--provenance", "model=example"),
            f"{at}/commits?path=docs&provenance=model",
        ),
        (("log", project, "--session", session, "--since", "2025-01-01T00:00:00Z"), f"{at}/commits?session={session}"),
        (("log", project, "--author", "nobody"), f"{at}/commits?author=nobody"),
        (("project", "list", "--prefix", project[:-1]), f"{url}/api/v1/projects?prefix={project[:-1]}"),
        (("ls", project, "-r", "--glob", "*.md", "--kind", "file"), f"{at}/tree?recursive=true&glob=*.md&kind=file"),
        (("diff", project, "1", "2"), f"{at}/diff?before=1&after=2"),
        (("ls", project, "--recursive"), f"{at}/tree?recursive=true"),
        (("ls", project, "docs", "--generation", "1"), f"{at}/tree/docs?generation=1"),
        (("tags", project), f"{at}/tags"),
        (("damage", project), f"{at}/damage"),
        (("retention", project), f"{at}/retention"),
        (("garbage", project, "--dry-run"), f"{at}/garbage"),
        (("usage", project), f"{at}/usage"),
        (("usage",), f"{url}/api/v1/usage?limit=500"),
        (("jobs", "list"), f"{url}/api/v1/jobs"),
        (("jobs", "list", "--kind", "other", "--state", "running"), f"{url}/api/v1/jobs?kind=other&state=running"),
        (("jobs", "show", job), f"{url}/api/v1/jobs/{job}"),
        (("jobs", "show", job, "--items"), f"{url}/api/v1/jobs/{job}/items"),
        (("jobs", "result", done), f"{url}/api/v1/jobs/{done}/result"),
    ):
        assert program.json(*command) == _get(address), command
        compared.update(name for name in READ if " ".join(command).startswith(name))
    assert program.json("verify", project, "--read-data") == _send(f"{at}/verify", "POST", {"read_data": True})
    first = program.json("log", project, "--limit", "1")["next_cursor"]
    assert program.json("log", project, "--cursor", first) == _get(f"{at}/commits?cursor={first}")
    shown, health = program.json("show", project, "2"), program.json("health")
    assert shown.pop("differences") == _get(f"{at}/diff?before=1&after=2")["items"]
    assert shown == _get(f"{at}/commits/2")
    assert health.keys() - {"host"} == _get(f"{url}/health").keys() - {"traffic"}
    sessions = program.json("sessions", project)
    for one in sessions["items"]:
        assert (one.pop("project_name"), one.pop("has_working_set_here")) == (project, True)
    assert sessions == _get(f"{url}/api/v1/sessions?project={project}")
    assert compared | {"status", "show", "health", "sessions", "verify"} == set(READ)


def test_commands_and_the_host_work_at_the_same_time_and_nothing_is_lost(program: Program, url: str) -> None:
    project = program.project({"base.txt": b"base\n"})
    identity = program.json("project", "show", project)["id"]
    rounds = 3

    def commits(worker: int) -> None:
        work = program.checkout(project, f"busy-{worker}")
        for number in range(rounds):
            (work / f"from-{worker}-{number}.txt").write_text(f"{worker} {number}\n")
            program("commit", f"busy-{worker}")

    def puts() -> None:
        for number in range(rounds * 2):
            request = urllib.request.Request(
                f"{url}/api/v1/projects/{identity}/files/from-host-{number}.txt", data=b"host\n", method="PUT"
            )
            with urllib.request.urlopen(request, timeout=60) as answer:
                assert answer.status in (200, 201)

    with ThreadPoolExecutor(3) as threads:
        running = [threads.submit(commits, 1), threads.submit(commits, 2), threads.submit(puts)]
        for each in running:
            each.result()
    names = {entry["path"] for entry in program.json("ls", project)["items"]}
    expected = {f"from-{worker}-{number}.txt" for worker in (1, 2) for number in range(rounds)}
    expected |= {f"from-host-{number}.txt" for number in range(rounds * 2)} | {"base.txt"}
    assert names == expected
    assert program.json("verify", project, "--read-data")["ok"]
    assert program.json("project", "show", project)["generation"] == 1 + 2 * rounds + 2 * rounds


def test_the_host_stops_at_ctrl_c(program: Program, tmp_path: Path) -> None:
    variables = {"WORKDIR": str(tmp_path / "other")}
    alone = Program(tmp_path, program.ram / "other", program.zygote, variables)
    with alone.start("up", "--port", "0", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as host:
        assert host.stdout is not None
        assert b"ready" in host.stdout.readline()
        host.send_signal(signal.SIGINT)
        _, error = host.communicate(timeout=60)
    assert host.returncode in (0, 130)
    assert b"Traceback" not in error
