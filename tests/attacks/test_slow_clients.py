"""Clients that send or take slowly, or not at all, or in a way that costs the server far more than them, against the
real host process. Other clients are served meanwhile, in bounded time; whoever is refused is told so."""

from __future__ import annotations

import json
import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import Any

import httpx
import psutil
import pytest

from tests.support.host import Host, MakeHost
from tests.support.waiting import wait_until

pytestmark = pytest.mark.alone("hundreds of clients, and what others get done meanwhile is measured")

FILES = "/api/v1/projects/demo/files"
LARGE_BYTES = 4 << 20
ALWAYS = ("/health", "/readyz", "/livez")
BOUNDED_SECONDS = 8.0
"""Generous: what fails here fails by time-outs of half a minute and more."""
PATIENT = {"SERVER_STALL_SECONDS": "60", "SERVER_HEAD_SECONDS": "60", "SERVER_IDLE_SECONDS": "60"}
"""Slow clients stay for the whole test."""
IMPATIENT = {"SERVER_STALL_SECONDS": "1", "SERVER_HEAD_SECONDS": "1", "SERVER_IDLE_SECONDS": "1"}


def address_of(client: httpx.Client) -> tuple[str, int]:
    return client.base_url.host, client.base_url.port or 0


def connect(client: httpx.Client, source: str = "127.0.0.1", *, receive_bytes: int = 0) -> socket.socket:
    """Connect from any of this machine's addresses."""
    made = socket.socket()
    if receive_bytes:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    made.settimeout(20)
    made.bind((source, 0))
    made.connect(address_of(client))
    return made


@contextmanager
def crowd(client: httpx.Client, count: int, request: bytes, *, peers: int = 1, **options: int) -> Iterator[list[Any]]:
    """Let many clients send the same, and no more."""
    with ExitStack() as stack:
        found = []
        for number in range(count):
            one = stack.enter_context(closing(connect(client, f"127.0.0.{1 + number % peers}", **options)))
            one.sendall(request)
            found.append(one)
        yield found


def head(method: str, target: str, *headers: str) -> bytes:
    return "\r\n".join((f"{method} {target} HTTP/1.1", "Host: localhost", *headers, "", "")).encode()


def everything(client: socket.socket) -> bytes:
    found = bytearray()
    try:
        while data := client.recv(65536):
            found += data
    except ConnectionError:
        pass
    return bytes(found)


def refusal(answer: bytes) -> tuple[int, dict[str, str], dict[str, Any]]:
    """Return status, headers and problem document."""
    lines, _, body = answer.partition(b"\r\n\r\n")
    first, *rest = lines.decode().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in rest)}
    return int(first.split()[1]), headers, json.JSONDecoder().raw_decode(body[body.index(b"{") :].decode())[0]


def start(host: Host) -> httpx.Client:
    client = host.ready()
    assert client.post("/api/v1/projects", json={"name": "demo"}).status_code == 201
    assert client.put(f"{FILES}/large", content=noise(LARGE_BYTES)).status_code == 201
    return client


def noise(count: int) -> bytes:
    return random.Random(7).randbytes(count)


def work_goes_on(client: httpx.Client) -> None:
    """Upload small and large, list, download, and ask for the health; in bounded time."""
    begun = time.monotonic()
    done = [client.put(f"{FILES}/small", content=b"x"), client.put(f"{FILES}/other", content=noise(3 << 20))]
    done += [client.get(path) for path in ("/api/v1/projects/demo/tree", f"{FILES}/large", *ALWAYS)]
    assert [answer.text[:500] for answer in done if not answer.is_success] == []
    assert len(done[3].content) == LARGE_BYTES
    assert time.monotonic() - begun < BOUNDED_SECONDS


def connections_of(host: Host, client: httpx.Client) -> int:
    """Return how many connections to its port the process holds."""
    at = f":{client.base_url.port}"
    found = psutil.Process(host.process.pid).net_connections("tcp")
    return sum(1 for one in found if one.laddr and one.raddr and f":{one.laddr.port}" == at)


def refusals(client: httpx.Client) -> dict[str, int]:
    found: dict[str, int] = client.get("/health").json()["traffic"]["refusals"]
    return found


SLOW_KINDS = {
    "nothing": b"",
    "half a request line": b"GET /api/pro",
    "half a header": b"GET /api/v1/projects HTTP/1.1\r\nHost: localh",
    "half a JSON body": head("POST", "/api/v1/projects", "Content-Type: application/json", "Content-Length: 20")
    + b'{"na',
    "an upload that begins": head("PUT", f"{FILES}/slow", "Content-Length: 10") + b"hello",
    "a large upload that stops": head("PUT", f"{FILES}/slow", f"Content-Length: {8 << 20}") + bytes(3 << 20),
    "an upload in chunks": head("PUT", f"{FILES}/slow", "Transfer-Encoding: chunked") + b"5\r\nhello\r\n",
    "an archive that begins": head("POST", "/api/v1/projects/demo/archive", "Content-Length: 100000") + b"\x1f\x8b\x08",
    "an upload that is told to go on": head("PUT", f"{FILES}/slow", "Content-Length: 9", "Expect: 100-continue"),
    "a download that is not read": head("GET", f"{FILES}/large"),
    "an upgrade": head("GET", "/api/v1/projects", "Connection: Upgrade", "Upgrade: websocket") + b"\x81\x05hello",
}


def test_slow_clients_of_every_kind_stop_nobody(make_host: MakeHost) -> None:
    host = make_host(**PATIENT)
    client = start(host)
    for what, request in SLOW_KINDS.items():
        with crowd(client, 64, request, receive_bytes=4096):
            try:
                work_goes_on(client)
            except (AssertionError, httpx.HTTPError) as error:
                raise AssertionError(what) from error
    with crowd(client, 200, SLOW_KINDS["a large upload that stops"], peers=4):
        work_goes_on(client)


def test_slow_clients_are_given_up_in_bounded_time_and_leave_nothing(make_host: MakeHost) -> None:
    host = make_host(**IMPATIENT)
    client = start(host)
    with ExitStack() as stack:
        for request in SLOW_KINDS.values():
            stack.enter_context(crowd(client, 6, request, receive_bytes=4096))
        stack.enter_context(crowd(client, 6, head("GET", "/livez")))  # idle, after an answer
        half_closed = stack.enter_context(crowd(client, 6, head("GET", f"{FILES}/large"), receive_bytes=4096))
        for one in half_closed:
            one.shutdown(socket.SHUT_WR)
        assert connections_of(host, client) > 20
        wait_until(lambda: connections_of(host, client) <= 1, 15)
    found = refusals(client)
    assert min(found["slow_header"], found["slow_body"], found["slow_reader"]) >= 6
    assert client.get("/api/v1/projects/demo/tree").json()["items"][0]["path"] == "large"
    assert len(client.get("/api/v1/projects/demo/tree").json()["items"]) == 1


TRICKLES = {
    "a header": (b"", b"G"),
    "a JSON body": (head("POST", "/api/v1/projects", "Content-Type: application/json", "Content-Length: 900"), b" "),
    "an upload": (head("PUT", f"{FILES}/slow", "Content-Length: 900"), b"x"),
    "chunks with extensions": (
        head("PUT", f"{FILES}/slow", "Transfer-Encoding: chunked"),
        b"1;" + b"e" * 1000 + b"\r\nx\r\n",
    ),
    "after the answer": (head("PUT", f"{FILES}/slow?mode=nonsense", "Content-Length: 900"), b"x"),
}


def test_a_byte_now_and_then_buys_no_time(make_host: MakeHost) -> None:
    client = start(make_host(**IMPATIENT))
    begun = time.monotonic()
    with ExitStack() as stack:
        sending = {}
        for what, (begin, more) in TRICKLES.items():
            one = stack.enter_context(closing(connect(client)))
            one.sendall(begin)
            one.settimeout(0.02)
            sending[what] = (one, more)
        reading = stack.enter_context(closing(connect(client, receive_bytes=2048)))
        reading.sendall(head("GET", f"{FILES}/large"))
        while (sending or not refusals(client).get("slow_reader")) and time.monotonic() - begun < 10:
            for what, (one, more) in list(sending.items()):
                if is_closed(one, more):
                    del sending[what]
            reading.recv(16)
    assert sending.keys() == set()
    assert refusals(client)["slow_reader"] == 1
    assert time.monotonic() - begun < 8


def is_closed(client: socket.socket, more: bytes) -> bool:
    try:
        client.sendall(more)
        return client.recv(65536) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def test_over_the_limit_of_one_client_there_is_429_and_health_and_the_others_go_on(make_host: MakeHost) -> None:
    host = make_host(**PATIENT, SERVER_MAX_CONNECTIONS_PER_PEER="10")
    client = start(host)
    with crowd(client, 9, b""), closing(connect(client)) as refused:
        refused.sendall(head("GET", "/api/v1/projects"))
        status, headers, problem = refusal(everything(refused))
        assert (status, problem["code"], headers["content-type"]) == (
            429,
            "too_many_requests",
            "application/problem+json",
        )
        assert int(headers["retry-after"]) > 0 and "server.maxConnectionsPerPeer" in problem["hint"]
        assert headers["x-request-id"] == headers["x-correlation-id"] == problem["correlation_id"]
        assert (headers["x-content-type-options"], headers["connection"]) == ("nosniff", "close")
        for path in ("/health", "/readyz", "/livez"):
            with closing(connect(client)) as asking:
                asking.sendall(head("GET", path))
                assert everything(asking).startswith(b"HTTP/1.1 200 ")
        with closing(connect(client, "127.0.0.2")) as other:
            other.sendall(head("GET", "/api/v1/projects", "Connection: close"))
            assert everything(other).startswith(b"HTTP/1.1 200 ")
    assert refusals(client)["too_many_requests"] >= 1


def test_over_the_limit_of_all_there_is_503_and_health_whatever_one_client_does(make_host: MakeHost) -> None:
    host = make_host(**PATIENT, SERVER_MAX_CONNECTIONS="20")
    client = start(host)
    with crowd(client, 100, b"", peers=2), closing(connect(client, "127.0.0.3")) as refused:
        refused.sendall(head("PUT", f"{FILES}/a", "Content-Length: 5") + b"hello")
        status, headers, problem = refusal(everything(refused))
        assert (status, problem["code"]) == (503, "overloaded")
        assert int(headers["retry-after"]) > 0 and "server.maxConnections" in problem["hint"]
        with closing(connect(client, "127.0.0.3")) as asking:
            asking.sendall(head("GET", "/livez"))
            assert everything(asking).startswith(b"HTTP/1.1 200 ")
    wait_until(lambda: len(httpx.get(f"{client.base_url}/api/v1/projects").json()["items"]) == 1)


def test_over_the_limit_of_requests_one_client_is_refused_and_no_other(make_host: MakeHost) -> None:
    host = make_host(**PATIENT, SERVER_MAX_REQUESTS_PER_PEER="8", SERVER_MAX_REQUESTS="12")
    client = start(host)
    slow = SLOW_KINDS["an upload that begins"]
    with crowd(client, 8, slow):
        wait_until(lambda: client.get("/health").json()["traffic"]["requests"] == 8)
        answer = client.get("/api/v1/projects")
        assert (answer.status_code, answer.json()["code"]) == (429, "too_many_requests")
        assert int(answer.headers["retry-after"]) > 0
        assert client.get("/readyz").status_code == 200
        with ExitStack() as stack:
            for _ in range(4):
                stack.enter_context(closing(connect(client, "127.0.0.2"))).sendall(slow)
            wait_until(lambda: client.get("/health").json()["traffic"]["requests"] == 12)
            with closing(connect(client, "127.0.0.3")) as third:
                third.sendall(head("GET", "/api/v1/projects"))
                assert b" 503 " in third.recv(65536).split(b"\r\n")[0]
    wait_until(lambda: client.get("/health").json()["traffic"]["requests"] == 0)
    assert client.get("/api/v1/projects").status_code == 200


def test_behind_a_trusted_proxy_the_client_is_whom_it_names(make_host: MakeHost) -> None:
    limits = {"SERVER_MAX_REQUESTS_PER_PEER": "4", "SERVER_MAX_CONNECTIONS_PER_PEER": "6"}
    host = make_host(**PATIENT, **limits, SERVER_TRUSTED_PROXIES="127.0.0.9")
    client = start(host)

    def status(source: str, forwarded: str) -> bytes:
        with closing(connect(client, source)) as one:
            one.sendall(head("GET", "/api/v1/projects", f"X-Forwarded-For: {forwarded}", "Connection: close"))
            return everything(one).split()[1]

    greedy = head("PUT", f"{FILES}/slow", "Content-Length: 10", "X-Forwarded-For: 127.0.0.1, 203.0.113.7") + b"hello"
    with ExitStack() as stack:
        for _ in range(10):
            stack.enter_context(closing(connect(client, "127.0.0.9"))).sendall(greedy)
        wait_until(lambda: client.get("/health").json()["traffic"]["requests"] == 4)
        assert status("127.0.0.9", "203.0.113.7") == b"429"
        assert status("127.0.0.9", "203.0.113.7, 203.0.113.8") == b"200"
        assert status("127.0.0.2", "203.0.113.7") == b"200"  # no proxy: what it says counts for nothing


def test_downloads_that_nobody_reads_share_a_bounded_memory(make_host: MakeHost) -> None:
    """64 of them took 360 MiB, and 180 MiB of the system's."""
    host = make_host(**PATIENT, SERVER_MAX_BUFFERED_BYTES="32MiB")
    client = start(host)
    work_goes_on(client)
    before = host.status_kib("VmRSS")
    with crowd(client, 64, head("GET", f"{FILES}/large"), receive_bytes=4096):
        work_goes_on(client)
        wait_until(lambda: refusals(client).get("stood_still", 0) >= 16)
        grown = host.status_kib("VmRSS") - before
    assert grown < (160 << 10), f"{grown} KiB"


def test_whoever_takes_slowly_is_not_ended_but_waited_for(make_host: MakeHost) -> None:
    """Of 240 downloads at 200 KB/s each, 201 were cut off after 2 seconds, though all were taken all the time."""
    client = start(make_host(**PATIENT, SERVER_MAX_BUFFERED_BYTES="16MiB"))
    assert client.put(f"{FILES}/larger", content=noise(24 << 20)).status_code == 201
    with crowd(client, 24, head("GET", f"{FILES}/larger"), receive_bytes=65536) as readers:
        begun = time.monotonic()
        while time.monotonic() - begun < 3:
            for one in readers:
                one.settimeout(0.001)
                with suppress(TimeoutError):
                    assert one.recv(16384), "cut off"
            time.sleep(0.05)
        assert "stood_still" not in refusals(client)


def test_whoever_sends_slowly_is_not_ended_but_waited_for(make_host: MakeHost) -> None:
    """Of 120 uploads at 250 KB/s each, 95 were refused, many in the middle, for others that then fared no better."""
    client = start(make_host(**PATIENT, SERVER_MAX_BUFFERED_BYTES="16MiB"))
    with crowd(client, 4, head("PUT", f"{FILES}/slow", f"Content-Length: {8 << 20}")) as senders:
        for _ in range(25):
            senders[0].sendall(noise(16 << 10))
            time.sleep(0.1)
        assert "stood_still" not in refusals(client)


def test_bodies_that_stand_still_share_a_bounded_memory(make_host: MakeHost) -> None:
    host = make_host(**PATIENT, SERVER_MAX_BUFFERED_BYTES="32MiB")
    client = start(host)
    work_goes_on(client)
    before = host.status_kib("VmRSS")
    length = f"Content-Length: {20 << 20}"
    json_body = head("POST", "/api/v1/projects/demo/commits", "Content-Type: application/json", length) + b" " * (
        3 << 20
    )
    for request in (SLOW_KINDS["a large upload that stops"], json_body):
        with crowd(client, 40, request) as clients:
            work_goes_on(client)
            seen = refusals(client).get("stood_still", 0)
            wait_until(lambda seen=seen: refusals(client).get("stood_still", 0) >= seen + 3)  # type: ignore[misc]
            told = [refusal(answer) for one in clients if (answer := what_came(one))]
            assert host.status_kib("VmRSS") - before < (160 << 10)
        assert told or request is json_body  # while a body is read whole, its connection is cut off
        assert all((status, problem["code"]) == (503, "overloaded") for status, _, problem in told)
    assert len(client.get("/api/v1/projects/demo/tree").json()["items"]) == 3


def what_came(client: socket.socket) -> bytes:
    client.settimeout(0.02)
    try:
        return client.recv(65536)
    except OSError:
        return b""


OUT_OF_PROPORTION = {
    "many headers": (head("GET", "/api/v1/projects", *(f"X-{number}: a" for number in range(5000))), 431),
    "a long header": (head("GET", "/api/v1/projects", "X: " + "a" * 200_000), 431),
    "a long line": (b"GET /" + b"a" * 100_000, 431),
    "tiny chunks": (head("PUT", f"{FILES}/slow", "Transfer-Encoding: chunked") + b"1\r\nx\r\n" * 50_000, 400),
    "chunk extensions": (
        head("PUT", f"{FILES}/slow", "Transfer-Encoding: chunked") + (b"1;" + b"e" * 9000 + b"\r\nx\r\n") * 100,
        400,
    ),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
}


def test_what_is_out_of_proportion_is_refused_with_a_problem(make_host: MakeHost) -> None:
    client = start(make_host(**{**IMPATIENT, "SERVER_STALL_SECONDS": "30"}))
    for what, (request, status) in OUT_OF_PROPORTION.items():
        with closing(connect(client)) as one:
            threading.Thread(target=send, args=(one, request), daemon=True).start()
            found = refusal(everything(one))
        code = "headers_too_large" if status == 431 else "invalid_input"
        assert (found[0], found[2]["code"]) == (status, code), what
        assert found[2]["hint"]
    with closing(connect(client)) as one:  # requests that are sent without waiting for answers
        threading.Thread(target=send, args=(one, head("GET", "/livez") * 200 + b"GET /half"), daemon=True).start()
        assert everything(one).count(b"HTTP/1.1 200 OK") == 200


def send(client: socket.socket, data: bytes) -> None:
    try:
        client.sendall(data)
    except OSError:
        return


def test_a_slow_client_that_keeps_the_pace_gets_everything(make_host: MakeHost) -> None:
    client = start(make_host(**{**IMPATIENT, "SERVER_MIN_BYTES_PER_SECOND": "1000"}))
    content = noise(6000)
    with closing(connect(client)) as one:
        one.sendall(head("PUT", f"{FILES}/slow", f"Content-Length: {len(content)}", "Connection: close"))
        for at in range(0, len(content), 1000):
            one.sendall(content[at : at + 1000])
            time.sleep(0.4)
        assert everything(one).startswith(b"HTTP/1.1 201 ")
    assert client.get(f"{FILES}/slow").content == content
    with closing(connect(client, receive_bytes=65536)) as one:
        one.sendall(head("GET", f"{FILES}/large", "Connection: close"))
        received, begun = 0, time.monotonic()
        while data := one.recv(32768):
            received += len(data)
            if time.monotonic() - begun < 2.5:
                time.sleep(0.02)
        assert received > LARGE_BYTES
