"""Every list of the API goes page by page in one style: what it may be asked for, and what its cursors refuse."""

from __future__ import annotations

import base64
import random
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.listing import EVERY_ENTRY
from manifold_common.errors import InvalidCursor
from manifold_common.ids import CommitId, Generation, ProjectId
from manifold_common.services.projects import commit_search
from manifold_common.shapes.cursors import Content, Cursors, TreePoint

from functions.api.paging import DEFAULT_PAGE, MAX_PAGE
from functions.api.routes import tree
from tests.support.api import Api

DEMO = "/api/v1/projects/demo"
COUNT = 7
LISTS: dict[str, tuple[str, dict[str, Any]]] = {
    "projects": ("/api/v1/projects", {}),
    "projects by prefix": ("/api/v1/projects", {"prefix": "demo"}),
    "commits": (f"{DEMO}/commits", {}),
    "commits of a path": (f"{DEMO}/commits", {"path": "d"}),
    "commits with a fact": (f"{DEMO}/commits", {"provenance": "turn"}),
    "sessions": ("/api/v1/sessions", {}),
    "sessions of a project": ("/api/v1/sessions", {"project": "demo"}),
    "jobs": ("/api/v1/jobs", {}),
    "jobs of a kind": ("/api/v1/jobs", {"kind": "rewrap"}),
    "jobs in a state": ("/api/v1/jobs", {"state": "running"}),
    "tree": (f"{DEMO}/tree/d", {}),
    "tree by kind": (f"{DEMO}/tree/d", {"kind": "file"}),
    "diff": (f"{DEMO}/diff", {"before": 0, "after": COUNT}),
}
FORGED = [
    "", "=", "a", "AAAA", "*", "é", "a" * 513, "kwHEAA",
    *(base64.urlsafe_b64encode(data).decode().rstrip("=")
      for data in (msgspec.msgpack.encode([1, b"", 1]), b"\x93" * 300, b"\xdd\xff\xff\xff\xff")),
]  # fmt: skip


@pytest.fixture
def filled(api: Api) -> Api:
    """Seven of everything."""
    api.project()
    for number in range(COUNT):
        if number:
            api.project(f"demo{number}")
        change = {"op": "put", "path": f"d/f{number}", "text": f"{number}"}
        made = api.post(f"{DEMO}/commits", json={"changes": [change], "provenance": {"turn": number}})
        assert made.status_code == 201, made.text
        assert api.post("/api/v1/sessions", json={"project": "demo", "session": f"s{number}"}).status_code == 201
        job = {"kind": "rewrap", "params": {"project": f"demo{number or ''}"}}
        assert api.post("/api/v1/jobs", json=job).status_code == 201
    return api


def pages(api: Api, name: str, limit: int = 3) -> Iterator[dict[str, Any]]:
    path, query = LISTS[name]
    more: dict[str, Any] = {}
    for _ in range(100):
        answer = api.get(path, params={**query, **more, "limit": limit})
        assert answer.status_code == 200, answer.text
        yield answer.json()
        if answer.json()["next_cursor"] is None:
            return
        more = {"cursor": answer.json()["next_cursor"]}
    raise AssertionError("the list does not end")


def test_pages_hold_every_item_once_in_the_order_of_the_whole_list(filled: Api) -> None:
    for name, (path, query) in LISTS.items():
        whole = filled.get(path, params=query).json()
        assert whole["next_cursor"] is None, name
        found = list(pages(filled, name))
        assert [item for page in found for item in page["items"]] == whole["items"], name
        assert len(whole["items"]) >= COUNT, name
        assert all(len(page["items"]) <= 3 for page in found), name
        exactly = filled.get(path, params={**query, "limit": len(whole["items"])}).json()
        assert exactly["items"] == whole["items"], name


def test_every_list_has_the_same_parameters_and_the_same_default(api: Api) -> None:
    spec = api.get("/api/v1/openapi.json").json()
    lists = 0
    for path, operations in spec["paths"].items():
        content = operations.get("get", {}).get("responses", {}).get("200", {}).get("content", {})
        schema = content.get("application/json", {}).get("schema", {})
        shape = spec["components"]["schemas"].get(schema.get("$ref", "").rpartition("/")[2], {})
        if "items" not in shape.get("properties", {}):
            continue
        lists += 1
        parameters = {one["name"]: one for one in operations["get"]["parameters"]}
        limit = parameters["limit"]["schema"]
        assert (limit["minimum"], limit["maximum"], limit["default"]) == (1, MAX_PAGE, DEFAULT_PAGE), path
        assert {"cursor"} <= parameters.keys() and "next_cursor" in shape["properties"], path
        assert not {"offset", "page", "after_path"} & parameters.keys(), path
    assert lists >= 5


def test_a_cursor_of_another_list_or_with_other_filters_is_refused(filled: Api) -> None:
    cursors = {name: next(pages(filled, name))["next_cursor"] for name in LISTS}
    assert all(cursors.values())
    for name, (path, query) in LISTS.items():
        for other, cursor in cursors.items():
            answer = filled.get(path, params={**query, "cursor": cursor})
            assert (answer.status_code, answer.json().get("code")) == (
                (200, None) if other == name else (400, "invalid_cursor")
            ), (name, other)
            assert answer.status_code == 200 or answer.json()["hint"]


def test_a_forged_cursor_is_refused_or_begins_the_same_list_elsewhere(filled: Api) -> None:
    chance = random.Random(3)
    for name in ("projects", "commits", "sessions", "jobs", "tree", "diff"):
        path, query = LISTS[name]
        for cursor in FORGED:
            answer = filled.get(path, params={**query, "cursor": cursor})
            assert (answer.status_code, answer.json()["code"]) == (400, "invalid_cursor"), (name, cursor)
        whole = filled.get(path, params=query).json()["items"]
        genuine = next(pages(filled, name))["next_cursor"]
        for _ in range(25):
            at = chance.randrange(len(genuine))
            forged = genuine[:at] + chance.choice("Aa0_-zQ9") + genuine[at + 1 :]
            answer = filled.get(path, params={**query, "cursor": forged})
            assert answer.status_code in (200, 400, 410), (name, forged, answer.text)
            if answer.status_code == 200:
                assert all(item in whole for item in answer.json()["items"])


def test_a_cursor_says_whose_list_it_is_of() -> None:
    decoder = msgspec.msgpack.Decoder(Content[str])
    cursors = Cursors("things", decoder)
    cursor = cursors.write("k", "acme", "ann")
    assert cursors.read(cursor, "acme", "ann") == "k"
    with pytest.raises(InvalidCursor, match="another list"):
        cursors.read(cursor, "acme", "bob")
    with pytest.raises(InvalidCursor, match="another list"):
        Cursors("others", decoder).read(cursor, "acme", "ann")
    assert cursors.read(None, "acme", "ann") is None


def test_pages_of_a_tree_are_of_the_generation_it_began_with(filled: Api) -> None:
    steps = pages(filled, "tree")
    found = [next(steps)]
    filled.put(f"{DEMO}/files/d/f10", content=b"new")
    filled.delete(f"{DEMO}/files/d/f6")
    found += steps
    assert {page["generation"] for page in found} == {COUNT}
    assert [item["path"] for page in found for item in page["items"]] == [f"d/f{number}" for number in range(COUNT)]


def test_a_generation_that_is_not_there_any_more_is_gone(filled: Api) -> None:
    project = ProjectId(filled.get(DEMO).json()["id"])
    other = CommitId("a" * 26)
    for number, commit in ((COUNT, other), (COUNT + 9, other), (0, other), (COUNT, None)):
        seen = TreePoint(Generation(number), commit)
        cursor = tree._CURSORS.write((seen, 1), LOCAL_PRINCIPAL, project, b"d", False, None, EVERY_ENTRY)
        answer = filled.get(f"{DEMO}/tree/d", params={"cursor": cursor})
        assert (answer.status_code, answer.json()["code"]) == (410, "generation_gone")
        assert answer.json()["hint"]


def test_commits_are_found_by_what_is_asked_for(filled: Api) -> None:
    expected: list[tuple[dict[str, Any], list[int]]] = [
        ({"path": "d/f3"}, [4]),
        ({"path": "d"}, [7, 6, 5, 4, 3, 2, 1]),
        ({"path": "d/f"}, []),
        ({"path_base64": "ZC9mMw=="}, [4]),
        ({"provenance": "turn"}, [7, 6, 5, 4, 3, 2, 1]),
        ({"provenance": "turn=3"}, [4]),
        ({"provenance": "cost"}, []),
        ({"provenance": "turn=3", "path": "d/f2"}, []),
        ({"author": "local", "before_generation": 3}, [2, 1]),
        ({"author": "somebody"}, []),
        ({"session": "s1"}, []),
        ({"since": "2020-01-01T00:00:00Z", "until": "2020-02-01T00:00:00+02:00"}, []),
        ({"since": "2020-01-01T00:00:00Z", "before_generation": 2}, [1]),
    ]
    for query, generations in expected:
        found = filled.get(f"{DEMO}/commits", params=query).json()
        assert [item["generation"] for item in found["items"]] == generations, query


def test_commits_of_a_session_are_found(filled: Api) -> None:
    opened = filled.post("/api/v1/sessions", json={"session": "s2"}).json()
    with open(f"{opened['path']}/d/new", "w", encoding="utf-8") as file:
        file.write("by a session")
    assert filled.post("/api/v1/sessions/s2/commit", json={}).json()["generation"] == COUNT + 1
    for query in ({"session": "s2"}, {"session": "s2", "path": "d"}):
        found = filled.get(f"{DEMO}/commits", params=query).json()["items"]
        assert [item["generation"] for item in found] == [COUNT + 1]


def test_a_search_reads_so_many_commits_and_goes_on_where_it_ended(
    filled: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit_search, "MOST_READ", 2)
    monkeypatch.setattr(commit_search, "MOST_OPENED", 2)
    for query in ({"path": "d/f0"}, {"provenance": "turn=0"}):
        found, more, asked = [], {}, 0
        while more is not None:
            page = filled.get(f"{DEMO}/commits", params={**query, **more}).json()
            found += [item["generation"] for item in page["items"]]
            more, asked = {"cursor": last} if (last := page["next_cursor"]) else None, asked + 1
        assert (found, asked) == ([1], 4)


def test_a_tree_is_listed_by_pattern_and_kind(api: Api) -> None:
    api.project()
    changes = [{"op": "put", "path": path, "text": ""} for path in ("a.py", "src/b.py", "src/deep/c.py")]
    changes.append({"op": "link", "path": "link", "target": "a.py"})
    assert api.post(f"{DEMO}/commits", json={"changes": changes}).status_code == 201
    expected: list[tuple[dict[str, str], list[str]]] = [
        ({"glob": "*.py", "recursive": "true"}, ["a.py", "src/b.py", "src/deep/c.py"]),
        ({"glob": "/src"}, ["src"]),
        ({"glob": "src", "recursive": "true", "kind": "folder"}, ["src", "src/deep"]),
        ({"glob": "src/*.py", "recursive": "true"}, ["src/b.py"]),
        ({"kind": "link"}, ["link"]),
        ({"kind": "file", "recursive": "true"}, ["a.py", "src/b.py", "src/deep/c.py"]),
        ({"glob": "nothing"}, []),
    ]
    for query, paths in expected:
        assert [item["path"] for item in api.get(f"{DEMO}/tree", params=query).json()["items"]] == paths, query


def test_a_glob_that_would_take_a_matcher_that_backtracks_for_ever_is_answered(api: Api) -> None:
    api.project()
    api.put(f"{DEMO}/files/{'a' * 200}", content=b"")
    answer = api.get(f"{DEMO}/tree", params={"glob": "*a" * 100 + "b", "recursive": "true"})
    assert (answer.status_code, answer.json()["items"]) == (200, [])


def test_projects_are_found_by_prefix_and_time(filled: Api) -> None:
    def names(**query: str) -> list[str]:
        return [item["name"] for item in filled.get("/api/v1/projects", params=query).json()["items"]]

    assert names(prefix="demo6") == ["demo6"]
    assert names(prefix="Demo") == []
    created = filled.get("/api/v1/projects/demo3").json()["created_at"]
    assert names(created_since=created) == ["demo3", "demo4", "demo5", "demo6"]
    assert names(created_until=created) == ["demo", "demo1", "demo2"]
    assert names(updated_since=filled.get("/api/v1/projects/demo").json()["updated_at"])[0] == "demo"


def test_a_filter_that_cannot_be_meant_is_refused(api: Api) -> None:
    api.project()
    for query in (
        "commits?since=yesterday", "commits?since=2026-05-04", "commits?until=2026-05-04T10:00:00",
        "commits?since=1700000000", "commits?since=0001-01-01T00:00:00Z", "commits?author=No%20User",
        "commits?session=A", "commits?provenance=%3D1", "commits?path=../x", "commits?path=a&path_base64=Yg%3D%3D",
        "commits?path_base64=!", "tree?glob=%21a", "tree?glob=%23", "tree?kind=pipe", "commits?limit=0",
        "commits?limit=1001",
    ):  # fmt: skip
        answer = api.get(f"{DEMO}/{query}")
        assert answer.status_code == 400, (query, answer.text)
        assert answer.json()["detail"]
    told = api.get(f"{DEMO}/commits", params={"since": "2026-05-04"}).json()
    assert "%2B" in told["hint"], "as a + in a URL is a space"
