"""Resumable uploads over HTTP: the tus protocol, and what a file that arrives in parts has in common with one that is
put."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import logging
import os
import socket
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import pytest
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.ids import ProjectId

from tests.support.api import Api, MakeApi, serving
from tests.support.manifold import MakeManifold

UPLOADS = "/api/v1/projects/demo/resumable-uploads"
TUS = {"Tus-Resumable": "1.0.0"}
PART = {**TUS, "Content-Type": "application/offset+octet-stream"}
CONTENT = os.urandom(3_000_000)


def about(**values: str | bytes) -> dict[str, str]:
    pairs = (
        f"{name} {base64.b64encode(value if isinstance(value, bytes) else value.encode()).decode()}"
        for name, value in values.items()
    )
    return {"Upload-Metadata": ",".join(pairs)}


def begin(api: Api, length: int | None = len(CONTENT), path: str = "big.bin", **headers: str) -> str:
    said = {"Upload-Length": str(length)} if length is not None else {"Upload-Defer-Length": "1"}
    made = api.post(UPLOADS, headers={**TUS, **about(path=path), **said, **headers})
    assert made.status_code == 201, made.text
    return str(made.headers["Location"])


def send(api: Api, where: str, offset: int, part: bytes, **headers: str) -> httpx.Response:
    return api.patch(where, content=part, headers={**PART, "Upload-Offset": str(offset), **headers})


def offset(api: Api, where: str) -> int:
    return int(api.head(where, headers=TUS).headers["Upload-Offset"])


def generation(api: Api) -> int:
    return int(api.get("/api/v1/projects/demo").json()["generation"])


def code(answer: httpx.Response) -> str:
    return str(answer.json()["code"])


@pytest.fixture
def demo(api: Api) -> Api:
    api.project()
    return api


def test_a_file_arrives_in_parts_and_becomes_one_commit(demo: Api) -> None:
    made = demo.post(
        UPLOADS,
        headers={
            **TUS,
            **about(path="docs/big.bin", mode="600", message="a big one", provenance='{"agent": "a1"}'),
            "Upload-Length": str(len(CONTENT)),
        },
    )
    where = made.headers["Location"]
    assert (made.status_code, made.headers["Upload-Offset"]) == (201, "0")
    assert parsedate_to_datetime(made.headers["Upload-Expires"]).tzinfo is not None
    at = 0
    for size in (700_000, 1, 1_500_000):
        answer = send(demo, where, at, CONTENT[at : at + size])
        at += size
        assert (answer.status_code, answer.headers["Upload-Offset"]) == (204, str(at)), answer.text
        assert offset(demo, where) == at
    assert generation(demo) == 0
    done = send(demo, where, at, CONTENT[at:])
    assert (done.status_code, done.headers["Manifold-Generation"]) == (204, "1"), done.text
    file = demo.get("/api/v1/projects/demo/files/docs/big.bin")
    assert file.content == CONTENT
    assert (file.headers["ETag"], file.headers["Manifold-Mode"]) == (done.headers["ETag"], "600")
    (commit,) = demo.get("/api/v1/projects/demo/commits").json()["items"]
    assert (commit["message"], commit["provenance"]) == ("a big one", {"agent": "a1"})
    looked = demo.head(where, headers=TUS)
    assert (looked.headers["Upload-Offset"], looked.headers["Manifold-Generation"]) == (str(len(CONTENT)), "1")
    assert looked.headers["Cache-Control"] == "no-store"
    assert looked.headers["Upload-Metadata"] == made.request.headers["Upload-Metadata"]


def test_a_file_may_come_with_the_creation(demo: Api) -> None:
    for number, content in enumerate((b"", b"x", b"hello" * 1000, os.urandom((1 << 20) + 1)), 1):
        headers = {**PART, **about(path="a"), "Upload-Length": str(len(content))}
        made = demo.post(UPLOADS, content=content, headers=headers)
        assert (made.status_code, made.headers["Upload-Offset"]) == (201, str(len(content))), made.text
        assert made.headers["Manifold-Generation"] == str(number) == str(made.json()["generation"])
        assert made.headers["Location"].endswith(made.json()["upload"])
        assert demo.get("/api/v1/projects/demo/files/a").content == content


def test_the_result_is_the_same_file_as_one_that_is_put(demo: Api) -> None:
    """The same tag is the same chunks: however the parts were cut, all of it is found again."""
    for size in (0, 1, 1000, 1 << 20, (1 << 20) + 1, 9_000_000):
        content = os.urandom(size)
        put = demo.put("/api/v1/projects/demo/files/put.bin", content=content)
        path = f"parts-{size}.bin"
        if not size:
            answer = demo.post(UPLOADS, headers={**TUS, **about(path=path), "Upload-Length": "0"})
        else:
            where, at = begin(demo, size, path), 0
            for step in (1, 300_000, 1_048_000, 700_001, 2_500_000, 9_000_000):
                if at < size:
                    answer = send(demo, where, at, content[at : at + step])
                    assert answer.status_code == 204, answer.text
                    at = min(size, at + step)
        assert answer.headers["ETag"] == put.headers["ETag"]
        newest, before = demo.get("/api/v1/projects/demo/commits?limit=2").json()["items"]
        assert (before["new_bytes"], newest["new_bytes"]) == (size, 0)


def test_the_protocol_is_told(demo: Api) -> None:
    told = demo.options(UPLOADS)
    assert told.status_code == 204
    assert told.headers["Tus-Version"] == "1.0.0"
    assert "creation-with-upload" in told.headers["Tus-Extension"]
    assert told.headers["Tus-Checksum-Algorithm"] == "sha1,sha256,sha512"
    assert told.headers["Tus-Max-Size"] == str(10 * 2**30)
    where = begin(demo)
    assert set(demo.options(where).headers["Allow"].split(", ")) == {"DELETE", "HEAD", "OPTIONS", "PATCH"}


@pytest.mark.parametrize("version", [{}, {"Tus-Resumable": "0.2.2"}])
def test_another_version_is_refused_with_the_one_that_is_spoken(demo: Api, version: dict[str, str]) -> None:
    refused = demo.post(UPLOADS, headers={**about(path="a"), "Upload-Length": "1", **version})
    assert (refused.status_code, refused.headers["Tus-Version"]) == (412, "1.0.0")
    assert refused.headers["Tus-Resumable"] == "1.0.0"


def test_a_part_that_begins_elsewhere_is_refused(demo: Api) -> None:
    where = begin(demo)
    send(demo, where, 0, CONTENT[:1000])
    refused = send(demo, where, 999, CONTENT[999:2000])
    assert (refused.status_code, code(refused)) == (409, "upload_offset_mismatch")
    assert refused.json()["details"]["offset"] == offset(demo, where) == 1000
    assert refused.headers["Tus-Resumable"] == "1.0.0"


def test_a_checksum_decides_whether_a_part_counts(demo: Api) -> None:
    where, at = begin(demo), 0
    for algorithm in ("sha1", "sha256", "sha512"):
        part = CONTENT[at : at + 900_000]
        digest = base64.b64encode(hashlib.new(algorithm, part).digest()).decode()
        damaged = part[:-1] + bytes([part[-1] ^ 1])
        refused = send(demo, where, at, damaged, **{"Upload-Checksum": f"{algorithm} {digest}"})
        assert (refused.status_code, code(refused), offset(demo, where)) == (460, "checksum_mismatch", at)
        assert send(demo, where, at, part, **{"Upload-Checksum": f"{algorithm} {digest}"}).status_code == 204
        at += len(part)
        assert offset(demo, where) == at
    refused = send(demo, where, at, b"x", **{"Upload-Checksum": "crc32 AAAA"})
    assert (refused.status_code, offset(demo, where)) == (400, at)
    assert send(demo, where, at, CONTENT[at:]).status_code == 204
    assert demo.get("/api/v1/projects/demo/files/big.bin").content == CONTENT


def test_other_digests_of_a_part_are_compared_as_well(demo: Api) -> None:
    where = begin(demo)
    digest = base64.b64encode(hashlib.sha256(b"other").digest()).decode()
    refused = send(demo, where, 0, CONTENT[:1000], **{"Content-Digest": f"sha-256=:{digest}:"})
    assert (refused.status_code, code(refused), offset(demo, where)) == (400, "bad_digest", 0)


def send_some(api: Api, where: str, part: bytes, *, says: int = len(CONTENT)) -> socket.socket:
    """Send the beginning of a part. Returns the connection, on which the rest would come."""
    client = api.connect()
    lines = (f"PATCH {where} HTTP/1.1", "Host: localhost", f"Content-Length: {says}", "Upload-Offset: 0")
    head = "\r\n".join((*lines, *(f"{name}: {value}" for name, value in PART.items()), "", ""))
    client.sendall(head.encode() + part)
    return client


def arrived(api: Api, where: str, count: int) -> int:
    """Wait until so much of an upload has arrived, and return how much has."""
    deadline = time.monotonic() + 10
    while (at := offset(api, where)) < count and time.monotonic() < deadline:
        time.sleep(0.01)
    return at


@pytest.mark.parametrize("size", [1, 900_000, 2_500_000])
def test_all_that_came_before_a_connection_broke_is_kept(demo: Api, size: int) -> None:
    where = begin(demo)
    send_some(demo, where, CONTENT[:size]).close()
    assert arrived(demo, where, size) == size


def test_what_came_before_a_client_stood_still_is_kept(make_api: MakeApi) -> None:
    api = make_api(SERVER_STALL_SECONDS="1", SERVER_MIN_BYTES_PER_SECOND="1000000")
    api.project()
    where = begin(api)
    with send_some(api, where, CONTENT[:900_000]) as client:
        answer = http.client.HTTPResponse(client)
        answer.begin()
        assert (answer.status, json.load(answer)["details"]["offset"], offset(api, where)) == (408, 900_000, 900_000)


def test_of_a_part_with_a_checksum_nothing_is_kept_that_came_before_a_connection_broke(demo: Api) -> None:
    where = begin(demo)
    digest = base64.b64encode(bytes(32)).decode()
    lines = (f"PATCH {where} HTTP/1.1", "Host: localhost", "Content-Length: 1000", "Upload-Offset: 0")
    said = {**PART, "Upload-Checksum": f"sha256 {digest}"}
    with demo.connect() as client:
        client.sendall("\r\n".join((*lines, *(f"{name}: {value}" for name, value in said.items()), "", "ab")).encode())
    while (sent := send(demo, where, 0, CONTENT[:10])).status_code == 423:
        time.sleep(0.01)
    assert (sent.status_code, offset(demo, where)) == (204, 10)


def test_when_the_server_stops_what_has_come_is_kept_and_the_upload_is_free(
    make_manifold: MakeManifold, caplog: pytest.LogCaptureFixture
) -> None:
    manifold = make_manifold()
    with serving(manifold) as api:
        api.project()
        where = begin(api)
        idle = send_some(api, other := begin(api, path="other.bin"), CONTENT[:900_000])
        client = send_some(api, where, CONTENT[:1_500_000])
        state: Any = manifold.context.catalog
        while not any(row.writer for row in state.state.resumable.values()):
            time.sleep(0.01)
    answer = http.client.HTTPResponse(client)
    answer.begin()
    assert answer.status == 503
    at = json.load(answer)["details"]["offset"]
    client.close()
    idle.close()
    assert not [one for one in caplog.records if one.levelno >= logging.ERROR]
    with serving(manifold) as api:
        assert offset(api, where) == at >= 1 << 20
        assert offset(api, other) > 0
        assert send(api, where, at, CONTENT[at:]).status_code == 204
        assert api.get("/api/v1/projects/demo/files/big.bin").content == CONTENT


def test_the_length_may_be_told_later(demo: Api) -> None:
    where = begin(demo, None)
    assert send(demo, where, 0, CONTENT[:1_200_000]).status_code == 204
    looked = demo.head(where, headers=TUS).headers
    assert (looked["Upload-Defer-Length"], "Upload-Length" in looked) == ("1", False)
    assert send(demo, where, 1_200_000, CONTENT[1_200_000:]).status_code == 204
    assert generation(demo) == 0
    done = send(demo, where, len(CONTENT), b"", **{"Upload-Length": str(len(CONTENT))})
    assert (done.status_code, done.headers["Manifold-Generation"]) == (204, "1"), done.text
    assert demo.get("/api/v1/projects/demo/files/big.bin").content == CONTENT


def test_a_repeated_last_part_is_answered_and_commits_nothing_again(demo: Api) -> None:
    where = begin(demo)
    send(demo, where, 0, CONTENT[:2_000_000])
    first = send(demo, where, 2_000_000, CONTENT[2_000_000:])
    again = send(demo, where, 2_000_000, CONTENT[2_000_000:])
    assert again.status_code == 204
    assert again.headers["Idempotency-Replayed"] == "true"
    same = ("ETag", "Manifold-Generation", "Upload-Offset")
    assert [again.headers[name] for name in same] == [first.headers[name] for name in same]
    assert generation(demo) == 1
    other = send(demo, where, 2_000_000, b"less")
    assert (other.status_code, code(other)) == (409, "upload_offset_mismatch")


def test_a_condition_of_the_creation_holds_at_once_and_at_the_commit(demo: Api) -> None:
    tag = demo.put("/api/v1/projects/demo/files/big.bin", content=b"old").headers["ETag"]
    refused = demo.post(UPLOADS, headers={**TUS, **about(path="big.bin"), "Upload-Length": "5", "If-None-Match": "*"})
    assert (refused.status_code, code(refused)) == (412, "precondition_failed")
    where = begin(demo, 5, **{"If-Match": tag})
    demo.put("/api/v1/projects/demo/files/big.bin", content=b"new")
    refused = send(demo, where, 0, b"hello")
    assert (refused.status_code, code(refused)) == (412, "precondition_failed")
    assert "send that again" in refused.json()["hint"]
    assert refused.json()["details"]["offset"] == offset(demo, where) == 4
    assert demo.get("/api/v1/projects/demo/files/big.bin").content == b"new"
    done = send(demo, where, 4, b"o", **{"If-Match": "*"})
    assert done.status_code == 204, done.text
    assert demo.get("/api/v1/projects/demo/files/big.bin").content == b"hello"


def test_a_refused_file_may_be_given_another_name(demo: Api) -> None:
    where = begin(demo, len(CONTENT), **{"If-None-Match": "*"})
    demo.put("/api/v1/projects/demo/files/big.bin", content=b"there first")
    assert send(demo, where, 0, CONTENT[:2_000_000]).status_code == 204
    refused = send(demo, where, 2_000_000, CONTENT[2_000_000:])
    assert (refused.status_code, code(refused)) == (412, "precondition_failed")
    assert offset(demo, where) == len(CONTENT) - 1
    done = send(demo, where, len(CONTENT) - 1, CONTENT[-1:], **about(path="other.bin"))
    assert done.status_code == 204, done.text
    assert demo.get("/api/v1/projects/demo/files/other.bin").content == CONTENT
    assert demo.get("/api/v1/projects/demo/files/big.bin").content == b"there first"


def are_open(api: Api) -> int:
    project = ProjectId(api.get("/api/v1/projects/demo").json()["id"])
    return api.manifold.context.catalog.held_resumable(
        LOCAL_PRINCIPAL.tenant, project, datetime.now(UTC)
    ).project_uploads


def test_an_upload_is_ended(demo: Api) -> None:
    where = begin(demo)
    send(demo, where, 0, CONTENT[:2_000_000])
    assert are_open(demo) == 1
    ended = demo.delete(where, headers=TUS)
    assert (ended.status_code, ended.headers["Tus-Resumable"]) == (204, "1.0.0")
    assert demo.head(where, headers=TUS).status_code == 404
    assert are_open(demo) == 0
    assert demo.delete(where, headers=TUS).status_code == 404


def test_ending_a_complete_one_leaves_the_file(demo: Api) -> None:
    where = begin(demo, 5)
    send(demo, where, 0, b"hello")
    assert demo.delete(where, headers=TUS).status_code == 204
    assert demo.get("/api/v1/projects/demo/files/big.bin").content == b"hello"


def test_a_renamed_project_goes_on_and_a_deleted_one_does_not(demo: Api) -> None:
    where = begin(demo, 5)
    demo.patch("/api/v1/projects/demo", json={"name": "renamed"})
    assert send(demo, where, 0, b"hel").status_code == 204
    demo.delete("/api/v1/projects/renamed")
    assert send(demo, where, 3, b"lo").status_code == 404


UNUSABLE: tuple[dict[str, str], ...] = (
    {"Upload-Length": "5"},
    {**about(path="a")},
    {**about(path="a"), "Upload-Length": "5", "Upload-Defer-Length": "1"},
    {**about(path="a"), "Upload-Defer-Length": "2"},
    {**about(path="a"), "Upload-Length": "-1"},
    {**about(path="a"), "Upload-Length": "+5"},
    {**about(path="../a"), "Upload-Length": "5"},
    {**about(mode="644"), "Upload-Length": "5"},
    {**about(path="a", mode="999"), "Upload-Length": "5"},
    {**about(path="a", name="b"), "Upload-Length": "5"},
    {**about(path="a"), "Upload-Length": "5", "Upload-Concat": "partial"},
    {**about(path="a"), "Upload-Length": "5", "Upload-Complete": "?1"},
    {**about(path="a"), "Upload-Length": "5", "Upload-Offset": "0"},
    {**about(path="a", provenance="["), "Upload-Length": "5"},
    {**about(path="a", provenance="[]"), "Upload-Length": "5"},
    {**about(path="a", provenance='{"a": 1, "a": 2}'), "Upload-Length": "5"},
    {**about(path="a", provenance='{"a": NaN}'), "Upload-Length": "5"},
    {**about(path="a", message=b"\xff"), "Upload-Length": "5"},
    {"Upload-Metadata": "path !!!", "Upload-Length": "5"},
    {"Upload-Metadata": "path YQ==,path Yg==", "Upload-Length": "5"},
)


def test_what_cannot_be_meant_is_refused(demo: Api) -> None:
    for headers in UNUSABLE:
        refused = demo.post(UPLOADS, headers={**TUS, **headers})
        assert (refused.status_code, bool(refused.json()["hint"])) == (400, True), headers
    assert are_open(demo) == 0


def test_more_than_the_file_is_to_have_is_refused(demo: Api) -> None:
    where = begin(demo, 5)
    refused = send(demo, where, 0, b"hello!")
    assert (refused.status_code, offset(demo, where)) == (400, 0)
    chunked = demo.patch(where, content=iter([b"hel", b"lo!"]), headers={**PART, "Upload-Offset": "0"})
    assert (chunked.status_code, generation(demo)) == (400, 0)
    assert send(demo, where, 0, b"he", **{"Upload-Length": "6"}).status_code == 400


def test_a_part_says_nothing_that_is_not_known(demo: Api) -> None:
    where = begin(demo, 5)
    for name in ("Upload-Concat", "Upload-Complete", "Upload-Draft-Interop-Version", "Upload-Defer-Length"):
        refused = send(demo, where, 0, b"hello", **{name: "1"})
        assert (refused.status_code, name in refused.json()["detail"]) == (400, True), refused.text
        assert demo.delete(where, headers={**TUS, name: "1"}).status_code == 400
    assert offset(demo, where) == 0


def test_a_length_that_is_told_later_is_held_against_the_limits(make_api: MakeApi) -> None:
    api = make_api(PROJECTS_QUOTAS_MAX_FILE_BYTES="1000", PROJECTS_QUOTAS_MAX_PROJECT_BYTES="1500")
    api.project()
    where = begin(api, None)
    begin(api, 700)
    for length in ("9999999999999999", "1001", "801"):
        refused = send(api, where, 0, b"hello", **{"Upload-Length": length})
        assert (refused.status_code, code(refused), offset(api, where)) == (413, "quota_exceeded", 0)
    assert send(api, where, 0, b"x" * 801).status_code == 413
    assert send(api, where, 0, b"x" * 700).status_code == 204
    assert send(api, where, 700, b"x" * 101).status_code == 413
    assert send(api, where, 700, b"x" * 100, **{"Upload-Length": "800"}).status_code == 204


def test_a_file_of_one_byte_may_be_given_another_name(demo: Api) -> None:
    demo.put("/api/v1/projects/demo/files/folder/a", content=b"x")
    where = begin(demo, 1, "folder")
    assert code(send(demo, where, 0, b"!")) == "invalid_input"
    assert offset(demo, where) == 0
    assert send(demo, where, 0, b"!", **about(path="other")).status_code == 204
    assert demo.get("/api/v1/projects/demo/files/other").content == b"!"


def test_of_a_creation_that_is_refused_with_its_body_nothing_is_kept_and_that_is_said(demo: Api) -> None:
    demo.put("/api/v1/projects/demo/files/folder/a", content=b"x")
    refused = demo.post(UPLOADS, content=b"hello", headers={**PART, **about(path="folder"), "Upload-Length": "5"})
    assert (refused.status_code, code(refused)) == (400, "invalid_input")
    assert "nothing of the upload is kept" in refused.json()["hint"]
    assert "last byte" not in refused.json()["hint"]
    assert "offset" not in refused.json()["details"]
    assert are_open(demo) == 0
    assert generation(demo) == 1


def test_a_creation_says_what_its_body_is(demo: Api) -> None:
    headers = {**TUS, **about(path="a"), "Upload-Length": "5"}
    refused = demo.post(UPLOADS, content=b"hello", headers=headers)
    assert (refused.status_code, code(refused)) == (415, "unsupported_media_type")
    assert demo.post(UPLOADS, headers=headers).status_code == 201


def test_a_condition_that_is_malformed_is_refused_where_it_is_given(demo: Api) -> None:
    where = begin(demo, 5)
    refused = send(demo, where, 0, b"he", **{"If-Match": "nonsense"})
    assert (refused.status_code, offset(demo, where)) == (400, 0)
    assert send(demo, where, 0, b"hello").status_code == 204


def test_a_condition_that_was_given_before_fails_as_one_that_is_given_now(demo: Api) -> None:
    where = begin(demo, 5)
    first = send(demo, where, 0, b"hello", **{"If-Match": '"7"'})
    assert (first.status_code, offset(demo, where)) == (412, 4)
    again = send(demo, where, 4, b"o")
    assert (again.status_code, again.json()["details"]["offset"]) == (412, 4)
    assert send(demo, where, 4, b"o", **{"If-Match": '"0"'}).status_code == 204


def test_what_clients_say_of_a_file_by_themselves_is_given_back(demo: Api) -> None:
    said = about(path="a", filename="b", filetype="text/plain")
    made = demo.post(UPLOADS, headers={**TUS, **said, "Upload-Length": "5"})
    assert made.status_code == 201, made.text
    assert demo.head(made.headers["Location"], headers=TUS).headers["Upload-Metadata"] == said["Upload-Metadata"]
    refused = demo.post(UPLOADS, headers={**TUS, **about(path="a", mesage="b"), "Upload-Length": "5"})
    assert "Upload-Metadata" in refused.json()["detail"]
    assert "'message'" in refused.json()["hint"]


def test_a_checksum_without_a_digest_is_malformed(demo: Api) -> None:
    where = begin(demo, 5)
    for malformed in ("sha256", "sha256 AAAA", ""):
        assert send(demo, where, 0, b"he", **{"Upload-Checksum": malformed}).status_code == 400, malformed
    assert offset(demo, where) == 0


def test_a_part_of_another_type_is_refused(demo: Api) -> None:
    where = begin(demo, 5)
    refused = demo.patch(where, content=b"hello", headers={**TUS, "Upload-Offset": "0", "Content-Type": "text/plain"})
    assert (refused.status_code, refused.headers["Accept"]) == (415, "application/offset+octet-stream")


def test_so_many_may_be_open(make_api: MakeApi) -> None:
    api = make_api(PROJECTS_RESUMABLE_UPLOADS_MAX_PER_PROJECT="2", PROJECTS_QUOTAS_MAX_FILE_BYTES="1000")
    api.project()
    begin(api, 5)
    where = begin(api, 5)
    headers = {**TUS, **about(path="c"), "Upload-Length": "5"}
    refused = api.post(UPLOADS, headers=headers)
    assert (refused.status_code, code(refused)) == (413, "quota_exceeded")
    send(api, where, 0, b"hello")
    assert api.post(UPLOADS, headers=headers).status_code == 201, "a complete one is not open"
    refused = api.post(UPLOADS, headers={**headers, "Upload-Length": "1001"})
    assert (refused.status_code, code(refused)) == (413, "quota_exceeded")


def test_nothing_that_a_client_sent_is_in_the_clear(demo: Api) -> None:
    """Neither in the store nor in the catalog's rows, whatever the state."""
    secret, name = b"open sesame " * 200_000, "secret-name.txt"
    where = begin(demo, len(secret), name)
    send(demo, where, 0, secret[:1_500_000])
    state: Any = demo.manifold.context.catalog
    rows = repr((state.state.resumable, state.state.resumable_parts)).encode()
    stored = b"".join(bytes(demo.manifold.context.store.get(one.key, max_bytes=1 << 26))
                      for one in demo.manifold.context.store.list("t"))  # fmt: skip
    for text in (b"open sesame", name.encode(), base64.b64encode(name.encode())):
        assert text not in rows
        assert text not in stored


def test_an_event_tells_of_the_commit_as_of_any_other(demo: Api) -> None:
    demo.put("/api/v1/projects/demo/files/other", content=b"hello")
    where = begin(demo, 5)
    send(demo, where, 0, b"hello")
    events = {one.generation: one for one in demo.manifold.context.catalog.list_events(limit=100)}
    assert events[2].type == events[1].type
    assert events[2].data.keys() == events[1].data.keys()


def test_a_file_that_is_put_is_no_part_and_the_refusal_leads_here(demo: Api) -> None:
    refused = demo.put("/api/v1/projects/demo/files/a", content=b"x", headers={"Upload-Offset": "0"})
    assert refused.status_code == 400
    assert UPLOADS.replace("demo", "<project>") in refused.json()["hint"]
