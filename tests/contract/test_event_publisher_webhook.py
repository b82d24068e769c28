"""What only webhooks have: signatures, redirects, endpoints that misbehave."""

from __future__ import annotations

import base64
import re
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from manifold_common.adapters.system.clock import SystemClock
from manifold_common.adapters.webhook.names import name_of
from manifold_common.adapters.webhook.publisher import WebhookPublisher
from manifold_common.adapters.webhook.signature import key_of, sign
from manifold_common.errors import ConfigError
from manifold_common.ports.event_publisher import Delivery

from tests.contract.catalog_fixtures import SettableClock
from tests.contract.test_event_publisher import event
from tests.support.webhooks import SECRET, Request, WebhookEndpoint, answering, running_endpoint

TAKEN, REFUSED, FAILED, UNSENT = Delivery.TAKEN, Delivery.REFUSED, Delivery.FAILED, Delivery.UNSENT
BUSY, TURNED_AWAY, GONE = Delivery.BUSY, Delivery.TURNED_AWAY, Delivery.GONE
PAGE = Path(__file__).parents[2] / "docs" / "events.md"
TIMEOUT_SECONDS = 0.3


def publisher_to(endpoint: WebhookEndpoint, secret: str = SECRET, **more: Any) -> WebhookPublisher:
    return WebhookPublisher(
        endpoint.url, secret, **{"timeout_seconds": TIMEOUT_SECONDS, "clock": SystemClock(), **more}
    )


def deliveries(publisher: WebhookPublisher, *events: Any) -> list[Delivery]:
    return [outcome.delivery for outcome in publisher.publish(events, seconds=10)]


@pytest.fixture
def verify() -> Callable[[str, dict[str, str], bytes], None]:
    """The verifier of the documents."""
    code = re.search(r"A test runs this\. -->\n```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert code is not None
    names: dict[str, Any] = {}
    exec(code[1], names)
    found: Callable[[str, dict[str, str], bytes], None] = names["verify"]
    return found


# --- signatures ---------------------------------------------------------------------------------------------------


def test_a_signature_is_that_of_the_standard() -> None:
    """A vector made with the reference library of Standard Webhooks."""
    key = key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    assert sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body) == (
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    )


@pytest.mark.parametrize("secret", [SECRET, "whsec_" + base64.b64encode(bytes(range(32))).decode(), "sixteen letters!"])
def test_the_documented_verifier_accepts_what_is_sent_and_nothing_that_was_changed(
    webhook_endpoint: WebhookEndpoint, verify: Callable[[str, dict[str, str], bytes], None], secret: str
) -> None:
    assert deliveries(publisher_to(webhook_endpoint, secret), event("a", 1)) == [TAKEN]
    (request,) = webhook_endpoint.requests
    verify(secret, request.headers, request.body)
    assert request.headers["content-type"] == "application/cloudevents+json; charset=UTF-8"
    assert request.headers["webhook-id"] == request.event["id"]
    late = str(int(request.headers["webhook-timestamp"]) + 1)
    harmed: list[tuple[str, dict[str, str], bytes]] = [
        (secret, request.headers, request.body + b" "),
        (secret, {**request.headers, "webhook-id": "other"}, request.body),
        (secret, {**request.headers, "webhook-timestamp": late}, request.body),
        (secret, {**request.headers, "webhook-signature": "v1,AAAA"}, request.body),
        ("another secret!!", request.headers, request.body),
    ]
    for arguments in harmed:
        with pytest.raises(ValueError, match="signature"):
            verify(*arguments)


def test_a_recorded_request_is_refused_later(
    webhook_endpoint: WebhookEndpoint, verify: Callable[[str, dict[str, str], bytes], None]
) -> None:
    clock = SettableClock(datetime.now(UTC) - timedelta(minutes=6))
    publisher_to(webhook_endpoint, clock=clock).publish([event("a", 1)], seconds=10)
    (request,) = webhook_endpoint.requests
    with pytest.raises(ValueError, match="too old"):
        verify(SECRET, request.headers, request.body)


def test_a_secret_that_is_no_base64_is_a_wrong_setting() -> None:
    with pytest.raises(ConfigError, match=r"webhooks\.secret"):
        key_of("whsec_no base64!")


def test_a_name_tells_endpoints_apart_and_hides_what_may_be_secret() -> None:
    names = {name_of(f"https://hooks.example.com/T000/{token}?key={token}") for token in ("hunter1", "hunter2")}
    assert len(names) == 2
    assert all(re.fullmatch(r"webhook:hooks\.example\.com-[0-9a-f]{8}", name) for name in names)


# --- answers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_success_takes_the_event(webhook_endpoint: WebhookEndpoint, status: int) -> None:
    webhook_endpoint.answer = lambda request, handler: status
    assert deliveries(publisher_to(webhook_endpoint), event("a", 1), event("a", 2)) == [TAKEN, TAKEN]


@pytest.mark.parametrize("status", [400, 413, 415, 422])
def test_statuses_about_the_event_refuse_it(webhook_endpoint: WebhookEndpoint, status: int) -> None:
    webhook_endpoint.answer = lambda request, handler: status
    assert deliveries(publisher_to(webhook_endpoint), event("a", 1), event("a", 2)) == [REFUSED, UNSENT]


@pytest.mark.parametrize(
    ("status", "delivery"),
    [(status, FAILED) for status in (408, 425, 500, 502, 503, 504)]
    + [(status, TURNED_AWAY) for status in (301, 307, 401, 403, 404, 405, 451)]
    + [(429, BUSY), (410, GONE)],
)
def test_statuses_about_the_endpoint_are_its_trouble_and_end_the_batch(
    webhook_endpoint: WebhookEndpoint, status: int, delivery: Delivery
) -> None:
    webhook_endpoint.answer = lambda request, handler: status
    outcomes = publisher_to(webhook_endpoint).publish([event("a", 1), event("a", 2), event("b", 1)], seconds=10)
    assert [outcome.delivery for outcome in outcomes] == [delivery, UNSENT, UNSENT]
    assert outcomes[0].reason.startswith(f"the endpoint answered {status}")
    assert len(webhook_endpoint.requests) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(webhook_endpoint: WebhookEndpoint, status: int) -> None:
    with running_endpoint() as elsewhere:
        webhook_endpoint.answer = answering(status, "location", elsewhere.url)
        assert deliveries(publisher_to(webhook_endpoint), event("a", 1)) == [TURNED_AWAY]
        assert elsewhere.requests == []


def test_no_proxy_of_the_environment_is_used(
    webhook_endpoint: WebhookEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert deliveries(publisher_to(webhook_endpoint), event("a", 1)) == [TAKEN]


# --- endpoints that misbehave ---------------------------------------------------------------------------------------


@pytest.fixture
def let_go() -> Iterator[threading.Event]:
    """Set at the end, for handlers that wait for ever."""
    event = threading.Event()
    yield event
    event.set()


def answer_nothing(handler: BaseHTTPRequestHandler, let_go: threading.Event) -> None:
    let_go.wait(30)


def hang_up(handler: BaseHTTPRequestHandler, let_go: threading.Event) -> None:
    handler.close_connection = True


def talk_nonsense(handler: BaseHTTPRequestHandler, let_go: threading.Event) -> None:
    handler.wfile.write(b"\0\xff nonsense\r\n\r\n")
    handler.close_connection = True


def trickle_a_status(handler: BaseHTTPRequestHandler, let_go: threading.Event) -> None:
    handler.wfile.write(b"HTTP/1.1 200 ")
    trickle(handler, let_go)


def trickle_a_header(handler: BaseHTTPRequestHandler, let_go: threading.Event) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nx: ")
    trickle(handler, let_go)


def trickle_a_body(handler: BaseHTTPRequestHandler, let_go: threading.Event) -> None:
    handler.send_response(200)
    handler.send_header("content-length", "1000000")
    handler.end_headers()
    trickle(handler, let_go)


def trickle(handler: BaseHTTPRequestHandler, let_go: threading.Event) -> None:
    """Send a little again and again, each time sooner than a time-out for silence would strike."""
    try:
        while not let_go.wait(TIMEOUT_SECONDS / 10):
            handler.wfile.write(b"x")
    except OSError:
        handler.close_connection = True


MISBEHAVIOUR = [answer_nothing, hang_up, talk_nonsense, trickle_a_status, trickle_a_header, trickle_a_body]


@pytest.mark.alone("measures time-outs")
@pytest.mark.parametrize("misbehave", MISBEHAVIOUR)
def test_an_endpoint_that_misbehaves_costs_a_bounded_time_and_stops_the_batch(
    webhook_endpoint: WebhookEndpoint,
    let_go: threading.Event,
    misbehave: Callable[[BaseHTTPRequestHandler, threading.Event], None],
) -> None:
    def answer(request: Request, handler: BaseHTTPRequestHandler) -> None:
        misbehave(handler, let_go)

    webhook_endpoint.answer = answer
    publisher = publisher_to(webhook_endpoint)
    started = time.monotonic()
    outcomes = publisher.publish([event("a", 1), event("b", 1)], seconds=10)
    assert time.monotonic() - started < publisher.timeout_seconds + 1
    assert [outcome.delivery for outcome in outcomes] == [FAILED, UNSENT]
    assert outcomes[0].reason
    assert "hidden" not in outcomes[0].reason
    webhook_endpoint.answer = lambda request, handler: 200
    assert deliveries(publisher, event("a", 1)) == [TAKEN]


def test_an_endless_answer_is_not_read_to_its_end(webhook_endpoint: WebhookEndpoint, let_go: threading.Event) -> None:
    written = 0

    def flood(request: Request, handler: BaseHTTPRequestHandler) -> None:
        nonlocal written
        handler.send_response(200)
        handler.send_header("content-length", str(1 << 40))
        handler.end_headers()
        try:
            while not let_go.is_set():
                written += handler.wfile.write(bytes(65536))
        except OSError:
            handler.close_connection = True

    webhook_endpoint.answer = flood
    assert deliveries(publisher_to(webhook_endpoint, timeout_seconds=10.0), event("a", 1), event("a", 2)) == [TAKEN] * 2
    assert written < 64 << 20, "what the sockets hold, and no more"


def test_tls_is_checked(webhook_endpoint: WebhookEndpoint) -> None:
    url = webhook_endpoint.url.replace("http://", "https://")
    publisher = WebhookPublisher(url, SECRET, timeout_seconds=2.0, clock=SystemClock())
    (outcome,) = publisher.publish([event("a", 1)], seconds=10)
    assert outcome.delivery is FAILED
    assert outcome.reason.startswith("TLS failed")
