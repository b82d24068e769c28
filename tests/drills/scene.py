"""A host under load, and what it has acknowledged: to be found again in a backup that is restored elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.support.cli import EXECUTABLE

ROOT = Path(__file__).parents[2]
PACKED_BYTES = 2_200_000
"""More than travels inside a commit object."""
_CLIENTS = 2


def documented(heading: str) -> list[str]:
    """Return the blocks of commands below a heading of the operations page."""
    page = (ROOT / "docs/operations.md").read_text()
    section = page.split(f"### {heading}\n", 1)[1].split("\n#", 1)[0]
    blocks = re.findall(r"^```bash\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert blocks
    return blocks


def run(commands: str, **variables: str) -> str:
    """Run commands as they stand on a page; return what they print. Each has to succeed."""
    path = f"{Path(EXECUTABLE).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euc", commands],
        env={"PATH": path, "HOME": os.environ.get("HOME", "/"), **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{commands}\n{done.stdout}\n{done.stderr}"
    return done.stdout


class Load:
    """Clients of a host: some commit ever higher numbers to a file of their own, some save them in a session."""

    def __init__(self, url: str, project: str) -> None:
        self.url, self.project = url, project
        self.committed: dict[str, tuple[int, int]] = {}
        """The number and the generation that each committer was told last."""
        self.saved: dict[str, int] = {}
        """The number that each session was told last."""
        self._works: dict[str, Path] = {}
        self._stop = threading.Event()
        self._errors: list[Exception] = []
        self._threads = [
            threading.Thread(target=self._run, args=(work, f"{kind}{number}"), name=f"{kind}{number}", daemon=True)
            for kind, work in (("committer", self._commit), ("session", self._save))
            for number in range(_CLIENTS)
        ]

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Work until the end of the block, and at least until everybody was answered a few times."""
        for thread in self._threads:
            thread.start()
        try:
            self.go_on(3)
            yield
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join(30)
        if self._errors:
            raise self._errors[0]

    def go_on(self, times: int) -> None:
        """Wait until everybody was answered that many times more."""
        aims = {name: number + times for name, number in self.numbers().items()}
        deadline = time.monotonic() + 60
        while any(self.numbers()[name] < aim for name, aim in aims.items()):
            assert time.monotonic() < deadline and not self._errors, self._errors
            time.sleep(0.01)

    def numbers(self) -> dict[str, int]:
        names = [thread.name for thread in self._threads]
        done = {name: number for name, (number, _) in self.committed.items()} | self.saved
        return {name: done.get(name, 0) for name in names}

    def _run(self, work: Callable[[httpx.Client, str, int], None], name: str) -> None:
        try:
            with httpx.Client(base_url=self.url, timeout=30) as client:
                number = 0
                while not self._stop.is_set():
                    number += 1
                    work(client, name, number)
        except Exception as error:
            self._errors.append(error)

    def _commit(self, client: httpx.Client, name: str, number: int) -> None:
        answer = client.put(f"/api/v1/projects/{self.project}/files/{name}", content=b"%d" % number)
        assert answer.status_code < 300, answer.text
        self.committed[name] = number, answer.json()["generation"]

    def _save(self, client: httpx.Client, name: str, number: int) -> None:
        if number == 1:
            opened = client.post("/api/v1/sessions", json={"project": self.project, "session": name})
            assert opened.status_code == 201, opened.text
            self._works[name] = Path(opened.json()["path"])
        work = self._works[name]
        (work / f"{name}-saved").write_bytes(b"%d" % number)
        if number % 5 == 1:
            (work / f"{name}-packed").write_bytes(os.urandom(PACKED_BYTES))
        answer = client.post(f"/api/v1/sessions/{name}/save")
        assert answer.status_code == 200, answer.text
        self.saved[name] = number


class Acknowledged:
    """What a load had been told at one moment, which a restored backup must have."""

    def __init__(self, load: Load) -> None:
        self.committed, self.saved = dict(load.committed), dict(load.saved)
        self.project = load.project
        assert len(self.committed) == len(self.saved) == _CLIENTS

    def require_in(self, client: httpx.Client) -> None:
        """Hold what a host has against it, and go on working there."""
        head = client.get(f"/api/v1/projects/{self.project}").json()["generation"]
        assert head >= max(generation for _, generation in self.committed.values())
        for name, (number, _) in self.committed.items():
            assert int(client.get(f"/api/v1/projects/{self.project}/files/{name}").content) >= number
        for name, number in self.saved.items():
            opened = client.post("/api/v1/sessions", json={"project": self.project, "session": name})
            assert opened.status_code == 200, opened.text
            work = Path(opened.json()["path"])
            assert int((work / f"{name}-saved").read_bytes()) >= number
            assert (work / f"{name}-packed").stat().st_size == PACKED_BYTES
        done = client.put(f"/api/v1/projects/{self.project}/files/after", content=b"x").json()
        assert done["generation"] == head + 1
        for name in self.saved:
            committed = client.post(f"/api/v1/sessions/{name}/commit")
            assert committed.status_code == 200, committed.text
