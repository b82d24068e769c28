"""Restores that nobody waits for."""

from __future__ import annotations

from manifold_common.bootstrap.jobs.deferred import make
from manifold_common.bootstrap.jobs.kind import Kind
from manifold_common.shapes.jobs import DeferredParams

KIND = Kind(
    "restore",
    "Restores a generation, or paths of it, for who does not wait for that.",
    "maintenance",
    DeferredParams,
    make,
)
