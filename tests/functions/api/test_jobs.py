"""Jobs over HTTP: started and joined, listed, looked at, waited for, and moved."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from typing import Any

import httpx
import pytest
from manifold_common.adapters.keyfile.provider import FileKeyProvider
from manifold_common.adapters.postgres.catalog import PostgresCatalog
from manifold_common.adapters.system.clock import SystemClock
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL, Principal
from manifold_common.domain.job import ItemState, SeenJob
from manifold_common.ids import JobId, TenantId, UserId
from manifold_common.ports.catalog import ItemReport

from functions.api import watch
from functions.api.traffic import Traffic, Wait
from tests.support.api import Api, MakeApi, ask, serving
from tests.support.manifold import MakeManifold
from tests.support.waiting import later, wait_until

JOBS = "/api/v1/jobs"
TENANT = LOCAL_PRINCIPAL.tenant
ABSENT = "a" * 26
LEASE = "b" * 26
SHORT = ("SERVER_STALL_SECONDS", "SERVER_IDLE_SECONDS", "SERVER_HEAD_SECONDS", "SERVER_PATIENCE_SECONDS")


def start(api: Api, status: int = 201, **params: Any) -> dict[str, Any]:
    answer = api.post(JOBS, json={"kind": "rewrap", "params": params})
    assert answer.status_code == status, answer.text
    job: dict[str, Any] = answer.json()
    return job


def show(api: Api, job: str) -> dict[str, Any]:
    answer = api.get(f"{JOBS}/{job}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def tag_of(api: Api, job: str) -> str:
    return str(api.get(f"{JOBS}/{job}").headers["etag"])


def move(api: Api, job: str, how: str) -> httpx.Response:
    return api.post(f"{JOBS}/{job}/{how}")


def code_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def give_work(api: Api, count: int = 3) -> None:
    """Make projects whose keys are under an older master key."""
    for number in range(count):
        api.project(f"demo{number}")
    provider = api.manifold.providers["file"]
    assert isinstance(provider, FileKeyProvider)
    provider.rotate()


def work(manifold: Manifold) -> int:
    return manifold.job_worker.run(["rewrap"])


def report(api: Api, job: str, *states: ItemState) -> None:
    """Do what a worker does that finds items to be so."""
    catalog = api.manifold.context.catalog
    claimed = catalog.claim_items(TENANT, JobId(job), LEASE, seconds=60, limit=len(states))
    reports = [
        ItemReport(one.number, state, "key_unavailable" if state is ItemState.FAILED else None)
        for one, state in zip(claimed, states, strict=True)
    ]
    catalog.report_items(TENANT, JobId(job), LEASE, reports)


def plan(api: Api, job: str, *items: str) -> None:
    api.manifold.context.catalog.plan_items(TENANT, JobId(job), None, items, None)


# --- starting -------------------------------------------------------------------------------------------------------


def test_a_job_is_started_joined_and_done(api: Api) -> None:
    give_work(api)
    begun = api.post(JOBS, json={"kind": "rewrap"})
    job = begun.json()
    assert (begun.status_code, job["state"], job["planned"], job["user"]) == (201, "running", False, "local")
    assert begun.headers["location"] == f"{JOBS}/{job['id']}"
    shown = api.get(begun.headers["location"])
    assert shown.json() == job
    assert shown.headers["etag"] == begun.headers["etag"] == f'W/"{job["id"]}-running-{job["revision"]}"'

    joined = api.post(JOBS, json={"kind": "rewrap", "params": {}, "rate": 5})
    assert (joined.status_code, joined.json()["id"], joined.json()["rate"]) == (200, job["id"], 5)
    assert "location" not in joined.headers and joined.headers["etag"] == tag_of(api, job["id"])

    assert work(api.manifold) == 3
    done = show(api, job["id"])
    assert {name: done[name] for name in ("state", "planned", "pending", "done", "skipped", "failed")} == {
        "state": "done", "planned": True, "pending": 0, "done": 3, "skipped": 0, "failed": 0,
    }  # fmt: skip
    assert done["revision"] > job["revision"] and done["ended_at"] and done["troubles"] == []
    assert start(api)["id"] != job["id"]


def test_a_job_is_about_the_project_that_is_named_or_was_deleted(api: Api) -> None:
    give_work(api)
    project = api.get("/api/v1/projects/demo1").json()["id"]
    job = start(api, project="demo1")
    assert (job["project"], job["params"]) == (project, {"project": project})
    assert api.delete("/api/v1/projects/demo1").status_code == 204
    assert start(api, status=200, project=project)["id"] == job["id"]
    assert work(api.manifold) == 1
    assert code_of(api.post(JOBS, json={"kind": "rewrap", "params": {"project": "demo1"}})) == (404, "not_found")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"kind": "rewarp"}, "kind"),
        ({"kind": "rewrap", "params": {"colour": 1}}, "params.colour"),
        ({"kind": "rewrap", "params": {"project": 7}}, "params.project"),
        ({"kind": "collect", "params": {"project": "\0"}}, "params.project"),
        ({"kind": "verify", "params": {"project": "\ud800"}}, "params.project"),
        ({"kind": "rewrap", "params": {"to": "file/\0"}}, "params.to"),
        ({"kind": "rewrap", "params": {"to": "\udc00"}}, "params.to"),
        ({"kind": "\ud800"}, "kind"),
        ({"kind": "rewrap", "params": []}, "params"),
        ({"kind": "rewrap", "rate": 0}, "rate"),
        ({"kind": "rewrap", "rate": "fast"}, "rate"),
        ({"kind": "x" * 65}, "kind"),
        ({"kind": "rewrap", "colour": 1}, "colour"),
        ({}, "kind"),
    ],
    ids=str,
)
def test_what_no_job_can_be_made_of_is_refused_and_the_field_named(api: Api, body: dict[str, Any], field: str) -> None:
    sent = json.dumps(body)  # in which half a surrogate pair is an escape
    refused = api.post(JOBS, content=sent, headers={"Content-Type": "application/json"})
    assert code_of(refused) == (400, "invalid_input")
    assert refused.json()["details"]["field"] == field
    assert api.get(JOBS).json()["items"] == []


def test_who_misspells_a_kind_is_told_which_one_was_meant(api: Api) -> None:
    assert "rewrap" in api.post(JOBS, json={"kind": "rewarp"}).json()["hint"]
    assert "rewrap" in api.post(JOBS, json={"kind": "something else"}).json()["hint"]


# --- lists ----------------------------------------------------------------------------------------------------------


def listed(api: Api, path: str = JOBS, **query: Any) -> Iterator[dict[str, Any]]:
    """Yield page after page."""
    more: dict[str, Any] = {}
    while True:
        answer = api.get(path, params={**query, **more})
        assert answer.status_code == 200, answer.text
        yield answer.json()
        if answer.json()["next_cursor"] is None:
            return
        more = {"cursor": answer.json()["next_cursor"]}


def ids(api: Api, **query: Any) -> list[str]:
    return [item["id"] for page in listed(api, **query) for item in page["items"]]


def test_jobs_are_listed_the_newest_first_by_state_kind_and_project(api: Api) -> None:
    give_work(api)
    of_projects = [start(api, project=f"demo{number}") for number in range(3)]
    newest = start(api)["id"]
    oldest, middle, last = (job["id"] for job in of_projects)
    assert ids(api) == ids(api, limit=1) == ids(api, kind="rewrap") == [newest, last, middle, oldest]
    assert move(api, middle, "pause").status_code == move(api, last, "cancel").status_code == 200
    assert (ids(api, state="paused"), ids(api, state="cancelled")) == ([middle], [last])
    assert ids(api, state="running") == [newest, oldest]
    assert ids(api, project="demo1") == ids(api, project=of_projects[1]["project"], kind="rewrap") == [middle]
    assert ids(api, kind="other") == ids(api, project="demo1", state="running") == []
    assert api.delete("/api/v1/projects/demo1").status_code == 204
    assert ids(api, project=of_projects[1]["project"]) == [middle]
    assert code_of(api.get(JOBS, params={"project": "demo1"})) == (404, "not_found")
    for query in ({"state": "over"}, {"kind": "NO KIND"}, {"kind": "\0"}, {"limit": 0}, {"states": "done"}):
        assert code_of(api.get(JOBS, params=query)) == (400, "invalid_input"), query


def test_jobs_that_are_started_while_a_list_is_paged_through_do_not_disturb_it(api: Api) -> None:
    give_work(api, 6)
    begun = [start(api, project=f"demo{number}")["id"] for number in range(4)]
    pages = listed(api, limit=1)
    found = [next(pages)]
    start(api, project="demo4")
    found.append(next(pages))
    start(api, project="demo5")
    found += pages
    assert [item["id"] for page in found for item in page["items"]] == begun[::-1]


def test_a_cursor_is_of_one_list_of_jobs_or_of_items(api: Api) -> None:
    give_work(api, 3)
    job, other = start(api)["id"], start(api, project="demo0")["id"]
    plan(api, job, "one", "two", "three")
    plan(api, other, "one", "two")
    of_jobs = next(listed(api, limit=1))["next_cursor"]
    of_items = next(listed(api, f"{JOBS}/{job}/items", limit=1))["next_cursor"]
    assert of_jobs and of_items
    refused: list[tuple[str, dict[str, Any]]] = [
        (JOBS, {"cursor": of_jobs, "state": "running"}),
        (JOBS, {"cursor": of_jobs, "kind": "rewrap"}),
        (JOBS, {"cursor": of_jobs, "project": "demo0"}),
        (JOBS, {"cursor": of_items}),
        (JOBS, {"cursor": ""}),
        (f"{JOBS}/{job}/items", {"cursor": of_jobs}),
        (f"{JOBS}/{job}/items", {"cursor": of_items, "state": "pending"}),
        (f"{JOBS}/{other}/items", {"cursor": of_items}),
        ("/api/v1/projects", {"cursor": of_jobs}),
    ]
    for path, query in refused:
        assert code_of(api.get(path, params=query)) == (400, "invalid_cursor"), (path, query)


def test_items_are_listed_by_number_and_state(api: Api) -> None:
    give_work(api)
    job = start(api)["id"]
    items = f"{JOBS}/{job}/items"
    assert api.get(items).json() == {"items": [], "next_cursor": None}
    plan(api, job, "one", "two", "three", "four")
    report(api, job, ItemState.DONE, ItemState.FAILED, ItemState.SKIPPED)

    def numbers(**query: Any) -> list[int]:
        return [item["number"] for page in listed(api, items, **query) for item in page["items"]]

    assert numbers() == numbers(limit=1) == numbers(limit=3) == [1, 2, 3, 4]
    assert (numbers(state="failed"), numbers(state="pending"), numbers(state="done")) == ([2], [4], [1])
    (failed,) = api.get(items, params={"state": "failed"}).json()["items"]
    assert (failed["item"], failed["error"], failed["begun"]) == ("two", "key_unavailable", 1)
    assert show(api, job)["troubles"] == [failed]
    assert next(listed(api))["items"][0]["troubles"] == []
    assert code_of(api.get(items, params={"state": "running"})) == (400, "invalid_input")


def test_jobs_of_another_tenant_are_not_there(api: Api) -> None:
    stranger = Principal(TenantId("umbrella"), UserId("eve"))
    theirs = api.manifold.jobs.start(stranger, "rewrap", {}).job.id
    mine = start(api)["id"]
    assert mine != theirs
    assert ids(api) == [mine]
    for path in (theirs, f"{theirs}/items"):
        assert code_of(api.get(f"{JOBS}/{path}", params={} if "/" in path else {"wait": 5})) == (404, "not_found")
    for how in ("pause", "resume", "cancel", "retry"):
        assert code_of(move(api, theirs, how)) == (404, "not_found")
    assert api.manifold.jobs.get(stranger, theirs).state.value == "running"
    colleague = Principal(TENANT, UserId("bob"))
    assert show(api, api.manifold.jobs.start(colleague, "rewrap", {}).job.id)["id"] == mine


def test_what_is_no_id_is_refused_and_what_is_no_job_is_not_there(api: Api) -> None:
    refused = (400, "invalid_input")
    for job, expected in (("x", refused), ("A" * 26, refused), (ABSENT, (404, "not_found"))):
        assert code_of(api.get(f"{JOBS}/{job}")) == expected
        assert code_of(api.get(f"{JOBS}/{job}/items")) == expected
        for how in ("pause", "resume", "cancel", "retry"):
            assert code_of(move(api, job, how)) == expected
    assert "manifold jobs list" in api.get(f"{JOBS}/{ABSENT}").json()["hint"]


# --- moving ---------------------------------------------------------------------------------------------------------


def test_a_job_is_held_up_goes_on_and_is_ended(api: Api) -> None:
    give_work(api)
    job = start(api)["id"]
    for how, state in (("pause", "paused"), ("pause", "paused"), ("resume", "running"), ("resume", "running")):
        moved = move(api, job, how)
        assert (moved.status_code, moved.json()["state"]) == (200, state), moved.text
        assert moved.headers["etag"] == tag_of(api, job)
        assert state == "running" or work(api.manifold) == 0
    assert move(api, job, "cancel").json()["state"] == "cancelled"
    assert move(api, job, "cancel").status_code == 200
    assert work(api.manifold) == 0
    for how in ("pause", "resume", "retry"):
        refused = move(api, job, how)
        assert code_of(refused) == (409, "job_ended")
        assert refused.json()["details"] == {"job": job, "state": "cancelled"}
    assert api.post(f"{JOBS}/{job}/pause", json={}).status_code == 400


def test_what_failed_is_tried_again_but_not_beside_an_equal_job(api: Api) -> None:
    job = start(api)["id"]
    plan(api, job, "one", "two")
    report(api, job, ItemState.DONE, ItemState.FAILED)
    assert show(api, job)["state"] == "failed"
    refused = move(api, job, "cancel")
    assert (*code_of(refused), f"manifold jobs retry {job}") == (409, "job_ended", refused.json()["hint"])
    other = start(api)["id"]
    assert code_of(move(api, job, "retry")) == (409, "already_exists")
    assert move(api, other, "cancel").status_code == 200
    again = move(api, job, "retry").json()
    assert {name: again[name] for name in ("state", "pending", "done", "failed", "troubles", "ended_at")} == {
        "state": "running", "pending": 1, "done": 1, "failed": 0, "troubles": [], "ended_at": None,
    }  # fmt: skip
    report(api, job, ItemState.DONE)
    assert show(api, job)["state"] == "done"
    assert code_of(move(api, job, "retry")) == (409, "job_ended")


# --- versions, and every method -------------------------------------------------------------------------------------


def test_whoever_has_the_newest_version_is_told_so(api: Api) -> None:
    job = start(api)["id"]
    tag = tag_of(api, job)
    for known in (tag, tag.removeprefix("W/"), f'"other", {tag}', "*"):
        same = api.get(f"{JOBS}/{job}", headers={"If-None-Match": known})
        assert (same.status_code, same.headers["etag"], same.content) == (304, tag, b""), known
    move(api, job, "pause")
    changed = api.get(f"{JOBS}/{job}", headers={"If-None-Match": tag})
    assert (changed.status_code, changed.json()["state"]) == (200, "paused")
    assert changed.headers["etag"] != tag
    for condition, status in (("*", 200), (changed.headers["etag"], 412)):  # a weak tag never matches there
        answer = api.get(f"{JOBS}/{job}", params={"wait": 20}, headers={"If-Match": condition, "If-None-Match": tag})
        assert answer.status_code == status
    for path in (JOBS, f"{JOBS}/{job}/items"):
        seen = api.get(path).headers["etag"]
        assert api.get(path, headers={"If-None-Match": seen}).status_code == 304


def test_no_write_is_done_under_a_condition_that_does_not_hold(api: Api) -> None:
    job = start(api)["id"]
    tag, other = tag_of(api, job), 'W/"other"'
    path = f"{JOBS}/{job}/pause"
    for headers in ({"If-Match": tag}, {"If-Match": other}, {"If-None-Match": tag}, {"If-None-Match": "*"}):
        assert code_of(api.post(path, headers=headers)) == (412, "precondition_failed"), headers
    assert code_of(api.post(path, headers={"If-Match": "{}"})) == (400, "invalid_input")
    assert code_of(api.post(f"{JOBS}/{ABSENT}/pause", headers={"If-Match": "*"})) == (412, "precondition_failed")
    assert tag_of(api, job) == tag
    assert api.post(path, headers={"If-Match": "*", "If-None-Match": other}).json()["state"] == "paused"


def test_a_job_may_be_asked_for_that_joins_none(api: Api) -> None:
    give_work(api, 1)
    body, only_new = {"kind": "rewrap"}, {"If-None-Match": "*"}
    assert code_of(api.post(JOBS, json=body, headers={"If-Match": "*"})) == (412, "precondition_failed")
    job = api.post(JOBS, json=body, headers=only_new).json()["id"]
    tag = tag_of(api, job)
    refused = api.post(JOBS, json=body, headers=only_new)
    assert (*code_of(refused), refused.json()["details"]) == (412, "already_exists", {"job": job})
    assert tag_of(api, job) == tag
    work(api.manifold)
    assert api.post(JOBS, json=body, headers=only_new).status_code == 201


def test_a_tag_of_an_encoded_answer_is_known_again(api: Api) -> None:
    job = start(api)["id"]
    plan(api, job, *(f"item {number}" for number in range(20)))
    report(api, job, *[ItemState.FAILED] * 20)
    packed = api.get(f"{JOBS}/{job}", headers={"Accept-Encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip" and packed.headers["etag"].endswith('-gzip"')
    known = {"Accept-Encoding": "gzip", "If-None-Match": packed.headers["etag"]}
    same = api.get(f"{JOBS}/{job}", params={"wait": 1}, headers=known)
    assert (same.status_code, same.headers["etag"]) == (304, packed.headers["etag"])


def test_every_address_takes_head_and_options(api: Api) -> None:
    job = start(api)["id"]
    for path, allowed in (
        (JOBS, "GET, HEAD, OPTIONS, POST"),
        (f"{JOBS}/{job}", "GET, HEAD, OPTIONS"),
        (f"{JOBS}/{job}/items", "GET, HEAD, OPTIONS"),
        (f"{JOBS}/{job}/retry", "OPTIONS, POST"),
    ):
        told = api.options(path)
        assert (told.status_code, told.headers["allow"]) == (204, allowed)
        assert api.delete(path).headers["allow"] == allowed
        if "GET" in allowed:
            head, whole = api.head(path), api.get(path)
            assert (head.status_code, head.content) == (200, b"")
            assert head.headers["etag"] == whole.headers["etag"]
    started = time.monotonic()
    assert api.head(f"{JOBS}/{job}", params={"wait": 20}).status_code == 200
    known = {"If-None-Match": tag_of(api, job)}
    assert api.head(f"{JOBS}/{job}", params={"wait": 20}, headers=known).status_code == 304
    assert time.monotonic() - started < 5


# --- waiting --------------------------------------------------------------------------------------------------------


def waited(api: Api, job: str, known: str | None = None, seconds: int = 20) -> tuple[httpx.Response, float]:
    """Return the answer to a request that waits, and how long it took."""
    headers = {} if known is None else {"If-None-Match": known}
    started = time.monotonic()
    answer = api.get(f"{JOBS}/{job}", params={"wait": seconds}, headers=headers)
    return answer, time.monotonic() - started


def test_a_wait_ends_at_once_when_the_same_process_changes_the_job(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_LOOK_SECONDS", 60.0)  # so that no look at what others have changed ends it
    job = start(api)["id"]
    for how, state in (("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")):
        tag = tag_of(api, job)
        mover = later(0.3, lambda how=how: move(api, job, how))
        answer, taken = waited(api, job, tag)
        mover.join()
        assert (answer.status_code, answer.json()["state"]) == (200, state)
        assert 0.25 < taken < 5
        assert answer.headers["etag"] != tag
        again, taken = waited(api, job, tag)
        assert (again.status_code, again.headers["etag"]) == (200, answer.headers["etag"])
        assert taken < 1


def test_without_a_tag_the_end_of_the_job_is_waited_for(api: Api) -> None:
    give_work(api)
    job = start(api)["id"]
    movers = [later(0.2, lambda: move(api, job, "pause")), later(0.5, lambda: move(api, job, "resume"))]
    worker = later(0.8, lambda: work(api.manifold))
    answer, taken = waited(api, job)
    assert (answer.status_code, answer.json()["state"], answer.json()["done"]) == (200, "done", 3)
    assert 0.75 < taken < 5
    for thread in (*movers, worker):
        thread.join()
    answer, taken = waited(api, job)
    assert (answer.status_code, answer.json()["state"]) == (200, "done")
    assert taken < 1
    answer, taken = waited(api, job, answer.headers["etag"])
    assert answer.status_code == 304 and taken < 1, "it stays as it is"


def test_a_wait_in_which_nothing_happens_ends_with_its_time(api: Api) -> None:
    job = start(api)["id"]
    tag = tag_of(api, job)
    for known, status in ((tag, 304), (None, 200)):
        answer, taken = waited(api, job, known, seconds=1)
        assert (answer.status_code, answer.headers["etag"]) == (status, tag)
        assert 0.9 < taken < 5
    for wait in ("56", "-1", "1.5", ""):
        assert code_of(api.get(f"{JOBS}/{job}", params={"wait": wait})) == (400, "invalid_input")
    for bad in ("{}", '"'):
        assert code_of(waited(api, job, bad)[0]) == (400, "invalid_input")


def test_a_name_that_no_catalog_can_hold_is_that_of_no_project(make_manifold: MakeManifold, postgres_dsn: str) -> None:
    with ExitStack() as stack:
        catalog = PostgresCatalog(postgres_dsn, clock=SystemClock())
        stack.callback(catalog.close)
        api = stack.enter_context(serving(make_manifold(catalog=catalog)))
        assert code_of(api.get(f"{JOBS}?project=a%00b")) == (404, "not_found")
        assert code_of(api.get("/api/v1/sessions?project=%00")) == (404, "not_found")
        assert code_of(api.post("/api/v1/sessions", json={"project": "\0"})) == (404, "not_found")
        answer = api.post(JOBS, json={"kind": "collect", "params": {"project": "\0"}})
        assert code_of(answer) == (400, "invalid_input") and answer.json()["details"]["field"] == "params.project"


def test_where_nothing_is_encrypted_a_rewrap_needs_a_key(make_api: MakeApi) -> None:
    api = make_api(PROJECTS_ENCRYPT="false")
    answer = api.post(JOBS, json={"kind": "rewrap"})
    assert code_of(answer) == (400, "invalid_input") and answer.json()["details"] == {"field": "params.to"}


def test_a_wait_ends_soon_when_another_process_changes_the_job(make_manifold: MakeManifold, postgres_dsn: str) -> None:
    with ExitStack() as stack:
        mine, others = (PostgresCatalog(postgres_dsn, clock=SystemClock()) for _ in range(2))
        stack.callback(mine.close)
        stack.callback(others.close)
        other = make_manifold(catalog=others, node="b")
        api = stack.enter_context(serving(make_manifold(catalog=mine)))
        give_work(api)
        job = JobId(start(api)["id"])
        mover = later(0.5, lambda: other.jobs.pause(LOCAL_PRINCIPAL, job))
        answer, taken = waited(api, job, tag_of(api, job))
        mover.join()
        assert (answer.status_code, answer.json()["state"]) == (200, "paused")
        assert 0.4 < taken < 2.5
        other.jobs.resume(LOCAL_PRINCIPAL, job)
        worker = later(0.5, lambda: work(other))
        answer, _ = waited(api, job)
        worker.join()
        assert (answer.status_code, answer.json()["state"]) == (200, "done")
        assert answer.json()["done"] + answer.json()["skipped"] == 3


def test_a_job_that_is_forgotten_meanwhile_is_not_there(api: Api) -> None:
    job, catalog = JobId(start(api)["id"]), api.manifold.context.catalog
    catalog.plan_items(LOCAL_PRINCIPAL.tenant, job, None, ["what fails"], None)
    (one,) = catalog.claim_items(LOCAL_PRINCIPAL.tenant, job, "lease", seconds=60, limit=1)
    catalog.report_items(LOCAL_PRINCIPAL.tenant, job, "lease", [ItemReport(one.number, ItemState.FAILED, "internal")])
    forgetter = later(0.3, lambda: catalog.forget_jobs(0))
    answer, taken = waited(api, job, tag_of(api, job))
    forgetter.join()
    assert code_of(answer) == (404, "not_found")
    assert taken < 3


def waiting_for(api: Api, job: str, seconds: int = 20) -> socket.socket:
    return ask(api, f"{JOBS}/{job}?wait={seconds}", If_None_Match=tag_of(api, job))


def test_many_wait_with_one_look_at_a_time_and_no_thread_each(
    make_api: MakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = make_api(SERVER_MAX_REQUESTS_PER_PEER="200", **dict.fromkeys(SHORT, "1"))
    job = start(api)["id"]
    looks: list[int] = []
    look = api.manifold.jobs.changed

    def counted(seen: Sequence[SeenJob]) -> list[int]:
        looks.append(len(seen))
        return look(seen)

    monkeypatch.setattr(api.manifold.jobs, "changed", counted)
    threads = threading.active_count()
    with ExitStack() as stack:
        waiting = [stack.enter_context(closing(waiting_for(api, job))) for _ in range(80)]
        started = time.monotonic()
        time.sleep(3)  # longer than a client may stand still, a connection lie idle, or a dependency be waited for
        assert api.get(JOBS).status_code == 200
        assert 2 <= len(looks) <= 2 * (time.monotonic() - started) + 2
        assert set(looks) == {1}  # one job, whoever waits for it
        assert threading.active_count() - threads < 60
        move(api, job, "pause")
        for connection in waiting:
            connection.settimeout(10)
            assert connection.recv(12) == b"HTTP/1.1 200"


def test_those_who_wait_leave_room_for_others_and_are_forgotten_when_they_hang_up(
    make_api: MakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = make_api(SERVER_MAX_REQUESTS_PER_PEER="8")
    job = start(api)["id"]
    entered: list[str] = []
    count = Traffic.waiting

    def counted(self: Traffic, peer: str, **more: Any) -> AbstractContextManager[Wait]:
        entered.append(peer)
        return count(self, peer, **more)

    monkeypatch.setattr(Traffic, "waiting", counted)
    waiting = [waiting_for(api, job, 50) for _ in range(4)]
    wait_until(lambda: len(entered) == 4)
    assert code_of(waited(api, job)[0]) == (429, "too_many_requests")
    assert show(api, job)["state"] == "running"  # who does not wait is served
    for connection in waiting:
        connection.close()
    wait_until(lambda: waited(api, job, seconds=1)[0].status_code == 200, 5)


def test_the_end_of_the_server_ends_waits_at_once(make_manifold: MakeManifold) -> None:
    with serving(make_manifold()) as api:
        job = start(api)["id"]
        waiting = ask(api, f"{JOBS}/{job}?wait=50", If_None_Match=tag_of(api, job), connection="close")
        time.sleep(0.3)
        started = time.monotonic()
    assert time.monotonic() - started < 4
    with closing(waiting):
        assert waiting.recv(12) == b"HTTP/1.1 304"
