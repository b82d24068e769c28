from __future__ import annotations

import pytest
from manifold_common.adapters.system.clock import SystemClock
from manifold_common.adapters.webhook.publisher import WebhookPublisher

from tests.contract.sinks.sink import TIMEOUT_SECONDS, TOO_LARGE, Sink, closed_port
from tests.support.webhooks import SECRET, WebhookEndpoint


def sink(request: pytest.FixtureRequest) -> Sink:
    endpoint: WebhookEndpoint = request.getfixturevalue("webhook_endpoint")
    endpoint.answer = lambda request, handler: 413 if len(request.body) > TOO_LARGE else 204

    def publisher(url: str) -> WebhookPublisher:
        return WebhookPublisher(url, SECRET, timeout_seconds=TIMEOUT_SECONDS, clock=SystemClock())

    return Sink(
        publisher(endpoint.url),
        lambda: endpoint.events,
        lambda: publisher(f"http://127.0.0.1:{closed_port()}/hook"),
    )
