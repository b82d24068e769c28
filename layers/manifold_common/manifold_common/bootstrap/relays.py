"""What delivers events, for a process that does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from manifold_common.bootstrap.adapters import kafka_credentials, kafka_options
from manifold_common.bootstrap.credentials import SettingsCredentials
from manifold_common.errors import ConfigError

if TYPE_CHECKING:
    from manifold_common.bootstrap.services import Manifold
    from manifold_common.ports.event_publisher import EventPublisher
    from manifold_common.services.events.relay import Relay
    from manifold_common.settings import Settings


def build_relays(manifold: Manifold, *, publish_seconds: float | None = None) -> list[Relay]:
    """Return a relay for each sink; close them when done. They connect when they first have something to send.

    Args:
        publish_seconds: the longest that sending one batch may take; what is usual by default.

    Raises:
        ConfigError: the settings of a sink are wrong.
    """
    from manifold_common.services.events.delivery_rules import PUBLISH_SECONDS, RelayRules
    from manifold_common.services.events.relay import Relay

    settings, context = manifold.settings, manifold.context
    events = settings.projects.events
    publishers: list[EventPublisher] = []
    if events.enabled:
        from manifold_common.adapters.kafka.publisher import KafkaPublisher

        publishers.append(KafkaPublisher(kafka_options(settings), kafka_credentials(settings, context.clock)))
    if events.webhooks.urls:
        from manifold_common.adapters.webhook.publisher import WebhookPublisher

        secret = SettingsCredentials(settings, _webhook_secret, context.clock)
        timeout = events.webhooks.timeout_seconds
        publishers += [
            WebhookPublisher(url.get_secret_value(), secret, timeout_seconds=timeout, clock=context.clock)
            for url in events.webhooks.urls
        ]
    return [
        Relay(
            context.catalog,
            publisher,
            clock=context.clock,
            randomness=context.randomness,
            rules=RelayRules(max_refusals=events.max_attempts, publish_seconds=publish_seconds or PUBLISH_SECONDS),
            base_url=settings.server.public_url or "",
        )
        for publisher in publishers
    ]


def check_webhooks(settings: Settings) -> None:
    """Raises ConfigError: the secret that signs webhooks cannot be used."""
    if settings.projects.events.webhooks.urls:
        from manifold_common.adapters.webhook.signature import key_of

        key_of(_webhook_secret(settings))


def _webhook_secret(settings: Settings) -> str:
    secret = settings.projects.events.webhooks.secret
    if secret is None:
        raise ConfigError("projects.events.webhooks.secret is not set", hint="set WEBHOOKS_SECRET")
    return secret.get_secret_value()
