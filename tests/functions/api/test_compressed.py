"""JSON answers go out as small as the client can take them, and never where that could tell a secret."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
import zstandard
from starlette.datastructures import MutableHeaders
from starlette.types import Message, Receive, Scope, Send

from functions.api.compressed import Compressed, encoding_of
from tests.functions.api.test_handler import content, request
from tests.support.api import Api, Raw
from tests.support.functions import Function

TREE = "/api/v1/projects/demo/tree"


def fill(api: Api) -> None:
    api.project()
    changes = [{"op": "mkdir", "path": f"folder-{number}"} for number in range(60)]
    assert api.post("/api/v1/projects/demo/commits", json={"changes": changes}).is_success


def asked(api: Api, accepted: str | None, path: str = TREE) -> Raw:
    return api.raw("GET", path, {} if accepted is None else {"Accept-Encoding": accepted})


def test_json_is_compressed_as_the_client_takes_it(api: Api) -> None:
    fill(api)
    plain = asked(api, None)
    assert "content-encoding" not in plain.headers and len(plain.json()["items"]) == 60
    zipped, packed = asked(api, "gzip, br"), asked(api, "gzip, zstd")
    assert (zipped.headers["content-encoding"], gzip.decompress(zipped.body)) == ("gzip", plain.body)
    assert packed.headers["content-encoding"] == "zstd"
    assert zstandard.ZstdDecompressor().decompress(packed.body) == plain.body
    for answer in (zipped, packed):
        assert int(answer.headers["content-length"]) == len(answer.body) < len(plain.body) / 4
    assert {one.headers["vary"] for one in (plain, zipped, packed)} == {"Accept-Encoding"}


def test_what_is_small_or_content_or_may_tell_a_secret_goes_as_it_is(api: Api) -> None:
    fill(api)
    api.put("/api/v1/projects/demo/files/a.txt", content=b"x" * 5000)
    for path in ("/api/v1/projects", "/api/v1/projects/demo/files/a.txt", "/api/v1/projects/demo/archive"):
        assert "content-encoding" not in asked(api, "gzip", path).headers, path
    known = {"If-None-Match": api.head("/api/v1/projects/demo/files/a.txt").headers["etag"], "Accept-Encoding": "gzip"}
    unchanged = api.raw("GET", "/api/v1/projects/demo/files/a.txt", known)
    assert unchanged.status == 304 and "vary" not in unchanged.headers
    headers = {"Accept-Encoding": "gzip"}
    api.post("/api/v1/sessions/agent-1/plan", json={"project": "demo"}, headers=headers)
    for path in ("/api/v1/projects/demo/plan", "/api/v1/sessions/agent-1/plan", "/api/v1/sessions/agent-1/links"):
        answer = api.post(path, json={}, headers=headers)
        assert not {"content-encoding", "vary"} & answer.headers.keys(), path


def test_the_tag_of_a_compressed_answer_is_a_condition_also_where_answers_are_never_compressed(api: Api) -> None:
    api.project()
    changes = [{"op": "put", "path": f"f{n}", "text": "x"} for n in range(60)]
    asked = {"Accept-Encoding": "gzip"}

    def tag() -> str:
        made = api.post("/api/v1/projects/demo/commits", json={"changes": changes}, headers=asked)
        changes[0]["text"] += "x"
        return str(made.headers["etag"])

    assert tag().endswith('-gzip"')
    for path in ("files/f1", "files/f2", "archive", "tree"):
        known = api.get("/api/v1/projects/demo/tree", headers=asked).headers["etag"]
        assert api.get(f"/api/v1/projects/demo/{path}", headers={"If-None-Match": known}).status_code == 304, path
        assert api.get(f"/api/v1/projects/demo/{path}", headers={"If-Match": known}).status_code == 200, path
    assert api.put("/api/v1/projects/demo/files/g", content=b"x", headers={"If-Match": tag()}).status_code == 201
    assert api.delete("/api/v1/projects/demo/files/g", headers={"If-Match": tag()}).status_code == 200
    archive = api.get("/api/v1/projects/demo/archive").content
    known = {"If-Match": tag()}
    assert api.post("/api/v1/projects/demo/archive?folder=new", content=archive, headers=known).status_code == 201


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("", None), ("identity", None), ("br", None), ("gzip", "gzip"), ("GZIP;q=0.5", "gzip"), ("gzip;q=0", None),
        ("zstd;q=0.1, gzip;q=0.9", "gzip"), ("gzip, zstd", "zstd"), ("*", "zstd"), ("*;q=0.5, zstd;q=0", "gzip"),
        ("*;q=0", None), ("gzip;q=2", None), ("gzip;q=x", None), ("gzip;level=1", None), (", ,gzip", "gzip"),
    ],
)  # fmt: skip
def test_the_best_of_what_is_taken_is_chosen(accepted: str, encoding: str | None) -> None:
    assert encoding_of(accepted) == encoding


async def _versioned(scope: Scope, receive: Receive, send: Send) -> None:
    """An application whose one representation has the ETag ``"7.1"``."""
    asked = MutableHeaders(raw=scope["headers"])
    is_known = asked.get("if-none-match") == '"7.1"'
    headers = MutableHeaders(
        {"content-type": "application/json", "etag": '"7.1"', "x-if-match": asked.get("if-match", "")}
    )
    await send({"type": "http.response.start", "status": 304 if is_known else 200, "headers": headers.raw})
    await send({"type": "http.response.body", "body": b"" if is_known else b"[" + b" " * 5000 + b"]"})


async def answer_to(**headers: str) -> tuple[int, MutableHeaders]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request"}

    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope: dict[str, Any] = {"type": "http", "path": "/api/v1/projects/demo", "headers": raw}
    await Compressed(_versioned)(scope, receive, send)
    return sent[0]["status"], MutableHeaders(raw=sent[0]["headers"])


@pytest.mark.anyio
async def test_an_etag_is_of_the_encoding_and_any_of_them_is_good_in_a_condition() -> None:
    assert (await answer_to())[1]["etag"] == '"7.1"'
    assert (await answer_to(accept_encoding="gzip"))[1]["etag"] == '"7.1-gzip"'
    for known in ('"7.1"', '"7.1-gzip"', '"7.1-zstd"'):
        status, headers = await answer_to(accept_encoding="gzip", if_none_match=known, if_match=known)
        assert (status, headers["etag"], headers["vary"]) == (304, known, "Accept-Encoding")
        assert headers["x-if-match"] == '"7.1"'


def test_a_function_compresses_too(function: Function) -> None:
    function("api", request("POST", "/api/v1/projects", b'{"name": "demo"}', content_type="application/json"))
    changes = {"changes": [{"op": "mkdir", "path": f"folder-{number}"} for number in range(60)]}
    made = request(
        "POST", "/api/v1/projects/demo/commits", json.dumps(changes).encode(), content_type="application/json"
    )
    assert function("api", made)["statusCode"] == 201
    answer = function("api", request("GET", TREE, accept_encoding="gzip"))
    assert answer["headers"]["content-encoding"] == "gzip" and answer["isBase64Encoded"]
    assert len(json.loads(gzip.decompress(content(answer)))["items"]) == 60
