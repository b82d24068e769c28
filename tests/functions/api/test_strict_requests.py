"""What a request says is done or refused, and never passed over: parameters, types, digests, parts, encodings."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
from typing import Any

import pytest

from tests.functions.api.test_handler import request
from tests.support.api import Api
from tests.support.functions import Function

FILE = "/api/v1/projects/demo/files/a.txt"
TYPE = {"Content-Type": "application/json"}


def digest(algorithm: str, data: bytes) -> str:
    return base64.b64encode(hashlib.new(algorithm, data).digest()).decode()


def tar(padding: int = 0) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo("in.txt")
        info.size = 2
        archive.addfile(info, io.BytesIO(b"hi"))
    return out.getvalue() + bytes(padding)


def generation(api: Api) -> int:
    return int(api.get("/api/v1/projects/demo").json()["generation"])


@pytest.fixture(autouse=True)
def _project(api: Api) -> None:
    api.project()


@pytest.mark.parametrize(
    ("path", "named", "hint"),
    [
        ("/api/v1/projects?limt=1", "limt", "did you mean 'limit'?"),
        ("/api/v1/projects/demo/tree?recursiv=true", "recursiv", "did you mean 'recursive'?"),
        ("/api/v1/projects/demo?generation=1", "generation", "this address takes none"),
        ("/health?x", "x", "this address takes none"),
        ("/api/v1/openapi.json?x=1&x=2", "x", "this address takes none"),
        ("/api/v1/projects?Limit=1", "Limit", "did you mean 'limit'?"),
    ],
)
def test_a_parameter_that_is_not_known_is_refused_with_the_one_that_was_meant(
    api: Api, path: str, named: str, hint: str
) -> None:
    answer = api.get(path)
    assert answer.status_code == 400
    assert answer.json()["details"] == {"parameter": named}
    assert hint in answer.json()["hint"]


def test_a_misspelt_parameter_of_a_write_changes_nothing(api: Api) -> None:
    assert api.put(f"{FILE}?mesage=x", content=b"x").status_code == 400
    assert api.delete("/api/v1/projects/demo?only_unsed=true").status_code == 400
    assert generation(api) == 0


@pytest.mark.parametrize(
    "query",
    ["limit=1&limit=2", "limit=1&limit=1", "limit=1&lim%69t=2"]
    + [f"limit={value}" for value in ("%2B7", "+7", "%207", "7%20", "0x7", "1_0", "1.0", "1e0", "07", "", "%D9%A7")]
    + [f"recursive={value}" for value in ("1", "0", "yes", "on", "True", "TRUE", "t", "", "true%20")]
    + ["after=%FF", "after=%C0%AF", "after=%ED%A0%80", "after=%zz", "after=%"],
)
def test_a_parameter_reads_in_one_way_or_is_refused(api: Api, query: str) -> None:
    answer = api.raw("GET", f"/api/v1/projects/demo/tree?{query}")
    assert (answer.status, answer.json()["code"]) == (400, "invalid_input"), query


@pytest.mark.parametrize("number", ["+1", "%201", "1.0", "01", "1_0", "1e0"])
def test_a_number_in_a_path_reads_in_one_way_or_is_refused(api: Api, number: str) -> None:
    api.put(FILE, content=b"x")
    assert api.raw("GET", f"/api/v1/projects/demo/commits/{number}").status == 400
    assert api.raw("GET", "/api/v1/projects/demo/commits/1").status == 200


@pytest.mark.parametrize("name", ["%FF", "%C0%AF", "%ED%A0%80", "a%FFb"])
def test_bytes_that_are_not_text_never_become_another_name(api: Api, name: str) -> None:
    api.project("\ufffd")
    assert api.raw("GET", "/api/v1/projects/%EF%BF%BD").status == 200
    for path in (f"/api/v1/projects/{name}", f"/api/v1/sessions/{name}", f"/api/v1/projects/{name}/files/a"):
        answer = api.raw("GET", path)
        assert (answer.status, answer.json()["code"]) == (400, "unsafe_path")
    assert api.raw("PUT", f"/api/v1/projects/demo/files/{name}", body=b"x").status == 201
    assert api.raw("GET", "/api/v1/projects/demo/files/%EF%BF%BD").status == 404
    assert api.get("/api/v1/projects/demo/tree").json()["items"][0]["path_base64"]


@pytest.mark.parametrize(
    "body",
    [
        b'{"name": "a", "name": "b"}',
        b'{"name": "a", "n\\u0061me": "b"}',
        b'{"name": "\xff"}',
        '{"name": "a"}'.encode("utf-16"),
        b'{"name": "\\ud800"}',
    ],
)
def test_json_that_reads_in_two_ways_is_refused(api: Api, body: bytes) -> None:
    answer = api.post("/api/v1/projects", content=body, headers=TYPE)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_input")
    assert [item["name"] for item in api.get("/api/v1/projects").json()["items"]] == ["demo"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/v1/projects/demo/restore", {"generation": "0"}),
        ("/api/v1/projects/demo/restore", {"generation": True}),
        ("/api/v1/projects/demo/dirs", {"path": "a", "expected_generation": "0"}),
        ("/api/v1/projects/demo/commits", {"changes": [{"op": "put", "path": "a", "text": "", "create_only": 1}]}),
        ("/api/v1/projects/demo/commits", {"changes": [{"op": "delete", "path": "a", "recursive": "true"}]}),
        ("/api/v1/projects/demo/move", {"source": {"path": "a"}, "destination": {"path": "b"}, "overwrite": 0}),
        ("/api/v1/projects/demo/plan", {"first": "0"}),
        ("/api/v1/sessions", {"project": "demo", "drop_lost_draft": "no"}),
    ],
)
def test_text_is_no_number_and_a_number_no_truth_value(api: Api, path: str, body: dict[str, Any]) -> None:
    answer = api.post(path, json=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_input")
    assert generation(api) == 0


def test_a_name_twice_is_found_at_any_depth_and_in_any_body(api: Api) -> None:
    nested = b'{"changes": [{"op": "mkdir", "path": "a"}], "provenance": {"run": [{"x": 1, "x": 2}]}}'
    for route, body in (
        ("commits", nested),
        ("dirs", b'{"path": "a", "path": "b"}'),
        ("restore", b'{"generation": 0, "generation": 0}'),
        ("plan", b'{"generation": 0, "generation": 0}'),
    ):
        answer = api.post(f"/api/v1/projects/demo/{route}", content=body, headers=TYPE)
        assert answer.status_code == 400 and "twice" in answer.json()["detail"], route
    assert generation(api) == 0


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Digest": f"sha-256=:{digest('sha256', b'whole')}:"},
        {"Content-Digest": f"sha-512=:{digest('sha512', b'whole')}:, sha-256=:{digest('sha256', b'whole')}:"},
        {"Repr-Digest": f"sha-256=:{digest('sha256', b'whole')}:"},
        {"Digest": f"SHA-256={digest('sha256', b'whole')}"},
        {"Content-MD5": digest("md5", b"whole")},
        {"Content-Digest": "md5=:AAAA:, unixsum=:AAAA:"},
        {"Content-Digest": f"sha-256=:{digest('sha256', b'whole')}:;q=1"},
        {"Content-Digest": f'md5=:AAAA:;a;b=?0,\tsha-256=:{digest("sha256", b"whole")}:; q=0.5;c="x, \\"y=:"'},
        {"Repr-Digest": f"crc32=:AAAA:;x=:AA==:;y=-1;z=*a/b, sha-512=:{digest('sha512', b'whole')}:"},
    ],
)
def test_content_with_its_digest_is_taken(api: Api, headers: dict[str, str]) -> None:
    assert api.put(FILE, content=b"whole", headers=headers).status_code == 201


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Content-Digest": f"sha-256=:{digest('sha256', b'other')}:"}, "bad_digest"),
        ({"Repr-Digest": f"sha-512=:{digest('sha512', b'other')}:"}, "bad_digest"),
        ({"Digest": f"sha-256={digest('sha256', b'other')}"}, "bad_digest"),
        ({"Content-MD5": digest("md5", b"other")}, "bad_digest"),
        ({"Content-Digest": f"md5=:AAAA:, sha-256=:{digest('sha256', b'other')}:"}, "bad_digest"),
        ({"Content-Digest": f"sha-256=:{digest('sha256', b'other')}:;q=1"}, "bad_digest"),
        ({"Content-Digest": f'md5=:AAAA:;x="a,b", sha-256=:{digest("sha256", b"other")}:;q'}, "bad_digest"),
        ({"Content-Digest": f"sha-256=:{digest('sha256', b'whole')}:;"}, "invalid_input"),
        ({"Content-Digest": f"sha-256=:{digest('sha256', b'whole')}:;Q=1"}, "invalid_input"),
        ({"Content-Digest": f'sha-256=:{digest("sha256", b"whole")}:;q="1'}, "invalid_input"),
        ({"Content-Digest": f"sha-256=:{digest('sha256', b'whole')}: ;q=1"}, "invalid_input"),
        ({"Content-Digest": f"sha-256=:{digest('sha256', b'whole')}:,"}, "invalid_input"),
        ({"Content-Digest": f"sha-256=:{digest('sha256', b'whole')}: md5=:AAAA:"}, "invalid_input"),
        ({"Content-Digest": "sha-256=:AAAA:"}, "invalid_input"),
        ({"Content-Digest": "sha-256=AAAA"}, "invalid_input"),
        ({"Content-MD5": "AAAA"}, "invalid_input"),
        ({"Trailer": "Content-Digest"}, "invalid_input"),
        ({"Trailer": "X-Sum, Content-MD5"}, "invalid_input"),
        ({"Trailer": "Content-Range"}, "invalid_input"),
        ({"Trailer": "If-Match"}, "invalid_input"),
        ({"Content-Range": "bytes 5-9/10"}, "invalid_input"),
        ({"Content-Range": "bytes 0-9/10"}, "invalid_input"),
        ({"Range": "bytes=5-9"}, "invalid_input"),
        ({"Upload-Offset": "5"}, "invalid_input"),
        ({"Upload-Complete": "?0"}, "invalid_input"),
        ({"Content-Transfer-Encoding": "base64"}, "invalid_input"),
        ({"X-HTTP-Method-Override": "DELETE"}, "invalid_input"),
        ({"Content-Encoding": "gzip"}, "unsupported_media_type"),
        ({"Expect": "202-accepted"}, "expectation_failed"),
    ],
)
def test_what_a_header_says_of_the_content_is_kept_or_refused_on_every_route(
    api: Api, headers: dict[str, str], code: str
) -> None:
    json_routes = [
        ("/api/v1/projects", b'{"name": "x"}'),
        ("/api/v1/projects/demo/commits", b'{"changes": [{"op": "mkdir", "path": "a"}]}'),
        ("/api/v1/sessions", b'{"project": "demo"}'),
    ]
    answers = [
        api.put(FILE, content=b"whole", headers=headers),
        api.put(FILE, content=b"w" * 3_000_000, headers=headers),
        api.post(FILE, content=b"whole", headers=headers),
        api.post("/api/v1/projects/demo/archive", content=tar(), headers=headers),
        *(api.post(path, content=body, headers=TYPE | headers) for path, body in json_routes),
    ]
    assert {answer.json()["code"] for answer in answers} == {code}
    assert generation(api) == 0 and api.get("/api/v1/sessions").json()["items"] == []


@pytest.mark.parametrize(
    "field",
    [
        f"Content-Digest: sha-256=:{digest('sha256', b'other')}:",
        f"Content-Digest: sha-256=:{digest('sha256', b'whole')}:",
        f"Repr-Digest: sha-256=:{digest('sha256', b'other')}:",
        f"Digest: sha-256={digest('sha256', b'other')}",
        f"CONTENT-MD5: {digest('md5', b'other')}",
        "Content-Range: bytes 5-9/10",
        "Content-Encoding: gzip",
        "Upload-Complete: ?0",
        'If-Match: "7"',
        "Idempotency-Key: a",
        "X-HTTP-Method-Override: DELETE",
    ],
)
@pytest.mark.parametrize("announced", [False, True])
def test_what_comes_after_the_content_and_would_count_before_it_is_refused(
    api: Api, field: str, announced: bool
) -> None:
    more = f"Trailer: {field.partition(':')[0]}\r\n" if announced else ""
    for path, kind, content in (
        (FILE, "a/b", "whole"),
        ("/api/v1/projects/demo/dirs", "application/json", '{"path": "d"}'),
    ):
        method = "PUT" if path == FILE else "POST"
        with api.connect() as client:
            client.sendall(
                f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n{more}"
                "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
                f"{len(content):x}\r\n{content}\r\n0\r\nX-Sum: 1\r\n{field}\r\n\r\n".encode()
            )
            head, _, body = b"".join(iter(lambda: client.recv(65536), b"")).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 ") and json.loads(body)["code"] == "invalid_input"
        assert field.partition(":")[0].lower() in json.loads(body)["detail"].lower()
        assert generation(api) == 0


def test_an_archive_is_looked_at_to_its_last_byte_before_it_counts(api: Api) -> None:
    right, wrong = (f"sha-256=:{digest('sha256', data)}:" for data in (tar(1 << 16), tar()))
    refused = api.post("/api/v1/projects/demo/archive", content=tar(1 << 16), headers={"Content-Digest": wrong})
    assert (refused.status_code, refused.json()["code"], generation(api)) == (400, "bad_digest", 0)
    assert api.post("/api/v1/projects/demo/archive", content=tar(1 << 16), headers={"Content-Digest": right}).is_success


def test_a_header_in_two_lines_is_looked_at_as_a_whole(api: Api) -> None:
    with api.connect() as client:
        client.sendall(
            f"PUT {FILE} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nConnection: close\r\n"
            "Content-Encoding: identity\r\nContent-Encoding: gzip\r\n\r\nx".encode()
        )
        assert client.recv(100).startswith(b"HTTP/1.1 415 ")
    assert generation(api) == 0


@pytest.mark.parametrize(
    "media_type",
    [None, "application/x-www-form-urlencoded", "text/plain", "application/json; charset=utf-16", "application/xml"],
)
def test_json_of_another_type_is_415_with_what_to_add(api: Api, media_type: str | None) -> None:
    headers = {} if media_type is None else {"Content-Type": media_type}
    answer = api.raw("POST", "/api/v1/projects", headers, b'{"name": "x"}')
    assert (answer.status, answer.json()["code"]) == (415, "unsupported_media_type")
    assert answer.json()["hint"] == "add -H 'Content-Type: application/json'"
    assert answer.headers["accept"] == "application/json"


@pytest.mark.parametrize("media_type", ["application/json", "Application/JSON; charset=UTF-8"])
def test_json_that_says_so_is_taken(api: Api, media_type: str) -> None:
    assert api.raw("POST", "/api/v1/projects", {"Content-Type": media_type}, b'{"name": "x"}').status == 201


def test_an_archive_is_no_json_and_no_file_is_a_form(api: Api) -> None:
    for path, media_type in (
        ("/api/v1/projects/demo/archive", "application/json"),
        ("/api/v1/projects/demo/archive", "multipart/form-data; boundary=x"),
        (FILE, "multipart/form-data; boundary=x"),
    ):
        answer = api.post(path, content=tar(), headers={"Content-Type": media_type})
        assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
        assert answer.headers["accept"]
    for media_type in ("image/png", "application/x-www-form-urlencoded", "application/json"):
        assert api.put(FILE, content=b"x", headers={"Content-Type": media_type}).is_success


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/api/v1/projects/demo"),
        ("POST", "/api/v1/sessions/x/save"),
        ("GET", "/api/v1/projects"),
        ("DELETE", f"{FILE}?recursive=true"),
    ],
)
def test_a_body_that_nobody_would_read_is_refused(api: Api, method: str, path: str) -> None:
    answer = api.request(method, path, content=b'{"only_unused": true}', headers=TYPE)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_input"), answer.text
    assert "takes no body" in answer.json()["detail"]
    assert generation(api) == 0


def test_a_function_is_as_strict_as_the_host(function: Function) -> None:
    json_type = {"content_type": "application/json"}
    assert function("api", request("POST", "/api/v1/projects", b'{"name": "demo"}', **json_type))["statusCode"] == 201
    wrong = f"sha-256=:{digest('sha256', b'other')}:"
    cases: list[tuple[int, dict[str, Any]]] = [
        (400, request("PUT", FILE, b"x", content_digest=wrong)),
        (400, request("PUT", FILE, b"x", content_range="bytes 1-1/2")),
        (400, request("PUT", f"{FILE}?mesage=x", b"x")),
        (400, request("GET", "/api/v1/projects?limit=1&limit=2")),
        (400, request("POST", "/api/v1/projects", b'{"name": "a", "name": "b"}', **json_type)),
        (400, request("DELETE", FILE, b"x")),
        (415, request("POST", "/api/v1/projects", b'{"name": "b"}')),
        (415, request("PUT", FILE, b"x", content_encoding="gzip")),
        (417, request("GET", "/api/v1/projects", expect="something")),
    ]
    for status, event in cases:
        answer = function("api", event)
        assert (answer["statusCode"], json.loads(answer["body"])["status"]) == (status, status), event["rawPath"]
    answer = function("api", request("GET", "/api/v1/projects/demo"))
    assert json.loads(answer["body"])["generation"] == 0
