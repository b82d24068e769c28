"""Manifold's HTTP API at the port that the compose files publish."""

from __future__ import annotations

import time
from typing import Any

import requests

URL = "http://localhost:32180"


def create_project(name: str, seconds: float = 60) -> None:
    """A store that has just started may not take anything yet."""
    deadline = time.monotonic() + seconds
    while (answer := requests.post(f"{URL}/api/projects", json={"name": name}, timeout=60)).status_code == 503:
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.5)
    assert answer.status_code == 201, answer.text


def commit(project: str, path: str, text: str) -> int:
    """Return the generation that it made."""
    answer = _try_to_commit(project, path, text)
    assert answer.ok, answer.text
    return int(answer.json()["generation"])


def commit_in_the_end(project: str, path: str, text: str, seconds: float = 60) -> int:
    """The same, for as long as the answer is that a server is not there."""
    deadline = time.monotonic() + seconds
    while (answer := _try_to_commit(project, path, text)).status_code in (502, 503, 504):
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.5)
    assert answer.ok, answer.text
    return int(answer.json()["generation"])


def _try_to_commit(project: str, path: str, text: str) -> requests.Response:
    changes = [{"op": "put", "path": path, "text": text}]
    return requests.post(f"{URL}/api/projects/{project}/commits", json={"changes": changes}, timeout=60)


def read(project: str, path: str, url: str = URL) -> str:
    answer = requests.get(f"{url}/api/projects/{project}/files/{path}", timeout=30)
    assert answer.ok, answer.text
    return answer.text


def health() -> dict[str, Any]:
    found: dict[str, Any] = requests.get(f"{URL}/health", timeout=30).json()
    return found
