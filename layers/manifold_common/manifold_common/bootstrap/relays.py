"""What delivers events, for a process that does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from manifold_common.bootstrap.sinks import build_publishers

if TYPE_CHECKING:
    from manifold_common.bootstrap.services import Manifold
    from manifold_common.services.events.relay import Relay


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
    return [
        Relay(
            context.catalog,
            publisher,
            clock=context.clock,
            randomness=context.randomness,
            rules=RelayRules(
                max_refusals=settings.projects.events.max_attempts, publish_seconds=publish_seconds or PUBLISH_SECONDS
            ),
            base_url=settings.server.public_url or "",
        )
        for publisher in build_publishers(settings, context.clock)
    ]
