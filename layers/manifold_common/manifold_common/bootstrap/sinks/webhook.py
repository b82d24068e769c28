"""Webhooks, which are never asked for anything but to take an event."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from manifold_common.bootstrap.credentials import SettingsCredentials
from manifold_common.errors import ConfigError

if TYPE_CHECKING:
    from manifold_common.ports.clock import Clock
    from manifold_common.ports.event_publisher import EventPublisher
    from manifold_common.settings import Settings


def names(settings: Settings) -> list[str]:
    from manifold_common.adapters.webhook.names import name_of

    return [name_of(url.get_secret_value()) for url in settings.projects.events.webhooks.urls]


def publishers(settings: Settings, clock: Clock) -> list[EventPublisher]:
    webhooks = settings.projects.events.webhooks
    if not webhooks.urls:
        return []
    from manifold_common.adapters.webhook.publisher import WebhookPublisher

    secret = SettingsCredentials(settings, _secret, clock)
    return [
        WebhookPublisher(url.get_secret_value(), secret, timeout_seconds=webhooks.timeout_seconds, clock=clock)
        for url in webhooks.urls
    ]


def checks(settings: Settings) -> dict[str, Callable[[], object]]:
    if not settings.projects.events.webhooks.urls:
        return {}
    from manifold_common.adapters.webhook.signature import key_of

    return {"projects.events.webhooks": lambda: key_of(_secret(settings))}


def _secret(settings: Settings) -> str:
    secret = settings.projects.events.webhooks.secret
    if secret is None:
        raise ConfigError("projects.events.webhooks.secret is not set", hint="set WEBHOOKS_SECRET")
    return secret.get_secret_value()
