from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tests.support.api import Api

DEMO = "/api/v1/projects/demo"


@pytest.fixture(autouse=True)
def _project(api: Api) -> None:
    api.project()


def paths(api: Api, **params: Any) -> list[str]:
    return [item["path"] for item in api.get(f"{DEMO}/tree", params={"recursive": True, **params}).json()["items"]]


def test_many_changes_are_one_commit(api: Api) -> None:
    api.put(f"{DEMO}/files/old.txt", content=b"old")
    api.put(f"{DEMO}/files/moved.txt", content=b"moved")
    done = api.post(
        f"{DEMO}/commits",
        json={
            "message": "all at once",
            "provenance": {"agent": "a1", "tools": [{"name": "edit", "calls": 3}], "cost": 0.25},
            "changes": [
                {"op": "put", "path": "src/a.txt", "text": "grüße\n", "mode": "600"},
                {"op": "put", "path": "bin", "content_base64": base64.b64encode(b"\0\xff").decode()},
                {"op": "mkdir", "path": "empty", "mode": "700"},
                {"op": "link", "path": "link", "target": "src/a.txt"},
                {"op": "link", "path": "odd", "target_base64": base64.b64encode(b"\xff").decode()},
                {"op": "delete", "path": "old.txt"},
                {"op": "move", "source": {"path": "moved.txt"}, "destination": {"path": "src/moved.txt"}},
                {"op": "copy", "source": {"path": "src"}, "destination": {"path": "twice"}},
            ],
        },
    )
    assert done.status_code == 201, done.text
    assert done.json()["generation"] == 3
    assert paths(api) == [
        "bin", "empty", "link", "odd", "src", "src/a.txt", "src/moved.txt", "twice", "twice/a.txt", "twice/moved.txt"
    ]  # fmt: skip
    entries = {item["path"]: item for item in api.get(f"{DEMO}/tree").json()["items"]}
    assert (entries["link"]["kind"], entries["link"]["target"]) == ("link", "src/a.txt")
    assert entries["odd"]["target_base64"] == base64.b64encode(b"\xff").decode()
    assert (entries["empty"]["kind"], entries["empty"]["mode"]) == ("folder", "700")
    assert api.get(f"{DEMO}/files/src/a.txt").text == "grüße\n"
    assert api.get(f"{DEMO}/files/twice/moved.txt").content == b"moved"
    commit = api.get(f"{DEMO}/commits/3").json()
    assert commit["provenance"] == {"agent": "a1", "tools": [{"name": "edit", "calls": 3}], "cost": 0.25}
    assert (commit["message"], commit["author"], commit["deleted"]) == ("all at once", "local", 2)


@pytest.mark.parametrize(
    "bad",
    [
        {"op": "delete", "path": "nothing"},
        {"op": "put", "path": "good/below", "text": "x"},
        {"op": "put", "path": "x"},
        {"op": "put", "path": "x", "text": "a", "content_base64": "YQ=="},
        {"op": "put", "path": "x", "content_base64": "?"},
        {"op": "put", "path": "x", "text": "\ud800"},
        {"op": "put", "path": "x", "text": "a", "mode": "9"},
        {"op": "put", "path": "x", "text": "a", "mode": "4755"},
        {"op": "link", "path": "x"},
        {"op": "link", "path": "x", "target": ""},
        {"op": "link", "path": "x", "target": "a\0b"},
        {"op": "explode", "path": "x"},
        {"op": "put", "path": "good", "text": "again", "create_only": True},
        {"op": "move", "source": {"path": "good"}, "destination": {"path": "good/inside"}},
        {"op": "copy", "source": {"path": "nothing"}, "destination": {"path": "x"}},
    ],
)
def test_one_bad_change_and_none_is_made(api: Api, bad: dict[str, Any]) -> None:
    body = {"changes": [{"op": "put", "path": "good", "text": "x"}, bad]}
    headers = {"Content-Type": "application/json"}
    answer = api.post(f"{DEMO}/commits", content=json.dumps(body).encode(), headers=headers)
    assert answer.status_code in (400, 404, 409), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert api.get(DEMO).json()["generation"] == 0


def test_changes_that_change_nothing_make_no_commit(api: Api) -> None:
    api.post(f"{DEMO}/dirs", json={"path": "a"})
    again = api.post(f"{DEMO}/dirs", json={"path": "a"})
    assert (again.json()["generation"], again.json()["commit"], again.json()["paths"]) == (1, None, [])


def test_a_generation_in_the_body_is_a_conflict_and_in_the_header_a_failed_precondition(api: Api) -> None:
    api.post(f"{DEMO}/dirs", json={"path": "a"})
    body = {"changes": [{"op": "mkdir", "path": "b"}]}
    by_body = api.post(f"{DEMO}/commits", json={**body, "expected_generation": 0})
    by_header = api.post(f"{DEMO}/commits", json=body, headers={"If-Match": '"0"'})
    assert (by_body.status_code, by_body.json()["code"]) == (409, "generation_mismatch")
    assert (by_header.status_code, by_header.json()["code"]) == (412, "generation_mismatch")
    assert api.post(f"{DEMO}/commits", json=body, headers={"If-Match": '"1"'}).json()["generation"] == 2


def test_a_header_and_a_body_that_name_different_generations_are_refused(api: Api) -> None:
    """One of the two would have been ignored without a word."""
    api.post(f"{DEMO}/dirs", json={"path": "a"})
    body = {"changes": [{"op": "mkdir", "path": "b"}], "expected_generation": 0}
    answer = api.post(f"{DEMO}/commits", json=body, headers={"If-Match": '"1"'})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_input")
    assert api.get(DEMO).json()["generation"] == 1
    agreeing = {**body, "expected_generation": 1}
    assert api.post(f"{DEMO}/commits", json=agreeing, headers={"If-Match": '"1"'}).json()["generation"] == 2


@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("dirs", {"path": "x"}),
        ("move", {"source": {"path": "a"}, "destination": {"path": "x"}}),
        ("restore", {"generation": 1}),
        ("commits", {"changes": [{"op": "delete", "path": "a"}]}),
    ],
)
def test_every_write_can_be_conditional(api: Api, route: str, body: dict[str, Any]) -> None:
    for name in ("a", "b"):
        api.put(f"{DEMO}/files/{name}", content=b"x")
    assert api.post(f"{DEMO}/{route}", json=body, headers={"If-Match": '"1"'}).status_code == 412
    assert api.get(DEMO).json()["generation"] == 2
    assert api.post(f"{DEMO}/{route}", json=body, headers={"If-Match": '"2"'}).is_success
    assert api.get(DEMO).json()["generation"] == 3


def test_a_move_takes_what_is_below_along_and_replaces_only_when_told_so(api: Api) -> None:
    for name in ("a/one", "a/deep/two", "b"):
        api.put(f"{DEMO}/files/{name}", content=name.encode())
    move = {"source": {"path": "a"}, "destination": {"path": "b"}}
    assert api.post(f"{DEMO}/move", json=move).json()["code"] == "already_exists"
    assert api.post(f"{DEMO}/move", json={**move, "overwrite": True}).status_code == 200
    assert paths(api) == ["b", "b/deep", "b/deep/two", "b/one"]
    assert api.get(f"{DEMO}/files/b/deep/two").content == b"a/deep/two"


@pytest.mark.parametrize(("source", "destination"), [("a", "a"), ("a", "a/b"), ("a/one", "a")])
def test_nothing_takes_the_place_of_what_it_lies_in(api: Api, source: str, destination: str) -> None:
    api.put(f"{DEMO}/files/a/one", content=b"x")
    for op in ("move", "copy"):
        change = {"op": op, "source": {"path": source}, "destination": {"path": destination}, "overwrite": True}
        assert api.post(f"{DEMO}/commits", json={"changes": [change]}).json()["code"] == "invalid_input"
    assert paths(api) == ["a", "a/one"]


@pytest.mark.parametrize("op", ["move", "copy"])
def test_who_names_one_path_twice_is_told_that(api: Api, op: str) -> None:
    api.put("/api/v1/projects/demo/files/a", content=b"x")
    change = {"op": op, "source": {"path": "a"}, "destination": {"path": "a"}, "overwrite": True}
    answer = api.post("/api/v1/projects/demo/commits", json={"changes": [change]})
    assert answer.status_code == 400
    assert answer.json()["detail"] == "'a' is the source and the destination"
    assert api.get("/api/v1/projects/demo").json()["generation"] == 1


def test_a_copy_that_would_make_a_path_too_long_is_refused(api: Api) -> None:
    deep = "/".join(["d" * 250] * 15)
    api.post(f"{DEMO}/dirs", json={"path": deep})
    change = {"op": "copy", "source": {"path": "d" * 250}, "destination": {"path": "/".join(["x" * 250] * 3)}}
    assert api.post(f"{DEMO}/commits", json={"changes": [change]}).json()["code"] == "unsafe_path"


def test_restore_brings_back_everything_or_only_some_paths(api: Api) -> None:
    for number in (1, 2):
        api.put(f"{DEMO}/files/a", content=f"a{number}".encode())
        api.put(f"{DEMO}/files/sub/b", content=f"b{number}".encode())
    some = api.post(f"{DEMO}/restore", json={"generation": 2, "paths": [{"path": "sub"}]})
    assert some.json()["generation"] == 5
    assert (api.get(f"{DEMO}/files/a").content, api.get(f"{DEMO}/files/sub/b").content) == (b"a2", b"b1")
    everything = api.post(f"{DEMO}/restore", json={"generation": 1, "message": "back to the start"})
    assert everything.json()["generation"] == 6
    assert paths(api) == ["a"]
    assert api.get(f"{DEMO}/commits").json()["items"][0]["message"] == "back to the start"
    assert api.post(f"{DEMO}/restore", json={"generation": 7}).status_code == 404


def test_commits_are_paged_newest_first(api: Api) -> None:
    for number in range(5):
        api.put(f"{DEMO}/files/f{number}", content=b"x", params={"message": f"m{number}"})
    first = api.get(f"{DEMO}/commits", params={"limit": 2}).json()
    assert [item["generation"] for item in first["items"]] == [5, 4]
    second = api.get(f"{DEMO}/commits", params={"limit": 3, "cursor": first["next_cursor"]}).json()
    assert ([item["message"] for item in second["items"]], second["next_cursor"]) == (["m2", "m1", "m0"], None)
    assert second["items"][-1]["parent"] is None
    assert api.get(f"{DEMO}/commits/6").status_code == 404


def test_a_diff_says_what_was_added_modified_and_deleted(api: Api) -> None:
    for name in ("same", "changed", "gone"):
        api.put(f"{DEMO}/files/{name}", content=b"1")
    api.put(f"{DEMO}/files/changed", content=b"22")
    api.delete(f"{DEMO}/files/gone")
    api.put(f"{DEMO}/files/new", content=b"x")
    diff = api.get(f"{DEMO}/diff", params={"before": 3, "after": 6}).json()
    assert [(item["path"], item["change"]) for item in diff["items"]] == [
        ("changed", "modified"), ("gone", "deleted"), ("new", "added")
    ]  # fmt: skip
    changed = diff["items"][0]
    assert (changed["before"]["size"], changed["after"]["size"]) == (1, 2)
    first = api.get(f"{DEMO}/diff", params={"before": 3, "after": 6, "limit": 2}).json()
    rest = api.get(f"{DEMO}/diff", params={"before": 3, "after": 6, "limit": 2, "cursor": first["next_cursor"]}).json()
    assert first["items"] + rest["items"] == diff["items"]
    assert rest["next_cursor"] is None


def test_pages_of_a_tree_hold_every_entry_once(api: Api) -> None:
    names = [f"f{number:02}" for number in range(11)]
    api.post(f"{DEMO}/commits", json={"changes": [{"op": "put", "path": name, "text": ""} for name in names]})
    api.raw("PUT", f"{DEMO}/files/%FF", body=b"")
    found: list[str] = []
    more: dict[str, str] = {}
    while True:
        page = api.get(f"{DEMO}/tree", params={"limit": 4, **more}).json()
        found += [item["path"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        more = {"cursor": page["next_cursor"]}
    assert found == [*names, "\\xff"]


def test_a_tree_is_listed_folder_by_folder_at_any_generation(api: Api) -> None:
    api.put(f"{DEMO}/files/a/b/c", content=b"x")
    api.delete(f"{DEMO}/files/a", params={"recursive": True})
    assert [item["path"] for item in api.get(f"{DEMO}/tree/a", params={"generation": 1}).json()["items"]] == ["a/b"]
    assert api.get(f"{DEMO}/tree/a").status_code == 404
    assert paths(api, generation=1) == ["a", "a/b", "a/b/c"]
    assert api.get(f"{DEMO}/tree/a/b/c", params={"generation": 1}).status_code == 400
