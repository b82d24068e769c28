"""What a chore is: work that comes round again, on hosts by their scheduler, on Lambda by a function's schedule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from manifold_common.bootstrap.services import Manifold

Stop = Callable[[], bool]
"""Tells whether to end early, asked between two steps: there is no time left, or the process is about to end."""


@dataclass(frozen=True, slots=True)
class Every:
    """How long a host pauses between two runs."""

    said: str
    """For people: the key of the setting that decides it, or a length of time."""
    seconds: Callable[[Manifold], float]
    """0: hosts do not do it."""


@dataclass(frozen=True, slots=True)
class Chore:
    """Safe to run at any time, on any number of nodes, and to be cut off: the next run goes on."""

    name: str
    """In requests, logs, metrics and warnings: small letters and ``_``, what it does as a command."""
    does: str
    """The same in one sentence, for people."""
    every: Every
    function: Literal["maintenance", "fanout", "reencrypt"] | None
    """Which function does it on Lambda; ``None``: none, since it is about one machine."""
    run: Callable[[Manifold, Stop], int]
    """Returns how much it did. Raises ManifoldError: something failed, and is tried again in the next run."""
    is_long: bool = False
    """It may go on for as long as there is work: a host gives it a thread of its own, and the others do not wait."""


UPKEEP = Every(
    "`projects.maintenance.intervalSeconds`", lambda manifold: manifold.settings.projects.maintenance.interval_seconds
)
"""For what nobody waits for."""
