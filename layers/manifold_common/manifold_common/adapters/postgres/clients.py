"""How PostgreSQL's own client programs are told of a database: by the environment, which shows no password."""

from __future__ import annotations

from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Conninfo

from manifold_common.adapters.postgres.dsn import Dsn


def client_environment(dsn: str) -> dict[str, str]:
    """Return the variables by which ``psql``, ``pg_dump`` and their like find the database. Raises ConfigError."""
    names = {option.keyword.decode(): option.envvar.decode() for option in Conninfo.get_defaults() if option.envvar}
    given = conninfo_to_dict(Dsn(dsn).text)
    return {names[key]: str(value) for key, value in given.items() if key in names and value is not None}
