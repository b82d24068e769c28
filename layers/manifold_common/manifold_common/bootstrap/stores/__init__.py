"""From settings to the object store that they name. Its module is loaded then, and no other's.

A module of a store has

- ``open_store(settings, clock, randomness) -> ObjectStore``: raises ConfigError, StoreUnavailable, NoSpace;
- ``place_of(settings) -> Path | str``: where the objects are, a path of this machine or an address of any form;

and, where the store can do more,

- ``open_links(settings, clock) -> ObjectLinks``: gives clients links by which they reach the objects themselves;
- ``open_served(settings, clock, randomness) -> ServedStore``: for clients that reach it through this process;
- ``prepare(settings) -> list[str]``: makes the place for objects ready and returns what was done;
- ``impatient(settings, seconds) -> Settings``: others by which the store gives up early. A host that starts looks then
  whether an operator has given the store what it needs.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from manifold_common.ports.clock import Clock, Randomness
    from manifold_common.ports.object_links import ObjectLinks
    from manifold_common.ports.object_store import ObjectStore
    from manifold_common.ports.served_store import ServedStore
    from manifold_common.settings import Settings


def _module(settings: Settings) -> Any:
    from manifold_common.settings.stores import STORES  # costs what all settings cost: a handler is imported without

    return import_module(STORES[settings.projects.backend])


def build_store(settings: Settings, clock: Clock, randomness: Randomness) -> ObjectStore:
    """Raises ConfigError, StoreUnavailable, NoSpace."""
    store: ObjectStore = _module(settings).open_store(settings, clock, randomness)
    return store


def place_of_store(settings: Settings) -> Path | str:
    """Return where the objects are: a path of this machine, or the address of a store elsewhere."""
    place: Path | str = _module(settings).place_of(settings)
    return place


def build_links(settings: Settings, clock: Clock) -> ObjectLinks | None:
    """Return what gives clients links to objects, or ``None`` where the store can give none. Raises ConfigError."""
    make = getattr(_module(settings), "open_links", None)
    return make(settings, clock) if make else None


def build_served_store(settings: Settings, clock: Clock, randomness: Randomness) -> ServedStore | None:
    """Return the store for clients that reach it through this process. ``None``: they reach it themselves, or this is a
    function, through which no pack passes. Raises StoreUnavailable, NoSpace."""
    make = getattr(_module(settings), "open_served", None)
    return make(settings, clock, randomness) if make and settings.functions.name is None else None


def prepare_store(settings: Settings) -> list[str]:
    """Make the place for objects ready and return what was done. Raises ConfigError, StoreUnavailable."""
    prepare = getattr(_module(settings), "prepare", None)
    return prepare(settings) if prepare else ["this store needs no preparation"]


def build_impatient_store(
    settings: Settings, clock: Clock, randomness: Randomness, *, seconds: float
) -> ObjectStore | None:
    """Return the store as it gives up after ``seconds``; ``None``: it needs nothing that an operator may have left out.

    Raises ConfigError, StoreUnavailable, NoSpace.
    """
    impatient = getattr(_module(settings), "impatient", None)
    return build_store(impatient(settings, seconds), clock, randomness) if impatient else None
