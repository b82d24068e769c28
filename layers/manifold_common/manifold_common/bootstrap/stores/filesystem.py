"""A folder as the object store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from manifold_common.adapters.filesystem.object_store import FilesystemObjectStore
    from manifold_common.ports.clock import Clock, Randomness
    from manifold_common.settings import Settings


def open_store(settings: Settings, clock: Clock, randomness: Randomness) -> FilesystemObjectStore:
    from manifold_common.adapters.filesystem.object_store import FilesystemObjectStore

    return FilesystemObjectStore(place_of(settings), clock=clock, randomness=randomness)


open_served = open_store


def place_of(settings: Settings) -> Path:
    return settings.projects.filesystem.root


def prepare(settings: Settings) -> list[str]:  # noqa: ARG001 - the shape that stores/__init__.py names
    return ["a directory needs no preparation"]
