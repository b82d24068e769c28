"""Tags over HTTP, and everything that takes a generation."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.support.api import Api, MakeApi

P = "/api/v1/projects/demo"


@pytest.fixture
def demo(api: Api) -> Api:
    """A project in which each of three generations says of itself which it is."""
    api.project()
    for number in (1, 2, 3):
        api.put(f"{P}/files/a.txt", content=str(number).encode())
    return api


def tag(api: Api, name: str, generation: int | str, **headers: str) -> httpx.Response:
    named = {header.replace("_", "-"): value for header, value in headers.items()}
    return api.put(f"{P}/tags/{name}", json={"generation": generation}, headers=named)


def test_a_tag_is_made_read_and_removed(demo: Api) -> None:
    made = tag(demo, "release-1", 2)
    found = made.json()
    assert made.status_code == 201
    commit = demo.get(f"{P}/commits/2").json()
    assert (found["name"], found["generation"], found["commit"], found["user"]) == (
        "release-1",
        2,
        commit["id"],
        "local",
    )
    assert made.headers["etag"] == f'"2-{commit["id"]}"'
    read = demo.get(made.headers["location"])
    assert (read.json(), read.headers["etag"]) == (found, made.headers["etag"])
    assert demo.get(made.headers["location"], headers={"If-None-Match": read.headers["etag"]}).status_code == 304
    assert demo.get(f"{P}/tags").json() == {"items": [found], "next_cursor": None}
    assert demo.delete(f"{P}/tags/release-1").status_code == 204
    assert demo.get(f"{P}/tags/release-1").json()["code"] == "not_found"
    assert demo.delete(f"{P}/tags/release-1").status_code == 404


def test_a_tag_that_is_there_already_is_answered_as_it_is(demo: Api) -> None:
    made = tag(demo, "release-1", 2)
    again = tag(demo, "release-1", 2)
    assert (again.status_code, again.json()) == (200, made.json())
    assert "location" not in again.headers


def test_a_tag_is_moved_by_its_etag_alone(demo: Api) -> None:
    made = tag(demo, "release-1", 1)
    refused = tag(demo, "release-1", 2)
    assert (refused.status_code, refused.json()["code"]) == (409, "already_exists")
    assert made.headers["etag"] in refused.json()["hint"]
    for wrong in ('"1"', f'"1-{"a" * 26}"', f"W/{made.headers['etag']}"):
        failed = tag(demo, "release-1", 2, If_Match=wrong)
        assert (failed.status_code, failed.json()["code"]) == (412, "precondition_failed"), wrong
    moved = tag(demo, "release-1", 2, If_Match=made.headers["etag"])
    assert (moved.status_code, moved.json()["generation"]) == (200, 2)
    assert moved.headers["etag"] != made.headers["etag"]
    assert tag(demo, "release-1", 3, If_Match=made.headers["etag"]).status_code == 412
    assert tag(demo, "release-1", 3, If_Match="*").json()["generation"] == 3


def test_if_none_match_only_makes(demo: Api) -> None:
    assert tag(demo, "release-1", 1, If_None_Match="*").status_code == 201
    for generation in (1, 2):
        assert tag(demo, "release-1", generation, If_None_Match="*").status_code == 412
    assert tag(demo, "absent", 1, If_Match='"1"').status_code == 412
    assert [one["generation"] for one in demo.get(f"{P}/tags").json()["items"]] == [1]


def test_a_tag_that_was_moved_is_not_removed_by_who_saw_it_before(demo: Api) -> None:
    made = tag(demo, "release-1", 1)
    tag(demo, "release-1", 2, If_Match=made.headers["etag"])
    old = {"If-Match": made.headers["etag"]}
    assert demo.delete(f"{P}/tags/release-1", headers=old).status_code == 412
    new = {"If-Match": demo.get(f"{P}/tags/release-1").headers["etag"]}
    assert demo.delete(f"{P}/tags/release-1", headers=new).status_code == 204


@pytest.mark.parametrize("name", ["7", "head", "HEAD", "a%20b", "-a", ".a", "x" * 65, "%C3%A4"])
def test_a_name_that_no_tag_can_have_is_refused(demo: Api, name: str) -> None:
    for answer in (tag(demo, name, 1), demo.get(f"{P}/tags/{name}"), demo.delete(f"{P}/tags/{name}")):
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_input")
        assert answer.json()["hint"]


@pytest.mark.parametrize("generation", [0, 4, "absent"])
def test_what_is_not_there_has_no_tag(demo: Api, generation: int | str) -> None:
    assert tag(demo, "release-1", generation).status_code == 404
    assert demo.get(f"{P}/tags").json()["items"] == []


@pytest.mark.parametrize("generation", [-1, "7", "1-" + "a" * 26, "head", None, 1.5, True, [1]])
def test_what_names_no_generation_is_refused(demo: Api, generation: Any) -> None:
    assert tag(demo, "release-1", generation).status_code == 400


def test_tags_are_listed_by_name_page_by_page(demo: Api) -> None:
    names = [f"t{number:02}" for number in range(7)]
    for name in reversed(names):
        tag(demo, name, 1)
    found, query = [], {"limit": "3"}
    while True:
        page = demo.get(f"{P}/tags", params=query).json()
        found += [one["name"] for one in page["items"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert found == names
    demo.project("other")
    lost = demo.get("/api/v1/projects/other/tags", params=query)
    assert lost.json()["code"] == "invalid_cursor"


def content(answer: httpx.Response) -> bytes:
    return answer.content


def archived(answer: httpx.Response) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as archive:
        file = archive.extractfile("a.txt")
        assert file is not None
        return file.read()


def forked(api: Api, generation: int | str) -> bytes:
    name = f"fork-{generation}"
    made = api.post(f"{P}/fork", json={"name": name, "generation": generation})
    assert made.status_code == 201, made.text
    return api.get(f"/api/v1/projects/{name}/files/a.txt").content


def restored(api: Api, generation: int | str) -> bytes:
    assert api.post(f"{P}/restore", json={"generation": generation}).json()["generation"] > 3
    return api.get(f"{P}/files/a.txt").content


def opened(api: Api, generation: int | str) -> bytes:
    body = {"project": "demo", "session": f"s-{generation}".lower(), "generation": generation}
    return str(api.post("/api/v1/sessions", json=body).json()["generation"]).encode()


def checked_out(api: Api, generation: int | str) -> bytes:
    api.post("/api/v1/sessions", json={"project": "demo", "session": "s1", "generation": 2})
    done = api.post("/api/v1/sessions/s1/checkout", json={"generation": generation})
    return str(done.json()["generation"]).encode()


EVERYWHERE: dict[str, Callable[[Api, int | str], bytes]] = {
    "file": lambda api, named: content(api.get(f"{P}/files/a.txt", params={"generation": named})),
    "archive": lambda api, named: archived(api.get(f"{P}/archive", params={"generation": named, "format": "tar"})),
    "tree": lambda api, named: str(api.get(f"{P}/tree", params={"generation": named}).json()["generation"]).encode(),
    "commit": lambda api, named: str(api.get(f"{P}/commits/{named}").json()["generation"]).encode(),
    "log": lambda api, named: str(
        api.get(f"{P}/commits", params={"before_generation": named}).json()["items"][0]["generation"] + 1
    ).encode(),
    "before": lambda api, named: str(
        api.get(f"{P}/diff", params={"before": named, "after": 2}).json()["before"]
    ).encode(),
    "after": lambda api, named: str(
        api.get(f"{P}/diff", params={"before": 1, "after": named}).json()["after"]
    ).encode(),
    "read": lambda api, named: str(
        api.post(f"{P}/read", json={"paths": [{"path": "a.txt"}], "generation": named}).json()["generation"]
    ).encode(),
    "tag": lambda api, named: str(tag(api, "another", named).json()["generation"]).encode(),
    "fork": forked,
    "restore": restored,
    "session": opened,
    "checkout": checked_out,
}


@pytest.mark.parametrize("where", sorted(EVERYWHERE))
@pytest.mark.parametrize("named", [3, "Release-3"])
def test_a_tag_can_be_named_wherever_a_generation_can(demo: Api, where: str, named: int | str) -> None:
    tag(demo, "Release-3", 3)
    if where == "restore":
        demo.put(f"{P}/files/a.txt", content=b"4")
    assert EVERYWHERE[where](demo, named) == b"3"


def test_a_plan_can_be_asked_for_by_a_tag(make_api: MakeApi) -> None:
    api = make_api(in_folder=True)
    api.project()
    for number in (1, 2):
        api.put(f"{P}/files/a.txt", content=str(number).encode())
    tag(api, "first", 1)
    tag(api, "second", 2)
    assert api.post(f"{P}/plan", json={"generation": "first"}).json()["generation"] == 1
    opened = api.post("/api/v1/sessions/s1/plan", json={"project": "demo", "generation": "first"})
    assert opened.json()["plan"]["generation"] == 1
    moved = api.post("/api/v1/sessions/s1/plan", json={"generation": "second"})
    assert moved.json()["plan"]["generation"] == 2
    assert api.post("/api/v1/sessions/s1/plan", json={"generation": "third"}).status_code == 404
    assert api.post("/api/v1/sessions/s2/plan", json={"generation": "first"}).status_code == 404


@pytest.mark.parametrize(
    "address",
    ["files/a.txt?generation={}", "tree?generation={}", "archive?generation={}", "commits/{}", "diff?before={}&after=1",
     "diff?before=1&after={}", "commits?before_generation={}"],
)  # fmt: skip
def test_what_is_neither_a_number_nor_a_tag_that_is_there_is_said_so(demo: Api, address: str) -> None:
    tag(demo, "release-1", 1)
    for wrong in ("07", "-1", "1.0", "head", "1-" + "a" * 26, "9" * 20, "a%20b"):
        refused = demo.get(f"{P}/{address.format(wrong)}")
        assert (refused.status_code, refused.json()["code"]) == (400, "invalid_input"), wrong
    missing = demo.get(f"{P}/{address.format('release-2')}")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
    assert "release-1" in missing.json()["hint"]


def test_the_pages_of_a_list_are_of_the_generation_that_the_tag_named_at_first(demo: Api) -> None:
    for name in "bcd":
        demo.put(f"{P}/files/{name}.txt", content=b"x")
    made = tag(demo, "release-1", 6)
    for address, query in (
        ("tree", {"generation": "release-1", "limit": "2"}),
        ("diff", {"before": "1", "after": "release-1", "limit": "2"}),
    ):
        first = demo.get(f"{P}/{address}", params=query).json()
        tag(demo, "release-1", 1, If_Match="*")
        rest = demo.get(f"{P}/{address}", params={**query, "cursor": first["next_cursor"]}).json()
        assert [one["path"] for one in first["items"] + rest["items"]] == [f"{name}.txt" for name in "abcd"]
        demo.delete(f"{P}/tags/release-1")
        assert demo.get(f"{P}/{address}", params={**query, "cursor": first["next_cursor"]}).json() == rest
        assert tag(demo, "release-1", 6).json()["generation"] == made.json()["generation"]


def test_a_condition_takes_no_tag(demo: Api) -> None:
    """It is to hold of the state that was seen, which a name is not."""
    tag(demo, "release-1", 3)
    assert demo.put(f"{P}/files/b", content=b"x", headers={"If-Match": '"release-1"'}).status_code == 412
    body = {"path": "d", "expected_generation": "release-1"}
    assert demo.post(f"{P}/dirs", json=body).status_code == 400
