"""The chores, in one list: the host's scheduler, the functions on a schedule and the documents read it.

A chore is added by a module here, and its name below (docs/extending.md).
"""

from __future__ import annotations

from importlib import import_module

from manifold_common.bootstrap.chores.chore import UPKEEP, Chore, Every, Stop

MODULES = (
    "manifold_common.bootstrap.chores.working_sets",
    "manifold_common.bootstrap.chores.sessions",
    "manifold_common.bootstrap.chores.checkpoints",
    "manifold_common.bootstrap.chores.objects",
    "manifold_common.bootstrap.chores.events",
    "manifold_common.bootstrap.chores.keys",
    "manifold_common.bootstrap.chores.scrub",
    "manifold_common.bootstrap.chores.jobs",
)
"""In the order in which a function does what is in them."""


def chores(module: str) -> tuple[Chore, ...]:
    found: tuple[Chore, ...] = import_module(module).CHORES
    return found


CHORES: dict[str, Chore] = {chore.name: chore for module in MODULES for chore in chores(module)}
"""By name."""


def chores_of(function: str) -> list[str]:
    """Return the names of what a function does, in the order in which it does so."""
    return [name for name, chore in CHORES.items() if chore.function == function]


__all__ = ["CHORES", "MODULES", "UPKEEP", "Chore", "Every", "Stop", "chores", "chores_of"]
