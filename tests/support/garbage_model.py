"""What a world of projects that share content is expected to hold: plain dicts, one for each generation."""

from __future__ import annotations

import random
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

from manifold_common.domain.conflict import Strategy
from manifold_common.ids import ProjectId, SessionId, UploadId

Files = dict[bytes, bytes]
Change = dict[bytes, bytes | None]
"""By path; ``None``: it goes."""

PATHS = [b"a", b"b", b"c"]
INLINE_BYTES = 1024
"""So much travels inside a commit object here, so that packs are small, and many can be looked at."""
PACKED = [random.Random(seed).randbytes(2 * INLINE_BYTES) for seed in range(3)]
"""Each goes into a pack."""
CONTENTS = [b"one", b"two", b"three" * 100, *PACKED]


@dataclass
class Line:
    """A project, and all of its generations."""

    project: ProjectId
    history: dict[int, Files] = field(default_factory=lambda: {0: {}})
    removed: set[int] = field(default_factory=set)
    tags: dict[str, int] = field(default_factory=dict)
    is_alive: bool = True
    is_purged: bool = False

    @property
    def head(self) -> int:
        return max(self.history)

    @property
    def kept(self) -> list[int]:
        return [generation for generation in self.history if generation and generation not in self.removed]


@dataclass
class Session:
    name: SessionId
    line: Line
    node: str
    base: int
    """Of its working set."""
    files: Files
    pinned: int
    """By the session's row."""
    draft: tuple[int, Files] | None = None
    is_busy: bool = False
    is_open: bool = True
    is_kept: bool = False
    """It holds what a strategy has dropped."""
    is_left: bool = False
    """Nobody works on it any more."""
    is_asleep: bool = False
    """It holds saved work, and its project is deleted."""

    @property
    def changes(self) -> Change:
        return between(self.line.history[self.base], self.files)

    @property
    def is_saved(self) -> bool:
        return self.draft == (self.base, self.files) if self.changes else self.draft is None


@dataclass
class Upload:
    """A file that comes in parts."""

    line: Line
    id: UploadId
    path: bytes
    data: bytes
    is_plain: bool = False
    """It cannot go on once the project is encrypted."""
    is_busy: bool = False
    is_open: bool = True
    is_left: bool = False
    """Nobody goes on with it: whoever was sending it died and holds it for a while, or it may have been swept."""


@dataclass
class Backup:
    name: str
    needed: set[str]
    """Keys of what the catalog referred to when it was declared."""


@dataclass
class Doing:
    """What a thread is about to publish."""

    changes: Callable[[Files], Change]
    strategy: Strategy = Strategy.FAIL
    base: int | None = None
    """The generation that it was found on."""
    session: Session | None = None
    fork: tuple[Line, int] | None = None


class Foreseen:
    """Implements Randomness: what comes is the same each time."""

    def __init__(self, seed: int = 0) -> None:
        self._random, self._lock = random.Random(seed), threading.Lock()

    def token(self, size: int) -> bytes:
        with self._lock:
            return self._random.randbytes(size)

    def uniform(self) -> float:
        with self._lock:
            return self._random.random()


def between(before: Files, after: Files) -> Change:
    return {path: after.get(path) for path in before.keys() | after.keys() if before.get(path) != after.get(path)}


def applied(files: Files, change: Change) -> Files:
    return {path: data for path, data in {**files, **change}.items() if data is not None}


def mtime_ns(data: bytes) -> int:
    """Return a time that goes with the content, so that equal content is no conflict."""
    return 1_000_000_000_000_000_000 + zlib.crc32(data) * 1000
