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
from urllib.parse import quote

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import Conninfo

from manifold_common.errors import ConfigError
from manifold_common.ports.credentials import Credentials, Fixed

_HOW: Final = "write postgresql://user:password@host:5432/database, with %-escapes for special characters"
_SCHEMES: Final = ("postgresql", "postgres")
_SECRET_OPTIONS: Final = ("password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key")
_NEUTRAL: Final = {
    "connect_timeout": "0",
    "sslcertmode": "allow",
    "min_protocol_version": "3.0",
    "max_protocol_version": "3.0",
}
"""Defaults of libpq that it does not tell. Of all other options it tells them, or they may be empty."""


class Dsn:
    """A connection string that says all, and that another may replace. Printing it shows no password."""

    def __init__(self, text: str | Credentials[str], *, is_direct: bool = False) -> None:
        """``is_direct``: no pooler stands between; a session of the server is one connection's own.

        Raises:
            ConfigError: it is not a connection string, or the environment names a service for it.
        """
        self.is_direct = is_direct
        self._credentials: Credentials[str] = Fixed(text) if isinstance(text, str) else text
        self._secrets: frozenset[str] = frozenset()
        self._completed: dict[str, str] = {}
        self.complete(self.current)

    def __repr__(self) -> str:
        return "Dsn(...)"

    @property
    def current(self) -> str:
        """The connection string as it was given."""
        return self._credentials.current

    @property
    def text(self) -> str:
        """The connection string that says all."""
        return self.complete(self.current)

    def replaced(self, refused: str) -> bool:
        """Tell whether there is another one by now than the one that a server has refused."""
        return self._credentials.instead_of(refused) is not None

    def without_secrets(self, text: str) -> str:
        """Return ``text`` with whatever is secret in the connection string replaced."""
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, "***")
        return text

    def complete(self, text: str) -> str:
        """Return a connection string with all that it leaves open. Raises ConfigError."""
        if text not in self._completed:
            self._completed = {text: self._complete(text)}
        return self._completed[text]

    def _complete(self, text: str) -> str:
        scheme, separator, rest = text.partition("://")
        if separator and scheme.lower() in _SCHEMES:
            text = f"{scheme.lower()}://{rest}"  # libpq takes others for names of options
        try:
            options = conninfo_to_dict(text)
        except (psycopg.ProgrammingError, UnicodeError):
            # libpq quotes the part it does not understand, which may be the password.
            raise ConfigError("DATABASE_URL is not a valid PostgreSQL connection string", hint=_HOW) from None
        found = {str(options.get(name) or "") for name in _SECRET_OPTIONS}
        self._secrets |= {form for secret in found if secret for form in (secret, quote(secret, safe=""))}
        return make_conninfo(text, **_defaults_against_environment(options.keys()))


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
