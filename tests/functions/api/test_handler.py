"""The API as a function: the same answers as the host's, through events of an HTTP API or a function URL."""

from __future__ import annotations

import base64
import copy
import io
import json
import random
import tarfile
import threading
from typing import Any
from urllib.parse import unquote

import pytest
from manifold_common.adapters.postgres.migrations import known_migrations
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.ids import Generation, ProjectId
from manifold_common.ports.catalog import OutboxEvent
from manifold_common.services.projects.edits import PutFile

from functions.api import presence
from functions.invocation.entry import InvocationError
from tests.support.functions import Function, MakeFunction, printed, sample
from tests.support.panics import panic

FUNCTION_URL = "url-id-12345.lambda-url.eu-central-1.on.aws"


def request(method: str, path: str, body: bytes | None = None, *, url: bool = False, **headers: str) -> dict[str, Any]:
    """Return the event of a request. ``url``: of a function URL, which leaves the path as it was sent."""
    event = copy.deepcopy(sample("http-get"))
    target, _, query = path.partition("?")
    raw = target if url else unquote(target)
    event |= {"rawPath": raw, "rawQueryString": query}
    event["requestContext"]["http"] |= {"method": method, "path": raw}
    if url:
        event["requestContext"]["domainName"] = event["headers"]["host"] = FUNCTION_URL
    event["headers"] |= {name.replace("_", "-"): value for name, value in headers.items()}
    if body is not None:
        event |= {"body": base64.b64encode(body).decode(), "isBase64Encoded": True}
    return event


def content(answer: dict[str, Any]) -> bytes:
    body: str = answer.get("body", "")
    return base64.b64decode(body) if answer["isBase64Encoded"] else body.encode()


@pytest.fixture
def project(function: Function) -> ProjectId:
    return function.manifold.projects.create(LOCAL_PRINCIPAL, "demo").id


def test_the_samples_are_answered(function: Function) -> None:
    made = function("api", sample("http-post"))
    assert (made["statusCode"], json.loads(made["body"])["name"]) == (201, "demo")
    listed = function("api", sample("http-get"))
    assert [item["name"] for item in json.loads(listed["body"])["items"]] == ["demo"]
    assert listed["headers"]["x-content-type-options"] == "nosniff"
    assert listed["headers"]["content-type"] == "application/json"


def test_binary_content_comes_and_goes_unchanged(function: Function, project: ProjectId) -> None:
    data = bytes(range(256)) * 41
    put = function("api", request("PUT", "/api/v1/projects/demo/files/data.bin", data))
    assert put["statusCode"] == 201, put
    got = function("api", request("GET", "/api/v1/projects/demo/files/data.bin"))
    assert got["isBase64Encoded"] and content(got) == data
    part = function("api", request("GET", "/api/v1/projects/demo/files/data.bin", range="bytes=10-19"))
    assert (part["statusCode"], content(part)) == (206, data[10:20])


@pytest.mark.parametrize(
    ("sent", "name"),
    [("caf%C3%A9.txt", "café.txt"), ("a%20b.txt", "a b.txt"), ("100%25.txt", "100%.txt"), ("%2541", "%41")],
)
@pytest.mark.parametrize("url", [True, False])
def test_a_name_is_decoded_once_whoever_passes_it_on(
    function: Function, project: ProjectId, sent: str, name: str, url: bool
) -> None:
    put = function("api", request("PUT", f"/api/v1/projects/demo/files/{sent}", b"x", url=url))
    assert [item["path"] for item in json.loads(put["body"])["paths"]] == [name]
    got = function("api", request("GET", f"/api/v1/projects/demo/files/{sent}", url=url))
    assert content(got) == b"x"


@pytest.mark.parametrize(("sent", "name"), [("%FF%FE", b"\xff\xfe"), ("a%3Fb", b"a?b"), ("%23", b"#")])
def test_through_a_function_url_names_are_exact(function: Function, project: ProjectId, sent: str, name: bytes) -> None:
    put = function("api", request("PUT", f"/api/v1/projects/demo/files/{sent}", b"x", url=True))
    assert put["statusCode"] == 201
    assert name in function.manifold.history.snapshot(LOCAL_PRINCIPAL, project).tree


@pytest.mark.parametrize("sent", ["%2Fb", "a%2F..%2Fb", "%2e%2e/x", "a%00b", "%zz", "é", "a%2F"])
def test_through_a_function_url_what_could_be_read_in_two_ways_is_refused_as_by_the_host(
    function: Function, project: ProjectId, sent: str
) -> None:
    answer = function("api", request("PUT", f"/api/v1/projects/demo/files/{sent}", b"x", url=True))
    assert (answer["statusCode"], json.loads(answer["body"])["code"]) == (400, "unsafe_path")


@pytest.mark.parametrize(("sent", "name"), [("a%2Fb%2fc", b"a/b/c"), ("a%252Fb", b"a%2Fb")])
@pytest.mark.parametrize("url", [True, False])
def test_an_encoded_slash_is_a_slash_whoever_passes_it_on(
    function: Function, project: ProjectId, sent: str, name: bytes, url: bool
) -> None:
    put = function("api", request("PUT", f"/api/v1/projects/demo/files/{sent}", b"x", url=url))
    assert put["statusCode"] == 201, put
    assert name in function.manifold.history.snapshot(LOCAL_PRINCIPAL, project).tree


def test_a_name_that_a_gateway_has_replaced_is_refused(function: Function, project: ProjectId) -> None:
    for event in (
        request("PUT", "/api/v1/projects/demo/files/a%FF", b"x"),
        request("GET", "/api/v1/projects/%FF"),
        {**sample("http-get"), "rawPath": "/api/v1/projects/\ufffd"},
    ):
        answer = function("api", event)
        assert (answer["statusCode"], json.loads(answer["body"])["code"]) == (400, "unsafe_path")
    replaced = function("api", request("PUT", "/api/v1/projects/demo/files/%EF%BF%BD", b"x", url=True))
    assert replaced["statusCode"] == 201, "through a function URL the name is exact"


def test_a_query_that_a_gateway_has_decoded_is_read_as_it_was_meant(function: Function, project: ProjectId) -> None:
    event = request("PUT", "/api/v1/projects/demo/files/a", b"x")
    event["rawQueryString"] = "message=café & more%21"
    refused = function("api", event)
    assert refused["statusCode"] == 400 and "' more!'" in json.loads(refused["body"])["detail"]
    event["rawQueryString"] = "message=café + more"
    assert function("api", event)["statusCode"] == 201
    assert function.manifold.history.commit(LOCAL_PRINCIPAL, project, Generation(1)).message == "café   more"


@pytest.mark.parametrize("path", ["/api/v1/projects/demo/files/../../x", "/api/v1/projects/demo/files/a/./b"])
def test_a_gateway_that_decoded_dots_is_not_trusted_either(function: Function, project: ProjectId, path: str) -> None:
    answer = function("api", request("PUT", path, b"x"))
    assert (answer["statusCode"], json.loads(answer["body"])["code"]) == (400, "unsafe_path")


def test_the_name_of_a_stage_is_not_part_of_the_path(function: Function, project: ProjectId) -> None:
    event = request("GET", "/dev/api/v1/projects/demo")
    event["requestContext"]["stage"] = "dev"
    assert json.loads(function("api", event)["body"])["name"] == "demo"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("a1b2c3d4e5.execute-api.eu-central-1.amazonaws.com", 200),
        (FUNCTION_URL, 200),
        ("127.0.0.1:32180", 200),
        ("a1b2c3.execute-api.127.0.0.1:4566", 200),
        ("localhost", 200),
        ("evil.example.com", 403),
        ("amazonaws.com.evil.example.com", 403),
    ],
)
def test_a_host_header_is_checked(function: Function, host: str, status: int) -> None:
    assert function("api", request("GET", "/api/v1/projects", host=host))["statusCode"] == status


def test_the_public_name_is_this_servers(make_function: MakeFunction) -> None:
    function = make_function(SERVER_PUBLIC_URL="https://manifold.example.com")
    assert function("api", request("GET", "/api/v1/projects", host="manifold.example.com"))["statusCode"] == 200


def test_what_does_not_pass_through_a_function_is_refused_with_what_to_do(
    function: Function, project: ProjectId
) -> None:
    manifold = function.manifold
    large = bytes(7 << 20)
    rest = [large]

    def read(into: memoryview) -> int:
        piece, rest[:] = (rest[0][: len(into)], [rest[0][len(into) :]]) if rest else (b"", [])
        into[: len(piece)] = piece
        return len(piece)

    manifold.edits.apply(LOCAL_PRINCIPAL, project, [PutFile(b"large.bin", read)])
    answer = function("api", request("GET", "/api/v1/projects/demo/files/large.bin"))
    problem = json.loads(answer["body"])
    assert (answer["statusCode"], problem["code"]) == (413, "answer_too_large")
    assert "Range" in problem["hint"] and "plan" in problem["hint"]
    part = function("api", request("GET", "/api/v1/projects/demo/files/large.bin", range="bytes=0-1048575"))
    assert (part["statusCode"], len(content(part))) == (206, 1 << 20)
    head = function("api", request("HEAD", "/api/v1/projects/demo/files/large.bin"))
    assert (head["statusCode"], head["headers"]["content-length"]) == (200, str(len(large)))
    encoded = function("api", request("GET", "/api/v1/projects/demo/files/large.bin", range="bytes=0-5242879"))
    assert encoded["statusCode"] == 413, "5 MiB become 7 MB in base64"


@pytest.mark.parametrize("form", ["tar", "tar.gz"])
def test_an_archive_that_does_not_pass_through_a_function_comes_in_parts(
    function: Function, project: ProjectId, form: str
) -> None:
    content_of_file = random.Random(7).randbytes(7 << 20)
    function.manifold.edits.apply(LOCAL_PRINCIPAL, project, [PutFile(b"large", io.BytesIO(content_of_file).readinto)])

    def fetch(**headers: str) -> dict[str, Any]:
        event = request("GET", "/api/v1/projects/demo/archive", **headers)
        return function("api", {**event, "rawQueryString": f"format={form}"})

    refused = fetch()
    problem = json.loads(refused["body"])
    assert (refused["statusCode"], problem["code"]) == (413, "answer_too_large")
    assert "a part with the Range header" in problem["hint"]
    parts: list[bytes] = []
    step = 4 << 20
    while (part := fetch(range=f"bytes={len(parts) * step}-{len(parts) * step + step - 1}"))["statusCode"] == 206:
        parts.append(content(part))
    assert part["statusCode"] == 416
    with tarfile.open(fileobj=io.BytesIO(b"".join(parts))) as archive:
        member = archive.extractfile("large")
        assert member is not None and member.read() == content_of_file


def test_a_request_with_a_key_is_done_once(function: Function, project: ProjectId) -> None:
    event = request(
        "POST",
        "/api/v1/projects/demo/dirs",
        b'{"path": "made"}',
        content_type="application/json",
        idempotency_key="k-1",
    )
    first, again = function("api", event), function("api", event)
    assert json.loads(first["body"])["generation"] == json.loads(again["body"])["generation"] == 1


def test_problems_carry_the_id_of_the_invocation_and_logs_carry_no_path(
    function: Function, project: ProjectId, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("secret-name.txt")

    monkeypatch.setattr(type(function.manifold.history), "open_file", broken)
    answer = function("api", request("GET", "/api/v1/projects/demo/files/secret-name.txt"))
    problem = json.loads(answer["body"])
    assert (answer["statusCode"], problem["code"]) == (500, "internal")
    assert problem["correlation_id"] == sample("http-get")["requestContext"]["requestId"]
    out, err = capsys.readouterr()
    assert any("RuntimeError" in str(line.get("message")) for line in printed(out))
    assert "secret-name" not in out + err


@pytest.mark.parametrize("name", ["api", "checkout"])
def test_a_panic_of_a_native_library_does_not_end_the_container(
    function: Function, project: ProjectId, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    event = request("GET", "/api/v1/projects") if name == "api" else {"project": "demo"}
    with monkeypatch.context() as broken:
        broken.setattr(type(function.manifold.context.catalog), "list_projects", panic)
        broken.setattr(type(function.manifold.context.catalog), "find_project", panic)
        try:
            assert function(name, event)["statusCode"] == 500
        except InvocationError as error:
            assert "went wrong inside Manifold" in str(error)
    assert function("api", request("GET", "/api/v1/projects"))["statusCode"] == 200


def test_health_says_that_working_sets_are_not_in_ram_and_who_protects_them(function: Function) -> None:
    health = json.loads(function("api", request("GET", "/health"))["body"])
    assert health["status"] == "ok"
    assert any("ephemeral storage" in warning for warning in health["warnings"])


def test_another_schema_is_a_problem_that_says_what_to_run(
    make_function: MakeFunction, monkeypatch: pytest.MonkeyPatch
) -> None:
    function = make_function()
    monkeypatch.setattr(
        "manifold_common.adapters.postgres.migrations.known_migrations", lambda: known_migrations()[:-1]
    )
    answer = function("api", sample("http-get"))
    problem = json.loads(answer["body"])
    assert (answer["statusCode"], problem["code"]) == (503, "schema_mismatch")
    assert problem["hint"]
    monkeypatch.undo()
    assert function("api", sample("http-get"))["statusCode"] == 200, "the next invocation starts anew"


@pytest.mark.parametrize("event", [{}, {"version": "1.0", "httpMethod": "GET"}, sample("sqs-nudges"), None])
def test_an_event_of_something_else_is_refused(function: Function, event: Any) -> None:
    with pytest.raises(InvocationError, match=r"requestContext\.http: expected an event of an HTTP API") as caught:
        function("api", event)
    assert type(caught.value).__name__ == "malformed_event"


def test_events_are_answered_as_a_whole_also_as_a_stream(
    function: Function, project: ProjectId, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "_LONGEST_WAIT_OF_A_FUNCTION_SECONDS", 0.5)
    path = f"/api/v1/projects/{project}/events"
    (made,) = json.loads(function("api", request("GET", path))["body"])["events"]
    assert made["type"] == "manifold.project.created"
    for _ in range(2):  # what waits is gone when the container is frozen
        streamed = function("api", request("GET", path, accept="text/event-stream"))
        assert streamed["headers"]["content-type"] == "text/event-stream; charset=utf-8"
        retry, event = content(streamed).decode().removesuffix("\n\n").split("\n\n")
        assert retry == "retry: 3000"
        where, kind, data = event.splitlines()
        assert (kind, json.loads(data.removeprefix("data: "))) == ("event: manifold.project.created", made)
        cursor = where.removeprefix("id: ")
        waited = function("api", request("GET", f"{path}?since={cursor}&wait=50"))
        assert json.loads(waited["body"]) == {"events": [], "next_cursor": cursor, "has_more": False}
    nothing = function("api", request("GET", path, accept="text/event-stream", last_event_id=cursor))
    assert content(nothing).decode() == f"retry: 3000\nid: {cursor}\n\n"


def test_a_function_waits_for_a_job_no_longer_than_its_gateway_does(
    function: Function, project: ProjectId, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "_LONGEST_WAIT_OF_A_FUNCTION_SECONDS", 0.5)
    body = json.dumps({"kind": "rewrap", "params": {"project": project}}).encode()
    begun = function("api", request("POST", "/api/v1/jobs", body, content_type="application/json"))
    assert begun["statusCode"] == 201
    path = f"{begun['headers']['location']}?wait=50"
    assert json.loads(function("api", request("GET", path))["body"])["state"] == "running"
    same = function("api", request("GET", path, if_none_match=begun["headers"]["etag"]))
    assert (same["statusCode"], same["headers"]["etag"]) == (304, begun["headers"]["etag"])


def test_a_function_that_waits_hears_of_what_another_writes(function: Function, project: ProjectId) -> None:
    begun = json.loads(function("api", request("GET", "/api/v1/events?since=now"))["body"])["next_cursor"]
    catalog, event = function.manifold.context.catalog, OutboxEvent("manifold.project.renamed", {"user_id": "local"})
    writer = threading.Timer(0.3, catalog.rename_project, (LOCAL_PRINCIPAL.tenant, project, "new", event))
    writer.start()
    found = json.loads(function("api", request("GET", f"/api/v1/events?since={begun}&wait=15"))["body"])
    writer.join()
    assert [one["type"] for one in found["events"]] == ["manifold.project.renamed"]
