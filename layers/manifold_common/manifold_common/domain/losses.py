"""Properties of files and folders that no project keeps, and how many were found to have them."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from manifold_common.domain.tree import MODE_MASK, kept_time


class Loss(Enum):
    """Something that is not kept. The value is what JSON has."""

    SPECIAL_BITS = "special_bits"
    """Set-user-ID, set-group-ID and sticky bits."""
    HARD_LINKS = "hard_links"
    """That two names are one file: each becomes a file of its own."""
    TIMES = "times"
    """Modification times outside of 1677 to 2262: the nearest one that can be kept is."""
    ATTRIBUTES = "attributes"
    """Extended attributes, which access control lists and capabilities of programs are, too."""


class Lost(NamedTuple):
    paths: int
    """How many."""
    example: bytes
    """The first path."""


class Losses(dict[Loss, Lost]):
    """What was found, by kind."""

    def note(self, loss: Loss, path: bytes) -> None:
        known = self.get(loss)
        self[loss] = Lost(known.paths + 1, known.example) if known else Lost(1, path)

    def note_mode(self, path: bytes, permissions: int) -> None:
        """Args: ``permissions``: as ``stat.S_IMODE`` has them."""
        if permissions & ~MODE_MASK:
            self.note(Loss.SPECIAL_BITS, path)

    def note_time(self, path: bytes, mtime_ns: int) -> None:
        if kept_time(mtime_ns) != mtime_ns:
            self.note(Loss.TIMES, path)
