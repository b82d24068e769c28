"""Whether a session at the other end of a connection is one's own.

Manifold itself needs none. ``pg_dump`` and ``psql`` do: they set what holds for a session, and behind a pooler in
transaction mode would leave it to whoever gets the server connection next.
"""

from __future__ import annotations

import psycopg

from manifold_common.adapters.postgres.connection import Connection, connect
from manifold_common.adapters.postgres.dsn import Dsn
from manifold_common.adapters.postgres.errors import translate

_ROUNDS = 8


def shares_sessions(dsn: str) -> bool:
    """Tell whether what lies behind ``dsn`` gives a session to several clients.

    A server says at the start of a connection which of its processes serves it. Where another one answers, there is a
    pooler. If it keeps sessions apart, each of two connections has a process of its own, always the same.

    Raises:
        ConfigError: ``dsn`` is not a connection string. CatalogUnavailable: nobody answers.
    """
    parsed = Dsn(dsn)
    try:
        with connect(parsed, statement_seconds=5.0) as one:
            if _process(one) == one.info.backend_pid:
                return False
            with connect(parsed, statement_seconds=5.0) as other:
                seen = [(_process(one), _process(other)) for _ in range(_ROUNDS)]
    except psycopg.Error as error:
        raise translate(error, parsed.without_secrets) from error
    return len(set(seen)) > 1 or seen[0][0] == seen[0][1]


def _process(connection: Connection) -> int:
    (pid,) = connection.execute("SELECT pg_backend_pid()").fetchall()[0]
    return int(pid)
