"""What of a project's history is kept, and why an object of the store is garbage."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from enum import Enum
from typing import NamedTuple

from manifold_common.ids import Generation


class Cause(Enum):
    """Why nothing refers to an object. Values are kept in the catalog, and sent to clients."""

    HISTORY = "history"
    """Only generations did that retention has removed."""
    ORPHAN = "orphan"
    """Nothing ever did: whoever stored it was cut off, or came too late."""
    DELETED = "deleted"
    """It is of a project that was deleted, and whose time to be brought back is over."""
    MOVED = "moved"
    """What it held was written anew elsewhere (``Anew``) by the collection that found it."""


class Anew(Enum):
    """Why what an object holds is written anew, so that nothing refers to it any more. Values are sent to clients."""

    MOSTLY_DEAD = "mostly_dead"
    """Little of it is still in use."""
    SMALL = "small"
    """There are many small ones, which are put together."""
    CHECKPOINT = "checkpoint"
    """It is a checkpoint that says where content is that moves."""


class Garbage(NamedTuple):
    """An object that nothing refers to."""

    object: str
    """Its key below the project's folder."""
    bytes: int
    reason: Cause


class Leaving(NamedTuple):
    """An object that something refers to until what it holds is written anew."""

    key: str
    bytes: int
    why: Anew


class Kept(NamedTuple):
    """Objects of the store, and their bytes."""

    objects: int = 0
    bytes: int = 0

    def with_one(self, size: int) -> Kept:
        return Kept(self.objects + 1, self.bytes + size)


class StoredUsage(NamedTuple):
    """What a project has stored, without what is condemned. Each object counts once, for the project that has stored
    it."""

    live: Kept = Kept()
    """Needed to read the newest generation, its own or that of a fork."""
    history: Kept = Kept()
    """Needed by other generations that are kept, drafts, uploads, or a deleted project that can be brought back."""
    unreferenced: Kept = Kept()
    """Nothing was found to refer to it; some of it may be about to be."""


class Rules(NamedTuple):
    """How long generations are kept. One stays while any rule keeps it; the newest always stays."""

    generations: int
    """So many of the newest. 0: as many as there are, unless ``days`` says something."""
    days: int
    """Those that were recorded within so many days. 0: however old, unless ``generations`` says something."""
    grace: timedelta
    """Younger ones stay whatever the rules say: somebody may be reading, or may send the request again that made it."""

    @property
    def keeps_all(self) -> bool:
        return not self.generations and not self.days


def to_remove(
    recorded: Sequence[tuple[Generation, datetime]], pinned: Iterable[Generation], now: datetime, rules: Rules
) -> list[Generation]:
    """Return which generations no rule keeps, oldest first.

    Args:
        recorded: every generation there is, oldest first, and when the catalog recorded it. The last is the head.
        pinned: stay for another reason: a tag, a session, a draft.
    """
    if rules.keeps_all:
        return []
    held = set(pinned)
    youngest = now - max(rules.grace, timedelta(days=rules.days))
    older = recorded[: -max(rules.generations, 1)]
    return [generation for generation, at in older if generation not in held and at < youngest]


def starts_of(kept: Sequence[Generation]) -> list[Generation]:
    """Return those whose predecessor is not kept, but for generation 1. Args: ``kept``: in order."""
    before = [Generation(0), *kept]
    return [generation for last, generation in zip(before, kept, strict=False) if last != generation - 1]
