"""Manifold's HTTP API at the port that the compose files publish, asked as its pages tell clients to ask.

While a server is not there yet, a request is sent again, with the same Idempotency-Key; no answer at all is a failure.
"""

from __future__ import annotations

import time
import uuid
from typing import Any

import requests

URL = "http://localhost:32180"


def create_project(name: str) -> None:
    _ask("POST", "/api/v1/projects", json={"name": name})


def commit(project: str, path: str, text: str, seconds: float = 60) -> int:
    """Return the generation that it made. A server that is not there is waited for, for ``seconds``."""
    changes = [{"op": "put", "path": path, "text": text}]
    answer = _ask("POST", f"/api/v1/projects/{project}/commits", seconds, json={"changes": changes})
    return int(answer.json()["generation"])


def read(project: str, path: str) -> str:
    return _ask("GET", f"/api/v1/projects/{project}/files/{path}").text


def health() -> dict[str, Any]:
    found: dict[str, Any] = _ask("GET", "/health").json()
    return found


def _ask(method: str, path: str, seconds: float = 60, **content: Any) -> requests.Response:
    deadline = time.monotonic() + seconds
    headers = {"Idempotency-Key": uuid.uuid4().hex} if method == "POST" else {}
    while (answer := requests.request(method, URL + path, headers=headers, timeout=30, **content)).status_code in (
        502,
        503,
        504,
    ) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert answer.ok, answer.text
    return answer
