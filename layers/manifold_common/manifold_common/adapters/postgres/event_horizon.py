"""Up to where events are complete: no transaction that is still under way has drawn a sequence up to there.

Sequences are drawn in order, and transactions end in another. Within a project that makes no difference, since whoever
draws one there holds the project's row. A reader of all projects who has seen 7 would miss 6 for ever, if the
transaction that drew it ends later. So readers go no further than the *horizon*.

Whoever writes into the outbox holds a lock on the table from before it draws a sequence to its transaction's end, and
PostgreSQL shows who does. So once all who held it at a moment have let go of it, everything that was visible at that
moment, and whatever has a lower sequence, is visible, or never will be. Commits wait for nothing, and store nothing for
it. What other programs do in the same cluster, even in a transaction that stays open for hours or was prepared, holds
nothing back unless it writes events; and nothing here depends on transaction ids, which a restored dump would not have.
"""

from __future__ import annotations

from threading import Lock
from typing import Final, NamedTuple

from manifold_common.adapters.postgres.database import Database
from manifold_common.ports.clock import Clock

_PATIENCE_SECONDS = 0.5
"""The longest that readers wait for the same writers, all together. What is complete then, is what they get."""
_FIRST_PAUSE_SECONDS = 0.002
_LONGEST_PAUSE_SECONDS = 0.05

# The rows that a statement sees are those of the moment when it began, and the locks are looked at after that.
_LOOK: Final = """
SELECT coalesce((SELECT max(sequence) FROM outbox), 0), ARRAY(
    SELECT virtualtransaction FROM pg_locks
    WHERE locktype = 'relation' AND relation = 'outbox'::regclass AND granted
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
)
"""


class _Candidate(NamedTuple):
    """A sequence that is complete once these writers have ended, as a look that begins later shows."""

    sequence: int
    writers: frozenset[str]
    since: int
    """The number of the last look that had begun by then."""
    noted_at: float


class EventHorizon:
    """What is known of it in this process. Safe for threads."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        self._lock = Lock()
        self._looks = 0
        self._complete = 0
        self._complete_since = 0
        self._next: _Candidate | None = None

    def reach(self) -> int:
        """Return the horizon: a sequence not below the newest that is visible now, unless writers take too long."""
        begun_at = self._clock.monotonic()
        pause, wanted = _FIRST_PAUSE_SECONDS, None
        while True:
            with self._lock:
                self._looks += 1
                look = self._looks
            newest, writers = self._db.read(_LOOK, ())[0]
            wanted = newest if wanted is None else wanted
            complete, waited_since = self._note(look, newest, frozenset(writers))
            waited_seconds = self._clock.monotonic() - min(begun_at, waited_since)
            if complete >= wanted or waited_seconds >= _PATIENCE_SECONDS:
                return complete
            self._clock.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    def _note(self, look: int, newest: int, writers: frozenset[str]) -> tuple[int, float]:
        """Returns the horizon, and since when writers are waited for."""
        now = self._clock.monotonic()
        with self._lock:
            if newest < self._complete and look > self._complete_since:
                self._complete, self._next = 0, None  # events were removed, or the database is a past one of itself
            if self._next is not None and look > self._next.since:
                self._next = self._next._replace(writers=self._next.writers & writers)
                if not self._next.writers:
                    self._reached(self._next.sequence)
                    self._next = None
            if not writers:
                self._reached(newest)
            elif self._next is None and newest > self._complete:
                self._next = _Candidate(newest, writers, self._looks, now)
            return self._complete, now if self._next is None else self._next.noted_at

    def _reached(self, sequence: int) -> None:
        if sequence > self._complete:
            self._complete, self._complete_since = sequence, self._looks
