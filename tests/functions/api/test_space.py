"""How long history is kept, what is garbage, and what projects take, over HTTP."""

from __future__ import annotations

import json
import os
from typing import Any

import httpx
import pytest
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.ids import parse_project_id

from tests.support.api import Api
from tests.support.garbage import collect

P = "/api/v1/projects/demo"


@pytest.fixture
def demo(api: Api) -> Api:
    """A project of three generations."""
    api.project()
    for number in (1, 2, 3):
        api.put(f"{P}/files/a.txt", content=str(number).encode())
    return api


def put(api: Api, body: Any = None, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return api.put(f"{P}/retention", json=body, headers=named)


def test_retention_is_shown_set_and_taken_back(demo: Api) -> None:
    shown = demo.get(f"{P}/retention")
    assert shown.json() == {
        "project": demo.get(P).json()["id"],
        "generations": None,
        "days": None,
        "in_force": {"generations": 0, "days": 0, "grace_seconds": 86400},
        "kept": 3,
        "oldest": 1,
        "due": 0,
        "first_due": None,
        "last_due": None,
        "pinned": [],
    }
    done = put(demo, {"generations": 1, "days": 30})
    assert (done.status_code, done.json()["generations"], done.json()["days"]) == (200, 1, 30)
    again = demo.get(f"{P}/retention")
    assert (again.json(), again.headers["etag"]) == (done.json(), done.headers["etag"])
    assert put(demo, {"days": 7}).json()["generations"] is None, "what the body leaves out is the deployment's"
    assert put(demo, {}).json() == shown.json()


def test_what_a_client_has_is_not_sent_again(demo: Api) -> None:
    etag = demo.get(f"{P}/retention").headers["etag"]
    assert demo.get(f"{P}/retention", headers={"If-None-Match": etag}).status_code == 304
    put(demo, {"generations": 5})
    assert demo.get(f"{P}/retention", headers={"If-None-Match": etag}).status_code == 200


def test_conditions_are_about_the_rules_or_the_project(demo: Api) -> None:
    etag, project = demo.get(f"{P}/retention").headers["etag"], demo.get(P).headers["etag"]
    assert put(demo, {"generations": 5}, If_Match=etag).status_code == 200
    assert put(demo, {"generations": 6}, If_Match=etag).json()["code"] == "precondition_failed"
    assert put(demo, {"generations": 6}, If_Match=project).status_code == 412, "setting it was a change of the project"
    assert put(demo, {"generations": 6}, If_Match=demo.get(P).headers["etag"]).status_code == 200
    assert put(demo, {"generations": 7}, If_Match='"3"').status_code == 200
    assert put(demo, {"generations": 8}, If_Match='"2"').json()["code"] == "generation_mismatch"
    assert put(demo, {"generations": 8}, If_Match="*").status_code == 200
    assert put(demo, {"generations": 9}, If_None_Match="*").status_code == 412
    assert demo.get(f"{P}/retention").json()["generations"] == 8


@pytest.mark.parametrize(
    "body",
    [
        {"generations": -1}, {"generations": 1.5}, {"generations": "5"}, {"generations": True}, {"days": 36_501},
        {"generations": 10**9 + 1}, {"days": 2**70}, {"day": 1}, [], 5, None, {"generations": {}},
    ],
)  # fmt: skip
def test_a_malformed_body_is_refused_and_changes_nothing(demo: Api, body: Any) -> None:
    put(demo, {"generations": 5})
    refused = demo.put(f"{P}/retention", content=json.dumps(body), headers={"Content-Type": "application/json"})
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_input")
    assert demo.get(f"{P}/retention").json()["generations"] == 5


def test_garbage_is_told_by_project_and_reason_and_is_there_afterwards(
    demo: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert demo.get(f"{P}/garbage").json() == {"projects": []}
    manifold, project = demo.manifold, parse_project_id(demo.get(P).json()["id"])
    with manifold.context.pack_writer(manifold.context.log.load(LOCAL_PRINCIPAL.tenant, project)) as writer:
        writer.add(os.urandom(1 << 20))
        writer.finish(0)
    assert demo.get(f"{P}/garbage").json() == {"projects": []}, "it is too young"
    monkeypatch.setattr(manifold.collector, "_grace", manifold.collector._grace * -1)
    (found,) = demo.get(f"{P}/garbage").json()["projects"]
    assert (found["project"], found["generations"], found["first_generation"]) == (project, 0, None)
    (orphans,) = found["garbage"]
    assert (orphans["reason"], orphans["objects"]) == ("orphan", 1) and orphans["bytes"] > 1 << 20
    assert demo.get(f"{P}/garbage").json()["projects"] == [found], "nothing was changed"


def test_usage_is_told_of_one_project_and_of_all_page_by_page(demo: Api) -> None:
    manifold: Manifold = demo.manifold
    for name in ("b", "c"):
        demo.project(name)
    collect(manifold, parse_project_id(demo.get(P).json()["id"]))
    one = demo.get(f"{P}/usage").json()
    assert (one["name"], one["generation"], one["measured_generation"]) == ("demo", 3, 3)
    assert one["live"]["bytes"] > 0 and one["condemned"] == {"objects": 0, "bytes": 0}
    whole = demo.get("/api/v1/usage").json()
    assert [item["name"] for item in whole["items"]] == ["b", "c", "demo"]
    assert whole["items"][2] == one and whole["items"][0]["live"] is None
    assert (whole["user"]["projects"], whole["user"]["unmeasured_projects"]) == (3, 2)
    assert whole["user"]["live"] == one["live"] and whole["tenant"] == whole["user"]
    names, cursor = [], None
    while True:
        page = demo.get("/api/v1/usage", params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        names.append([item["name"] for item in page["items"]])
        assert page["user"] == whole["user"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert names == [["b", "c"], ["demo"]]
    projects = demo.get("/api/v1/projects", params={"limit": 2}).json()["next_cursor"]
    assert demo.get("/api/v1/usage", params={"cursor": projects}).json()["code"] == "invalid_cursor"


@pytest.mark.parametrize("what", ["retention", "garbage", "usage"])
def test_what_is_not_there_takes_nothing(api: Api, what: str) -> None:
    api.project()
    assert api.get(f"/api/v1/projects/none/{what}").json()["code"] == "not_found"
    api.delete(P)
    assert api.get(f"{P}/{what}").status_code == 404
    assert api.put("/api/v1/projects/none/retention", json={}).status_code == 404
