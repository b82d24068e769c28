"""Deleted projects over HTTP: listed, brought back, and what is refused."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.support.api import Api

PROJECTS = "/api/v1/projects"


def delete(api: Api, name: str = "demo") -> str:
    project = api.project(name)
    assert api.put(f"{PROJECTS}/{name}/files/a.txt", content=b"one").status_code == 201
    assert api.delete(f"{PROJECTS}/{project}").status_code == 204
    return project


def listed(api: Api, query: str = "") -> list[Any]:
    answer = api.get(f"{PROJECTS}?deleted=true{query}")
    assert answer.status_code == 200, answer.text
    return list(answer.json()["items"])


def test_a_deleted_project_is_listed_and_comes_back(api: Api) -> None:
    project = delete(api)
    assert api.get(PROJECTS).json()["items"] == []
    [found] = listed(api)
    assert (found["id"], found["name"], found["generation"]) == (project, "demo", 1)
    deleted, until = (datetime.fromisoformat(found[name]) for name in ("deleted_at", "restorable_until"))
    assert until - deleted == timedelta(days=7)
    answer = api.post(f"{PROJECTS}/{project}/undelete")
    assert answer.status_code == 200
    back = answer.json()
    assert (back["id"], back["name"], back["deleted_at"], back["restorable_until"]) == (project, "demo", None, None)
    assert answer.headers["etag"] == api.get(f"{PROJECTS}/demo").headers["etag"]
    assert api.get(f"{PROJECTS}/demo/files/a.txt").content == b"one"
    assert listed(api) == []
    again = api.post(f"{PROJECTS}/{project}/undelete", json={})
    assert (again.status_code, again.json()) == (200, back)
    types = [one["type"] for one in api.get("/api/v1/events").json()["events"]]
    assert types[-2:] == ["manifold.project.deleted", "manifold.project.undeleted"]


def test_it_comes_back_by_its_name_and_under_another(api: Api) -> None:
    project = delete(api)
    api.project("demo")
    taken = api.post(f"{PROJECTS}/demo/undelete")
    assert (taken.status_code, taken.json()["code"]) == (409, "already_exists")
    back = api.post(f"{PROJECTS}/demo/undelete", json={"name": "demo-2"})
    assert (back.status_code, back.json()["id"], back.json()["name"]) == (200, project, "demo-2")
    other = api.post(f"{PROJECTS}/{project}/undelete", json={"name": "demo-3"})
    assert (other.status_code, other.json()["code"]) == (409, "conflict")


def test_which_of_several_is_meant_has_to_be_said(api: Api) -> None:
    both = {delete(api), delete(api)}
    answer = api.post(f"{PROJECTS}/demo/undelete")
    assert answer.status_code == 409
    assert all(project in answer.json()["detail"] for project in both)
    assert {one["id"] for one in listed(api)} == both


@pytest.mark.parametrize(
    ("body", "status"), [({"name": "a/b"}, 400), ({"name": ""}, 400), ({"nam": "x"}, 400), ({"name": 1}, 400)]
)
def test_a_body_that_makes_no_sense_changes_nothing(api: Api, body: dict[str, Any], status: int) -> None:
    project = delete(api)
    assert api.post(f"{PROJECTS}/{project}/undelete", json=body).status_code == status
    assert [one["id"] for one in listed(api)] == [project]


def test_what_is_not_there_cannot_be_brought_back(api: Api) -> None:
    answer = api.post(f"{PROJECTS}/nowhere/undelete")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_conditions_are_about_the_state_in_which_it_was_deleted(api: Api) -> None:
    project = api.project()
    tag = api.get(f"{PROJECTS}/demo").headers["etag"]
    api.put(f"{PROJECTS}/demo/files/a.txt", content=b"one")
    last = api.get(f"{PROJECTS}/demo").headers["etag"]
    api.delete(f"{PROJECTS}/demo")
    refused = api.post(f"{PROJECTS}/{project}/undelete", headers={"If-Match": tag})
    assert refused.status_code == 412 and len(listed(api)) == 1
    back = api.post(f"{PROJECTS}/{project}/undelete", headers={"If-Match": last})
    assert back.status_code == 200 and back.headers["etag"] not in (tag, last)
    late = api.delete(f"{PROJECTS}/demo", headers={"If-Match": last})
    assert late.status_code == 412, "it is not the state that was seen before it was deleted"


def test_the_request_takes_no_name_of_its_own(api: Api) -> None:
    project = delete(api)
    answer = api.post(f"{PROJECTS}/{project}/undelete", headers={"Idempotency-Key": "r-1"})
    assert answer.status_code == 400 and len(listed(api)) == 1


def test_the_list_has_pages_and_takes_the_same_filters(api: Api) -> None:
    made = [(name, delete(api, name)) for name in ("b", "a", "b", "ab")]
    expected = sorted(made)
    assert [(one["name"], one["id"]) for one in listed(api)] == expected
    assert [one["name"] for one in listed(api, "&prefix=a")] == ["a", "ab"]
    assert listed(api, "&created_until=2020-01-01T00:00:00Z") == []
    paged, query = [], ""
    while True:
        page = api.get(f"{PROJECTS}?deleted=true&limit=1{query}").json()
        paged += [(one["name"], one["id"]) for one in page["items"]]
        if page["next_cursor"] is None:
            break
        query = f"&cursor={page['next_cursor']}"
    assert paged == expected
    other_list = api.get(f"{PROJECTS}?limit=1{query}")
    assert (other_list.status_code, other_list.json()["code"]) == (400, "invalid_cursor")
