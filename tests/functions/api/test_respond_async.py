"""Restores, imports and archives over HTTP by jobs, for clients that prefer not to wait (RFC 7240)."""

from __future__ import annotations

import io
import os
import tarfile
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import httpx
import pytest
from manifold_common.adapters.memory.clock import ManualClock
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL, Principal
from manifold_common.errors import NotFound
from manifold_common.ids import ProjectId, TenantId, UserId, parse_job_id
from manifold_common.ports.catalog import ResumableUpload

from tests.support.api import Api, MakeApi
from tests.support.garbage import collect, objects

P = "/api/v1/projects/demo"
ASYNC = {"Prefer": "respond-async"}
KINDS = ["restore", "import", "archive"]
LARGE = os.urandom(20 << 20)


@pytest.fixture
def demo(api: Api) -> Api:
    return with_two_generations(api)


def with_two_generations(api: Api) -> Api:
    api.project()
    for text in (b"one", b"two"):
        assert api.put(f"{P}/files/a.txt", content=text).is_success
    return api


def tar_of(**files: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def asked(api: Api, kind: str, headers: dict[str, str] | None = None) -> httpx.Response:
    """Ask for something that takes a job of that kind."""
    headers = {**ASYNC, **(headers or {})}
    if kind == "restore":
        return api.post(f"{P}/restore", json={"generation": 1, "message": "back"}, headers=headers)
    if kind == "import":
        return api.post(f"{P}/archive?message=in", content=tar_of(b=b"new"), headers=headers)
    return api.get(f"{P}/archive?format=tar", headers=headers)


def work(api: Api) -> int:
    return api.manifold.job_worker.run(KINDS)


def job_of(begun: httpx.Response) -> str:
    assert (begun.status_code, begun.headers["preference-applied"]) == (202, "respond-async"), begun.text
    assert begun.headers["location"] == f"/api/v1/jobs/{begun.json()['id']}"
    return begun.headers["location"]


def code_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def generation(api: Api) -> int:
    return int(api.get(P).json()["generation"])


def held(api: Api) -> Sequence[tuple[ResumableUpload, object]]:
    return api.manifold.context.catalog.holdings(LOCAL_PRINCIPAL.tenant, project_of(api)).resumable


def kept(api: Api) -> int:
    return len(held(api))


def project_of(api: Api) -> ProjectId:
    return ProjectId(api.get(P).json()["id"])


# --- what a job does --------------------------------------------------------------------------------------------------


def test_a_restore_is_answered_with_the_same_document_later(demo: Api) -> None:
    job = job_of(asked(demo, "restore"))
    assert (generation(demo), code_of(demo.get(f"{job}/result"))) == (2, (404, "not_found"))
    assert work(demo) == 1
    assert (demo.get(job).json()["state"], demo.get(f"{P}/files/a.txt").text) == ("done", "one")
    result = demo.get(f"{job}/result").json()
    commit = demo.get(f"{P}/commits/3").json()
    assert (result["kind"], result["imported"], result["archive"]) == ("restore", None, None)
    restored = result["restored"]
    assert (restored["generation"], restored["commit"], commit["message"]) == (3, commit["id"], "back")
    assert restored["paths"] == [{"path": "a.txt"}]
    at_once = demo.post(f"{P}/restore", json={"generation": 2}).json()
    assert at_once.keys() == restored.keys()
    assert code_of(demo.get(f"{job}/content")) == (404, "not_found")


def test_an_import_is_kept_to_its_end_before_it_is_accepted_and_then_done(demo: Api) -> None:
    data = tar_of(b=LARGE, c=b"three")
    begun = demo.post(f"{P}/archive?folder=d&message=in", content=data, headers=ASYNC)
    job = job_of(begun)
    assert begun.json()["params"].keys() == {"project", "request"}, "nothing of what was asked stands in the clear"
    assert work(demo) == 1
    assert demo.get(f"{P}/files/d/b").content == LARGE
    imported = demo.get(f"{job}/result").json()["imported"]
    assert (imported["generation"], imported["entries"], imported["total_bytes"]) == (3, 2, len(LARGE) + 5)
    again = demo.post(f"{P}/archive?folder=d&message=in", content=data).json()
    assert again.keys() == imported.keys()


@pytest.mark.parametrize("form", ["tar", "tar.gz", "zip"])
def test_an_archive_is_made_and_downloaded_whole_and_in_parts(demo: Api, form: str) -> None:
    demo.put(f"{P}/files/large", content=LARGE)
    whole = demo.get(f"{P}/archive?format={form}&generation=3")
    job = job_of(demo.get(f"{P}/archive?format={form}", headers=ASYNC))
    demo.put(f"{P}/files/a.txt", content=b"three")
    assert code_of(demo.get(f"{job}/content")) == (404, "not_found")
    assert work(demo) == 1
    made = demo.get(f"{job}/result").json()["archive"]
    assert (made["generation"], made["format"], made["total_bytes"]) == (3, form, len(whole.content))
    got = demo.get(f"{job}/content")
    assert got.content == whole.content
    for name in ("etag", "content-type", "content-disposition", "manifold-generation"):
        assert got.headers[name] == whole.headers[name], name
    assert (got.headers["content-length"], made["etag"]) == (str(len(whole.content)), got.headers["etag"])
    for first, last in [(0, 0), (1000, 17_000_000), (len(whole.content) - 5, len(whole.content) - 1)]:
        part = demo.get(f"{job}/content", headers={"Range": f"bytes={first}-{last}"})
        assert (part.status_code, part.content == whole.content[first : last + 1]) == (206, True)
        assert part.headers["content-range"] == f"bytes {first}-{last}/{len(whole.content)}"
    assert demo.get(f"{job}/content", headers={"If-None-Match": made["etag"]}).status_code == 304
    assert demo.get(f"{job}/content", headers={"Range": f"bytes={len(whole.content)}-"}).status_code == 416
    looked = demo.head(f"{job}/content")
    assert (looked.status_code, looked.content, looked.headers["content-length"]) == (
        200,
        b"",
        str(made["total_bytes"]),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_thing_asked_for_twice_is_two_jobs(demo: Api, kind: str) -> None:
    first, second = job_of(asked(demo, kind)), job_of(asked(demo, kind))
    assert first != second
    assert work(demo) == 2
    assert [demo.get(f"{job}/result").status_code for job in (first, second)] == [200, 200]


def test_who_only_looks_begins_no_job(demo: Api) -> None:
    looked = demo.head(f"{P}/archive", headers=ASYNC)
    assert (looked.status_code, demo.get("/api/v1/jobs").json()["items"]) == (200, [])
    known = demo.get(f"{P}/archive", headers={**ASYNC, "If-None-Match": looked.headers["etag"]})
    assert (known.status_code, demo.get("/api/v1/jobs").json()["items"]) == (304, [])


# --- names of requests ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_request_sent_again_under_its_name_is_the_same_job(demo: Api, kind: str) -> None:
    named = {"Idempotency-Key": "order-17"}
    job = job_of(asked(demo, kind, named))
    again = asked(demo, kind, named)
    assert (job_of(again), again.headers["idempotency-replayed"]) == (job, "true")
    assert kept(demo) == 1
    work(demo)
    after = generation(demo)
    assert job_of(asked(demo, kind, named)) == job, "also when it is over"
    assert (work(demo), generation(demo)) == (0, after)


def test_the_same_request_without_a_job_is_done_once_with_it(demo: Api) -> None:
    named = {"Idempotency-Key": "order-17"}
    body = {"generation": 1, "message": "back"}
    job = job_of(asked(demo, "restore", named))
    at_once = demo.post(f"{P}/restore", json=body, headers=named)
    assert (at_once.status_code, at_once.json()["generation"]) == (200, 3)
    assert (work(demo), generation(demo)) == (1, 3)
    result = demo.get(f"{job}/result").json()["restored"]
    assert (result["generation"], result["commit"]) == (3, at_once.json()["commit"])
    other = {"Idempotency-Key": "order-18"}
    done = demo.post(f"{P}/restore", json={"generation": 2}, headers=other).json()
    later = demo.post(f"{P}/restore", json={"generation": 2}, headers={**other, **ASYNC})
    assert (later.status_code, later.json()["commit"]) == (200, done["commit"])
    assert later.headers["idempotency-replayed"] == "true"


def test_another_request_of_the_name_is_refused(demo: Api) -> None:
    named = {**ASYNC, "Idempotency-Key": "order-17"}
    job_of(asked(demo, "restore", named))
    for other in (
        demo.post(f"{P}/restore", json={"generation": 2}, headers=named),
        demo.post(f"{P}/archive", content=tar_of(b=b"new"), headers=named),
        demo.get(f"{P}/archive", headers=named),
    ):
        assert code_of(other) == (422, "request_name_reused")
    assert (kept(demo), work(demo)) == (1, 1)


# --- conditions and limits --------------------------------------------------------------------------------------------


def test_what_can_be_refused_at_once_is_refused_at_once(demo: Api) -> None:
    stale = {**ASYNC, "If-Match": '"1"'}
    assert asked(demo, "restore", stale).status_code == 412
    assert asked(demo, "import", stale).status_code == 412
    for refused in (
        demo.post(f"{P}/restore", json={"generation": 9}, headers=ASYNC),
        demo.post(f"{P}/restore", json={"generation": "no-such-tag"}, headers=ASYNC),
        demo.post(f"{P}/restore", json={"generation": 1, "paths": [{"path": "nowhere"}]}, headers=ASYNC),
        demo.get(f"{P}/archive?generation=9", headers=ASYNC),
        demo.post("/api/v1/projects/nobody/archive", content=tar_of(b=b""), headers=ASYNC),
    ):
        assert code_of(refused) == (404, "not_found")
    assert demo.post(f"{P}/archive?folder=../out", content=tar_of(b=b""), headers=ASYNC).status_code == 400
    assert (demo.get("/api/v1/jobs").json()["items"], kept(demo)) == ([], 0)


@pytest.mark.parametrize("kind", ["restore", "import"])
def test_what_is_committed_meanwhile_fails_a_job_that_depends_on_it(demo: Api, kind: str) -> None:
    job = job_of(asked(demo, kind, {"If-Match": '"2"'}))
    demo.put(f"{P}/files/a.txt", content=b"three")
    assert work(demo) == 1
    told = demo.get(job).json()
    assert (told["state"], [one["error"] for one in told["troubles"]]) == ("failed", ["generation_mismatch"])
    assert (generation(demo), code_of(demo.get(f"{job}/result"))) == (3, (404, "not_found"))


def test_what_is_no_archive_fails_its_job(demo: Api) -> None:
    job = job_of(demo.post(f"{P}/archive", content=b"no archive", headers=ASYNC))
    work(demo)
    told = demo.get(job).json()
    assert (told["state"], [one["error"] for one in told["troubles"]]) == ("failed", ["invalid_input"])
    assert generation(demo) == 2


def test_bodies_and_archives_are_held_to_what_a_project_may_hold(make_api: MakeApi) -> None:
    api = with_two_generations(make_api(PROJECTS_QUOTAS_MAX_PROJECT_BYTES=str(1 << 20)))
    refused = api.post(f"{P}/archive", content=tar_of(b=bytes(2 << 20)), headers=ASYNC)
    assert code_of(refused) == (413, "quota_exceeded")
    assert api.get("/api/v1/jobs").json()["items"] == []
    data = os.urandom(600_000)
    api.put(f"{P}/files/b", content=data)
    first, second = (job_of(asked(api, "archive")) for _ in range(2))
    work(api)
    assert (api.get(first).json()["state"], api.get(second).json()["state"]) == ("done", "failed")
    assert [one["error"] for one in api.get(second).json()["troubles"]] == ["quota_exceeded"]


def test_no_more_requests_are_kept_than_may_be_open(make_api: MakeApi) -> None:
    api = with_two_generations(make_api(PROJECTS_RESUMABLE_UPLOADS_MAX_PER_PROJECT="2"))
    for _ in range(2):
        job_of(asked(api, "restore"))
    for kind in KINDS:
        assert code_of(asked(api, kind)) == (413, "quota_exceeded")
    work(api)
    job_of(asked(api, "restore"))


@pytest.mark.parametrize("sent_bytes", [5_000_000, 40_000_000])
def test_a_body_that_breaks_off_begins_nothing(demo: Api, sent_bytes: int) -> None:
    with demo.connect() as connection:
        connection.sendall(
            f"POST {P}/archive HTTP/1.1\r\nHost: 127.0.0.1\r\nPrefer: respond-async\r\n"
            f"Content-Length: 90000000\r\n\r\n".encode()
            + bytes(sent_bytes)
        )
    deadline = time.monotonic() + 20
    while {row.stage for row, _ in held(demo)} != {"removing"}:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert demo.get("/api/v1/jobs").json()["items"] == []


# --- how long it is there ---------------------------------------------------------------------------------------------


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.mark.in_memory("moves the clock")
@pytest.mark.parametrize("kind", KINDS)
def test_what_came_of_it_is_there_for_its_time_and_nothing_of_it_longer(
    make_api: MakeApi, clock: ManualClock, kind: str
) -> None:
    api = with_two_generations(make_api(clock=clock))
    api.put(f"{P}/files/large", content=os.urandom(5 << 20))
    before = objects(api.manifold, project_of(api))
    done = job_of(asked(api, kind))
    work(api)
    cancelled = job_of(asked(api, kind))
    api.post(f"{cancelled}/cancel")
    clock.advance(timedelta(days=6).total_seconds())
    assert sweep(api.manifold) == 0
    assert api.get(f"{done}/result").status_code == 200
    collect(api.manifold, project_of(api))
    if kind == "archive":
        assert api.get(f"{done}/content").status_code == 200
    clock.advance(timedelta(days=1, hours=2).total_seconds())
    gone = api.get(f"{done}/result")
    assert code_of(gone) == (404, "not_found") and gone.json()["hint"]
    assert (sweep(api.manifold), kept(api)) == (2, 0)
    collect(api.manifold, project_of(api))
    left = objects(api.manifold, project_of(api)) - before
    assert not any(one.startswith("packs/") for one in left), left


@pytest.mark.in_memory("moves the clock")
def test_a_job_that_waits_for_longer_than_its_request_is_kept_fails(make_api: MakeApi, clock: ManualClock) -> None:
    api = with_two_generations(make_api(clock=clock))
    job = job_of(asked(api, "import"))
    api.post(f"{job}/pause")
    clock.advance(timedelta(days=8).total_seconds())
    sweep(api.manifold)
    api.post(f"{job}/resume")
    work(api)
    told = api.get(job).json()
    assert (told["state"], [one["error"] for one in told["troubles"]]) == ("failed", ["not_found"])


def sweep(manifold: Manifold) -> int:
    return manifold.resumable_uploads.sweep()


@pytest.mark.parametrize("kind", KINDS)
def test_a_collection_keeps_what_a_job_is_to_work_on(demo: Api, kind: str) -> None:
    demo.put(f"{P}/files/large", content=LARGE)
    wanted = demo.get(f"{P}/archive?format=tar").content
    job = job_of(asked(demo, kind))
    collect(demo.manifold, project_of(demo))
    assert work(demo) == 1
    collect(demo.manifold, project_of(demo))
    assert demo.get(f"{job}/result").status_code == 200
    if kind == "archive":
        assert demo.get(f"{job}/content").content == wanted
    report = demo.post(f"{P}/verify", json={"read_data": True}).json()
    assert report["ok"], report


@pytest.mark.parametrize("kind", KINDS)
def test_the_job_of_a_deleted_project_fails_and_goes_on_where_it_comes_back(demo: Api, kind: str) -> None:
    project = project_of(demo)
    job = job_of(asked(demo, kind))
    assert demo.delete(P).is_success
    work(demo)
    told = demo.get(job).json()
    assert (told["state"], [one["error"] for one in told["troubles"]]) == ("failed", ["not_found"])
    assert code_of(demo.get(f"{job}/result")) == (404, "not_found")
    assert demo.post(f"/api/v1/projects/{project}/undelete").is_success
    assert demo.post(f"{job}/retry").is_success
    work(demo)
    assert (demo.get(job).json()["state"], demo.get(f"{job}/result").status_code) == ("done", 200)


# --- who may have it --------------------------------------------------------------------------------------------------


def test_a_kept_request_is_no_upload_and_cannot_be_written_to(demo: Api) -> None:
    request = asked(demo, "import").json()["params"]["request"]
    at, tus = f"{P}/resumable-uploads/{request}", {"Tus-Resumable": "1.0.0"}
    assert demo.head(at, headers=tus).status_code == 404
    sent = {**tus, "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    assert demo.patch(at, content=b"x", headers=sent).status_code == 404
    assert demo.delete(at, headers=tus).status_code == 404
    assert work(demo) == 1 and generation(demo) == 3


def test_an_upload_is_no_request_and_jobs_of_other_kinds_have_no_result(demo: Api) -> None:
    headers = {"Tus-Resumable": "1.0.0", "Upload-Length": "5", "Upload-Metadata": "path YQ=="}
    upload = demo.post(f"{P}/resumable-uploads", headers=headers).json()["upload"]
    params: dict[str, Any] = {"project": "demo", "request": upload}
    job = demo.post("/api/v1/jobs", json={"kind": "import", "params": params}).json()["id"]
    work(demo)
    assert demo.get(f"/api/v1/jobs/{job}").json()["state"] == "failed"
    verify = demo.post(f"{P}/verify", headers=ASYNC).headers["location"]
    assert code_of(demo.get(f"{verify}/result")) == (404, "not_found")
    assert code_of(demo.get(f"/api/v1/jobs/{'a' * 26}/result")) == (404, "not_found")


def test_a_job_of_another_kind_does_not_do_what_was_not_asked(demo: Api) -> None:
    params = asked(demo, "archive").json()["params"]
    demo.post("/api/v1/jobs", json={"kind": "restore", "params": params})
    work(demo)
    states = {one["kind"]: one["state"] for one in demo.get("/api/v1/jobs").json()["items"]}
    assert states == {"archive": "done", "restore": "failed"}


def test_another_tenant_finds_neither_job_nor_result(demo: Api) -> None:
    job = parse_job_id(asked(demo, "archive").json()["id"])
    work(demo)
    other = Principal(TenantId("other"), UserId("local"))
    for look in (demo.manifold.deferred.result, demo.manifold.deferred.content):
        with pytest.raises(NotFound, match="there is no job"):
            look(other, job)
    colleague = Principal(LOCAL_PRINCIPAL.tenant, UserId("colleague"))
    assert demo.manifold.deferred.result(colleague, job).archive is not None
