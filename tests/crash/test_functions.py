"""Functions that are killed, timed out, asked twice, or frozen: each answered rightly, nothing lost."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.ids import ProjectId
from manifold_local.embedded.stack.seaweedfs import S3Endpoint

from tests.support.emulator import EmulatedFunction, MakeEmulated
from tests.support.functions import sample
from tests.support.postgres_proxy import PostgresProxy
from tests.support.s3_proxy import Fault, running_proxy
from tests.support.seaweedfs import s3_variables
from tests.support.waiting import wait_until

KILLS = 4
PATIENCE_SECONDS = 120.0
TEXT = "text" * 10_000
LARGE_BYTES = 2 << 20
"""Of text, twice in an event: near to what Lambda passes on."""


@pytest.fixture
def demo(observer: Manifold) -> ProjectId:
    return observer.projects.resolve(LOCAL_PRINCIPAL, "demo").id


@pytest.fixture
def proxy(postgres_dsn: str) -> Iterator[PostgresProxy]:
    with PostgresProxy(postgres_dsn) as proxy:
        yield proxy


def commit_event(request_id: str, path: str, text: str) -> dict[str, Any]:
    changes = [{"op": "put", "path": path, "text": text}, {"op": "put", "path": f"{path}.twin", "text": text}]
    return {"project": "demo", "request_id": request_id, "changes": changes}


def head(observer: Manifold, demo: ProjectId) -> int:
    return observer.projects.get(LOCAL_PRINCIPAL, demo).generation


def content(observer: Manifold, demo: ProjectId, path: str) -> str:
    file = observer.history.open_file(LOCAL_PRINCIPAL, demo, path.encode())
    return b"".join(map(bytes, file.read())).decode()


def ended(working: threading.Thread) -> None:
    working.join(PATIENCE_SECONDS)
    assert not working.is_alive()


def send_again(function: EmulatedFunction, event: dict[str, Any]) -> dict[str, Any]:
    """Do as callers do who are told that the runtime died: once, if it had done its work and died afterwards."""
    answer = function.invoke(event)
    if answer.error == "Runtime.ExitError":
        answer = function.invoke(event)
    payload: dict[str, Any] = answer.payload
    return payload


def test_a_commit_that_is_killed_at_any_time_and_sent_again_is_made_once_and_whole(
    emulated: MakeEmulated, observer: Manifold, demo: ProjectId
) -> None:
    commit = emulated("commit")
    seed = random.randrange(1 << 32)
    chance, made_before = random.Random(seed), 0
    assert commit.invoke(commit_event("warm", "warm", "up")).payload["generation"] == 1
    for number in range(KILLS):
        text = os.urandom(LARGE_BYTES // 2).hex()
        event = commit_event(f"request-{number}", f"file-{number}", text)
        victim, working = commit.runtime, commit.begin(event)
        time.sleep(chance.uniform(0.0, 0.3))
        victim.kill()
        ended(working)
        made_before += head(observer, demo) == number + 2
        answer = send_again(commit, event)
        assert answer.get("generation") == number + 2, (f"seed {seed}", answer)
        assert content(observer, demo, f"file-{number}") == content(observer, demo, f"file-{number}.twin") == text
    assert head(observer, demo) == KILLS + 1
    assert observer.verify.run(LOCAL_PRINCIPAL, demo, read_data=True).problems == []
    print(f"seed {seed}: of {KILLS} commits that were killed, {made_before} had been made")


def test_a_commit_that_is_killed_beside_its_commit_point_and_sent_again_is_made_once(
    emulated: MakeEmulated, observer: Manifold, demo: ProjectId, proxy: PostgresProxy
) -> None:
    commit = emulated("commit", DATABASE_URL=proxy.dsn)
    commit.invoke(commit_event("request-1", "file-1", TEXT))
    before = proxy.round_trips
    commit.invoke(commit_event("request-2", "file-2", TEXT))
    needed = proxy.round_trips - before  # the last of them is the commit point
    for number, after in ((3, False), (4, True)):
        event = commit_event(f"request-{number}", f"file-{number}", TEXT)
        proxy.freeze_at(needed, after=after)
        victim, working = commit.runtime, commit.begin(event)
        wait_until(lambda: proxy.fault == "freeze", PATIENCE_SECONDS)
        wait_until(lambda: head(observer, demo) == number - 1 + after, PATIENCE_SECONDS)  # noqa: B023
        victim.kill()
        ended(working)
        proxy.thaw()
        assert head(observer, demo) == number - 1 + after
        answer = commit.invoke(event).payload
        assert (answer["generation"], head(observer, demo)) == (number, number)
        assert content(observer, demo, f"file-{number}") == TEXT


def test_one_request_that_two_containers_get_at_once_is_one_commit(
    emulated: MakeEmulated, observer: Manifold, demo: ProjectId
) -> None:
    functions = [emulated("commit", container=name) for name in "abc"]
    for function in functions:
        function.invoke({"what": "warms it up"})
    for number in range(3):
        event = commit_event(f"request-{number}", f"file-{number}", "text" * 10_000)
        with ThreadPoolExecutor(len(functions)) as pool:
            answers = [done.payload for done in pool.map(lambda function: function.invoke(event), functions)]  # noqa: B023
        assert {(one["generation"], one["commit"]) for one in answers} == {(number + 1, answers[0]["commit"])}
    assert head(observer, demo) == 3


@pytest.mark.parametrize("part", [0.0, 0.5, 1.0])
def test_a_checkout_that_times_out_at_any_of_its_queries_leaves_nothing_half_made(
    emulated: MakeEmulated, observer: Manifold, proxy: PostgresProxy, demo: ProjectId, part: float
) -> None:
    emulated("commit", container="b").invoke(commit_event("r", "file", TEXT))
    event = {"project": "demo", "session": "agent-1"}
    checkout, seconds = impatient(emulated, {**event, "session": "agent-0"}, DATABASE_URL=proxy.dsn)
    before = proxy.round_trips
    assert checkout.invoke({**event, "session": "agent-00"}).payload["kind"] == "new"
    needed = proxy.round_trips - before
    assert needed >= 3
    proxy.freeze_at(1 + round(part * (needed - 1)))
    assert f"timed out after {seconds}" in str(checkout.invoke(event).payload)
    assert proxy.fault == "freeze"
    proxy.thaw()
    assert_whole(answered(checkout, event))


def test_a_checkout_that_times_out_while_content_is_on_its_way_leaves_nothing_half_made(
    emulated: MakeEmulated, s3_endpoint: S3Endpoint
) -> None:
    with running_proxy(s3_endpoint.url) as s3:
        variables = {**s3_variables(s3_endpoint), "S3_ENDPOINT": s3.url, "S3_PREFIX": uuid4().hex}
        assert emulated("api", container="b", **variables).invoke(sample("http-post")).payload["statusCode"] == 201
        incompressible = commit_event("r", "noise", os.urandom(LARGE_BYTES // 2).hex())
        commit = emulated("commit", container="b", **variables)
        assert commit.invoke(incompressible).payload["generation"] == 1
        assert commit.invoke(commit_event("s", "file", TEXT)).payload["generation"] == 2
        event = {"project": "demo", "session": "agent-1"}
        checkout, seconds = impatient(emulated, {**event, "project": "absent"}, **variables)
        s3.inject(Fault("stall", keep_bytes=LARGE_BYTES // 8), times=20, method="GET")  # shorter ones pass
        seen = len(s3.seen)
        assert f"timed out after {seconds}" in str(checkout.invoke(event).payload)
        assert [one.method for one in s3.seen[seen:]].count("GET") >= 1
        s3.calm()
        assert_whole(answered(checkout, event), "noise", "noise.twin")


def impatient(emulated: MakeEmulated, first: dict[str, Any], **variables: str) -> tuple[EmulatedFunction, int]:
    """Return a checkout function that has started and answered ``first``, and its time-out in seconds: twice what a
    start takes on this machine, at its work, or more. It waits for the database for longer than it may run."""
    variables = {"DATABASE_TIMEOUT_SECONDS": "60", **variables}
    for seconds in (3, 9, 27):
        function: EmulatedFunction = emulated(
            "checkout", container=f"of-{seconds}", timeout_seconds=seconds, **variables
        )
        answer = function.invoke(first)
        if not answer.out_of_time and answer.seconds < seconds / 2:
            return function, seconds
    raise AssertionError(function.log())


def answered(function: EmulatedFunction, event: dict[str, Any]) -> Any:
    """Return the first answer: a container that starts anew on a machine at work may take longer than its time."""
    for _ in range(5):
        answer = function.invoke(event)
        if not answer.out_of_time:
            break
    return answer.payload


def assert_whole(checked_out: dict[str, Any], *more: str) -> None:
    assert checked_out["kind"] in ("new", "restored", "warm"), checked_out
    work = Path(checked_out["path"])
    assert sorted(os.listdir(work)) == sorted(["file", "file.twin", *more])
    assert (work / "file").read_text() == (work / "file.twin").read_text() == TEXT


@pytest.mark.parametrize("name", ["commit", "checkout", "api", "maintenance"])
def test_after_a_freeze_in_which_all_connections_died_the_first_invocation_succeeds(
    emulated: MakeEmulated, observer: Manifold, demo: ProjectId, proxy: PostgresProxy, name: str
) -> None:
    event = {
        "commit": commit_event("first", "file", "text"),
        "checkout": {"project": "demo", "session": "agent-1"},
        "api": sample("http-get"),
        "maintenance": {},
    }[name]
    function = emulated(name, DATABASE_URL=proxy.dsn)
    assert function.invoke(event).error is None
    with function.frozen():
        proxy.cut_all()
        time.sleep(0.2)
    again = {**event, "request_id": "second"} if name == "commit" else event
    answer = function.invoke(again)
    assert answer.error is None and answer.payload.get("statusCode", 200) == 200, answer


def test_nothing_of_a_tenant_is_in_the_files_of_a_container_that_another_one_gets(
    emulated: MakeEmulated, observer: Manifold, tmp_path: Path
) -> None:
    canary = "canary-5f1d-of-acme"
    one, other = {"tenant": "acme", "user": "ann"}, {"tenant": "umbrella", "user": "uli"}
    commit, checkout = emulated("commit", container="b"), emulated("checkout")
    for who in (one, other):
        principal = type(LOCAL_PRINCIPAL)(who["tenant"], who["user"])  # type: ignore[arg-type]
        observer.projects.create(principal, "demo")
    assert commit.invoke({**commit_event("r", canary, canary), **one}).payload["generation"] == 1
    done = checkout.invoke({"project": "demo", "session": "agent-1", **one}).payload
    Path(done["path"], "draft").write_text(canary)
    assert checkout.invoke({"project": "demo", "session": "agent-1", **other}).payload["kind"] == "new"
    for path in (tmp_path / "container-a").rglob("*"):
        assert "acme" not in str(path)
        assert not path.is_file() or canary.encode() not in path.read_bytes()
    back = checkout.invoke({"project": "demo", "session": "agent-1", **one}).payload
    assert (back["kind"], Path(back["path"], "draft").read_text()) == ("restored", canary)
