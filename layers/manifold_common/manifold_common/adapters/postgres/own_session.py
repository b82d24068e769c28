"""What is kept in a session of the server, where it is a connection's own: prepared statements and their plans.

For whoever knows that no pooler stands between. Nothing but speed depends on it.

A kept plan fits the tables as they were when it was made, which may have been empty. So none reads a whole table where
there is an index, and each is made anew after a while.
"""

from __future__ import annotations

from typing import Final

import psycopg

from manifold_common.adapters.postgres.connection import Connection
from manifold_common.errors import ConfigError

PREPARE_AFTER: Final = 2
"""So often a statement is sent whole: most commands need theirs no more often."""
_USES_OF_A_PLAN: Final = 200

_BEGIN: Final = "SELECT set_config('enable_seqscan', 'off', false) WHERE pg_backend_pid() = %s"
_FORGET_PLANS: Final = "DISCARD PLANS"


def begin(connection: Connection) -> None:
    """Let the session of a new connection keep statements that are sent often.

    Raises:
        ConfigError: it is a pooler's, where nothing was changed. psycopg.Error: the server did not answer.
    """
    # A server says at the start of a connection which of its processes serves it; a pooler does not know that.
    with connection.hurried():
        is_own = connection.execute(_BEGIN, (connection.info.backend_pid,)).fetchall()
    if not is_own:
        raise ConfigError(
            "databasePrepare is on, but a pooler answers for the database, and might share the session",
            hint="set DATABASE_PREPARE=false, or let DATABASE_URL name the server itself",
        )
    connection.prepare_threshold = PREPARE_AFTER


def before_use(connection: Connection) -> bool:
    """Make plans anew when it is time, and return whether the connection can be used."""
    if connection.prepare_threshold is None or connection.uses % _USES_OF_A_PLAN:
        return True
    try:
        with connection.hurried():
            connection.execute(_FORGET_PLANS)
    except psycopg.Error:
        return False
    return True
