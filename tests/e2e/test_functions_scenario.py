"""The whole system as functions, without Docker: what is built runs on a stand-in for AWS, beside real servers.

The scenario is a user's: a project of two thousand real files goes in by the command line, is checked out, edited and
committed through the commit function, another client meets a conflict, an older state is brought back, and every change
is an event that a Kafka consumer reads. Meanwhile the schedules fire.
"""

from __future__ import annotations

import json
import secrets
import shutil
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from kafka import KafkaConsumer, TopicPartition
from manifold_common.domain.event import PROJECT_COMMIT
from manifold_common.settings import load_settings
from manifold_local.functions_stack.stack import FunctionFailed, FunctionsStack, running_functions_stack

from tests.support.cli import Program
from tests.support.tools import tools
from tests.support.work import look
from tests.support.zygote import Zygote

FILES = 2000
PATIENCE_SECONDS = 90.0


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FunctionsStack]:
    folder = tmp_path_factory.mktemp("functions")
    ram = Path("/dev/shm") / f"manifold-test-{secrets.token_hex(6)}"
    ram.mkdir(mode=0o700)
    environ = {"WORKDIR": str(folder / "work"), "SERVER_PORT": "0", "PROJECTS_WORKSPACE_TMPFS_DIR": str(ram / "host")}
    try:
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
    project = made["project"]
    imported = one.json("import", name, tree, "-m", "first")
    assert (imported["generation"], imported["files"] >= FILES) == (1, True)

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
        assert api.get(f"/api/projects/{name}").json()["generation"] == 3


def test_a_direct_invocation_commits_once_for_one_request_and_checks_out(stack: FunctionsStack) -> None:
    name = f"direct-{secrets.token_hex(4)}"
    with httpx.Client(base_url=stack.url, timeout=60) as api:
        assert api.post("/api/projects", json={"name": name}).status_code == 201
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


def test_an_event_that_is_wrong_is_refused_with_its_field(stack: FunctionsStack) -> None:
    with pytest.raises(FunctionFailed, match="session"):
        stack.invoke("checkout", {"project": "demo", "session": 7})


def test_the_schedules_fire(stack: FunctionsStack) -> None:
    """The fan-out's sweep and the upkeep run each minute, without anybody asking for them."""
    for function in ("fanout", "maintenance"):
        before = len(stack.logs(function))
        eventually(lambda function=function, before=before: len(stack.logs(function)) > before, seconds=150)
    upkeep = stack.invoke("maintenance", {"source": "manifold.schedule"})["tasks"]
    assert all("done" in outcome for outcome in upkeep.values())
