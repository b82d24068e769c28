"""Whether the database server has room on its disk, asked from afar.

A small write proves nothing: it fits into an existing page. So the server is made to spill to disk, as it does for any
query that is too large for its memory: a megabyte beside its tables, gone with the statement. That changes no table and
writes no log, so it works even in a database that no longer takes writes. Where such files lie on another disk
(``temp_tablespaces``), and for the disk of a separate ``pg_wal``, only writes that were refused can tell.
"""

from __future__ import annotations

import threading
import time
from typing import Final

from manifold_common.adapters.postgres.database import Database
from manifold_common.errors import ManifoldError, NoSpace

_ASKED_EVERY_SECONDS: Final = 15.0
_REMEMBERED_SECONDS: Final = 60.0

_SPILL: Final = "SELECT spill()"


class Room:
    """Safe for threads."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._lock = threading.Lock()
        self._asked_at: float | None = None
        self._found = ""

    def trouble(self, *, within_seconds: float) -> str:
        """Return what is wrong, or ``""``. The server is asked every few seconds at most."""
        refusal = self._db.refusal
        now = time.monotonic()
        with self._lock:
            if self._asked_at is None or now - self._asked_at >= _ASKED_EVERY_SECONDS:
                self._found = self._ask(within_seconds)
                self._asked_at = now
            found = self._found
        if found or refusal is None or now - refusal[0] > _REMEMBERED_SECONDS:
            return found
        return f"{refusal[1]} ({now - refusal[0]:.0f} s ago)"

    def _ask(self, within_seconds: float) -> str:
        try:
            self._db.read(_SPILL, (), patience_seconds=within_seconds)
        except NoSpace as error:
            return error.message
        except ManifoldError:
            return ""  # whether the server is there at all is another question
        return ""
