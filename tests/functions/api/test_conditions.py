"""Preconditions and validators, on every route, as RFC 9110 has them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from manifold_common.domain.history import Point
from manifold_common.ids import CommitId, Generation

from functions.api.validators import of_generation
from tests.support.api import Api

DEMO = "/api/projects/demo"
FILES = f"{DEMO}/files"
LONG_AGO, LATER = "Sun, 06 Nov 1994 08:49:37 GMT", "Fri, 01 Jan 2100 00:00:00 GMT"


@pytest.fixture(autouse=True)
def _project(api: Api) -> None:
    api.project()
    assert api.put(f"{FILES}/a", content=b"one").status_code == 201


def generation(api: Api) -> int:
    return int(api.get(DEMO).json()["generation"])


def code_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


# --- reads --------------------------------------------------------------------------------------------------------

READS = [
    "/api/projects", DEMO, f"{DEMO}/tree", f"{DEMO}/tree?recursive=true", f"{DEMO}/tree/folder", f"{DEMO}/commits",
    f"{DEMO}/commits/1", f"{DEMO}/diff?before=0&after=1", f"{DEMO}/archive", f"{FILES}/a", "/api/sessions",
    "/api/sessions/s1", "/api/sessions/s1/status", "/api/openapi.json",
]  # fmt: skip


def test_every_read_has_a_tag_and_is_304_to_whoever_has_it(api: Api) -> None:
    api.post(f"{DEMO}/dirs", json={"path": "folder"})
    api.post("/api/sessions", json={"project": "demo", "session": "s1"})
    for path in READS:
        etag = api.get(path).headers["etag"]
        known = api.get(path, headers=[("If-None-Match", '"other"'), ("If-None-Match", f'"more", {etag}')])
        assert (known.status_code, known.content, known.headers["etag"]) == (304, b"", etag), path
        assert "content-type" not in known.headers, path
        assert api.get(path, headers={"If-None-Match": "*"}).status_code == 304, path
        assert api.get(path, headers={"If-None-Match": '"other"'}).status_code == 200, path
        assert api.get(path, headers={"If-Match": "*"}).status_code == 200, path
        assert code_of(api.get(path, headers={"If-Match": '"stale"'})) == (412, "precondition_failed"), path
        for empty in ("If-Match", "If-None-Match"):
            assert code_of(api.get(path, headers={empty: ""})) == (400, "invalid_input"), (path, empty)


def test_a_tag_changes_with_what_is_shown_and_with_nothing_else(api: Api) -> None:
    work = Path(api.post("/api/sessions", json={"project": "demo", "session": "s1"}).json()["path"])
    watched = [path for path in READS if "folder" not in path and "openapi" not in path]

    def tags() -> dict[str, str]:
        return {path: api.get(path).headers["etag"] for path in watched}

    before = tags()
    assert tags() == before
    assert api.patch(DEMO, json={"name": "demo"}).status_code == 200  # its time is another one
    renamed = tags()
    assert {path for path in watched if renamed[path] != before[path]} == {"/api/projects", DEMO}
    (work / "b").write_bytes(b"two")
    changed = tags()
    assert {path for path in watched if changed[path] != renamed[path]} == {"/api/sessions/s1/status"}
    assert api.post("/api/sessions/s1/commit").status_code == 200
    committed = tags()
    same = {f"{DEMO}/commits/1", f"{DEMO}/diff?before=0&after=1", f"{FILES}/a"}
    assert {path for path in watched if committed[path] == changed[path]} == same


def test_reads_of_another_generation_than_the_client_names_are_refused(api: Api) -> None:
    api.put(f"{FILES}/a", content=b"two")
    for path in (DEMO, f"{FILES}/a", f"{DEMO}/tree"):
        assert code_of(api.get(path, headers={"If-Match": '"1"'})) == (412, "generation_mismatch"), path
        assert api.get(path, headers={"If-Match": '"1", "2"'}).status_code == 200, path
    assert api.get(f"{FILES}/a?generation=1", headers={"If-Match": '"1"'}).status_code == 200


def test_dates_count_only_where_there_are_no_tags(api: Api) -> None:
    for path in (DEMO, f"{DEMO}/tree", f"{DEMO}/commits/1", f"{FILES}/a"):
        etag = api.get(path).headers["etag"]
        for headers, status in [
            ({"If-Modified-Since": LATER}, 304),
            ({"If-Modified-Since": LONG_AGO}, 200),
            ({"If-Modified-Since": "yesterday"}, 200),
            ({"If-Modified-Since": LATER, "If-None-Match": '"other"'}, 200),
            ({"If-Modified-Since": LONG_AGO, "If-None-Match": etag}, 304),
            ({"If-Unmodified-Since": LONG_AGO}, 412),
            ({"If-Unmodified-Since": LATER}, 200),
            ({"If-Unmodified-Since": "yesterday"}, 400),
            ({"If-Unmodified-Since": LONG_AGO, "If-Match": "*"}, 200),
            ({"If-Match": '"stale"', "If-None-Match": etag}, 412),
        ]:
            assert api.get(path, headers=headers).status_code == status, (path, headers)
            if path.startswith(FILES):
                assert api.head(path, headers=headers).status_code == status, (path, headers)


def test_a_time_of_the_last_second_is_not_told_since_there_may_be_another_version_in_it() -> None:
    point, now = Point(Generation(1), CommitId("a" * 26)), datetime.now(UTC)
    assert "Last-Modified" not in of_generation(point, now).headers()
    assert "Last-Modified" not in of_generation(point, now + timedelta(minutes=1)).headers()
    told = of_generation(point, datetime(1994, 11, 6, 8, 49, 37, 5, tzinfo=UTC)).headers()
    assert told["Last-Modified"] == LONG_AGO


# --- writes -------------------------------------------------------------------------------------------------------

WRITES = [
    ("PUT", f"{FILES}/a", {"content": b"x"}),
    ("POST", f"{FILES}/new", {"content": b"x"}),
    ("DELETE", f"{FILES}/a", {}),
    ("POST", f"{DEMO}/dirs", {"json": {"path": "d"}}),
    ("POST", f"{DEMO}/move", {"json": {"source": {"path": "a"}, "destination": {"path": "b"}}}),
    ("POST", f"{DEMO}/commits", {"json": {"changes": [{"op": "delete", "path": "a"}]}}),
    ("POST", f"{DEMO}/restore", {"json": {"generation": 0}}),
    ("POST", f"{DEMO}/archive", {"content": b""}),
    ("POST", f"{DEMO}/fork", {"json": {"name": "fork"}}),
    ("POST", f"{DEMO}/plan", {}),
    ("PATCH", DEMO, {"json": {"name": "other"}}),
    ("DELETE", DEMO, {}),
    ("POST", "/api/projects", {"json": {"name": "more"}}),
    ("POST", "/api/sessions", {"json": {"project": "demo", "session": "s1"}}),
    *(("POST", f"/api/sessions/s1/{verb}", {}) for verb in ("checkout", "save", "commit", "plan")),
    ("POST", "/api/sessions/s1/uploads", {"json": {"base_generation": 1, "packs": 0}}),
    ("POST", "/api/sessions/s1/links", {"json": {"uploads": [{"name": "a" * 26, "size": 1}]}}),
    ("DELETE", "/api/sessions/s1", {}),
]  # fmt: skip


def test_no_write_is_done_under_a_condition_that_does_not_hold_or_cannot_be_read(api: Api) -> None:
    api.post("/api/sessions", json={"project": "demo", "session": "s1"})
    before = (api.get("/api/projects").json(), api.get("/api/sessions").json())
    for method, path, body in WRITES:
        for headers, status in [
            ({"If-Match": '"0"'}, 412),
            ({"If-Match": '"stale", "0.0"'}, 412),
            ({"If-Match": 'W/"1"'}, 412),
            ({"If-Match": ""}, 400),
            ({"If-Match": "1"}, 400),
            ({"If-None-Match": ","}, 400),
            ({"If-Unmodified-Since": "yesterday"}, 400),
        ]:
            answer = api.request(method, path, headers=headers, **body)  # type: ignore[arg-type]
            assert answer.status_code == status, (method, path, headers, answer.text)
            assert answer.json()["hint"], (method, path, headers)
    assert (api.get("/api/projects").json(), api.get("/api/sessions").json()) == before


def test_any_form_of_the_projects_state_is_a_condition_of_writes(api: Api) -> None:
    api.patch(DEMO, json={"name": "demo"})
    for form in ("{generation}", "{generation}-{commit}", "{generation}.1", "{generation}-{commit}.1"):
        found = api.get(DEMO).json()
        tag = form.format(**found)
        done = api.put(f"{FILES}/a", content=form.encode(), headers={"If-Match": f'"stale", "{tag}"'})
        assert done.status_code == 200, form
        assert api.put(f"{FILES}/a", content=b"x", headers={"If-Match": f'"{tag}"'}).status_code == 412, form
    etag = api.get(DEMO).headers["etag"]
    assert api.patch(DEMO, json={"name": "demo"}, headers={"If-Match": etag}).status_code == 200
    for method, path, body in [("PATCH", DEMO, {"name": "x"}), ("POST", f"{DEMO}/dirs", {"path": "d"})]:
        late = api.request(method, path, json=body, headers={"If-Match": etag})
        assert late.status_code == 412, "it was renamed since, at the same generation"


def test_a_write_that_names_a_version_among_others_is_done_on_that_very_one(api: Api) -> None:
    etag = api.get(f"{FILES}/a").headers["etag"]
    assert api.put(f"{FILES}/a", content=b"2", headers={"If-Match": f'"x", {etag}'}).status_code == 200
    assert api.put(f"{FILES}/a", content=b"3", headers={"If-Match": f'"x", {etag}'}).status_code == 412
    assert api.get(f"{FILES}/a").content == b"2"


def test_what_is_absent_is_no_match_for_anything(api: Api) -> None:
    any_of_it = {"If-Match": "*"}
    move = {"source": {"path": "absent"}, "destination": {"path": "b"}}
    answers = [
        api.put(f"{FILES}/absent", content=b"x", headers=any_of_it),
        api.post(f"{FILES}/absent", content=b"x", headers=any_of_it),
        api.delete(f"{FILES}/absent", headers=any_of_it),
        api.post(f"{DEMO}/move", json=move, headers=any_of_it),
        api.post(f"{DEMO}/dirs", json={"path": "absent"}, headers=any_of_it),
        api.post("/api/projects", json={"name": "absent"}, headers=any_of_it),
        api.post("/api/sessions", json={"project": "demo", "session": "absent"}, headers=any_of_it),
        api.delete("/api/sessions/absent", headers=any_of_it),
    ]
    assert [code_of(answer) for answer in answers] == [(412, "precondition_failed")] * len(answers)
    assert generation(api) == 1
    assert api.get(f"{FILES}/absent", headers=any_of_it).status_code == 404, "as without a condition"
    assert api.put(f"{FILES}/a", content=b"x", headers=any_of_it).status_code == 200


def test_what_is_there_fails_if_none_match(api: Api) -> None:
    etag = api.get(f"{FILES}/a").headers["etag"]
    api.post("/api/sessions", json={"project": "demo", "session": "s1"})
    taken = {"source": {"path": "a"}, "destination": {"path": "a2"}, "overwrite": True}
    api.put(f"{FILES}/a2", content=b"two")
    for found in ("*", etag, f'"x", W/{etag}'):
        headers = {"If-None-Match": found}
        assert api.put(f"{FILES}/a", content=b"x", headers=headers).status_code == 412, found
        assert api.delete(f"{FILES}/a", headers=headers).status_code == 412, found
    for path, body in [("dirs", {"path": "a"}), ("move", taken), ("restore", {"generation": 0})]:
        assert api.post(f"{DEMO}/{path}", json=body, headers={"If-None-Match": "*"}).status_code == 412, path
    again = api.post("/api/sessions", json={"session": "s1"}, headers={"If-None-Match": "*"})
    assert code_of(again) == (412, "precondition_failed")
    assert generation(api) == 2
    free = {**taken, "destination": {"path": "free"}}
    assert api.post(f"{DEMO}/move", json=free, headers={"If-None-Match": "*", "If-Match": etag}).status_code == 200
    assert api.delete(f"{FILES}/a2", headers={"If-None-Match": etag}).status_code == 200
    assert api.post("/api/projects", json={"name": "new"}, headers={"If-None-Match": "*"}).status_code == 201


def test_a_time_guards_a_write_against_what_came_after_it(api: Api) -> None:
    for method, path, body in [("PUT", f"{FILES}/a", {"content": b"x"}), ("PATCH", DEMO, {"json": {"name": "demo"}})]:
        old = api.request(method, path, headers={"If-Unmodified-Since": LONG_AGO}, **body)  # type: ignore[arg-type]
        assert code_of(old) == (412, "precondition_failed")
        new = api.request(method, path, headers={"If-Unmodified-Since": LATER}, **body)  # type: ignore[arg-type]
        assert new.status_code == 200, new.text


def test_a_session_has_a_tag_that_guards_it(api: Api) -> None:
    work = Path(api.post("/api/sessions", json={"project": "demo", "session": "s1"}).json()["path"])
    stale = api.get("/api/sessions/s1").headers["etag"]
    (work / "b").write_bytes(b"two")
    current = api.post("/api/sessions/s1/save", headers={"If-Match": stale}).headers["etag"]
    assert current == api.get("/api/sessions/s1").headers["etag"] != stale
    assert code_of(api.delete("/api/sessions/s1", headers={"If-Match": stale})) == (412, "precondition_failed")
    assert api.delete("/api/sessions/s1", headers={"If-Match": current}).status_code == 204


# --- what is answered to a write ------------------------------------------------------------------------------------


def test_what_is_made_is_201_with_its_place_and_tag_and_what_is_replaced_200(api: Api) -> None:
    project = api.get(DEMO).json()["id"]
    home = f"/api/projects/{project}"
    commit = {"changes": [{"op": "put", "path": "c", "text": "c"}]}
    for method, path, body, place in [
        ("PUT", f"{FILES}/new/%C3%A9%3F", {"content": b"x"}, f"{home}/files/new/%C3%A9%3F"),
        ("POST", f"{FILES}/posted", {"content": b"x"}, f"{home}/files/posted"),
        ("POST", f"{DEMO}/dirs", {"json": {"path": "d/e"}}, f"{home}/tree/d/e"),
        ("POST", f"{DEMO}/commits", {"json": commit}, f"{home}/commits/5"),
        ("POST", f"{DEMO}/archive?folder=f", {"content": api.get(f"{DEMO}/archive").content}, f"{home}/commits/6"),
        ("POST", "/api/sessions", {"json": {"project": "demo", "session": "s1"}}, "/api/sessions/s1"),
        ("POST", "/api/projects", {"json": {"name": "p"}}, "/api/projects/"),
        ("POST", f"{DEMO}/fork", {"json": {"name": "f"}}, "/api/projects/"),
    ]:
        answer = api.request(method, path, **body)  # type: ignore[arg-type]
        assert answer.status_code == 201 and answer.headers["location"].startswith(place), answer.text
        assert api.get(answer.headers["location"]).headers["etag"] == answer.headers["etag"], path
    for method, path, body in [
        ("PUT", f"{FILES}/posted", {"content": b"y"}),
        ("POST", f"{DEMO}/dirs", {"json": {"path": "d/e"}}),
        ("POST", f"{DEMO}/commits", {"json": {"changes": [{"op": "mkdir", "path": "d"}]}}),
        ("POST", "/api/sessions", {"json": {"session": "s1"}}),
    ]:
        answer = api.request(method, path, **body)  # type: ignore[arg-type]
        assert answer.status_code == 200 and "location" not in answer.headers, answer.text
        assert answer.headers["etag"]


def test_a_client_goes_on_with_the_tag_of_its_last_write(api: Api) -> None:
    tag = api.put(f"{FILES}/a", content=b"2").headers["etag"]
    tag = api.put(f"{FILES}/a", content=b"3", headers={"If-Match": tag}).headers["etag"]
    assert tag == api.get(f"{FILES}/a").headers["etag"]
    move = {"source": {"path": "a"}, "destination": {"path": "b"}}
    tag = api.post(f"{DEMO}/move", json=move, headers={"If-Match": tag}).headers["etag"]
    tag = api.post(f"{DEMO}/restore", json={"generation": 1}, headers={"If-Match": tag}).headers["etag"]
    tag = api.post(f"{DEMO}/dirs", json={"path": "d"}, headers={"If-Match": tag}).headers["etag"]
    api.post("/api/sessions", json={"project": "demo", "session": "s1"})
    tag = api.post("/api/sessions/s1/commit", headers={"If-Match": tag}).headers["etag"]
    tag = api.patch(DEMO, json={"name": "demo"}, headers={"If-Match": tag}).headers["etag"]
    assert api.delete(DEMO, headers={"If-Match": tag}).status_code == 204
