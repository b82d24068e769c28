"""Every address takes HEAD and OPTIONS, and tells which others it takes: on the host and on Lambda."""

from __future__ import annotations

import json
import random
import re
from collections import defaultdict
from datetime import timedelta

import pytest
from fastapi.routing import iter_route_contexts
from manifold_common.adapters.memory.object_store import MemoryObjectStore
from manifold_common.adapters.system.clock import SystemClock
from manifold_common.adapters.wrappers.counting import CountingStore
from manifold_common.bootstrap import Manifold

from functions.api import validators
from functions.api.app import create_app
from functions.api.strict_route import StrictRoute
from tests.functions.api.test_handler import content, request
from tests.support.api import Api, MakeApi
from tests.support.functions import Function

ALL = {"GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS"}
VALUES = {"project": "demo", "path:rest": "a.txt", "generation": "1", "session": "agent-1", "key:rest": "t/x",
          "upload": "a" * 26, "job": "a" * 26, "tag": "release-1"}  # fmt: skip


def taken(manifold: Manifold) -> dict[str, set[str]]:
    """Return the methods of each address, as the routes say them."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for context in iter_route_contexts(create_app(manifold).routes):
        assert isinstance(context.original_route, StrictRoute)
        address = re.sub(r"{([\w:]+)}", lambda match: VALUES[match[1]], str(context.path))
        found[address] |= set(context.methods or ())
    return {
        address: methods | {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set()) for address, methods in found.items()
    }


def allowed(value: str) -> set[str]:
    return set(value.split(", "))


def test_every_address_says_what_it_takes(api: Api) -> None:
    api.project()
    addresses = taken(api.manifold)
    assert len(addresses) > 25
    for address, methods in addresses.items():
        options = api.options(address)
        assert (options.status_code, options.content, allowed(options.headers["allow"])) == (204, b"", methods), address
        for method in ALL - methods:
            answer = api.request(method, address)
            assert (answer.status_code, allowed(answer.headers["allow"])) == (405, methods), (method, address)
            assert method == "HEAD" or answer.json()["code"] == "method_not_allowed"


def test_the_server_says_what_it_takes(api: Api) -> None:
    for target in ("*", f"http://localhost:{api.port}"):
        answer = api.raw("OPTIONS", target)
        assert (answer.status, answer.body, allowed(answer.headers["allow"])) == (204, b"", ALL), target
    assert api.raw("OPTIONS", "*", {"Host": "evil.example"}).status == 403
    assert api.raw("GET", "*").status == 404


def test_a_function_says_the_same(function: Function) -> None:
    for address, methods in taken(function.manifold).items():
        answer = function("api", request("OPTIONS", address))
        assert (answer["statusCode"], allowed(answer["headers"]["allow"])) == (204, methods), address
        refused = function("api", request("TRACE", address))
        assert (refused["statusCode"], allowed(refused["headers"]["allow"])) == (405, methods), address


def test_head_has_the_headers_of_get_and_no_body(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validators, "_SETTLED", -timedelta(days=1))  # Last-Modified also of what is new
    api.project()
    api.put("/api/v1/projects/demo/files/a.txt", content=b"x")
    api.put("/api/v1/projects/demo/tags/release-1", json={"generation": 1})
    api.post("/api/v1/sessions", json={"project": "demo", "session": "agent-1"})
    volatile = {"date", "x-request-id", "x-correlation-id"}
    for address, methods in taken(api.manifold).items():
        if "GET" not in methods:
            continue
        url = f"{address}?before=0&after=1" if address.endswith("/diff") else address
        api.get(url)  # how long an archive is, is known to whoever has made it
        got, head = api.get(url), api.head(url)
        assert head.status_code == got.status_code and head.content == b"", address
        ours, theirs = ({k: v for k, v in one.headers.items() if k not in volatile} for one in (head, got))
        if address in ("/health", "/readyz", "/"):  # they tell times
            ours.pop("content-length"), theirs.pop("content-length")
        assert ours == theirs, address


def test_head_on_a_function_has_no_body(function: Function) -> None:
    for path, status in (("/api/v1/projects", 200), ("/api/v1/projects/absent", 404), ("/api/nothing", 404)):
        answer = function("api", request("HEAD", path))
        assert (answer["statusCode"], content(answer)) == (status, b"")
        assert int(answer["headers"]["content-length"]) > 0


def test_head_reads_no_content(make_api: MakeApi) -> None:
    store = CountingStore(MemoryObjectStore(SystemClock()))
    writer, reader = make_api(store=store), make_api(store=store, node="b")
    writer.project()
    writer.put("/api/v1/projects/demo/files/big", content=random.Random(1).randbytes(3_000_000))
    for path in ("files/big", "archive", "archive?format=zip"):
        answer = reader.head(f"/api/v1/projects/demo/{path}", headers={"Range": "bytes=0-1"})
        assert answer.status_code == 200 and "content-range" not in answer.headers, path
    assert store.bytes_in["get_ranges"] == 0 and store.bytes_in["get"] < 100_000
    assert reader.get("/api/v1/projects/demo/files/big").is_success
    assert store.bytes_in["get_ranges"] + store.bytes_in["get"] > 3_000_000


def test_a_direct_event_over_http_is_a_post(function: Function) -> None:
    event = request("GET", "/api/v1/sessions/agent-1/plan")
    answer = function("checkout", event)
    assert (answer["statusCode"], answer["headers"]["Allow"]) == (405, "POST")
    assert json.loads(answer["body"])["code"] == "method_not_allowed"


@pytest.mark.parametrize("path", ["/api/nothing", "/nowhere", "/api/v1/projects/demo/nothing"])
def test_an_address_that_is_not_there_takes_nothing(api: Api, path: str) -> None:
    for method in ALL:
        assert api.request(method, path).status_code == 404
