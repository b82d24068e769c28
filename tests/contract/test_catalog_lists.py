"""Lists are read page by page, each going on after the last row of the one before, while others write."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeVar

import pytest
from manifold_common.domain.listing import CommitFilter, ProjectFilter
from manifold_common.ids import Generation, ProjectId, SessionId, UserId
from manifold_common.ports.catalog import Catalog, CommitRow, OutboxEvent, ProjectRow, SessionRow

from tests.contract.catalog_fixtures import (
    EMPTY_HEAD,
    EVENT,
    NOW,
    OTHER_TENANT,
    OTHER_USER,
    TENANT,
    TTL,
    USER,
    Made,
    SettableClock,
    key,
    make_project,
    new_id,
    session,
)

Row = TypeVar("Row")
MINUTE = timedelta(minutes=1)


def paged(next_page: Callable[[Row | None], list[Row]], between: Callable[[], None] = lambda: None) -> list[Row]:
    found: list[Row] = []
    while page := next_page(found[-1] if found else None):
        found += page
        between()
    return found


def test_projects_that_were_there_all_the_time_are_listed_once_whatever_is_made_and_deleted(catalog: Catalog) -> None:
    chance = random.Random(7)
    steady = {f"{chance.getrandbits(32):08x}" for _ in range(200)}
    passing = {name: make_project(catalog, name) for name in (f"{chance.getrandbits(32):08x}" for _ in range(30))}
    for name in steady:
        make_project(catalog, name)

    def write() -> None:
        make_project(catalog, f"{chance.getrandbits(32):08x}")
        made = passing.pop(next(iter(passing)), None) if passing else None
        if made is not None:
            catalog.delete_project(TENANT, made.id, EVENT)

    def page(last: ProjectRow | None) -> list[ProjectRow]:
        return catalog.list_projects(TENANT, USER, after_name=last.name if last else "", limit=10)

    names = [row.name for row in paged(page, write)]
    assert names == sorted(set(names))
    assert steady <= set(names)


def test_commits_that_were_there_all_the_time_are_listed_once_while_others_are_published(catalog: Catalog) -> None:
    made = make_project(catalog)
    made.publish(400)

    def page(last: CommitRow | None) -> list[CommitRow]:
        return catalog.list_commits(TENANT, made.id, before=last.generation if last else None, limit=20)

    found = paged(page, lambda: (made.publish(3), None)[1])
    assert [row.generation for row in found] == list(range(400, 0, -1))


def test_sessions_that_were_there_all_the_time_are_listed_once_while_others_open_and_close(catalog: Catalog) -> None:
    made = make_project(catalog)
    chance = random.Random(5)
    steady = sorted({f"s{chance.getrandbits(24):06x}" for _ in range(150)})
    for name in steady:
        catalog.open_session(session(made, SessionId(name)), ttl=TTL)
    catalog.open_session(session(made, SessionId("s-other"), user=OTHER_USER), ttl=TTL)

    def write() -> None:
        passing = SessionId(f"s{chance.getrandbits(24):06x}-x")
        catalog.open_session(session(made, passing), ttl=TTL)
        if chance.random() < 0.5:
            catalog.close_session(TENANT, USER, passing)

    def page(last: SessionRow | None) -> list[SessionRow]:
        return catalog.list_sessions(TENANT, USER, made.id, after=last.session if last else None, limit=10)

    names = [row.session for row in paged(page, write)]
    assert names == sorted(set(names))
    assert set(steady) <= set(names) and "s-other" not in names


NAMES = [
    "Z", "a", "a b", "ab", "aé", "a\ud7ff", "a\ue000", "a\U0010ffff", "a\U0010ffff\U0010ffffz", "b", "%", "_x",
    "\U0010ffff", "\U0010ffff!",
]  # fmt: skip


@pytest.mark.parametrize("prefix", ["", "a", "a ", "ab", "a\ud7ff", "a\U0010ffff", "\U0010ffff", "%", "_", "c", "A"])
def test_a_prefix_selects_exactly_the_names_that_begin_so(catalog: Catalog, prefix: str) -> None:
    for name in NAMES:
        make_project(catalog, name)
    make_project(catalog, f"{prefix}mine", owner=OTHER_USER)
    make_project(catalog, f"{prefix}mine", tenant=OTHER_TENANT)
    found = catalog.list_projects(TENANT, USER, wanted=ProjectFilter(prefix))
    assert [row.name for row in found] == sorted(name for name in NAMES if name.startswith(prefix))


def test_projects_are_selected_by_when_they_were_made_and_changed(catalog: Catalog, clock: SettableClock) -> None:
    for minute in range(6):
        at = NOW + minute * MINUTE
        project = ProjectId(new_id())
        row = ProjectRow(TENANT, project, USER, f"p{minute}", EMPTY_HEAD, 0, 0, at, at)
        catalog.create_project(row, [key(project)], EVENT)
        clock.time = NOW + (10 - minute) * MINUTE
        catalog.rename_project(TENANT, project, f"q{minute}", OutboxEvent("renamed", {}))

    def names(**wanted: datetime) -> list[str]:
        return [row.name for row in catalog.list_projects(TENANT, USER, wanted=ProjectFilter(**wanted))]  # type: ignore[arg-type]

    assert names(created_since=NOW + 2 * MINUTE, created_until=NOW + 4 * MINUTE) == ["q2", "q3"]
    assert names(updated_since=NOW + 9 * MINUTE) == ["q0", "q1"]
    assert names(updated_until=NOW + 6 * MINUTE) == ["q5"]
    assert names(created_since=NOW + 3 * MINUTE, updated_since=NOW + 7 * MINUTE) == ["q3"]


def history(catalog: Catalog) -> tuple[Made, list[CommitRow]]:
    """A project whose commits are by two users in three sessions, one a minute; now and then two in the same moment."""
    made = make_project(catalog)
    authors, sessions = [USER, OTHER_USER], [None, SessionId("s1"), SessionId("s2")]
    for number in range(60):
        commit = replace(
            made.next_commit(),
            author=authors[number % 2],
            session=sessions[number % 3],
            created_at=NOW + (number - (number % 5 == 0)) * MINUTE,
        )
        made.publish(commit=commit)
    other = make_project(catalog, "other")
    other.publish()
    return made, made.commits[::-1]


@pytest.mark.parametrize(
    "wanted",
    [
        CommitFilter(),
        CommitFilter(author=OTHER_USER),
        CommitFilter(session=SessionId("s2")),
        CommitFilter(author=USER, session=SessionId("s1")),
        CommitFilter(author=UserId("nobody")),
        CommitFilter(since=NOW + 20 * MINUTE),
        CommitFilter(until=NOW + 20 * MINUTE),
        CommitFilter(since=NOW + 19 * MINUTE, until=NOW + 24 * MINUTE),
        CommitFilter(since=NOW + 400 * MINUTE),
        CommitFilter(until=NOW - 400 * MINUTE),
        CommitFilter(since=NOW - 400 * MINUTE, until=NOW + 400 * MINUTE),
        CommitFilter(since=NOW + 30 * MINUTE, until=NOW + 20 * MINUTE),
        CommitFilter(before=Generation(30)),
        CommitFilter(author=USER, before=Generation(20)),
        CommitFilter(USER, SessionId("s1"), NOW + 10 * MINUTE, NOW + 40 * MINUTE, Generation(39)),
    ],
    ids=str,
)
def test_commits_are_selected_by_author_session_and_time(catalog: Catalog, wanted: CommitFilter) -> None:
    made, commits = history(catalog)
    expected = [row for row in commits if wanted.takes(row.generation, row.author, row.session, row.created_at)]

    def page(last: CommitRow | None) -> list[CommitRow]:
        before = Generation(last.generation) if last else None
        return catalog.list_commits(TENANT, made.id, wanted=wanted, before=before, limit=7)

    assert paged(page) == expected


def test_filters_of_an_empty_project_select_nothing(catalog: Catalog) -> None:
    made = make_project(catalog)
    assert catalog.list_commits(TENANT, made.id, wanted=CommitFilter(USER, None, NOW, NOW + TTL)) == []
