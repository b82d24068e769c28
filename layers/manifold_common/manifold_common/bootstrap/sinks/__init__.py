"""From settings to the sinks that get events. A module is loaded to be asked; its client, when something is delivered.

A module of a kind of sink has

- ``names(settings) -> list[str]``: of the sinks that are switched on, the same after every restart;
- ``publishers(settings, clock) -> list[EventPublisher]``: those same sinks; raises ConfigError;

and, where that makes sense,

- ``probes(settings) -> dict[str, Callable[[], str]]``: by the sink's name, what looks at it and returns its trouble;
- ``checks(settings) -> dict[str, Callable[[], object]]``: by the key of the settings meant, what raises ConfigError
  or OSError where these cannot be worked with, without connecting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from manifold_common.ports.clock import Clock
    from manifold_common.ports.event_publisher import EventPublisher
    from manifold_common.settings import Settings

SINKS = (
    "manifold_common.bootstrap.sinks.kafka",
    "manifold_common.bootstrap.sinks.webhook",
)
"""The module of each kind of sink: a line for each (docs/extending.md)."""


def _modules() -> Iterator[Any]:
    return map(import_module, SINKS)


def event_sinks(settings: Settings) -> list[str]:
    """Return the names of the sinks that get events."""
    return [name for module in _modules() for name in module.names(settings)]


def build_publishers(settings: Settings, clock: Clock) -> list[EventPublisher]:
    """Return what delivers to each sink. It connects at the first use. Raises ConfigError."""
    return [publisher for module in _modules() for publisher in module.publishers(settings, clock)]


def sink_probes(settings: Settings) -> dict[str, Callable[[], str]]:
    """Return what looks at a sink from this process, by the sink's name. A function that delivers nothing may have no
    way to a sink."""
    if settings.functions.name is not None:
        return {}
    found: dict[str, Callable[[], str]] = {}
    for module in _modules():
        if probes := getattr(module, "probes", None):
            found |= probes(settings)
    return found


def sink_checks(settings: Settings) -> dict[str, Callable[[], object]]:
    """Return what raises ConfigError or OSError where settings of sinks cannot be worked with, by their key."""
    found: dict[str, Callable[[], object]] = {}
    for module in _modules():
        if checks := getattr(module, "checks", None):
            found |= checks(settings)
    return found
