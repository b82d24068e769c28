"""Preconditions and validators, on every route, as RFC 9110 has them."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from manifold_common.domain.history import Point
from manifold_common.ids import CommitId, Generation
from manifold_common.services.publish import Published, Publisher

from functions.api import conditions
from functions.api.validators import of_generation
from tests.support.api import Api

DEMO = "/api/v1/projects/demo"
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
    "/api/v1/projects", DEMO, f"{DEMO}/tree", f"{DEMO}/tree?recursive=true", f"{DEMO}/tree/folder", f"{DEMO}/commits",
    f"{DEMO}/commits/1", f"{DEMO}/diff?before=0&after=1", f"{DEMO}/archive", f"{FILES}/a", "/api/v1/sessions",
    "/api/v1/sessions/s1", "/api/v1/sessions/s1/status", "/api/v1/openapi.json",
]  # fmt: skip


def test_every_read_has_a_tag_and_is_304_to_whoever_has_it(api: Api) -> None:
    api.post(f"{DEMO}/dirs", json={"path": "folder"})
    api.post("/api/v1/sessions", json={"project": "demo", "session": "s1"})
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
    work = Path(api.post("/api/v1/sessions", json={"project": "demo", "session": "s1"}).json()["path"])
    watched = [path for path in READS if "folder" not in path and "openapi" not in path]

    def tags() -> dict[str, str]:
        return {path: api.get(path).headers["etag"] for path in watched}

    before = tags()
    assert tags() == before
    assert api.patch(DEMO, json={"name": "demo"}).status_code == 200  # its time is another one
    renamed = tags()
    assert {path for path in watched if renamed[path] != before[path]} == {"/api/v1/projects", DEMO}
    (work / "b").write_bytes(b"two")
    changed = tags()
    assert {path for path in watched if changed[path] != renamed[path]} == {"/api/v1/sessions/s1/status"}
    assert api.post("/api/v1/sessions/s1/commit").status_code == 200
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
            ({"If-Unmodified-Since": "yesterday"}, 200),
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
    ("POST", "/api/v1/projects", {"json": {"name": "more"}}),
    ("POST", "/api/v1/sessions", {"json": {"project": "demo", "session": "s1"}}),
    *(("POST", f"/api/v1/sessions/s1/{verb}", {}) for verb in ("checkout", "save", "commit", "plan")),
    ("POST", "/api/v1/sessions/s1/uploads", {"json": {"base_generation": 1, "packs": 0}}),
    ("POST", "/api/v1/sessions/s1/links", {"json": {"uploads": [{"name": "a" * 26, "size": 1}]}}),
    ("DELETE", "/api/v1/sessions/s1", {}),
]  # fmt: skip


def test_no_write_is_done_under_a_condition_that_does_not_hold_or_cannot_be_read(api: Api) -> None:
    api.post("/api/v1/sessions", json={"project": "demo", "session": "s1"})
    before = (api.get("/api/v1/projects").json(), api.get("/api/v1/sessions").json())
    for method, path, body in WRITES:
        for headers, status in [
            ({"If-Match": '"0"'}, 412),
            ({"If-Match": '"stale", "0.0"'}, 412),
            ({"If-Match": 'W/"1"'}, 412),
            ({"If-Match": ""}, 400),
            ({"If-Match": "1"}, 400),
            ({"If-None-Match": ","}, 400),
        ]:
            answer = api.request(method, path, headers=headers, **body)  # type: ignore[arg-type]
            assert answer.status_code == status, (method, path, headers, answer.text)
            assert answer.json()["hint"], (method, path, headers)
    assert (api.get("/api/v1/projects").json(), api.get("/api/v1/sessions").json()) == before


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
        api.post("/api/v1/projects", json={"name": "absent"}, headers=any_of_it),
        api.post("/api/v1/sessions", json={"project": "demo", "session": "absent"}, headers=any_of_it),
        api.delete("/api/v1/sessions/absent", headers=any_of_it),
    ]
    assert [code_of(answer) for answer in answers] == [(412, "precondition_failed")] * len(answers)
    assert generation(api) == 1
    assert api.get(f"{FILES}/absent", headers=any_of_it).status_code == 404, "as without a condition"
    assert api.put(f"{FILES}/a", content=b"x", headers=any_of_it).status_code == 200


def test_what_is_there_fails_if_none_match(api: Api) -> None:
    etag = api.get(f"{FILES}/a").headers["etag"]
    api.post("/api/v1/sessions", json={"project": "demo", "session": "s1"})
    taken = {"source": {"path": "a"}, "destination": {"path": "a2"}, "overwrite": True}
    api.put(f"{FILES}/a2", content=b"two")
    for found in ("*", etag, f'"x", W/{etag}'):
        headers = {"If-None-Match": found}
        assert api.put(f"{FILES}/a", content=b"x", headers=headers).status_code == 412, found
        assert api.delete(f"{FILES}/a", headers=headers).status_code == 412, found
    for path, body in [("dirs", {"path": "a"}), ("move", taken), ("restore", {"generation": 0})]:
        assert api.post(f"{DEMO}/{path}", json=body, headers={"If-None-Match": "*"}).status_code == 412, path
    again = api.post("/api/v1/sessions", json={"session": "s1"}, headers={"If-None-Match": "*"})
    assert code_of(again) == (412, "precondition_failed")
    assert generation(api) == 2
    free = {**taken, "destination": {"path": "free"}}
    assert api.post(f"{DEMO}/move", json=free, headers={"If-None-Match": "*", "If-Match": etag}).status_code == 200
    assert api.delete(f"{FILES}/a2", headers={"If-None-Match": etag}).status_code == 200
    assert api.post("/api/v1/projects", json={"name": "new"}, headers={"If-None-Match": "*"}).status_code == 201


def test_a_time_guards_a_write_against_what_came_after_it(api: Api) -> None:
    for method, path, body in [("PUT", f"{FILES}/a", {"content": b"x"}), ("PATCH", DEMO, {"json": {"name": "demo"}})]:
        old = api.request(method, path, headers={"If-Unmodified-Since": LONG_AGO}, **body)  # type: ignore[arg-type]
        assert code_of(old) == (412, "precondition_failed")
        new = api.request(method, path, headers={"If-Unmodified-Since": LATER}, **body)  # type: ignore[arg-type]
        assert new.status_code == 200, new.text


def test_a_date_that_is_none_or_one_of_two_is_ignored(api: Api) -> None:
    for lines in (["yesterday"], ["Sun, 99 Nov 1994 08:49:37 GMT"], [LONG_AGO, LONG_AGO]):
        headers = [("If-Unmodified-Since", line) for line in lines]
        assert api.put(f"{FILES}/a", content=b"x", headers=headers).status_code == 200, lines
    twice = [("If-Modified-Since", LATER), ("If-Modified-Since", LATER)]
    assert api.get(f"{FILES}/a", headers=twice).status_code == 200


def test_a_time_guards_a_session_against_what_came_into_its_project(api: Api) -> None:
    work = Path(api.post("/api/v1/sessions", json={"project": "demo", "session": "s1"}).json()["path"])
    (work / "b").write_bytes(b"two")
    old, new = {"If-Unmodified-Since": LONG_AGO}, {"If-Unmodified-Since": LATER}
    for path in ("/api/v1/sessions/s1/save", "/api/v1/sessions/s1/checkout", "/api/v1/sessions/s1/commit"):
        assert code_of(api.post(path, headers=old)) == (412, "precondition_failed"), path
        assert api.post(path, headers=new).status_code == 200, path
    another = {"project": "demo", "session": "s2"}
    assert api.post("/api/v1/sessions", json=another, headers=old).status_code == 412
    assert api.delete("/api/v1/sessions/s1", headers=old).status_code == 412
    assert [row["session"] for row in api.get("/api/v1/sessions").json()["items"]] == ["s1"]


def test_a_session_has_a_tag_that_guards_it(api: Api) -> None:
    work = Path(api.post("/api/v1/sessions", json={"project": "demo", "session": "s1"}).json()["path"])
    stale = api.get("/api/v1/sessions/s1").headers["etag"]
    (work / "b").write_bytes(b"two")
    current = api.post("/api/v1/sessions/s1/save", headers={"If-Match": stale}).headers["etag"]
    assert current == api.get("/api/v1/sessions/s1").headers["etag"] != stale
    assert code_of(api.delete("/api/v1/sessions/s1", headers={"If-Match": stale})) == (412, "precondition_failed")
    assert api.delete("/api/v1/sessions/s1", headers={"If-Match": current}).status_code == 204


def test_a_new_session_may_depend_on_the_state_of_its_project(api: Api) -> None:
    etag = api.get(DEMO).headers["etag"]
    for number, header in enumerate(('"0"', "*", '"stale"')):
        asked = {"project": "demo", "session": f"no-{number}"}
        assert api.post("/api/v1/sessions", json=asked, headers={"If-Match": header}).status_code == 412, header
    for number, header in enumerate(('"1"', etag)):
        asked = {"project": "demo", "session": f"yes-{number}"}
        assert api.post("/api/v1/sessions", json=asked, headers={"If-Match": header}).status_code == 201, header


def test_of_several_that_claim_a_session_at_once_one_has_it(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has found that it is not there, before the first one opens it."""
    together = threading.Barrier(4)
    check = conditions.Conditions.require

    def require(self: conditions.Conditions, target: conditions.Target, free: conditions.Target | None = None) -> None:
        check(self, target, free)
        together.wait(20)

    monkeypatch.setattr(conditions.Conditions, "require", require)
    asked = {"project": "demo", "session": "claimed"}
    with ThreadPoolExecutor(4) as pool:
        sent = [pool.submit(api.post, "/api/v1/sessions", json=asked, headers={"If-None-Match": "*"}) for _ in range(4)]
        found = sorted(one.result().status_code for one in sent)
    assert found == [201, 412, 412, 412]


def test_of_several_that_create_a_file_at_once_one_makes_it_and_the_others_hear_that_it_is_there(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = threading.Barrier(3)
    publish = Publisher.publish

    def published(*given: Any, **named: Any) -> Published:
        together.wait(20)
        return publish(*given, **named)

    monkeypatch.setattr(Publisher, "publish", published)
    for header, status in (({"If-None-Match": "*"}, 412), ({}, 409)):
        path, send = f"{FILES}/new-{status}", api.put if header else api.post
        with ThreadPoolExecutor(3) as pool:
            sent = [pool.submit(send, path, content=b"%d" % n, headers=header) for n in range(3)]
            answers = sorted((one.result() for one in sent), key=lambda one: one.status_code)
        assert [one.status_code for one in answers] == [201, status, status]
        assert {code_of(one)[1] for one in answers[1:]} == {"already_exists"}


CHANGES: list[tuple[str, str, dict[str, Any]]] = [
    ("PATCH", DEMO, {"json": {"name": "other"}}),
    ("DELETE", DEMO, {}),
    ("POST", f"{DEMO}/fork", {"json": {"name": "forked"}}),
]


@pytest.mark.parametrize(("method", "path", "body"), CHANGES)
@pytest.mark.parametrize("meanwhile", ["commit", "rename"])
def test_what_comes_between_a_condition_and_the_change_is_seen(
    api: Api, monkeypatch: pytest.MonkeyPatch, method: str, path: str, body: dict[str, Any], meanwhile: str
) -> None:
    check = conditions.Conditions.require

    def require(self: conditions.Conditions, target: conditions.Target, free: conditions.Target | None = None) -> None:
        check(self, target, free)
        with monkeypatch.context() as patch:
            patch.setattr(conditions.Conditions, "require", check)
            if meanwhile == "commit":
                assert api.put(f"{FILES}/a", content=os.urandom(8)).status_code == 200
            else:
                assert api.patch(DEMO, json={"name": "demo"}).status_code == 200

    for form in ("exact", "list", "generation", "date", "none"):
        found = api.get(DEMO)
        tag, now = found.headers["etag"], found.json()["generation"]
        headers = {
            "exact": {"If-Match": tag},
            "list": {"If-Match": f'"x", {tag}, "y"'},
            "generation": {"If-Match": f'"x", "{now}"'},
            "date": {"If-Unmodified-Since": LATER},
            "none": {"If-None-Match": '"x"'},
        }[form]
        if (form, meanwhile) == ("generation", "rename") or (form == "none" and "fork" in path):
            continue  # it holds still
        monkeypatch.setattr(conditions.Conditions, "require", require)
        answer = api.request(method, path, headers=headers, **body)
        monkeypatch.setattr(conditions.Conditions, "require", check)
        expected = "generation_mismatch" if meanwhile == "commit" else "precondition_failed"
        assert code_of(answer) == (412, expected), form
        assert [one["name"] for one in api.get("/api/v1/projects").json()["items"]] == ["demo"], form


@pytest.mark.parametrize(("method", "path", "body"), CHANGES)
@pytest.mark.parametrize("form", ['"{generation}"', '"x", "{generation}-{commit}.{revision}"', "*"])
def test_what_a_condition_does_not_name_may_come_between(
    api: Api, monkeypatch: pytest.MonkeyPatch, method: str, path: str, body: dict[str, Any], form: str
) -> None:
    found = api.get(DEMO).json()
    check = conditions.Conditions.require

    def require(self: conditions.Conditions, target: conditions.Target, free: conditions.Target | None = None) -> None:
        check(self, target, free)
        monkeypatch.setattr(conditions.Conditions, "require", check)
        if "revision" not in form:
            assert api.patch(DEMO, json={"name": "demo"}).status_code == 200

    monkeypatch.setattr(conditions.Conditions, "require", require)
    assert api.request(method, path, headers={"If-Match": form.format(**found)}, **body).is_success


def test_a_fork_claims_a_name_that_nobody_has(api: Api) -> None:
    claims = {"If-None-Match": "*"}
    assert api.post(f"{DEMO}/fork", json={"name": "forked"}, headers=claims).status_code == 201
    again = api.post(f"{DEMO}/fork", json={"name": "forked"}, headers=claims)
    assert code_of(again) == (412, "already_exists")
    assert code_of(api.post(f"{DEMO}/fork", json={"name": "forked"})) == (409, "already_exists")


def test_a_condition_costs_no_look_of_its_own(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """The project that the address names is looked up once, whatever is asked of it."""
    looks = []
    catalog = type(api.manifold.context.catalog)
    for name in ("get_project", "find_project"):
        real = getattr(catalog, name)
        monkeypatch.setattr(catalog, name, lambda *given, real=real: [looks.append(1), real(*given)][1])

    def counted(method: str, path: str, body: dict[str, Any], **headers: str) -> int:
        looks.clear()
        assert api.request(method, path, headers=headers, **body).is_success, path
        return len(looks)

    for method, path, body in [
        ("PATCH", DEMO, {"json": {"name": "demo"}}),
        ("PUT", f"{FILES}/a", {"content": b"2"}),
        ("POST", f"{DEMO}/commits", {"json": {"changes": [{"op": "mkdir", "path": "d"}]}}),
        ("POST", f"{DEMO}/fork", {"json": {"name": "forked"}}),
    ]:
        bare = counted(method, path, body)
        if path.endswith("fork"):
            body = {"json": {"name": "another"}}
        of_entry = 1 if path.startswith(FILES) else 0  # the tree that holds it is looked up, its owner asked for
        tag = api.get(DEMO).headers["etag"]
        assert counted(method, path, body, **{"If-Match": tag}) == bare + of_entry, path


def test_a_generation_in_the_body_counts_beside_headers_that_hold(api: Api) -> None:
    work = Path(api.post("/api/v1/sessions", json={"project": "demo", "session": "s1"}).json()["path"])
    (work / "b").write_bytes(b"two")
    changes = {"changes": [{"op": "mkdir", "path": "d"}]}
    for path, body, own in (
        (f"{DEMO}/commits", changes, DEMO),
        ("/api/v1/sessions/s1/commit", {}, DEMO),
        ("/api/v1/sessions/s1/commit", {}, "/api/v1/sessions/s1"),
    ):
        for said, refused in ((f"1-{'a' * 26}", 412), (0, 400)):
            asked = {**body, "expected_generation": said}
            for header in ('"1", "x"', "*", api.get(own).headers["etag"]):
                answer = api.post(path, json=asked, headers={"If-Match": header})
                assert code_of(answer) == (409, "generation_mismatch"), (path, header, said)
            assert api.post(path, json=asked, headers={"If-Match": '"1"'}).status_code == refused, (path, said)
    assert generation(api) == 1
    exact = {"expected_generation": f"1-{api.get(DEMO).json()['commit']}"}
    assert api.post("/api/v1/sessions/s1/commit", json=exact, headers={"If-Match": '"1"'}).status_code == 200


def test_what_is_taken_is_no_failed_condition_where_the_header_holds(api: Api) -> None:
    api.post("/api/v1/projects", json={"name": "taken"})
    other = {"If-None-Match": '"zzz"'}
    assert code_of(api.post(f"{FILES}/a", content=b"x", headers=other)) == (409, "already_exists")
    assert code_of(api.patch(DEMO, json={"name": "taken"}, headers=other)) == (409, "already_exists")
    assert code_of(api.post("/api/v1/projects", json={"name": "taken"}, headers=other)) == (409, "already_exists")
    everything = {"If-None-Match": "*"}
    assert code_of(api.post("/api/v1/projects", json={"name": "taken"}, headers=everything)) == (412, "already_exists")


# --- what is answered to a write ------------------------------------------------------------------------------------


def test_what_is_made_is_201_with_its_place_and_tag_and_what_is_replaced_200(api: Api) -> None:
    project = api.get(DEMO).json()["id"]
    home = f"/api/v1/projects/{project}"
    commit = {"changes": [{"op": "put", "path": "c", "text": "c"}]}
    for method, path, body, place in [
        ("PUT", f"{FILES}/new/%C3%A9%3F", {"content": b"x"}, f"{home}/files/new/%C3%A9%3F"),
        ("POST", f"{FILES}/posted", {"content": b"x"}, f"{home}/files/posted"),
        ("POST", f"{DEMO}/dirs", {"json": {"path": "d/e"}}, f"{home}/tree/d/e"),
        ("POST", f"{DEMO}/commits", {"json": commit}, f"{home}/commits/5"),
        ("POST", f"{DEMO}/archive?folder=f", {"content": api.get(f"{DEMO}/archive").content}, f"{home}/commits/6"),
        ("POST", "/api/v1/sessions", {"json": {"project": "demo", "session": "s1"}}, "/api/v1/sessions/s1"),
        ("POST", "/api/v1/projects", {"json": {"name": "p"}}, "/api/v1/projects/"),
        ("POST", f"{DEMO}/fork", {"json": {"name": "f"}}, "/api/v1/projects/"),
    ]:
        answer = api.request(method, path, **body)  # type: ignore[arg-type]
        assert answer.status_code == 201 and answer.headers["location"].startswith(place), answer.text
        assert api.get(answer.headers["location"]).headers["etag"] == answer.headers["etag"], path
    for method, path, body in [
        ("PUT", f"{FILES}/posted", {"content": b"y"}),
        ("POST", f"{DEMO}/dirs", {"json": {"path": "d/e"}}),
        ("POST", f"{DEMO}/commits", {"json": {"changes": [{"op": "mkdir", "path": "d"}]}}),
        ("POST", "/api/v1/sessions", {"json": {"session": "s1"}}),
    ]:
        answer = api.request(method, path, **body)  # type: ignore[arg-type]
        assert answer.status_code == 200 and "location" not in answer.headers, answer.text
        assert answer.headers["etag"]


def test_a_write_that_changes_nothing_has_the_tag_of_the_newest_commit(api: Api) -> None:
    api.post(f"{DEMO}/dirs", json={"path": "d"})
    api.post("/api/v1/sessions", json={"project": "demo", "session": "s1"})
    newest = api.get(f"{DEMO}/tree").headers["etag"]
    for answer in (
        api.post(f"{DEMO}/dirs", json={"path": "d"}),
        api.post(f"{DEMO}/restore", json={"generation": 2}),
        api.post("/api/v1/sessions/s1/commit"),
    ):
        assert (answer.status_code, answer.headers["etag"]) == (200, newest), answer.text
    gone = api.delete(f"{FILES}/a")
    assert gone.headers["etag"] == api.get(f"{DEMO}/tree").headers["etag"] != newest


def test_a_client_goes_on_with_the_tag_of_its_last_write(api: Api) -> None:
    tag = api.put(f"{FILES}/a", content=b"2").headers["etag"]
    tag = api.put(f"{FILES}/a", content=b"3", headers={"If-Match": tag}).headers["etag"]
    assert tag == api.get(f"{FILES}/a").headers["etag"]
    move = {"source": {"path": "a"}, "destination": {"path": "b"}}
    tag = api.post(f"{DEMO}/move", json=move, headers={"If-Match": tag}).headers["etag"]
    tag = api.post(f"{DEMO}/restore", json={"generation": 1}, headers={"If-Match": tag}).headers["etag"]
    tag = api.post(f"{DEMO}/dirs", json={"path": "d"}, headers={"If-Match": tag}).headers["etag"]
    api.post("/api/v1/sessions", json={"project": "demo", "session": "s1"})
    tag = api.post("/api/v1/sessions/s1/commit", headers={"If-Match": tag}).headers["etag"]
    tag = api.patch(DEMO, json={"name": "demo"}, headers={"If-Match": tag}).headers["etag"]
    assert api.delete(DEMO, headers={"If-Match": tag}).status_code == 204
