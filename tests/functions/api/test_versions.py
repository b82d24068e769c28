"""Addresses of before v1, which named no version."""

from __future__ import annotations

import pytest

from functions.api.versions import successor_of
from tests.support.api import Api

ADDRESSES = [
    "/projects",
    "/projects/demo",
    "/projects/demo/files/a%20%ff/b%2Fc",
    "/projects/demo/tree?recursive=true",
    "/projects/demo/nothing-of-it",
    "/sessions",
    "/sessions/nobody",
    "/openapi.json",
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_of_before_is_answered_as_in_v1_and_says_what_has_taken_its_place(api: Api, address: str) -> None:
    api.project()
    api.put("/api/v1/projects/demo/files/a%20%ff/b/c", content=b"content")
    before, now = api.raw("GET", f"/api{address}"), api.raw("GET", f"/api/v1{address}")
    assert (before.status, before.headers.get("etag")) == (now.status, now.headers.get("etag"))
    if now.status == 200:
        assert before.body == now.body
    path = address.partition("?")[0]
    assert before.headers["link"] == f'</api/v1{path}>; rel="successor-version"'
    assert before.headers["deprecation"] == "@1796083200"
    assert not {"link", "deprecation"} & now.headers.keys()


@pytest.mark.parametrize(
    ("method", "address", "status"),
    [
        ("PATCH", "/api/sessions/nobody", 405),
        ("POST", "/api/projects", 415),
        ("GET", "/api/projects/demo/files/../x", 400),
        ("GET", "/api/projects/a%2Fb", 400),
        ("OPTIONS", "/api/projects", 204),
        ("HEAD", "/api/projects", 200),
    ],
)
def test_what_is_refused_before_any_route_says_so_too(api: Api, method: str, address: str, status: int) -> None:
    answer = api.raw(method, address, {"Content-Type": "text/plain"}, b"x" if method == "POST" else None)
    assert answer.status == status
    assert answer.headers["link"] == f'</api/v1{address.removeprefix("/api")}>; rel="successor-version"'


def test_writes_go_to_the_same_place_and_name_what_they_made_by_its_address_in_v1(api: Api) -> None:
    made = api.post("/api/projects", json={"name": "demo"})
    assert (made.status_code, made.headers["location"]) == (201, f"/api/v1/projects/{made.json()['id']}")
    put = api.put("/api/projects/demo/files/a", content=b"content")
    assert put.headers["location"] == f"/api/v1/projects/{made.json()['id']}/files/a"
    assert api.get("/api/v1/projects/demo/files/a").content == b"content"


@pytest.mark.parametrize(("first", "second"), [("/api", "/api/v1"), ("/api/v1", "/api")])
def test_a_named_request_is_the_same_at_either_address(api: Api, first: str, second: str) -> None:
    api.project()
    named = {"Idempotency-Key": "once"}
    made = api.put(f"{first}/projects/demo/files/a", content=b"content", headers=named)
    again = api.put(f"{second}/projects/demo/files/a", content=b"content", headers=named)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json()["commit"] == made.json()["commit"]


@pytest.mark.parametrize(
    ("raw", "successor"),
    [
        (b"/api/projects", b"/api/v1/projects"),
        (b"/%61pi/%70rojects/x", b"/%61pi/v1/%70rojects/x"),
        (b"/api/sessions/", b"/api/v1/sessions/"),
        (b"/api/openapi.json", b"/api/v1/openapi.json"),
        (b"/api/openapi.json/x", None),
        (b"/api/projectsx", None),
        (b"/api/v1/projects", None),
        (b"/api/v1/api/projects", None),
        (b"/api/objects/key", None),
        (b"/api/v2/projects", None),
        (b"//api/projects", None),
        (b"/api//projects", None),
        (b"/api%2Fprojects", None),
        (b"/API/projects", None),
        (b"api/projects", None),
        (b"*", None),
        (b"/", None),
    ],
)
def test_nothing_else_is_an_address_of_before(raw: bytes, successor: bytes | None) -> None:
    assert successor_of(raw) == successor


def test_no_address_breaks_out_of_the_header_that_repeats_it(api: Api) -> None:
    answer = api.raw("GET", '/api/projects/x>;rel="evil",<y')
    assert answer.headers["link"].count("<") == answer.headers["link"].count(">") == 1
