from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from manifold_common.adapters.memory.catalog import MemoryCatalog
from manifold_common.adapters.system.clock import SystemClock
from manifold_common.domain.retry_after import asked_wait
from manifold_common.errors import CatalogUnavailable, KeyUnavailable

from tests.support.api import Api, MakeApi
from tests.support.panics import SECRET, panic


def _is_problem(answer: Any) -> dict[str, Any]:
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert {"type", "title", "status", "detail", "code", "details"} <= body.keys()
    assert body["type"] == f"urn:manifold:problem:{body['code']}"
    assert body["status"] == (answer.status_code if hasattr(answer, "status_code") else answer.status)
    return body


def test_an_address_that_is_not_there_is_a_problem(api: Api) -> None:
    body = _is_problem(api.get("/api/nothing"))
    assert (body["status"], body["code"]) == (404, "unknown_address")


def test_a_method_that_is_not_taken_is_a_problem_that_names_those_that_are(api: Api) -> None:
    answer = api.put("/health")
    assert _is_problem(answer)["code"] == "method_not_allowed"
    assert "GET" in answer.headers["allow"]


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"null",
        b'{"name": 5}',
        b'{"name": "x", "extra": 1}',
        b"",
        b"\xff",
        b'{"name": "' + b"[" * 9999,
        b"[" * 99999,
    ],
)
def test_a_body_that_is_not_valid_is_a_problem(api: Api, body: bytes) -> None:
    answer = api.post("/api/v1/projects", content=body, headers={"Content-Type": "application/json"})
    assert _is_problem(answer)["code"] == "invalid_input"
    assert answer.status_code == 400


def test_what_was_sent_is_not_sent_back(api: Api) -> None:
    answer = api.post("/api/v1/projects", json={"name": 5, "password": "hunter2-secret"})
    assert answer.status_code == 400
    assert "hunter2" not in answer.text


@pytest.mark.parametrize(
    "query",
    [
        "generation=-1",
        "generation=x%20y",
        "generation=9007199254740992",
        "limit=0",
        "limit=1001",
        "kind=pipe",
        "glob=%5B",
    ],
)
def test_a_query_that_is_not_valid_is_a_problem(api: Api, query: str) -> None:
    api.project()
    answer = api.get(f"/api/v1/projects/demo/tree?{query}")
    assert _is_problem(answer)["code"] == "invalid_input"


def test_the_largest_generation_is_an_ordinary_one_that_is_not_there(api: Api) -> None:
    api.project()
    assert api.get("/api/v1/projects/demo/tree?generation=9007199254740991").status_code == 404


def test_a_body_that_is_too_large_for_its_route_is_refused(api: Api) -> None:
    body = b'{"name": "' + b"x" * (1 << 20) + b'"}'
    answer = api.post("/api/v1/projects", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, _is_problem(answer)["code"]) == (413, "quota_exceeded")


@pytest.mark.parametrize("value", ["\ud800", float("nan"), float("inf")])
def test_provenance_that_no_json_can_say_is_refused(api: Api, value: object) -> None:
    api.project()
    body = {"changes": [{"op": "mkdir", "path": "a"}], "provenance": {"run": {"x": [value]}}}
    headers = {"Content-Type": "application/json"}
    answer = api.post("/api/v1/projects/demo/commits", content=json.dumps(body).encode(), headers=headers)
    assert (answer.status_code, _is_problem(answer)["code"]) == (400, "invalid_input")
    assert api.get("/api/v1/projects/demo/commits").json()["items"] == []


def test_a_conflict_names_paths_of_any_bytes(api: Api) -> None:
    api.project()
    api.raw("PUT", "/api/v1/projects/demo/files/%FF", body=b"x")
    answer = api.raw("POST", "/api/v1/projects/demo/files/%FF", body=b"x")
    assert answer.status == 409
    assert "\\xff" in answer.json()["detail"]


class _Broken(MemoryCatalog):
    def __init__(self, error: Exception) -> None:
        super().__init__(clock=SystemClock())
        self.error = error

    def list_projects(self, *_: Any, **__: Any) -> Any:
        raise self.error


def test_a_bug_says_nothing_about_itself_but_where_to_find_it(
    make_api: MakeApi, caplog: pytest.LogCaptureFixture
) -> None:
    api = make_api(catalog=_Broken(ZeroDivisionError("secret-file.txt")))
    with caplog.at_level(logging.ERROR):
        answer = api.get("/api/v1/projects")
    body = _is_problem(answer)
    assert (body["status"], body["code"]) == (500, "internal")
    assert "secret-file" not in answer.text and "ZeroDivision" not in answer.text
    logged = [record.getMessage() for record in caplog.records if body["correlation_id"] in record.getMessage()]
    assert len(logged) == 1 and "ZeroDivisionError" in logged[0] and "list_projects" in logged[0]
    assert "secret-file" not in caplog.text  # projects are encrypted: names stay out of the log


class _Panicking(MemoryCatalog):
    list_projects = panic


def test_a_panic_of_a_native_library_is_answered_as_a_bug_is(
    make_api: MakeApi, caplog: pytest.LogCaptureFixture
) -> None:
    answer = make_api(catalog=_Panicking(clock=SystemClock())).get("/api/v1/projects")
    body = _is_problem(answer)
    assert (body["status"], body["code"]) == (500, "internal")
    assert SECRET not in answer.text + caplog.text


def test_without_encryption_the_log_has_a_bugs_text(make_api: MakeApi, caplog: pytest.LogCaptureFixture) -> None:
    api = make_api(catalog=_Broken(ZeroDivisionError("what happened")), PROJECTS_ENCRYPT="false")
    with caplog.at_level(logging.ERROR):
        api.get("/api/v1/projects")
    assert "what happened" in caplog.text


def test_a_dependency_that_is_down_is_503_with_a_time_to_come_back(make_api: MakeApi) -> None:
    api = make_api(catalog=_Broken(CatalogUnavailable("the database does not answer", hint="start it")))
    answer = api.get("/api/v1/projects")
    body = _is_problem(answer)
    assert (answer.status_code, body["code"], body["hint"]) == (503, "catalog_unavailable", "start it")
    assert int(answer.headers["retry-after"]) > 0


def test_a_dependency_that_said_when_to_come_back_is_quoted(make_api: MakeApi) -> None:
    api = make_api(catalog=_Broken(KeyUnavailable("overloaded", retryable=True, **asked_wait(31.2))))
    assert api.get("/api/v1/projects").headers["retry-after"] == "32"
