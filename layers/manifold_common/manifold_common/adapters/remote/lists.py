"""Lists of a server: what is asked of them, and going through their pages."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Generic, TypeVar

from msgspec import UNSET

from manifold_common.domain.listing import CommitFilter, ProjectFilter
from manifold_common.errors import BadAnswer
from manifold_common.shapes.answer_checks import Check
from manifold_common.shapes.page import Page
from manifold_common.shapes.path import text_of

T = TypeVar("T")

MAX_ITEMS = 1_000_000
_PAGE = 1000
_MAX_EMPTY_PAGES = 10_000
"""In a row. A server that searches a long history may find nothing on many pages."""


class Listed(Page, Generic[T], frozen=True):
    items: list[T]


def all_items(
    ask: Callable[[Mapping[str, str]], Listed[T]],
    name: str,
    about: Check[Sequence[T]],
    most: int = MAX_ITEMS,
    cursor: str | None = None,
) -> Listed[T]:
    """Return up to ``most`` items of a list, from ``cursor`` on, and where it goes on.

    Args:
        ask: for one page, with these parameters besides.
        name: of the list, for the error.
        about: tells whether they are what was asked for.

    Raises:
        BadAnswer: they are not, or there is no end to them.
    """
    found: list[T] = []
    empty = 0
    while True:
        limit = {"limit": str(min(most - len(found), _PAGE))}
        page = ask(limit if cursor is None else {**limit, "cursor": cursor})
        found += page.items
        if page.next_cursor is None or len(found) >= most:
            break
        empty = 0 if page.items else empty + 1
        if page.next_cursor == cursor or empty > _MAX_EMPTY_PAGES:
            break
        cursor = page.next_cursor
    if len(found) > most or (page.next_cursor is not None and (len(found) >= MAX_ITEMS or len(found) < most)):
        raise BadAnswer(f"the server's list at {name} does not end after {len(found)}")
    about(found)
    return Listed(items=found, next_cursor=page.next_cursor)


def said_of_projects(wanted: ProjectFilter) -> dict[str, str]:
    """Return the parameters that ask for these."""
    given = {field.name: getattr(wanted, field.name) for field in fields(wanted)}
    return {name: _text(value) for name, value in given.items() if value not in (None, "")}


def said_of_commits(wanted: CommitFilter) -> dict[str, str]:
    """Return the parameters that ask for these."""
    given = {
        "author": wanted.author,
        "session": wanted.session,
        "since": wanted.since,
        "until": wanted.until,
        "before_generation": wanted.before,
        "provenance": wanted.provenance,
    }
    said = {name: _text(value) for name, value in given.items() if value is not None}
    if wanted.path:
        shown, exact = text_of(wanted.path)
        said |= {"path": shown} if exact is UNSET else {"path_base64": base64.b64encode(exact).decode()}
    return said


def _text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
