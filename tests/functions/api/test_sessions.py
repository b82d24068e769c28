from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.api import Api
from tests.support.work import MAPPED, lose_ram, write_through_map

FILES = "/api/v1/projects/demo/files"


@pytest.fixture(autouse=True)
def _project(api: Api) -> None:
    api.project()
    api.put(f"{FILES}/a.txt", content=b"one")
    api.put(f"{FILES}/docs/b.txt", content=b"two")


def opened(api: Api, session: str = "s1", **more: Any) -> Path:
    answer = api.post("/api/v1/sessions", json={"project": "demo", "session": session, **more})
    assert answer.is_success, answer.text
    return Path(answer.json()["path"])


def test_a_session_is_opened_changed_committed_and_closed(api: Api) -> None:
    work = opened(api)
    assert (work / "a.txt").read_bytes() == b"one"
    (work / "a.txt").write_bytes(b"changed")
    (work / "new").write_bytes(b"x")
    (work / "docs" / "b.txt").unlink()

    status = api.get("/api/v1/sessions/s1/status").json()
    assert status["path"] == str(work)
    assert [(item["path"], item["change"]) for item in status["differences"]] == [
        ("a.txt", "modified"), ("docs/b.txt", "deleted"), ("new", "added")
    ]  # fmt: skip

    saved = api.post("/api/v1/sessions/s1/save").json()
    assert saved["draft"] and saved["changed"] >= 3
    assert api.get("/api/v1/sessions/s1").json()["draft_saved_at"] is not None
    assert api.get("/api/v1/projects/demo").json()["generation"] == 2

    done = api.post("/api/v1/sessions/s1/commit", json={"message": "edits", "provenance": {"run": 1}}).json()
    assert (done["generation"], done["added"], done["deleted"], done["rebased"]) == (3, 1, 1, False)
    assert api.get(f"{FILES}/a.txt").content == b"changed"
    commit = api.get("/api/v1/projects/demo/commits/3").json()
    assert (commit["session"], commit["message"], commit["provenance"]) == ("s1", "edits", {"run": 1})

    assert api.delete("/api/v1/sessions/s1").status_code == 204
    assert not work.exists()
    assert api.delete("/api/v1/sessions/s1").status_code == 204
    assert api.get("/api/v1/sessions/s1").status_code == 404


def test_what_times_do_not_tell_is_found_by_content(api: Api) -> None:
    api.put(f"{FILES}/mapped", content=MAPPED)
    changed = write_through_map(opened(api) / "mapped")
    found = api.get("/api/v1/sessions/s1/status", params={"checksum": True}).json()
    assert [item["path"] for item in found["differences"]] == ["mapped"]
    assert api.post("/api/v1/sessions/s1/save", params={"checksum": True}).json()["changed"] == 1
    assert api.post("/api/v1/sessions/s1/commit", json={"checksum": True}).json()["modified"] == 1
    assert api.get(f"{FILES}/mapped").content == changed


def test_a_commit_without_a_body_is_a_commit(api: Api) -> None:
    (opened(api) / "a.txt").write_bytes(b"changed")
    assert api.post("/api/v1/sessions/s1/commit").json()["generation"] == 3
    assert api.post("/api/v1/sessions/s1/commit").json()["commit"] is None


def test_a_second_checkout_keeps_what_was_not_committed_and_brings_what_others_did(api: Api) -> None:
    work = opened(api)
    (work / "mine").write_bytes(b"mine")
    api.put(f"{FILES}/theirs", content=b"theirs")
    again = api.post("/api/v1/sessions/s1/checkout")
    assert (again.json()["kind"], again.json()["generation"]) == ("refreshed", 3)
    assert (work / "mine").read_bytes() == b"mine"
    assert (work / "theirs").read_bytes() == b"theirs"
    assert api.post("/api/v1/sessions", json={"session": "s1"}).json()["kind"] == "warm"


def test_a_conflict_names_the_paths_and_keeps_the_work(api: Api) -> None:
    work = opened(api)
    (work / "a.txt").write_bytes(b"mine")
    api.put(f"{FILES}/a.txt", content=b"theirs")
    answer = api.post("/api/v1/sessions/s1/commit")
    assert (answer.status_code, answer.json()["code"]) == (409, "commit_conflict")
    assert answer.json()["details"]["paths"] == ["a.txt"]
    assert (work / "a.txt").read_bytes() == b"mine"
    assert api.get("/api/v1/sessions/s1").json()["draft_saved_at"] is not None
    won = api.post("/api/v1/sessions/s1/commit", json={"strategy": "ours"})
    assert [item["path"] for item in won.json()["conflicts"]] == ["a.txt"]
    assert api.get(f"{FILES}/a.txt").content == b"mine"


def test_a_commit_can_be_conditional(api: Api) -> None:
    work = opened(api)
    (work / "mine").write_bytes(b"mine")
    api.put(f"{FILES}/theirs", content=b"theirs")
    for stale in ('"2"', '"4"'):  # the session is based on 2, and the project at 3
        answer = api.post("/api/v1/sessions/s1/commit", headers={"If-Match": stale})
        assert (answer.status_code, answer.json()["details"]["head_generation"]) == (412, 3)
    assert api.get("/api/v1/projects/demo").json()["generation"] == 3
    done = api.post("/api/v1/sessions/s1/commit", headers={"If-Match": '"3"'}).json()
    assert (done["generation"], done["rebased"]) == (4, True)


def test_a_sparse_session_has_only_its_paths_and_deletes_nothing_else(api: Api) -> None:
    work = opened(api, paths=["docs/"])
    assert [path.name for path in work.iterdir()] == ["docs"]
    (work / "docs" / "b.txt").write_bytes(b"changed")
    api.post("/api/v1/sessions/s1/commit")
    assert api.get(f"{FILES}/a.txt").content == b"one"
    assert api.get(f"{FILES}/docs/b.txt").content == b"changed"


def test_an_older_generation_can_be_checked_out(api: Api) -> None:
    api.put(f"{FILES}/a.txt", content=b"newer")
    assert (opened(api, generation=1) / "a.txt").read_bytes() == b"one"


def test_a_session_without_an_id_gets_one(api: Api) -> None:
    made = api.post("/api/v1/sessions", json={"project": "demo"}).json()
    assert [item["session"] for item in api.get("/api/v1/sessions").json()["items"]] == [made["session"]]
    api.project("other")
    assert api.get("/api/v1/sessions", params={"project": "other"}).json()["items"] == []


def test_a_store_with_less_than_was_seen_is_refused(api: Api) -> None:
    opened(api)
    answer = api.post("/api/v1/sessions/s1/checkout", json={"seen_generation": 9})
    assert (answer.status_code, answer.json()["code"]) == (409, "stale_store")


def test_what_was_seen_may_be_named_with_its_commit(api: Api) -> None:
    opened(api)
    done = api.post("/api/v1/sessions/s1/checkout").json()
    assert done["commit"] == api.get("/api/v1/sessions/s1").json()["base_commit"]
    named = f"{done['generation']}-{done['commit']}"
    assert api.post("/api/v1/sessions/s1/checkout", json={"seen_generation": named}).status_code == 200
    for other in (f"{done['generation']}-{'a' * 26}", f"{done['generation'] + 1}-{done['commit']}"):
        answer = api.post("/api/v1/sessions/s1/checkout", json={"seen_generation": other})
        assert (answer.status_code, answer.json()["code"]) == (409, "stale_store")
    for wrong in ("1-x", "-1", "one", f"1-{'A' * 26}"):
        assert api.post("/api/v1/sessions/s1/checkout", json={"seen_generation": wrong}).status_code == 400


def test_saved_work_that_is_lost_is_given_up_only_when_asked_for_and_then_named(api: Api) -> None:
    work = opened(api)
    (work / "a.txt").write_bytes(b"saved")
    draft = api.post("/api/v1/sessions/s1/save").json()["draft"]
    lose_ram(work)
    store = api.manifold.context.store
    (key,) = [info.key for info in store.list("t/default") if info.key.endswith(draft)]
    api.manifold.context.objects.discard([key])
    for path, body in (("/s1/checkout", {}), ("", {"session": "s1"})):
        answer = api.post(f"/api/v1/sessions{path}", json=body)
        assert (answer.status_code, answer.json()["code"]) == (500, "draft_lost")
    done = api.post("/api/v1/sessions/s1/checkout", json={"drop_lost_draft": True}).json()
    assert (done["dropped_draft"], done["kind"]) == (draft, "restored")
    assert (work / "a.txt").read_bytes() == b"one"
    assert api.post("/api/v1/sessions/s1/checkout", json={"drop_lost_draft": True}).json()["dropped_draft"] is None


@pytest.mark.parametrize("session", ["UPPER", "a b", "x" * 65, "-a", "a..b", "\u00e9"])
def test_an_id_that_no_session_can_have_is_refused(api: Api, session: str) -> None:
    answer = api.post("/api/v1/sessions", json={"project": "demo", "session": session})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_input")
    assert api.get(f"/api/v1/sessions/{session}").status_code == 400


def test_sessions_of_nobody_are_not_found(api: Api) -> None:
    for method, path in [
        ("GET", ""),
        ("GET", "/status"),
        ("POST", "/save"),
        ("POST", "/commit"),
        ("POST", "/checkout"),
    ]:
        assert api.request(method, f"/api/v1/sessions/nobody{path}").json()["code"] == "not_found"
    assert api.post("/api/v1/sessions", json={"project": "nothing"}).status_code == 404


def test_too_little_room_is_said_before_anything_is_made(make_api: Any) -> None:
    api = make_api(node="small", PROJECTS_QUOTAS_MAX_SESSION_RAM_BYTES="10")
    api.project("large")
    api.put("/api/v1/projects/large/files/a", content=b"x" * 100)
    answer = api.post("/api/v1/sessions", json={"project": "large", "session": "s2"})
    assert (answer.status_code, answer.json()["code"]) == (413, "quota_exceeded")
    assert api.get("/api/v1/sessions/s2").status_code == 404


def test_what_a_conflict_says_to_do_settles_it(api: Api) -> None:
    """Check the session out with 'ours' or 'theirs', edit, commit; what 'theirs' drops is named and comes back."""
    for strategy, expected in (("ours", b"mine"), ("theirs", b"theirs")):
        work = opened(api, session=f"s-{strategy}")
        (work / "a.txt").write_bytes(b"mine")
        api.put(f"{FILES}/a.txt", content=b"theirs")
        session = f"/api/v1/sessions/s-{strategy}"
        told = [api.post(f"{session}/commit").json(), api.post(f"{session}/checkout").json()]
        for problem in told:
            assert f"check session 's-{strategy}' out with the strategy 'ours'" in problem["hint"]
            assert problem["details"]["session"] == f"s-{strategy}"
        taken = api.post(f"{session}/checkout", json={"strategy": strategy}).json()
        assert [item["path"] for item in taken["conflicts"]] == ["a.txt"]
        assert (work / "a.txt").read_bytes() == expected
        (work / "more").write_bytes(strategy.encode())
        assert api.post(f"{session}/commit").status_code == 200
        assert api.get(f"{FILES}/a.txt").content == expected
        assert len(taken["kept"]) == (strategy == "theirs")
    (kept,) = taken["kept"]
    assert kept in [item["session"] for item in api.get("/api/v1/sessions").json()["items"] if item["draft_saved_at"]]
    shown = api.post("/api/v1/sessions", json={"project": "demo", "session": kept}).json()
    assert (Path(shown["path"]) / "a.txt").read_bytes() == b"mine"
    assert api.post(f"/api/v1/sessions/{kept}/commit").json()["modified"] == 1
    assert api.get(f"{FILES}/a.txt").content == b"mine"


def test_changes_name_what_their_strategy_dropped_of_them(api: Api) -> None:
    """Nothing moves the head here, so nothing is dropped: the fields are there all the same."""
    body = {"changes": [{"op": "put", "path": "a.txt", "text": "mine"}], "strategy": "theirs"}
    answer = api.post("/api/v1/projects/demo/commits", json=body).json()
    assert (answer["conflicts"], answer["kept"]) == ([], [])
