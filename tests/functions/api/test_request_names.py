"""Idempotency-Key: a request that is sent again is done once, and another one of its name not at all."""

from __future__ import annotations

import asyncio
import io
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from fastapi import Request
from manifold_common.domain.access import Principal
from manifold_common.ids import DEFAULT_TENANT, UserId

from functions.api.app import create_app
from tests.support.api import Api
from tests.support.manifold import MakeManifold

DEMO = "/api/v1/projects/demo"
FILES = f"{DEMO}/files"
NAMED = {"Idempotency-Key": "order-17"}


def tar(name: str) -> bytes:
    """More than a reader of it needs: what is behind its end belongs to the request as well."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(tarfile.TarInfo(name))
    return out.getvalue() + bytes(1 << 20)


def change(text: str) -> dict[str, object]:
    return {"changes": [{"op": "put", "path": "c", "text": text}]}


MOVE = {"source": {"path": "a"}, "destination": {"path": "b"}}
REQUESTS = [
    ("PUT", f"{FILES}/new", {"content": b"1" * 3_000_000}, {"content": b"1" * 2_999_999 + b"2"}),
    ("PUT", f"{FILES}/new", {"content": b"1"}, {"content": b"1", "params": {"mode": "755"}}),
    ("POST", f"{FILES}/new", {"content": b""}, {"content": b"1"}),
    ("DELETE", f"{FILES}/a", {"params": {"message": "x", "recursive": "true"}}, {"params": {"message": "y"}}),
    ("POST", f"{DEMO}/dirs", {"json": {"path": "d"}}, {"json": {"path": "e"}}),
    ("POST", f"{DEMO}/move", {"json": MOVE}, {"json": {**MOVE, "overwrite": True}}),
    ("POST", f"{DEMO}/commits", {"json": change("1")}, {"json": change("2")}),
    ("POST", f"{DEMO}/restore", {"json": {"generation": 0}}, {"json": {"generation": 1}}),
    ("POST", f"{DEMO}/archive", {"content": tar("one")}, {"content": tar("one") + b"\0"}),
]


@pytest.fixture(autouse=True)
def _project(api: Api) -> None:
    api.project()
    api.put(f"{FILES}/a", content=b"one")


def generation(api: Api) -> int:
    return int(api.get(DEMO).json()["generation"])


def code_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


@pytest.mark.parametrize(("method", "path", "body", "other"), REQUESTS)
def test_the_same_request_is_answered_as_before_and_another_of_its_name_is_refused(
    api: Api, method: str, path: str, body: dict[str, object], other: dict[str, object]
) -> None:
    etag = api.get(DEMO).headers["etag"]
    first = api.request(method, path, headers={**NAMED, "If-Match": etag}, **body)  # type: ignore[arg-type]
    assert first.is_success and "idempotency-replayed" not in first.headers, first.text
    by_id = path.replace("demo", str(first.json()["project"]))
    for address, headers in [(path, {**NAMED, "If-Match": etag}), (by_id, NAMED)]:
        again = api.request(method, address, headers=headers, **body)  # type: ignore[arg-type]
        assert again.headers["idempotency-replayed"] == "true"
        assert (again.status_code, again.headers.get("etag")) == (first.status_code, first.headers.get("etag"))
        assert again.headers.get("location") == first.headers.get("location")
        assert again.json()["commit"] == first.json()["commit"]
    refused = api.request(method, path, headers=NAMED, **other)  # type: ignore[arg-type]
    assert code_of(refused) == (422, "request_name_reused")
    assert refused.json()["details"]["generation"] == generation(api) == 2


def test_an_address_is_the_same_however_its_letters_are_written(api: Api) -> None:
    first = api.raw("PUT", f"{FILES}/new", NAMED, b"1")
    assert first.status == 201
    project = first.json()["project"]
    for address in ("/api/%70rojects/demo/%66iles/n%65w", f"/api/%70rojects/{project}/files/new"):
        again = api.raw("PUT", address, NAMED, b"1")
        assert (again.status, again.headers.get("idempotency-replayed")) == (201, "true"), again.body


def test_a_name_is_for_one_address_and_method(api: Api) -> None:
    api.put(f"{FILES}/b", content=b"x", headers=NAMED)
    for method, path in [("POST", f"{FILES}/b"), ("PUT", f"{FILES}/c"), ("PUT", f"{FILES}/b?message=why")]:
        assert code_of(api.request(method, path, content=b"x", headers=NAMED)) == (422, "request_name_reused")
    twice = httpx.Headers([("Idempotency-Key", "a"), ("Idempotency-Key", "b")])
    assert code_of(api.put(f"{FILES}/b", content=b"x", headers=twice)) == (400, "invalid_input")
    assert generation(api) == 2


def test_every_project_has_names_of_its_own(api: Api) -> None:
    api.project("other")
    assert api.put(f"{FILES}/b", content=b"x", headers=NAMED).status_code == 201
    done = api.put("/api/v1/projects/other/files/b", content=b"y", headers=NAMED)
    assert (done.status_code, done.json()["generation"]) == (201, 1)
    assert "idempotency-replayed" not in done.headers


def test_two_users_may_give_one_name(make_manifold: MakeManifold) -> None:
    def principal_of(request: Request) -> Principal:
        return Principal(DEFAULT_TENANT, UserId(request.headers["x-user"]))

    app = create_app(make_manifold(), principal_of=principal_of)

    async def put(user: str, project: str) -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
            client.headers["X-User"] = user
            await client.post("/api/v1/projects", json={"name": "mine"})
            return await client.put(f"/api/v1/projects/{project}/files/b", content=b"x", headers=NAMED)

    anns, bens = (asyncio.run(put(user, "mine")) for user in ("ann", "ben"))
    assert [done.status_code for done in (anns, bens)] == [201, 201]
    assert anns.json()["project"] != bens.json()["project"] and "idempotency-replayed" not in bens.headers
    assert code_of(asyncio.run(put("ben", anns.json()["project"]))) == (404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/v1/projects", {"name": "another"}),
        ("PATCH", DEMO, {"name": "another"}),
        ("DELETE", DEMO, None),
        ("POST", f"{DEMO}/fork", {"name": "another"}),
        ("POST", "/api/v1/sessions", {"project": "demo", "session": "s1"}),
    ],
)
def test_a_name_that_would_not_be_kept_is_refused(
    api: Api, method: str, path: str, body: dict[str, object] | None
) -> None:
    refused = api.request(method, path, json=body, headers=NAMED)
    assert code_of(refused) == (400, "invalid_input") and "Idempotency-Key" in refused.json()["hint"]
    assert [one["name"] for one in api.get("/api/v1/projects").json()["items"]] == ["demo"]
    assert api.get("/api/v1/sessions").json()["items"] == []


def test_of_different_requests_of_one_name_at_once_one_is_done(api: Api) -> None:
    def put(number: int) -> httpx.Response:
        return api.put(f"{FILES}/n{number}", content=b"x", headers=NAMED)

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(put, range(8)))
    assert sorted(answer.status_code for answer in answers) == [201] + [422] * 7
    assert generation(api) == 2


def test_a_sessions_commit_is_told_by_what_is_said_of_it(api: Api) -> None:
    work = Path(api.post("/api/v1/sessions", json={"project": "demo", "session": "s1"}).json()["path"])
    (work / "b").write_bytes(b"b")
    tag = api.get("/api/v1/sessions/s1").headers["etag"]
    first = api.post("/api/v1/sessions/s1/commit", json={"message": "m"}, headers={**NAMED, "If-Match": tag})
    assert first.json()["generation"] == 2
    (work / "c").write_bytes(b"c")
    again = api.post("/api/v1/sessions/s1/commit", json={"message": "m"}, headers={**NAMED, "If-Match": tag})
    assert again.json()["commit"] == first.json()["commit"]
    assert again.headers["idempotency-replayed"] == "true"
    other = api.post("/api/v1/sessions/s1/commit", json={"message": "other"}, headers=NAMED)
    assert code_of(other) == (422, "request_name_reused")
    assert generation(api) == 2


def test_what_changed_nothing_leaves_its_name_free(api: Api) -> None:
    assert api.post(f"{DEMO}/restore", json={"generation": 1}, headers=NAMED).json()["commit"] is None
    assert api.post(f"{DEMO}/dirs", json={"path": "d"}, headers=NAMED).status_code == 201
