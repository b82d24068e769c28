from __future__ import annotations

import pytest
from manifold_common.ids import encode_id

from tests.support.api import Api


def test_a_project_is_made_found_renamed_and_deleted(api: Api) -> None:
    made = api.post("/api/v1/projects", json={"name": "demo"})
    project = made.json()
    assert made.status_code == 201
    assert made.headers["location"] == f"/api/v1/projects/{project['id']}"
    assert (project["name"], project["generation"], project["commit"]) == ("demo", 0, None)

    assert api.get(made.headers["location"]).json() == project
    assert api.get("/api/v1/projects/demo").json() == project

    renamed = api.patch("/api/v1/projects/demo", json={"name": "other"})
    assert renamed.json()["name"] == "other"
    assert api.get("/api/v1/projects/demo").status_code == 404
    assert api.delete("/api/v1/projects/other").status_code == 204
    assert api.get(f"/api/v1/projects/{project['id']}").json()["code"] == "not_found"


def test_a_name_that_is_taken_is_a_conflict(api: Api) -> None:
    api.project("demo")
    answer = api.post("/api/v1/projects", json={"name": "demo"})
    assert (answer.status_code, answer.json()["code"]) == (409, "already_exists")


@pytest.mark.parametrize("name", ["", " x", "a/b", "..", ".hidden", "a\nb", "x" * 201, "\u202ex"])
def test_a_name_that_no_project_can_have_is_refused(api: Api, name: str) -> None:
    answer = api.post("/api/v1/projects", json={"name": name})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_input")
    assert answer.json()["hint"]


def test_no_project_is_named_like_an_id(api: Api) -> None:
    """A request about a project's id that is sent again after the project was deleted would be about the other one."""
    first, name = api.project("first"), {"name": encode_id(bytes(16))}
    for answer in (
        api.post("/api/v1/projects", json=name),
        api.post("/api/v1/projects", json={"name": first}),
        api.patch(f"/api/v1/projects/{first}", json=name),
        api.post(f"/api/v1/projects/{first}/fork", json=name),
    ):
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_input")
        assert "id" in answer.json()["detail"]
    assert [project["name"] for project in api.get("/api/v1/projects").json()["items"]] == ["first"]


def test_a_name_in_a_url_may_hold_any_text(api: Api) -> None:
    project = api.project("Käse & Brot? 100%")
    assert api.get("/api/v1/projects/K%C3%A4se%20%26%20Brot%3F%20100%25").json()["id"] == project


def test_a_fork_has_the_tree_of_the_generation_it_was_made_from(api: Api) -> None:
    api.project()
    api.put("/api/v1/projects/demo/files/a.txt", content=b"one")
    api.put("/api/v1/projects/demo/files/a.txt", content=b"two")
    forked = api.post("/api/v1/projects/demo/fork", json={"name": "fork", "generation": 1})
    assert forked.status_code == 201
    assert api.get("/api/v1/projects/fork/files/a.txt").content == b"one"
    assert api.get("/api/v1/projects/demo/files/a.txt").content == b"two"


@pytest.mark.parametrize(("header", "status"), [('"1"', 204), ('"0"', 412), ('"2"', 412)])
def test_if_match_guards_a_project_against_deletion(api: Api, header: str, status: int) -> None:
    api.project()
    api.put("/api/v1/projects/demo/files/a", content=b"x")
    assert api.delete("/api/v1/projects/demo", headers={"If-Match": header}).status_code == status
    assert api.get("/api/v1/projects/demo").status_code == (404 if status == 204 else 200)


def test_the_etag_of_a_project_is_what_if_match_takes(api: Api) -> None:
    api.project()
    api.put("/api/v1/projects/demo/files/a", content=b"x")
    etag = api.get("/api/v1/projects/demo").headers["etag"]
    assert api.patch("/api/v1/projects/demo", json={"name": "new"}, headers={"If-Match": etag}).status_code == 200


@pytest.mark.parametrize("met", [True, False])
def test_a_generation_named_with_its_commit_is_met_by_no_other_commit(api: Api, met: bool) -> None:
    """As a client that saw another history, before the database was restored, would name it."""
    api.project()
    made = api.put("/api/v1/projects/demo/files/a", content=b"x").json()
    named = f"1-{made['commit'] if met else 'a' * 26}"
    headers = {"If-Match": f'"{named}"'}
    writes = [
        api.post("/api/v1/projects/demo/dirs", json={"path": "d"}, headers=headers).status_code,
        api.patch("/api/v1/projects/demo", json={"name": "demo"}, headers=headers).status_code,
    ]
    assert writes == ([201, 412] if met else [412, 412])  # the first moved the project on
    expected = api.post("/api/v1/projects/demo/dirs", json={"path": "e", "expected_generation": named}).status_code
    assert expected == 409
    found = api.get("/api/v1/projects/demo")
    head = found.headers["etag"]
    point = f"{found.json()['generation']}-{found.json()['commit']}"
    assert head.startswith(f'"{point}.')
    last = api.post("/api/v1/projects/demo/dirs", json={"path": "f", "expected_generation": point})
    assert last.status_code == 201


def test_a_project_is_taken_back_only_if_nobody_uses_it(api: Api) -> None:
    project = api.post("/api/v1/projects", json={"name": "demo"}).json()["id"]
    assert api.post("/api/v1/sessions", json={"session": "of-another", "project": project}).status_code < 300
    refused = api.delete(f"/api/v1/projects/{project}?only_unused=true")
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    assert api.get("/api/v1/sessions/of-another").status_code == 200

    unused = api.post("/api/v1/projects", json={"name": "unused"}).json()["id"]
    assert api.delete(f"/api/v1/projects/{unused}?only_unused=true").status_code == 204
    assert api.get(f"/api/v1/projects/{unused}").status_code == 404
