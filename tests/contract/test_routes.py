"""What every route of the API promises, held against each that an area has: a new one is found by itself."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import closing
from importlib import import_module
from typing import Any, NamedTuple, cast

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from functions.api.app import create_app
from functions.api.areas import AREAS
from tests.support.manifold import folder_manifold
from tests.support.work import new_project

PROBLEM = "application/problem+json"
ABSENT, THERE = "absent", "there"


class Route(NamedTuple):
    method: str
    path: str
    is_described: bool

    @property
    def place(self) -> str:
        """The path as the description has it."""
        return self.path.replace(":rest}", "}")

    @property
    def is_read_of_a_project(self) -> bool:
        return self.method == "GET" and re.findall(r"{(.+?)}", self.path) == ["project"]

    @property
    def url(self) -> str:
        """One of its addresses, of a project or session that does not exist."""
        return re.sub(r"{\w+}", ABSENT, self.path.replace("{generation}", "1").replace(":rest}", "}"))


ROUTES = [
    Route(method, route.path, route.include_in_schema)
    for area in AREAS
    for route in import_module(area).router.routes
    if isinstance(route, APIRoute)
    for method in sorted(route.methods)
]
DESCRIBED = [route for route in ROUTES if route.is_described]
OF_THE_API = [route for route in DESCRIBED if route.path.startswith("/api")]


def named(route: Route) -> str:
    return f"{route.method} {route.place}"


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FastAPI]:
    """One for all: nothing that is asked here changes anything."""
    with closing(folder_manifold(tmp_path_factory.mktemp("routes"))) as manifold:
        new_project(manifold, THERE, a=b"one")
        yield create_app(manifold)


@pytest.fixture
def operation(app: FastAPI, request: pytest.FixtureRequest) -> dict[str, Any]:
    """The description of the route that the test is about."""
    route = cast(Route, request.getfixturevalue("route"))
    found: dict[str, Any] = app.openapi()["paths"][route.place][route.method.lower()]
    return found


def ask(app: FastAPI, method: str, url: str, **more: Any) -> httpx.Response:
    async def run() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
            return await client.request(method, url, **more)

    return asyncio.run(run())


@pytest.mark.parametrize("route", DESCRIBED, ids=named)
def test_it_is_described_with_what_it_takes_and_answers(route: Route, operation: dict[str, Any]) -> None:
    assert operation["description"] and operation["operationId"] and operation["tags"]
    declared = {item["name"] for item in operation.get("parameters", []) if item["in"] == "path"}
    assert declared == set(re.findall(r"{(\w+)}", route.place))
    answers = operation["responses"]
    assert any(status.startswith("2") for status in answers)
    for status, answer in answers.items():
        if status.startswith("2") and status != "204" and route.method != "HEAD":
            schemas = [content["schema"] for content in answer["content"].values()]
            assert schemas and all(schemas), status


@pytest.mark.parametrize("route", OF_THE_API, ids=named)
def test_its_errors_are_declared_as_problem_documents(route: Route, operation: dict[str, Any]) -> None:
    errors = {status: answer for status, answer in operation["responses"].items() if status[0] in "45"}
    assert errors.keys() >= {"400", "403", "500", "503"}
    assert {tuple(answer["content"]) for answer in errors.values()} == {(PROBLEM,)}


@pytest.mark.parametrize("route", OF_THE_API, ids=named)
def test_what_it_answers_about_what_does_not_exist_is_declared(
    route: Route, operation: dict[str, Any], app: FastAPI
) -> None:
    answer = ask(app, route.method, route.url)
    assert str(answer.status_code) in operation["responses"]
    assert answer.status_code != 500
    if answer.status_code >= 400 and route.method != "HEAD":
        assert answer.headers["content-type"] == PROBLEM
        assert answer.json()["code"] and answer.json()["detail"]


@pytest.mark.parametrize("route", [route for route in OF_THE_API if route.is_read_of_a_project], ids=named)
def test_what_it_answers_about_a_project_is_declared(route: Route, operation: dict[str, Any], app: FastAPI) -> None:
    answer = ask(app, route.method, route.path.replace("{project}", THERE))
    needed = [one["name"] for one in operation.get("parameters", []) if one["in"] == "query" and one.get("required")]
    assert answer.status_code == (400 if needed else 200)


@pytest.mark.parametrize("route", [route for route in ROUTES if route.path.startswith("/api")], ids=named)
def test_a_method_that_its_address_does_not_take_is_a_problem_that_names_those_it_does(
    route: Route, app: FastAPI
) -> None:
    answer = ask(app, "TRACE", route.url)
    assert (answer.status_code, answer.headers["content-type"]) == (405, PROBLEM)
    assert answer.headers["allow"]


@pytest.mark.parametrize(
    "route", [route for route in ROUTES if route.method not in ("GET", "HEAD", "OPTIONS")], ids=named
)
def test_another_sites_page_may_not_ask_for_a_change(route: Route, app: FastAPI) -> None:
    answer = ask(app, route.method, route.url, headers={"Origin": "https://elsewhere.example"})
    assert (answer.status_code, answer.headers["content-type"]) == (403, PROBLEM)


@pytest.mark.parametrize("route", OF_THE_API, ids=named)
def test_a_body_that_it_does_not_take_is_refused(route: Route, operation: dict[str, Any], app: FastAPI) -> None:
    takes_json = "application/json" in operation.get("requestBody", {}).get("content", {})
    for body in (b"{", b'"text"', b'{"no_such_field": 1}') if takes_json else ():
        answer = ask(app, route.method, route.url, content=body, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.headers["content-type"]) == (400, PROBLEM)
        assert ("no_such_field" in body.decode()) is ("no_such_field" in answer.text)


def test_no_two_operations_have_one_id(app: FastAPI) -> None:
    ids = [one["operationId"] for methods in app.openapi()["paths"].values() for one in methods.values()]
    assert len(ids) == len(set(ids)) == len(DESCRIBED)
