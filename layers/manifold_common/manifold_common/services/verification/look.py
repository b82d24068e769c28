"""What a verification looks at: a project, or a part of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from manifold_common.domain.tree import Tree
from manifold_common.format.places import Container, Places
from manifold_common.ids import Generation

Progress = Callable[[int, int], None]
"""Called with (objects looked at, bytes opened) since the last call."""
_NOTHING = Generation(0)
STRETCH_GENERATIONS: Final = 2000
"""Of a history that is looked at piece by piece."""


@dataclass(frozen=True, slots=True)
class Look:
    sample: float = 0.0
    """Percentage of the objects whose content is read."""
    after: Generation = _NOTHING
    """The stretch of the history begins with the next one."""
    last: Generation | None = None
    """It ends with this one; ``None``: with the newest."""
    piece: int = 0
    pieces: int = 1
    """Only objects of one of so many pieces, which are about as large."""
    suspects: frozenset[str] = frozenset()
    """Names of objects that are looked at also where something before the stretch refers to them already."""

    @classmethod
    def stretch(cls, after: Generation, *, sample: float = 0.0, suspects: frozenset[str] = frozenset()) -> Look:
        """Return the look at the stretch that begins after a generation."""
        return cls(sample, after, Generation(after + STRETCH_GENERATIONS), suspects=suspects)


def stretches(head: Generation) -> Iterator[Generation]:
    """Yield after which generations the stretches of a history begin; there is always one."""
    yield from map(Generation, range(0, max(1, head), STRETCH_GENERATIONS))


class LogStart(NamedTuple):
    """What a stretch of the log goes on from."""

    generation: Generation
    """The kept one before it; 0: there is none."""
    record_hash: bytes
    """Of that one; empty where there is none."""
    tree: Tree | None
    """``None``: it cannot be read, and is not known before the next checkpoint."""
    places: Places
    """Of its content."""

    def containers(self) -> frozenset[Container]:
        """Return what the tree refers to, which is looked at with what came before."""
        return frozenset(place.block.container for place in self.places.values())


FROM_NOTHING = LogStart(_NOTHING, b"", {}, {})
