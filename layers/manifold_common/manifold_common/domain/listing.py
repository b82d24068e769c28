"""What of a list is wanted: which projects, which commits, which entries of a tree. Every condition has to hold.

A filter is made from what a caller says, and refuses there what could select nothing by mistake: a time without a zone,
text that can be no name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

import msgspec

from manifold_common.domain.arguments import checked_text, optional_generation
from manifold_common.domain.moments import FIRST_YEAR, is_usable
from manifold_common.domain.paths import ROOT, check_path
from manifold_common.domain.project_name import MAX_NAME_BYTES
from manifold_common.errors import InvalidInput
from manifold_common.ids import Generation, SessionId, UserId, parse_session_id, parse_user_id

_LAST_CHARACTER = 0x10FFFF
_FIRST_SURROGATE, _LAST_SURROGATE = 0xD800, 0xDFFF
_MAX_TEXT = 1024
_SHOWN = 80
_TIME_HINT = "write it as 2026-05-04T10:20:30Z"


@dataclass(frozen=True, slots=True)
class ProjectFilter:
    """``since`` is the first moment that counts, ``until`` the first that does not."""

    prefix: str = ""
    """What the name begins with."""
    created_since: datetime | None = None
    created_until: datetime | None = None
    updated_since: datetime | None = None
    updated_until: datetime | None = None

    def __post_init__(self) -> None:
        _checked(self.prefix, "prefix")
        _check_times(self, "created_since", "created_until", "updated_since", "updated_until")

    def takes(self, name: str, created_at: datetime, updated_at: datetime) -> bool:
        return (
            name.startswith(self.prefix)
            and _is_within(created_at, self.created_since, self.created_until)
            and _is_within(updated_at, self.updated_since, self.updated_until)
        )


@dataclass(frozen=True, slots=True)
class Fact:
    """A key of a commit's provenance, and perhaps its value."""

    key: str
    value: str | None = None
    """Text as it is, anything else as JSON has it (``0.5``, ``true``). ``None``: any."""

    @classmethod
    def of(cls, text: str) -> Fact:
        """Return what ``KEY`` or ``KEY=VALUE`` asks for. Raises InvalidInput."""
        key, given, value = _checked(text, "provenance").partition("=")
        if not key:
            raise InvalidInput("provenance names no key", hint="write KEY, or KEY=VALUE")
        return cls(key, value if given else None)

    def is_in(self, provenance: Mapping[str, Any]) -> bool:
        if self.key not in provenance:
            return False
        found = provenance[self.key]
        return self.value is None or self.value == (
            found if isinstance(found, str) else msgspec.json.encode(found).decode()
        )

    def __str__(self) -> str:
        return self.key if self.value is None else f"{self.key}={self.value}"


@dataclass(frozen=True, slots=True)
class CommitFilter:
    """``since`` is the first moment that counts, ``until`` the first that does not.

    The catalog knows authors, sessions, times and generations. What a commit changed and its provenance are sealed:
    these are looked for commit by commit.
    """

    author: UserId | None = None
    session: SessionId | None = None
    since: datetime | None = None
    until: datetime | None = None
    before: Generation | None = None
    """Its generation is a lower one."""
    path: bytes | None = None
    """It changed this path, or something below it."""
    provenance: Fact | None = None

    def __post_init__(self) -> None:
        if self.author is not None:
            parse_user_id(self.author)
        if self.session is not None:
            parse_session_id(self.session)
        optional_generation(self.before, "before")
        if self.path is not None and self.path != ROOT:
            check_path(self.path)
        _check_times(self, "since", "until")

    @property
    def is_sealed(self) -> bool:
        """Whether what it asks for is in sealed content."""
        return self.path not in (None, ROOT) or self.provenance is not None

    def takes(self, generation: Generation, author: UserId, session: SessionId | None, created_at: datetime) -> bool:
        """Tell whether a commit is wanted as far as the catalog knows."""
        return (
            (self.before is None or generation < self.before)
            and self.author in (None, author)
            and self.session in (None, session)
            and _is_within(created_at, self.since, self.until)
        )


@dataclass(frozen=True, slots=True)
class TreeFilter:
    glob: str | None = None
    """A pattern of docs/path-patterns.md, from the project's root: what it matches, and all below that."""
    kind: int | None = None
    """As ``tree.Entry`` has it."""


def past_prefix(prefix: str) -> str:
    """Return a text above all names of projects that begin with ``prefix``, by code points, and above no others."""
    for at in range(len(prefix) - 1, -1, -1):
        point = ord(prefix[at]) + 1
        if point <= _LAST_CHARACTER:
            is_surrogate = _FIRST_SURROGATE <= point <= _LAST_SURROGATE
            return prefix[:at] + chr(_LAST_SURROGATE + 1 if is_surrogate else point)
    return chr(_LAST_CHARACTER) * (MAX_NAME_BYTES // 4 + 1)


def parse_moment(text: str, name: str) -> datetime:
    """Return the time that a text in RFC 3339 form names. Raises InvalidInput."""
    try:
        moment: datetime = msgspec.convert(text, Annotated[datetime, msgspec.Meta(tz=True)])
    except msgspec.ValidationError:
        raise InvalidInput(f"{name} {text[:_SHOWN]!r} is no time with its zone", hint=_TIME_HINT) from None
    return moment


def _is_within(moment: datetime, since: datetime | None, until: datetime | None) -> bool:
    return (since is None or moment >= since) and (until is None or moment < until)


def _checked(text: str, name: str) -> str:
    if "\0" in checked_text(text, name) or len(text) > _MAX_TEXT:
        raise InvalidInput(f"{name} has a NUL character, or more than {_MAX_TEXT} of them in all")
    return text


def _check_times(given: ProjectFilter | CommitFilter, *names: str) -> None:
    for name in names:
        moment = getattr(given, name)
        if moment is None:
            continue
        if not isinstance(moment, datetime) or moment.tzinfo is None or not is_usable(moment):
            raise InvalidInput(f"{name} is no time with its zone, from {FIRST_YEAR} on", hint=_TIME_HINT)


EVERY_PROJECT = ProjectFilter()
EVERY_COMMIT = CommitFilter()
EVERY_ENTRY = TreeFilter()
