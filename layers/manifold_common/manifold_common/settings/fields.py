"""The vocabulary in which settings are declared: one declaration drives validation, variables, masking and the docs.

A *section* is a frozen pydantic model; a *setting* is a field of one. The name of its environment variable follows
from where it stands (``projects.retention.days`` is ``PROJECTS_RETENTION_DAYS``), unless the declaration gives another.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from math import inf
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr
from pydantic.alias_generators import to_camel

CENTURY_DAYS = 36_500
CENTURY_SECONDS = CENTURY_DAYS * 86_400
"""What is meant to last for ever. Much more is no span that a clock's moments can be moved by."""
_SPANS = {"seconds": CENTURY_SECONDS, "hours": CENTURY_DAYS * 24, "days": CENTURY_DAYS}
"""The longest that a setting may allow, by the unit that its name ends with."""


def yaml_key(attribute: str) -> str:
    """Return the camelCase spelling of an attribute, with initialisms as the deployment guide writes them."""
    return to_camel(attribute).replace("Ttl", "TTL")


class Section(BaseModel):
    """A group of settings. Immutable; unknown names are refused; input never appears in validation errors."""

    model_config = ConfigDict(
        alias_generator=yaml_key,
        populate_by_name=True,
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        allow_inf_nan=False,
        # One schema for the whole tree instead of one per section: sections are built on first use alone.
        defer_build=True,
    )

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        for name, field in cls.model_fields.items():
            longest = _SPANS.get(name.rpartition("_")[2])
            if longest is not None and not any(getattr(one, "le", inf) <= longest for one in field.metadata):
                raise TypeError(f"{cls.__name__}.{name} is a span of time and needs le: {longest} at most")


class Unserved(NamedTuple):
    """A setting for something that this release does not have. Any value is refused, except one that asks for what is
    the case anyway, such as ``false`` for a switch.

    Attributes:
        lacks: why it has no effect, as a clause.
        instead: what to do.
        harmless: nobody relies on it for protection, and the deployment guide or another program gives it: it is taken,
            with a warning.
        so: the value that asks for what is so; ``None``: there is none.
    """

    lacks: str
    instead: str = "remove it"
    harmless: bool = False
    so: Any = None

    @property
    def message(self) -> str:
        return f"has no effect yet: {self.lacks}"

    def asks(self, value: Any) -> bool:
        """Tell whether ``value`` asks for what is not there."""
        return self.so is None or value != self.so


def setting(
    default: Any,
    description: str,
    *,
    env: str | Sequence[str] | None = None,
    fallback: Sequence[str] = (),
    in_file: bool = False,
    unserved: Unserved | None = None,
    **constraints: Any,
) -> Any:
    """Declare a setting.

    Args:
        default: the value when nothing sets it. In a path, ``{workdir}`` and ``{uid}`` stand for what they say.
        description: what it does, with its unit.
        env: the environment variable, or several of which the first that is set counts. Default: the section's
            prefix and the attribute's name.
        fallback: variables that count only when neither a variable of ``env`` nor the file sets the value.
        in_file: a variable with ``_FILE`` added may name a file with the value, as for every secret: for what is
            replaced together with one.
        unserved: it has no effect yet; else it has one, unless its section has none.
        constraints: ``ge``, ``le``, ... as for pydantic's ``Field``.
    """
    names = (env,) if isinstance(env, str) else tuple(env or ())
    extra: dict[str, Any] = {
        "env": list(names),
        "fallback": list(fallback),
        "in_file": in_file,
        "unserved": unserved,
    }
    return Field(default, description=description, json_schema_extra=extra, **constraints)


def section(model: type[Section], *, env: str | None = None, unserved: Unserved | None = None) -> Any:
    """Declare a group of settings.

    Args:
        env: the prefix of its variables, if not the parent's and its own name.
        unserved: what its settings ask for is not there yet; one of them may say otherwise for itself.
    """
    extra: dict[str, Any] = {"env": env, "unserved": unserved}
    return Field(default_factory=model, json_schema_extra=extra)


class Kind(NamedTuple):
    """How a type is named to people: ``label`` in tables, ``allowed`` in errors."""

    label: str
    allowed: str


_SIZE = re.compile(r"(\d{1,18}(?:\.\d{1,18})?)\s*(?:([kmgt])(i?))?b?", re.IGNORECASE)
_POWER = {"k": 1, "m": 2, "g": 3, "t": 4}


def _parse_size(value: object) -> object:
    if not isinstance(value, str):
        return value
    match = _SIZE.fullmatch(value.strip())
    if match is None:
        raise ValueError("not a size")
    number, unit, binary = match.groups()
    factor = (1024 if binary else 1000) ** _POWER[unit.lower()] if unit else 1
    if "." not in number:
        return int(number) * factor
    if factor == 1:
        raise ValueError("not a whole number of bytes")
    return round(float(number) * factor)


def _check_url(value: str) -> str:
    """A part of a password that was not escaped must not be taken for a host, a port or a path, which messages show."""
    if "@" in value or "?" in value or "#" in value:
        raise ValueError("not the URL of a server")
    return _check_any_url(value)


def _check_any_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or re.search(r"\s", value):
        raise ValueError("not a URL")
    value.encode()  # raises ValueError when it holds bytes that were no UTF-8
    _ = parts.port  # raises ValueError when it is not a port
    parts.hostname.encode("idna")  # raises ValueError when a part of it is empty or too long, as connecting would
    return value


def _check_secret_url(value: SecretStr) -> SecretStr:
    _check_any_url(value.get_secret_value())
    return value


def _check_address(value: str) -> str:
    host, colon, port = value.rpartition(":")
    if not colon or not host or re.search(r"[\s/@,]", host) or not port.isascii() or not port.isdigit():
        raise ValueError("not an address")
    if not 0 < int(port) < 65536:
        raise ValueError("not a port")
    if ":" in host:
        ipaddress.IPv6Address(host.removeprefix("[").removesuffix("]"))  # else what is before it may be a password
    host.encode("idna")  # as for URLs
    return value


_CHARACTER = r"(?:[^\s:/?#\[\]@%]|%(?!00)[0-9A-Fa-f]{2})"
_HOST = rf"(?:\[[0-9A-Za-z:.%]+\]|(?:(?!,){_CHARACTER})*)(?::[0-9]*)?"
_OPTION = rf"[a-z_]+=(?:(?![&=]){_CHARACTER}|[/:])*"
_POSTGRES_URL = re.compile(
    rf"(?P<scheme>(?i:postgres(?:ql)?))://"
    rf"(?:{_CHARACTER}*(?::(?:{_CHARACTER}|:)*)?@)?"
    rf"(?P<hosts>{_HOST}(?:,{_HOST})*)"
    rf"(?:/{_CHARACTER}*)?(?:\?(?:{_OPTION}(?:&{_OPTION})*)?)?"
)
"""Stricter than libpq, which takes a part of a password that was not escaped for a host, and names it in its errors."""


def _check_postgres_url(value: SecretStr) -> SecretStr:
    url = value.get_secret_value()
    found = _POSTGRES_URL.fullmatch(url)
    ports = re.findall(r":([0-9]+)(?=,|$)", re.sub(r"\[.*?\]", "", found["hosts"])) if found else ()
    if found is None or any(not 0 < int(port) < 65536 for port in ports):
        raise ValueError("not a PostgreSQL URL")
    scheme = found["scheme"]
    return SecretStr(scheme.lower() + url.removeprefix(scheme))


def _check_network(value: str) -> str:
    ipaddress.ip_network(value, strict=False)  # raises ValueError when it is not one
    return value


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


Bytes = Annotated[
    int,
    BeforeValidator(_parse_size),
    Kind("size", "a size in bytes, for example 1048576, 16MiB or 2GiB"),
]
HttpUrl = Annotated[
    str, AfterValidator(_check_url), Kind("URL", "an http:// or https:// URL without credentials or a query")
]
PostgresUrl = Annotated[
    SecretStr,
    AfterValidator(_check_postgres_url),
    Kind(
        "secret",
        "a URL such as postgresql://manifold@localhost:5433/manifold, with special characters of user and password as "
        "%-escapes (@ as %40, / as %2F, # as %23, ? as %3F, % as %25), or without the password, which "
        "DATABASE_PASSWORD takes as it is",
    ),
]
Address = Annotated[str, AfterValidator(_check_address), Kind("host:port", "an address such as localhost:6379")]
Addresses = Annotated[
    tuple[Annotated[str, AfterValidator(_check_address)], ...],
    BeforeValidator(_split),
    Kind("list of host:port", "a list of addresses such as kafka:29092, separated by commas"),
]
SecretUrls = Annotated[
    tuple[Annotated[SecretStr, AfterValidator(_check_secret_url)], ...],
    BeforeValidator(_split),
    Kind("list of secret URLs", "a list of http:// or https:// URLs without a user or password, separated by commas"),
]
Names = Annotated[tuple[str, ...], BeforeValidator(_split), Kind("list", "a list of names, separated by commas")]
Networks = Annotated[
    tuple[Annotated[str, AfterValidator(_check_network)], ...],
    BeforeValidator(_split),
    Kind("list of networks", "a list of addresses or networks such as 10.0.0.7 or 10.0.0.0/8, separated by commas"),
]
Directory = Annotated[Path, Kind("path", "the path of a folder")]
File = Annotated[Path, Kind("path", "the path of a file")]
