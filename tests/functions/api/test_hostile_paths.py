"""Paths that try to leave the project, in every route that takes one: refused, and nothing changes."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tests.support.api import Api

IN_URLS = [
    "../etc/passwd",
    "..",
    "a/../../b",
    "a/./b",
    ".",
    "%2e%2e/%2e%2e/etc/passwd",
    "%2E./x",
    "..%2f..%2fetc%2fpasswd",
    "%2Fetc/passwd",
    "/etc/passwd",
    "a//b",
    "a/",
    "a%00b",
    "%00",
    "a%",
    "a%zz",
    "x" * 256,
    "/".join(["y" * 200] * 21),
    "%2F",
    "a%2F",
    "a%2F/b",
    "a%2F%2Fb",
    "a%2F..%2Fb",
    "a%2f%2E%2e",
    "a%2F%00",
    "%2F".join(["y" * 200] * 21),
]
"""Behind a route's prefix, as they are sent."""

IN_JSON = ["../x", "..", "a/../b", ".", "a/./b", "/etc/passwd", "", "a//b", "a/", "a\0b", "x" * 256]

FILE_METHODS = [("GET", None), ("HEAD", None), ("PUT", b"x"), ("POST", b"x"), ("DELETE", None)]


@pytest.fixture(autouse=True)
def _project(api: Api) -> None:
    api.project()


def _refused(api: Api, status: int, code: str | None) -> None:
    assert status == 400
    assert code in (None, "unsafe_path")
    assert api.get("/api/v1/projects/demo").json()["generation"] == 0


@pytest.mark.parametrize(("method", "body"), FILE_METHODS)
def test_no_file_route_takes_an_unsafe_path(api: Api, method: str, body: bytes | None) -> None:
    for path in IN_URLS:
        answer = api.raw(method, f"/api/v1/projects/demo/files/{path}", body=body)
        _refused(api, answer.status, None if method == "HEAD" else answer.json()["code"])


def test_no_tree_route_takes_an_unsafe_path(api: Api) -> None:
    for path in IN_URLS:
        answer = api.raw("GET", f"/api/v1/projects/demo/tree/{path}")
        _refused(api, answer.status, answer.json()["code"])


@pytest.mark.parametrize(
    "prefix", ["/api/v1/projects/", "/api/v1/sessions/", "/", "/static/", "/api/v1/projects/demo/commits/"]
)
def test_no_other_route_takes_dots_slashes_or_nul(api: Api, prefix: str) -> None:
    for path in ("../x", "%2e%2e/x", "..%2fx", "x%2fy", "%00", "x%zz"):
        answer = api.raw("GET", prefix + path)
        _refused(api, answer.status, answer.json()["code"])


def _bodies(path: dict[str, str]) -> list[tuple[str, dict[str, Any]]]:
    good = {"path": "good"}
    return [
        ("dirs", path),
        ("move", {"source": path, "destination": good}),
        ("move", {"source": good, "destination": path}),
        ("restore", {"generation": 0, "paths": [path]}),
        ("commits", {"changes": [{"op": "put", "text": "x", **path}]}),
        ("commits", {"changes": [{"op": "put", "text": "x", **good}, {"op": "put", "text": "x", **path}]}),
        ("commits", {"changes": [{"op": "link", "target": "x", **path}]}),
        ("commits", {"changes": [{"op": "mkdir", **path}]}),
        ("commits", {"changes": [{"op": "delete", **path}]}),
        ("commits", {"changes": [{"op": "move", "source": path, "destination": good}]}),
        ("commits", {"changes": [{"op": "copy", "source": path, "destination": good}]}),
        (
            "commits",
            {"changes": [{"op": "put", "text": "x", **good}, {"op": "copy", "source": good, "destination": path}]},
        ),
    ]


def test_no_body_takes_an_unsafe_path(api: Api) -> None:
    for text in IN_JSON:
        as_text = {"path": text}
        as_base64 = {"path_base64": base64.b64encode(text.encode()).decode()}
        for route, body in [*_bodies(as_text), *_bodies(as_base64)]:
            answer = api.post(f"/api/v1/projects/demo/{route}", json=body)
            _refused(api, answer.status_code, answer.json()["code"])


def test_a_path_is_given_and_only_one(api: Api) -> None:
    for path in ({}, {"path": "a", "path_base64": "Yg=="}, {"path_base64": "%%%"}, {"path": "\ud800"}):
        headers = {"Content-Type": "application/json"}
        answer = api.raw("POST", "/api/v1/projects/demo/dirs", headers, json.dumps(path).encode())
        assert (answer.status, answer.json()["code"]) == (400, "invalid_input")


def test_an_archive_folder_is_a_path_too(api: Api) -> None:
    for path in ("../x", "/x", "a//b"):
        answer = api.post("/api/v1/projects/demo/archive", params={"folder": path}, content=b"x")
        _refused(api, answer.status_code, answer.json()["code"])


def test_dots_that_are_part_of_a_name_are_no_segments(api: Api) -> None:
    for name in ("...", "..a", "a..", "%2ehidden", "a%2Eb"):
        assert api.raw("PUT", f"/api/v1/projects/demo/files/{name}", body=b"x").status == 201


def test_an_encoded_slash_in_a_path_of_a_project_is_a_slash(api: Api) -> None:
    """Clients that were generated from the description of the API send it."""
    assert api.raw("PUT", "/api/v1/projects/demo/files/src%2Flib%2fa.txt", body=b"x").status == 201
    for path in ("src/lib/a.txt", "src%2Flib/a.txt", "src/lib%2Fa.txt", "src%2flib%2Fa.txt"):
        assert api.raw("GET", f"/api/v1/projects/demo/files/{path}").body == b"x"
    (entry,) = api.raw("GET", "/api/v1/projects/demo/tree/src%2Flib").json()["items"]
    assert entry["path"] == "src/lib/a.txt"
    assert api.raw("DELETE", "/api/v1/projects/demo/files/src%2Flib%2Fa.txt").status == 200
    assert api.raw("GET", "/api/v1/projects/demo/files/src/lib/a.txt").status == 404


def test_an_encoded_slash_that_is_encoded_again_is_part_of_a_name(api: Api) -> None:
    assert api.raw("PUT", "/api/v1/projects/demo/files/a%252Fb", body=b"x").status == 201
    assert [item["path"] for item in api.get("/api/v1/projects/demo/tree").json()["items"]] == ["a%2Fb"]
    assert api.raw("GET", "/api/v1/projects/demo/files/a%2Fb").status == 404


@pytest.mark.parametrize(
    "target",
    ["demo%2Ffiles%2Fa", "demo%2Ffiles/a", "demo/files%2Fa", "demo%2F..%2Fdemo/files/a", "x%2Fdemo/files/a", "demo%2F"],
)
def test_an_encoded_slash_anywhere_else_separates_nothing(api: Api, target: str) -> None:
    answer = api.raw("PUT", f"/api/v1/projects/{target}", body=b"x")
    _refused(api, answer.status, answer.json()["code"])


def test_a_letter_that_is_encoded_is_that_letter(api: Api) -> None:
    """RFC 3986, 6.2.2.2: to encode what need not be encoded makes no other address."""
    assert api.raw("PUT", "/api/v1/projects/demo/%66iles/%61.txt", body=b"x").status == 201
    for path in ("files/a.txt", "%66%69%6C%65%73/a.txt", "%66%69%6c%65%73/a%2etxt"):
        assert api.raw("GET", f"/%61pi/project%73/%64emo/{path}").body == b"x"
    assert api.raw("PUT", "/%61pi/projects/demo/%66iles/src%2Fb", body=b"y").status == 201
    (entry,) = api.raw("GET", "/api/v1/projects/demo/t%72ee/src").json()["items"]
    assert entry["path"] == "src/b"
    for path in ("%46iles/a.txt", "%2566iles/a.txt"):
        assert api.raw("GET", f"/api/v1/projects/demo/{path}").status == 404


@pytest.mark.parametrize("path", IN_URLS)
def test_a_letter_that_is_encoded_lets_no_unsafe_path_through(api: Api, path: str) -> None:
    answer = api.raw("PUT", f"/api/v1/projects/demo/%66iles/{path}", body=b"x")
    _refused(api, answer.status, answer.json()["code"])


@pytest.mark.parametrize("path", ["%66iles%2Fa", "f%2Files/a", "%%366iles/a", "%2566iles%2Fa", "files%252F/../a"])
def test_what_is_no_letter_is_not_decoded_before_the_path_of_a_file(api: Api, path: str) -> None:
    answer = api.raw("PUT", f"/api/v1/projects/demo/{path}", body=b"x")
    _refused(api, answer.status, answer.json()["code"])


def test_a_percent_sign_is_decoded_once(api: Api) -> None:
    assert api.raw("PUT", "/api/v1/projects/demo/files/%252e%252e", body=b"x").status == 201
    assert [item["path"] for item in api.get("/api/v1/projects/demo/tree").json()["items"]] == ["%2e%2e"]


def test_a_link_is_stored_and_never_followed(api: Api) -> None:
    made = api.post(
        "/api/v1/projects/demo/commits",
        json={
            "changes": [
                {"op": "link", "path": "etc", "target": "/etc"},
                {"op": "link", "path": "p", "target": "/etc/passwd"},
            ]
        },
    )
    assert made.status_code == 201
    assert api.get("/api/v1/projects/demo/files/p").json()["code"] == "invalid_input"
    assert api.get("/api/v1/projects/demo/files/etc/passwd").status_code == 404
    assert api.put("/api/v1/projects/demo/files/etc/passwd", content=b"x").status_code == 400
    assert api.get("/api/v1/projects/demo/tree/etc").status_code == 400
