"""What a proxy and a server could take for two different requests is refused, and ends the connection."""

from __future__ import annotations

import json
import re
import socket

import pytest

from tests.support.api import Api

FILE = "/api/v1/projects/demo/files/a.txt"
SMUGGLED = b"GET /api/v1/projects HTTP/1.1\r\nHost: localhost\r\n\r\n"


def put(*headers: str, body: bytes = b"", line: str = f"PUT {FILE} HTTP/1.1") -> bytes:
    return "\r\n".join([line, "Host: localhost", *headers, "", ""]).encode("latin-1") + body


CHUNKED = "Transfer-Encoding: chunked"

REFUSED = {
    "a length and chunks": put("Content-Length: 5", CHUNKED, body=b"0\r\n\r\n" + SMUGGLED),
    "chunks and a length": put(CHUNKED, "Content-Length: 5", body=b"0\r\n\r\n" + SMUGGLED),
    "two lengths": put("Content-Length: 1", "Content-Length: 2", body=b"x" + SMUGGLED),
    "two lengths in one": put("Content-Length: 1, 2", body=b"x" + SMUGGLED),
    "a length twice": put("Content-Length: 1", "Content-Length: 1", body=b"x" + SMUGGLED),
    "a length twice in one": put("Content-Length: 1, 1", body=b"x" + SMUGGLED),
    "a length with a sign": put("Content-Length: +1", body=b"x" + SMUGGLED),
    "a length below nought": put("Content-Length: -1", body=SMUGGLED),
    "a length in hexadecimal": put("Content-Length: 0x1", body=b"x" + SMUGGLED),
    "a length with a blank in it": put("Content-Length: 1 0", body=b"x" + SMUGGLED),
    "another transfer encoding": put("Transfer-Encoding: gzip", body=SMUGGLED),
    "another after chunks": put("Transfer-Encoding: chunked, gzip", body=b"0\r\n\r\n" + SMUGGLED),
    "a transfer encoding of no name": put("Transfer-Encoding:", body=b"0\r\n\r\n" + SMUGGLED),
    "chunks in HTTP/1.0": put(CHUNKED, body=b"0\r\n\r\n" + SMUGGLED, line=f"PUT {FILE} HTTP/1.0"),
    "chunks twice": put(CHUNKED, CHUNKED, body=b"0\r\n\r\n" + SMUGGLED),
    "chunks twice in one": put("Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n" + SMUGGLED),
    "chunks, oddly spelt": put("Transfer-Encoding: xchunked", body=b"0\r\n\r\n" + SMUGGLED),
    "a blank before the colon": put("Content-Length : 1", body=b"x" + SMUGGLED),
    "a line that goes on in the next": put("X: a", " Content-Length: 1", body=b"x" + SMUGGLED),
    "a tab that does the same": put("X: a", "\tTransfer-Encoding: chunked", body=b"0\r\n\r\n" + SMUGGLED),
    "a first header that begins with a blank": put(body=SMUGGLED).replace(b"Host:", b" Host:"),
    "lines that end in LF alone": put("Content-Length: 1", body=b"x" + SMUGGLED).replace(b"\r\n", b"\n"),
    "one line that ends in LF alone": put("X: a\nContent-Length: 1", body=b"x" + SMUGGLED),
    "a NUL in a value": put("X: a\0b", "Content-Length: 1", body=b"x" + SMUGGLED),
    "a bare CR in a value": put("X: a\rContent-Length: 1", body=SMUGGLED),
    "two hosts": put("Host: localhost", "Content-Length: 1", body=b"x" + SMUGGLED),
    "a chunk's size with a sign": put(CHUNKED, body=b"+1\r\nx\r\n0\r\n\r\n" + SMUGGLED),
    "a chunk's size in 0x": put(CHUNKED, body=b"0x1\r\nx\r\n0\r\n\r\n" + SMUGGLED),
    "a chunk's size of many digits": put(CHUNKED, body=b"0" * 30 + b"1\r\nx\r\n0\r\n\r\n" + SMUGGLED),
    "a chunk without its end": put(CHUNKED, body=b"1\r\nxy\r\n0\r\n\r\n" + SMUGGLED),
    "an endless chunk extension": put(CHUNKED, body=b"1;" + b"a" * 40_000 + b"\r\nx\r\n0\r\n\r\n" + SMUGGLED),
    "a bare CR in a chunk extension": put(CHUNKED, body=b"1;\rx\r\nx\r\n0\r\n\r\n" + SMUGGLED),
    "a bare CR before a chunk's line ends": put(CHUNKED, body=b"1;x\r\r\nx\r\n0\r\n\r\n" + SMUGGLED),
    "a bare LF in a chunk extension": put(CHUNKED, body=b"1;\nx\r\nx\r\n0\r\n\r\n" + SMUGGLED),
    "a bare CR in the last chunk's extension": put(CHUNKED, body=b"1\r\nx\r\n0;\r0\r\n\r\n" + SMUGGLED),
    "a NUL in a chunk extension": put(CHUNKED, body=b"1;\0\r\nx\r\n0\r\n\r\n" + SMUGGLED),
    "a chunk that ends in LF alone": put(CHUNKED, body=b"1\r\nx\n0\r\n\r\n" + SMUGGLED),
    "a body that ends in LF alone": put(CHUNKED, body=b"1\r\nx\r\n0\r\n\n" + SMUGGLED),
    "a trailer that ends in LF alone": put(CHUNKED, body=b"1\r\nx\r\n0\r\nA: b\n\n" + SMUGGLED),
    "a line of a trailer that does": put(CHUNKED, body=b"1\r\nx\r\n0\r\nA: b\nC: d\r\n\r\n" + SMUGGLED),
    "a bare CR in a trailer": put(CHUNKED, body=b"1\r\nx\r\n0\r\nA: b\rC: d\r\n\r\n" + SMUGGLED),
    "a trailer that goes on in the next line": put(CHUNKED, body=b"1\r\nx\r\n0\r\nA: b\r\n c\r\n\r\n" + SMUGGLED),
    "a trailer that begins with a blank": put(CHUNKED, body=b"1\r\nx\r\n0\r\n A: b\r\n\r\n" + SMUGGLED),
    "a trailer that tells a length": put(CHUNKED, body=b"1\r\nx\r\n0\r\nContent-Length: 9\r\n\r\n" + SMUGGLED),
    "bytes beyond ASCII in the address": put("Content-Length: 1", body=b"x", line=f"PUT {FILE}\xff HTTP/1.1"),
    "a blank in the address": put("Content-Length: 1", body=b"x", line=f"PUT {FILE} b HTTP/1.1"),
    "no version": put("Content-Length: 1", body=b"x", line=f"PUT {FILE}"),
}


@pytest.fixture
def project(api: Api) -> Api:
    api.project()
    return api


def exchange(api: Api, sent: bytes) -> bytes:
    with api.connect() as client:
        client.sendall(sent)
        found = b""
        while piece := client.recv(65536):
            found += piece
        return found


@pytest.mark.parametrize("shape", REFUSED)
def test_a_request_that_could_be_two_is_refused_and_ends_the_connection(project: Api, shape: str) -> None:
    answer = exchange(project, REFUSED[shape])
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 "), (shape, answer)
    assert answer.count(b"HTTP/1.1 ") == 1 and b"connection: close" in head.lower()
    problem = json.loads(body)
    ids = re.findall(rb"(?im)^x-(?:request|correlation)-id: (\S+)", head)
    assert [value.decode() for value in ids] == [problem["correlation_id"]] * 2
    assert problem["code"] == "invalid_input" and problem["hint"]
    assert project.get("/api/v1/projects/demo").json()["generation"] == 0


@pytest.mark.parametrize(
    "sent",
    [
        put(CHUNKED, "Connection: close", body=b'1;name=value;other="a b"\r\nx\r\n0\r\nTrailing: a\r\n\r\n'),
        put(CHUNKED, "Connection: close", body=b"1\r\nx\r\n0;last\r\nOne: a\r\nTwo:\r\n\r\n"),
        put("Content-Length: 1", "Upgrade: h2c", "TE: trailers", "Connection: close", body=b"x"),
    ],
)
def test_what_reads_in_one_way_is_taken(project: Api, sent: bytes) -> None:
    assert exchange(project, sent).startswith(b"HTTP/1.1 201 ")
    assert project.get(FILE).content == b"x"


def test_a_coding_that_is_not_known_is_501_with_a_code_of_its_own(project: Api) -> None:
    answer = exchange(project, put("Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n" + SMUGGLED))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 501 ") and b"connection: close" in head.lower()
    assert answer.count(b"HTTP/1.1 ") == 1
    assert json.loads(body)["code"] == "unknown_transfer_coding"


def test_what_follows_the_trailer_is_the_next_request(project: Api) -> None:
    """It may look like anything, even like a line that no trailer could have."""
    sent = put(CHUNKED, body=b"1\r\nx\r\n0\r\nA: b\r\n\r\n")
    last = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    answer = exchange(project, sent + last)
    assert re.findall(rb"HTTP/1\.1 (\d+) ", answer) == [b"201", b"200"]


@pytest.mark.parametrize("how", [["Content-Length: 60"], [CHUNKED]])
def test_a_body_that_is_not_asked_for_does_not_begin_with_the_next_request(project: Api, how: list[str]) -> None:
    answer = exchange(project, put(*how, "Expect: 100-continue", 'If-Match: "7"'))
    assert answer.startswith(b"HTTP/1.1 412 ") and b"\r\nconnection: close\r\n" in answer.lower()
    refused = exchange(project, put(*how, "Expect: 100-continue", "Content-Range: bytes 0-1/9"))
    assert refused.startswith(b"HTTP/1.1 400 ") and b"\r\nconnection: close\r\n" in refused.lower()


def test_a_body_that_comes_all_the_same_does_not_keep_its_client_from_the_answer(project: Api) -> None:
    size = 5_000_000
    with project.connect() as client:
        client.sendall(put(f"Content-Length: {size}", "Expect: 100-continue", 'If-Match: "7"'))
        found = client.recv(65536)
        client.sendall(bytes(size))
        client.shutdown(socket.SHUT_WR)
        found += b"".join(iter(lambda: client.recv(65536), b""))
    assert found.startswith(b"HTTP/1.1 412 ") and found.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize(("condition", "status"), [('If-Match: "7"', b"412"), ("If-None-Match: *", b"201")])
def test_a_body_that_came_without_being_asked_for_leaves_the_connection_open(
    project: Api, condition: str, status: bytes
) -> None:
    first = put("Content-Length: 1", "Expect: 100-continue", condition, body=b"x")
    last = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    answer = exchange(project, first + last)
    found = re.findall(rb"HTTP/1\.1 (\d+) ", answer)
    assert [one for one in found if one != b"100"] == [status, b"200"], answer


def test_a_body_that_was_asked_for_leaves_the_connection_open(project: Api) -> None:
    with project.connect() as client:
        client.sendall(put("Content-Length: 1", "Expect: 100-continue"))
        assert client.recv(65536).startswith(b"HTTP/1.1 100 ")
        client.sendall(b"xGET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    assert re.findall(rb"HTTP/1\.1 (\d+) ", answer) == [b"201", b"200"]
