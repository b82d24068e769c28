"""``SIGKILL`` of the real host, again and again, at random instants while two clients commit.

One client changes ``h/`` over HTTP, the other works in a session's folder ``s/``, saves and commits. Now and then the
database is killed too, or all RAM is lost, or the host is killed while it still starts. ``MANIFOLD_TEST_KILLS`` says
how often (12 by default).
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
from manifold_common.bootstrap import Manifold, build
from manifold_common.domain import tree as entries
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_local.embedded.postgres import ensure_embedded

from tests.crash.journal import FILE, FOLDER, LINK, Journal, Node, Tree, below, changes, make_on_disk, replaced
from tests.crash.journal import content as new_content
from tests.support.host import Host, MakeHost
from tests.support.manifold import settings_for
from tests.support.work import committed, look

KILLS = int(os.environ.get("MANIFOLD_TEST_KILLS", "12"))
SETTINGS = {
    "PROJECTS_WORKSPACE_DRAFT_SECONDS": "0",  # only what was saved on request is a draft, so that it can be foretold
    "PROJECTS_MAINTENANCE_INTERVAL_SECONDS": "1",
    "PROJECTS_MAINTENANCE_CHECKPOINT_COMMITS": "10",
}
KINDS = {FOLDER: entries.DIRECTORY, FILE: entries.FILE, LINK: entries.SYMLINK}


@dataclass
class Remote:
    """Commits over HTTP, until the host is gone."""

    journal: Journal
    rng: random.Random

    def run(self, client: httpx.Client) -> None:
        tree = below(self.journal.trees[-1], "h")
        settled = len(self.journal.trees) - 1
        while True:
            kind = self.rng.choices(("put", "many", "restore"), (4, 4, 1))[0]
            if kind == "restore":
                generation = self.rng.randint(1, settled)
                tree = below(self.journal.trees[generation], "h")
                operation = self.journal.new("restore", replaced("h", tree))
                body: dict[str, Any] = {"generation": generation, "paths": [{"path": "h"}], "message": operation.name}
                request = client.build_request("POST", "/api/v1/projects/demo/restore", json=body)
            elif kind == "many":
                wanted = changes(self.rng, tree, "h", 6)
                operation = self.journal.new("many", replaced("h", tree))
                body = {"changes": wanted, "message": operation.name}
                request = client.build_request("POST", "/api/v1/projects/demo/commits", json=body)
            else:
                path, data = f"h/{self.rng.randrange(6)}", new_content(self.rng)
                tree = {**tree, path: Node(FILE, data)}
                operation = self.journal.new("put", replaced("h", tree))
                url = f"/api/v1/projects/demo/files/{path}?message={quote(operation.name)}"
                request = client.build_request("PUT", url, content=data)
            try:
                answer = client.send(request)
            except httpx.TransportError:
                return
            assert answer.is_success, answer.text
            self.journal.acknowledge(operation, answer.json())


@dataclass
class Worker:
    """Edits a working set, saves it and commits it, until the host is gone."""

    journal: Journal
    rng: random.Random
    work: Path = Path()
    tree: Tree = field(default_factory=dict)
    """What stands in the working set below ``s``."""
    durable: list[Tree] = field(default_factory=lambda: [{}])
    """What may come back when RAM is lost: what was saved or committed last, and what may have been."""

    def check_out(self, client: httpx.Client, *, ram_was_lost: bool) -> None:
        """Find the work again."""
        answer = client.post("/api/v1/sessions", json={"project": "demo", "session": "s1"})
        assert answer.is_success, answer.text
        self.work = Path(answer.json()["path"])
        found = {os.fsdecode(path): Node(node.kind, node.content) for path, node in look(self.work).items()}
        assert below(found, "h") == below(self.journal.trees[-1], "h")
        mine = below(found, "s")
        if ram_was_lost:
            assert mine in self.durable
            self.tree, self.durable = mine, [dict(mine)]
        else:
            assert mine == self.tree

    def run(self, client: httpx.Client) -> None:
        while True:
            for change in changes(self.rng, self.tree, "s", 3):
                make_on_disk(self.work, change)
            state = dict(self.tree)
            self.durable.append(state)
            try:
                if self.rng.random() < 0.5:
                    assert client.post("/api/v1/sessions/s1/save").is_success
                else:
                    operation = self.journal.new("work", replaced("s", state))
                    answer = client.post("/api/v1/sessions/s1/commit", json={"message": operation.name})
                    assert answer.is_success, answer.text
                    self.journal.acknowledge(operation, answer.json())
            except httpx.TransportError:
                return
            self.durable = [state]


def settle(client: httpx.Client, journal: Journal) -> None:
    """Replay what was committed since the last time, and hold the head's tree against it."""
    messages: list[str] = []
    head = client.get("/api/v1/projects/demo").json()["generation"]
    while (known := len(journal.trees) + len(messages)) <= head:
        params = {"before_generation": head + 1 - len(messages), "limit": 100}
        page = client.get("/api/v1/projects/demo/commits", params=params)
        messages += [item["message"] for item in page.json()["items"] if item["generation"] >= len(journal.trees)]
        assert len(journal.trees) + len(messages) > known
    journal.settle(messages[::-1])
    listed = client.get("/api/v1/projects/demo/tree", params={"recursive": True}).json()["items"]
    expected = {p: (n.kind, len(n.content) if n.kind == FILE else 0) for p, n in journal.trees[-1].items()}
    assert {item["path"]: (item["kind"], item["size"]) for item in listed} == expected


def lose_more(host: Host, rng: random.Random, ram: Path, start: Callable[[], Host]) -> bool:
    """Now and then, do more than killing the host. Returns whether RAM was lost."""
    also = rng.choices(("nothing", "database", "RAM", "the next host"), (6, 1, 2, 1))[0]
    if also == "database":
        pid = int((host.workdir / ".postgres" / "data" / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGKILL)
    elif also == "RAM":
        shutil.rmtree(ram)
    elif also == "the next host":
        early = start()
        time.sleep(rng.uniform(0, 0.8))
        early.stop(signal.SIGKILL)
    return also == "RAM"


def check_history(manifold: Manifold, journal: Journal) -> None:
    """Hold every generation against the model, every byte of it, and every object against what refers to it."""
    project = manifold.projects.resolve(LOCAL_PRINCIPAL, "demo").id
    known: dict[bytes, bytes] = {}
    for generation, tree in enumerate(journal.trees):
        expected = {path.encode(): (KINDS[node.kind], node.content) for path, node in tree.items()}
        assert committed(manifold, project, generation, known) == expected, generation
    assert manifold.projects.get(LOCAL_PRINCIPAL, project).generation == len(journal.trees) - 1
    report = manifold.verify.run(LOCAL_PRINCIPAL, project, read_data=True)
    assert report.ok, report.problems


def test_what_was_acknowledged_survives_every_kill_and_nothing_is_half_there(
    make_host: MakeHost, ram_folder: Path
) -> None:
    seed = random.getrandbits(32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    journal = Journal()
    remote, worker = Remote(journal, random.Random(seed + 1)), Worker(journal, random.Random(seed + 2))

    def start() -> Host:
        return make_host(embedded=True, **SETTINGS)

    host = start()
    client = host.ready()
    assert client.post("/api/v1/projects", json={"name": "demo"}).is_success
    first = journal.new("first", replaced("h", {"h": Node(FOLDER, b""), "h/0": Node(FILE, b"0")}))
    answer = client.put("/api/v1/projects/demo/files/h/0", content=b"0", params={"message": first.name})
    journal.acknowledge(first, answer.json())
    settle(client, journal)
    worker.check_out(client, ram_was_lost=False)
    for _ in range(KILLS):
        with ThreadPoolExecutor(2) as threads:
            running = [threads.submit(remote.run, client), threads.submit(worker.run, client)]
            # The longer wait is for the background work, which is done every second.
            time.sleep(rng.uniform(0, 0.25) if rng.random() < 0.9 else rng.uniform(0.9, 1.3))
            host.stop(signal.SIGKILL)
        for each in running:
            each.result()
        client.close()
        ram_was_lost = lose_more(host, rng, ram_folder / "ram", start)
        host = start()
        client = host.ready()
        settle(client, journal)
        worker.check_out(client, ram_was_lost=ram_was_lost)
    assert host.stop()[0] == 0

    with ensure_embedded(host.workdir / ".postgres", linger_seconds=0.2) as postgres:
        manifold = build(settings_for(host.workdir, ram_folder / "ram", **host.variables), postgres.dsn)
        try:
            check_history(manifold, journal)
        finally:
            manifold.close()
    print(
        f"{len(journal.trees) - 1} commits; of those without an answer {sum(journal.unanswered)} were made, "
        f"{journal.unanswered.count(False)} not"
    )
    assert len(journal.unanswered) >= KILLS / 4
