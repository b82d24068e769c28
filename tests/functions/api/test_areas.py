"""Each part of the application is loaded for what is asked of it, and for nothing else."""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from manifold_common.bootstrap import Manifold

from functions.api.app import create_app
from functions.api.areas import AREAS, word_of
from tests.support.manifold import MakeManifold

ROUTES = [(area, route.path) for area in AREAS for route in import_module(area).router.routes]


@pytest.fixture
def manifold(make_manifold: MakeManifold) -> Manifold:
    return make_manifold()


@pytest.fixture
def app(manifold: Manifold) -> FastAPI:
    return create_app(manifold, on_demand=True)


def ask(app: FastAPI, method: str, path: str, **more: Any) -> httpx.Response:
    async def run() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
            return await client.request(method, path, **more)

    return asyncio.run(run())


def said(answer: httpx.Response) -> dict[str, Any]:
    return {name: value for name, value in answer.json().items() if name != "correlation_id"}


def loaded(app: FastAPI) -> set[str]:
    return {area.rpartition(".")[2] for area in app.state.areas}


@pytest.mark.parametrize(("area", "path"), ROUTES)
def test_every_route_is_in_a_part_that_its_path_leads_to(area: str, path: str) -> None:
    assert word_of(path.replace("{path:rest}", "a/b").replace("{project}", "sessions")) in AREAS[area]


def test_there_are_no_words_without_a_route() -> None:
    for area, words in AREAS.items():
        assert set(words) == {word_of(path) for owner, path in ROUTES if owner == area}


@pytest.mark.parametrize(
    ("path", "areas"),
    [
        ("/api/v1/projects", {"projects"}),
        ("/api/v1/projects/demo", {"projects"}),
        ("/api/v1/projects/demo/tree", {"tree"}),
        ("/api/v1/projects/demo/files/tree/commits", {"files"}),
        ("/api/v1/projects/demo/commits/1", {"history", "changes"}),
        ("/api/v1/sessions/files", {"sessions"}),
        ("/api/v1/sessions/s/publish", {"data_plane"}),
        ("/api/objects/t/tree/p/files", {"objects"}),
        ("/livez", {"health"}),
        ("/api/v1/openapi.json", {area.rpartition(".")[2] for area in AREAS}),
        ("/", {"status_page"}),
        ("/api/projects/demo/tree", {"tree"}),
        ("/api", set()),
        ("/api/v1", set()),
        ("/api/v1/", set()),
        ("/api/v2/projects", set()),
        ("/api/", set()),
        ("/api/nothing/demo/of-it", set()),
        ("/nothing", set()),
        ("/openapi.json", {"description"}),
    ],
)
def test_a_request_loads_what_it_is_about(app: FastAPI, path: str, areas: set[str]) -> None:
    answer = ask(app, "GET", path)
    assert loaded(app) == areas
    assert answer.status_code != 500
    assert areas or answer.json()["code"] == "unknown_address"


def test_a_part_that_is_loaded_answers_like_one_that_always_was(app: FastAPI, manifold: Manifold) -> None:
    whole = create_app(manifold)
    assert ask(app, "POST", "/api/v1/projects", json={"name": "demo"}).status_code == 201
    for method, path in [
        ("GET", "/api/v1/projects/demo"), ("GET", "/api/v1/projects/demo/"), ("GET", "/api/v1/projects/demo/tree"),
        ("PUT", "/api/v1/projects/demo/tree"), ("GET", "/api/v1/projects/demo/files/a"),
        ("PUT", "/api/v1/projects/demo/diff"),
        ("PATCH", "/api/v1/projects/demo/restore"), ("GET", "/api/v1/sessions"), ("GET", "/api/v1/sessions/none"),
        ("POST", "/api/v1/projects/demo/nothing"), ("GET", "/api/v1/projects/demo/fork"), ("GET", "/livez"),
    ]:  # fmt: skip
        one, other = ask(app, method, path), ask(whole, method, path)
        assert (one.status_code, said(one)) == (other.status_code, said(other)), (method, path)
        assert one.headers.get("allow") == other.headers.get("allow"), (method, path)


def test_the_description_is_of_all_parts(app: FastAPI, manifold: Manifold) -> None:
    assert ask(app, "GET", "/api/v1/openapi.json").json() == create_app(manifold).openapi()
