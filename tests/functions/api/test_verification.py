"""Verification over HTTP, at once and by a job."""

from __future__ import annotations

from typing import Any

import pytest
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.ports.catalog import MAX_DAMAGED, FoundDamage

from tests.support.api import Api

P = "/api/v1/projects/demo"


@pytest.fixture
def demo(api: Api) -> Api:
    api.project()
    for number in range(3):
        assert api.put(f"{P}/files/{number}", content=bytes([number]) * 300_000).status_code == 201
    return api


def verify(api: Api, body: dict[str, Any] | None = None, **headers: str) -> Any:
    return api.post(f"{P}/verify", json=body, headers=headers)


def objects_of(api: Api, kind: str) -> list[str]:
    project = api.get(P).json()["id"]
    return sorted(one.key for one in api.manifold.context.store.list("") if f"/{project}/{kind}/" in one.key)


def remove(api: Api, key: str) -> None:
    api.manifold.context.store.delete([key])


def test_a_whole_project_is_said_to_be_so(demo: Api) -> None:
    told = verify(demo)
    assert (told.status_code, told.json()["ok"], told.json()["bytes_read"]) == (200, True, 0)
    assert (told.json()["commits"], told.json()["objects_read"], told.json()["problems"]) == (3, 0, [])
    read = verify(demo, {"read_data": True}).json()
    assert read["objects_read"] == read["objects"] > 0
    assert (read["stored_bytes_read"], read["bytes_read"]) == (read["stored_bytes"], 900_000)


def test_damage_is_told_and_kept_until_it_is_found_whole(demo: Api) -> None:
    store, (key, *_) = demo.manifold.context.store, objects_of(demo, "packs") or objects_of(demo, "commits")
    kept = bytes(store.get(key, max_bytes=1 << 30))
    remove(demo, key)
    told = verify(demo).json()
    assert (told["ok"], told["damaged"], [one["object"] for one in told["problems"]]) == (False, 1, [key])
    page = demo.get(f"{P}/damage").json()
    assert [one["object"] for one in page["items"]] == [key]
    assert (page["full"], page["next_cursor"]) == (False, None)
    store.put(key, kept)
    assert verify(demo).json()["ok"]
    assert demo.get(f"{P}/damage").json()["items"] == []


def test_known_damage_comes_in_pages_and_says_when_there_may_be_more(demo: Api) -> None:
    project, catalog = demo.get(P).json()["id"], demo.manifold.context.catalog
    many = [FoundDamage(f"t/{number:05}", "gone", None) for number in range(MAX_DAMAGED)]
    catalog.note_damage(LOCAL_PRINCIPAL.tenant, project, many[:-1])
    first = demo.get(f"{P}/damage?limit=400").json()
    second = demo.get(f"{P}/damage?limit=400&cursor={first['next_cursor']}").json()
    assert [one["object"] for one in first["items"] + second["items"]] == [one.object for one in many[:800]]
    assert not first["full"]
    catalog.note_damage(LOCAL_PRINCIPAL.tenant, project, many)
    assert demo.get(f"{P}/damage?limit=1").json()["full"]


@pytest.mark.parametrize(
    "body",
    [{"sample": 0}, {"sample": 101}, {"sample": -1}, {"sample": "1"}, {"sample": 5, "read_data": True}, {"x": 1}],
)
@pytest.mark.parametrize("prefer", ["", "respond-async"])
def test_what_is_no_sample_is_refused_and_nothing_begins(demo: Api, body: dict[str, Any], prefer: str) -> None:
    refused = verify(demo, body, **({"Prefer": prefer} if prefer else {}))
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_input")
    assert demo.get("/api/v1/jobs").json()["items"] == []


@pytest.mark.parametrize(
    "prefer",
    ["respond-async", "Respond-Async", "wait=10, respond-async", 'x="a, b" , respond-async; y=1', 'respond-async=""'],
)
def test_who_prefers_it_is_answered_by_a_job(demo: Api, prefer: str) -> None:
    begun = verify(demo, {"sample": 50}, Prefer=prefer)
    job = begun.json()
    assert (begun.status_code, begun.headers["preference-applied"]) == (202, "respond-async")
    assert begun.headers["location"] == f"/api/v1/jobs/{job['id']}"
    assert (job["kind"], job["params"]) == ("verify", {"project": job["project"], "sample": 50.0})
    again = verify(demo, {"sample": 50}, Prefer=prefer)
    assert (again.status_code, again.json()["id"]) == (202, job["id"])
    demo.manifold.job_worker.run(["verify"])
    assert demo.get(begun.headers["location"]).json()["state"] == "done"


@pytest.mark.parametrize(
    "prefer", ["return=minimal", "respond-asynchronously", "respond-async=no", 'x="respond-async', ""]
)
def test_who_prefers_something_else_is_answered_at_once(demo: Api, prefer: str) -> None:
    told = verify(demo, Prefer=prefer)
    assert (told.status_code, told.json()["ok"]) == (200, True)
    assert "preference-applied" not in told.headers


def test_a_repair_is_done_by_a_job_and_asked_for_with_one(demo: Api) -> None:
    store, (key, *_) = demo.manifold.context.store, objects_of(demo, "commits")
    good = bytes(store.get(key, max_bytes=1 << 30))
    remove(demo, key)
    refused = verify(demo, {"repair": True})
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_input")
    assert refused.json()["details"]["field"] == "repair" and "Prefer: respond-async" in refused.json()["hint"]
    assert demo.get("/api/v1/jobs").json()["items"] == [] and key not in objects_of(demo, "commits")
    begun = verify(demo, {"read_data": True, "repair": True}, Prefer="respond-async")
    job = begun.json()
    assert (begun.status_code, job["params"]["repair"], job["params"]["read_data"]) == (202, True, True)
    same = demo.post("/api/v1/jobs", json={"kind": "verify", "params": job["params"]})
    assert (same.status_code, same.json()["id"]) == (200, job["id"])
    demo.manifold.job_worker.run(["verify"])
    assert demo.get(begun.headers["location"]).json()["state"] == "done"
    assert bytes(store.get(key, max_bytes=1 << 30)) == good
    assert demo.get(f"{P}/damage").json()["items"] == []


def test_a_job_names_what_is_damaged_and_no_path(demo: Api) -> None:
    packs = objects_of(demo, "commits")
    for key in packs:
        remove(demo, key)
    begun = verify(demo, Prefer="respond-async")
    demo.manifold.job_worker.run(["verify"])
    job = demo.get(begun.headers["location"]).json()
    (trouble,) = job["troubles"]
    assert (job["state"], trouble["error"]) == ("failed", "corrupt_object")
    assert f"object {packs[0]} is damaged" in trouble["message"] and "so are 2 more" in trouble["message"]
    assert [one["object"] for one in demo.get(f"{P}/damage").json()["items"]] == packs
