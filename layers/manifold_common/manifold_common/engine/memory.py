"""How much memory reading the trees of projects may take in this process.

Each reader opens an ``Account``, which says before memory is taken whether it would be too much. All accounts of a
process share one limit: a reader that would exceed it because of others waits for them, and one that would exceed it
alone is refused. Where all would wait for each other, the last to come is refused at once.
"""

from __future__ import annotations

import threading
from types import TracebackType

from manifold_common.domain.patience import check_wanted, patience
from manifold_common.domain.wording import plural
from manifold_common.errors import QuotaExceeded, Unavailable

UNBOUNDED = 1 << 62
_WAIT_SECONDS = 30.0
_LOOK_SECONDS = 0.5


class Memory:
    """Safe for several threads."""

    def __init__(self, limit_bytes: int = UNBOUNDED) -> None:
        self.limit_bytes = limit_bytes
        self.taken = 0
        self.standing = 0
        """Of ``taken``: by accounts that wait for more themselves."""
        self.changed = threading.Condition()

    def account(self, what: str) -> Account:
        """Return an account, to be used as a context manager. Args: ``what``: is read, for errors."""
        return Account(self, what)


class Account:
    """What one reader has taken. Safe for several threads, one of which may wait in ``take``."""

    def __init__(self, memory: Memory, what: str) -> None:
        self._memory = memory
        self._what = what
        self.taken = 0

    def __enter__(self) -> Account:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.give_back(self.taken)

    def take(self, count: int) -> None:
        """Raises QuotaExceeded: too much for this process. Unavailable: too much beside others. Abandoned."""
        memory = self._memory
        left = patience(_WAIT_SECONDS)
        with memory.changed:
            while memory.taken + count > memory.limit_bytes:
                wanted = self.taken + count
                if wanted > memory.limit_bytes:
                    raise QuotaExceeded(
                        f"reading {self._what} takes about {plural(wanted, 'byte')} of memory, over the limit of "
                        f"{memory.limit_bytes}",
                        hint="raise projects.treeMemoryBytes, or give the function more memory",
                        limit=memory.limit_bytes,
                    )
                check_wanted()
                if left <= 0 or memory.standing + self.taken >= memory.taken:
                    raise Unavailable(
                        f"reading {self._what} takes about {plural(wanted, 'byte')} of memory; others take "
                        f"{memory.taken - self.taken} of the {memory.limit_bytes} that there are",
                        hint="try again, or raise projects.treeMemoryBytes",
                    )
                look, mine = min(left, _LOOK_SECONDS), self.taken
                memory.standing += mine
                try:
                    memory.changed.wait_for(lambda: memory.taken + count <= memory.limit_bytes, look)
                finally:
                    memory.standing -= mine
                left -= look
            self._add(count)

    def take_if_free(self, count: int) -> bool:
        """Tell whether it could be taken without waiting."""
        memory = self._memory
        with memory.changed:
            if memory.taken + count > memory.limit_bytes:
                return False
            self._add(count)
            return True

    def _add(self, count: int) -> None:
        self._memory.taken += count
        self.taken += count

    def give_back(self, count: int) -> None:
        with self._memory.changed:
            self._memory.taken -= count
            self.taken -= count
            self._memory.changed.notify_all()
