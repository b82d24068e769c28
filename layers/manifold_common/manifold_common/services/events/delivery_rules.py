"""How long a sink that fails is left alone, and when an event is given up on."""

from __future__ import annotations

from dataclasses import dataclass

from manifold_common.ports.clock import Randomness
from manifold_common.ports.event_publisher import Delivery, Outcome

PUBLISH_SECONDS = 20.0
_LONGEST_DELAY_OF_RETURN_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class RelayRules:
    max_refusals: int = 20
    """Refusals of an event after which its stream is parked."""
    publish_seconds: float = PUBLISH_SECONDS
    """Nothing is sent later than this after a claim."""
    streams: int = 100
    """Streams in one claim."""
    events: int = 100
    """Events of each."""
    pause_seconds: float = 0.5
    """Rest after the first failure; doubled with each that follows, give or take a half."""
    max_pause_seconds: float = 30.0
    max_turned_away_seconds: float = 300.0
    """The same where an operator has to change something before it can work."""

    def rest_seconds(self, failures: int, randomness: Randomness, outcome: Outcome | None = None) -> float:
        """Return how long to wait after so many failures in a row.

        Never shorter than the sink has asked for, and up to a tenth longer, so that not all come back together.
        """
        turned_away = outcome is not None and outcome.delivery is Delivery.TURNED_AWAY
        most = self.max_turned_away_seconds if turned_away else self.max_pause_seconds
        bound = min(most, self.pause_seconds * 2.0 ** min(max(failures - 1, 0), 30))
        rest = bound * (0.5 + randomness.uniform())
        asked = (outcome.wait_seconds if outcome is not None else None) or 0.0
        return max(rest, asked + min(asked / 10, _LONGEST_DELAY_OF_RETURN_SECONDS) * randomness.uniform())
