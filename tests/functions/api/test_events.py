"""What has happened, as clients ask for it: pages that lead on, waits, streams, and what is refused."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest

from tests.support.api import Api, MakeApi

DEMO = "/api/projects/demo"


def commit(api: Api, path: str = "a", project: str = "demo", **headers: str) -> None:
    change = {"op": "put", "path": path, "text": str(time.monotonic())}
    made = api.post(f"/api/projects/{project}/commits", json={"changes": [change]}, headers=headers)
    assert made.status_code == 201, made.text


def page(api: Api, path: str = f"{DEMO}/events", **query: Any) -> dict[str, Any]:
    answer = api.get(path, params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def kinds(found: dict[str, Any]) -> list[str]:
    return [event["type"].removeprefix("manifold.project.") for event in found["events"]]


def test_pages_lead_on_from_the_oldest_event(api: Api) -> None:
    api.project()
    commit(api)
    commit(api)
    first = page(api, limit=2)
    assert (kinds(first), first["has_more"]) == (["created", "commit"], True)
    second = page(api, since=first["next_cursor"])
    assert (kinds(second), second["has_more"]) == (["commit"], False)
    third = page(api, since=second["next_cursor"])
    assert third == {"events": [], "next_cursor": second["next_cursor"], "has_more": False}
    commit(api)
    assert kinds(page(api, since=third["next_cursor"])) == ["commit"]
