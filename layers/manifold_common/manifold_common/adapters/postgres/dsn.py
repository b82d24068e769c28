"""Which database, and how it is reached: said by the connection string alone.

libpq fills what a connection string leaves open from some forty variables of the environment, so that ``PGHOST`` or
``PGOPTIONS`` of whoever started the process would lead elsewhere or change what statements mean. Whatever such a
variable would change is therefore given, with libpq's own default.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Container
from contextlib import suppress
from typing import Final

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import Conninfo

from manifold_common.errors import ConfigError

_HOW: Final = "write postgresql://user:password@host:5432/database, with %-escapes for special characters"
_SCHEMES: Final = ("postgresql", "postgres")
_NEUTRAL: Final = {
    "connect_timeout": "0",
    "sslcertmode": "allow",
    "min_protocol_version": "3.0",
    "max_protocol_version": "3.0",
}
"""Defaults of libpq that it does not tell. Of all other options it tells them, or they may be empty."""


class Dsn:
    """A connection string that says all. Printing it shows no password."""

    def __init__(self, text: str) -> None:
        """Raises ConfigError: it is not a connection string, or the environment names a service for it."""
        scheme, separator, rest = text.partition("://")
        if separator and scheme.lower() in _SCHEMES:
            text = f"{scheme.lower()}://{rest}"  # libpq takes others for names of options
        try:
            options = conninfo_to_dict(text)
        except psycopg.ProgrammingError:
            # libpq quotes the part it does not understand, which may be the password.
            raise ConfigError("DATABASE_URL is not a valid PostgreSQL connection string", hint=_HOW) from None
        self.text = make_conninfo(text, **_defaults_against_environment(options.keys()))
        self.password = str(options.get("password") or "")

    def __repr__(self) -> str:
        return "Dsn(...)"


def _defaults_against_environment(given: Container[str]) -> dict[str, str]:
    defaults = {}
    for option in Conninfo.get_defaults():
        name = option.keyword.decode()
        if option.envvar is None or option.val == option.compiled or name in given:
            continue
        if name == "service":
            raise ConfigError(
                "PGSERVICE is set, and would decide which database DATABASE_URL leads to",
                hint="unset PGSERVICE; DATABASE_URL says all",
            )
        if name == "user":  # set or not, it has a value; libpq's own is whose process this is
            with suppress(KeyError):
                defaults[name] = pwd.getpwuid(os.geteuid()).pw_name
            continue
        defaults[name] = _NEUTRAL.get(name, (option.compiled or b"").decode())
    return defaults
