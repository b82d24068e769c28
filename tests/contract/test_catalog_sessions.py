"""What every catalog promises of sessions and their drafts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from manifold_common.errors import AlreadyExists, NotFound, SessionMoved
from manifold_common.ids import Generation, SessionId, WorkingSetId
from manifold_common.ports.catalog import Catalog, SessionRow

from tests.contract.catalog_fixtures import (
    LATER,
    NOW,
    OTHER_TENANT,
    OTHER_USER,
    SESSION,
    TENANT,
    USER,
    draft,
    make_project,
    session,
)


def test_a_session_comes_back_as_it_was_opened_beside_the_projects_head(catalog: Catalog) -> None:
    made = make_project(catalog)
    made.publish(2)
    row = session(made, scope=b"\x00\xff", draft=draft(made))
    catalog.open_session(row)
    made.publish()
    assert catalog.view_session(TENANT, USER, SESSION) == (row, made.head)
    assert catalog.view_session(TENANT, USER, SessionId("absent")) is None


def test_a_session_of_a_user_without_projects_can_be_opened(catalog: Catalog) -> None:
    made = make_project(catalog)
    catalog.open_session(session(made, user=OTHER_USER))
    assert catalog.view_session(TENANT, OTHER_USER, SESSION) is not None


def test_a_session_id_is_taken_once_per_user_and_the_first_is_untouched(catalog: Catalog) -> None:
    made, other = make_project(catalog), make_project(catalog, "other")
    first = session(made, draft=draft(made))
    catalog.open_session(first)
    for again in (session(made), session(other)):
        with pytest.raises(AlreadyExists):
            catalog.open_session(again)
    catalog.open_session(session(made, user=OTHER_USER))
    assert catalog.list_sessions(TENANT, USER) == [first]


def test_sessions_are_listed_by_id_and_by_project(catalog: Catalog) -> None:
    made, other = make_project(catalog), make_project(catalog, "other")
    rows = [session(made if n % 2 else other, SessionId(f"s{n}")) for n in (3, 1, 2)]
    for row in rows:
        catalog.open_session(row)
    assert [row.session for row in catalog.list_sessions(TENANT, USER)] == ["s1", "s2", "s3"]
    assert [row.session for row in catalog.list_sessions(TENANT, USER, made.id)] == ["s1", "s3"]
    assert catalog.list_sessions(TENANT, OTHER_USER) == []


def test_a_moved_session_has_the_new_base_and_nothing_else_changed(catalog: Catalog) -> None:
    made = make_project(catalog)
    opened = session(made, scope=b"x", draft=draft(made))
    catalog.open_session(opened)
    made.publish(2)
    catalog.move_session(TENANT, USER, SESSION, base_generation=made.head.generation, base_commit=made.head.commit)
    assert catalog.list_sessions(TENANT, USER) == [
        replace(opened, base_generation=made.head.generation, base_commit=made.head.commit)
    ]


def test_a_prolonged_session_has_the_new_expiry_and_nothing_else_changed(catalog: Catalog) -> None:
    made = make_project(catalog)
    opened = session(made, draft=draft(made))
    catalog.open_session(opened)
    until = LATER + timedelta(hours=5)
    catalog.prolong_session(TENANT, USER, SESSION, until)
    assert catalog.list_sessions(TENANT, USER) == [replace(opened, expires_at=until)]


def test_only_the_draft_that_is_named_is_dropped(catalog: Catalog) -> None:
    made = make_project(catalog)
    older, newer = draft(made), draft(made)
    opened = session(made, draft=older)
    catalog.open_session(opened)
    catalog.save_draft(TENANT, USER, SESSION, newer, expires_at=opened.expires_at)
    assert catalog.drop_draft(TENANT, USER, SESSION, older.commit) is False
    assert catalog.list_sessions(TENANT, USER) == [replace(opened, draft=newer)]
    assert catalog.drop_draft(TENANT, USER, SESSION, newer.commit) is True
    assert catalog.list_sessions(TENANT, USER) == [replace(opened, draft=None)]
    assert catalog.drop_draft(TENANT, USER, SESSION, newer.commit) is False


def test_a_saved_draft_replaces_the_earlier_one_and_moves_the_expiry(catalog: Catalog) -> None:
    made = make_project(catalog)
    opened = session(made)
    catalog.open_session(opened)
    for hours in (2, 3):
        saved, until = draft(made), NOW + timedelta(hours=hours)
        catalog.save_draft(TENANT, USER, SESSION, saved, expires_at=until)
        assert catalog.list_sessions(TENANT, USER) == [replace(opened, draft=saved, expires_at=until)]


ELSEWHERE, HERE = WorkingSetId("a" * 26), WorkingSetId("b" * 26)


def test_a_draft_of_a_working_set_where_the_session_is_not_is_refused(catalog: Catalog) -> None:
    made = make_project(catalog)
    opened = session(made, working_set=HERE)
    catalog.open_session(opened)
    with pytest.raises(SessionMoved):
        catalog.save_draft(TENANT, USER, SESSION, draft(made), expires_at=LATER, working_set=ELSEWHERE)
    assert catalog.list_sessions(TENANT, USER) == [opened]
    for place in (HERE, None):
        saved = draft(made)
        catalog.save_draft(TENANT, USER, SESSION, saved, expires_at=LATER, working_set=place)
        assert catalog.list_sessions(TENANT, USER) == [replace(opened, draft=saved, expires_at=LATER)]


def test_a_session_without_a_place_takes_a_draft_from_anywhere(catalog: Catalog) -> None:
    made = make_project(catalog)
    catalog.open_session(session(made))
    catalog.save_draft(TENANT, USER, SESSION, draft(made), expires_at=LATER, working_set=HERE)


def test_a_commit_of_a_working_set_where_the_session_is_not_is_refused_and_changes_nothing(catalog: Catalog) -> None:
    made = make_project(catalog)
    opened = session(made, draft=draft(made), working_set=HERE)
    catalog.open_session(opened)
    row = made.next_commit(session=SESSION)
    with pytest.raises(SessionMoved):
        catalog.publish_commit(made.publication(row, session_user=USER, working_set=ELSEWHERE))
    assert catalog.view_session(TENANT, USER, SESSION) == (opened, made.head)
    made.publish(commit=row, session_user=USER, working_set=HERE)
    found = catalog.view_session(TENANT, USER, SESSION)
    assert found is not None
    assert (found.session.base_commit, found.session.draft, found.session.working_set) == (row.commit, None, HERE)


def test_a_session_is_taken_only_as_it_was_seen(catalog: Catalog) -> None:
    made = make_project(catalog)
    seen = session(made)
    catalog.open_session(seen)
    assert catalog.take_session(seen, HERE) is True
    assert catalog.take_session(seen, ELSEWHERE) is False, "it has been taken since"
    seen = replace(seen, working_set=HERE)
    assert catalog.list_sessions(TENANT, USER) == [seen]
    catalog.save_draft(TENANT, USER, SESSION, draft(made), expires_at=seen.expires_at)
    assert catalog.take_session(seen, ELSEWHERE) is False, "another draft has been saved since"
    seen = catalog.list_sessions(TENANT, USER)[0]
    made.publish(commit=made.next_commit(session=SESSION), session_user=USER)
    assert catalog.take_session(seen, ELSEWHERE) is False, "it has another base now"
    catalog.close_session(TENANT, USER, SESSION)
    assert catalog.take_session(seen, ELSEWHERE) is False, "it is closed"
    catalog.open_session(replace(seen, created_at=LATER))
    assert catalog.take_session(seen, ELSEWHERE) is False, "it is another one of that name"


def test_a_session_ends_only_as_it_was_seen(catalog: Catalog) -> None:
    made = make_project(catalog)

    def seen() -> SessionRow:
        return catalog.list_sessions(TENANT, USER)[0]

    catalog.open_session(session(made, draft=draft(made)))
    came_back: list[Callable[[], object]] = [
        lambda: catalog.prolong_session(TENANT, USER, SESSION, LATER + timedelta(seconds=1)),
        lambda: catalog.take_session(seen(), HERE),
        lambda: catalog.save_draft(TENANT, USER, SESSION, draft(made), expires_at=LATER),
        lambda: made.publish(commit=made.next_commit(session=SESSION), session_user=USER),
    ]
    for somebody_comes_back in came_back:
        before = seen()
        somebody_comes_back()
        after = seen()
        assert after != before
        assert catalog.end_session(before) is False
        assert seen() == after
    before = seen()
    assert catalog.end_session(before) is True
    assert catalog.list_sessions(TENANT, USER) == []
    assert catalog.end_session(before) is False
    catalog.open_session(again := replace(before, created_at=LATER))
    assert catalog.end_session(before) is False, "it is another one of that name"
    assert seen() == again


def test_a_commit_puts_the_end_of_its_session_off_and_never_nearer(catalog: Catalog) -> None:
    made = make_project(catalog)
    catalog.open_session(session(made, expires_at=NOW))
    for expires_at, expected in ((LATER, LATER), (NOW, LATER), (None, LATER)):
        row = made.next_commit(session=SESSION)
        made.publish(commit=row, session_user=USER, session_expires_at=expires_at)
        assert catalog.list_sessions(TENANT, USER)[0].expires_at == expected


def test_a_closed_session_is_gone_with_its_draft_and_closing_again_is_no_error(catalog: Catalog) -> None:
    made = make_project(catalog)
    catalog.open_session(session(made, draft=draft(made)))
    for _ in range(2):
        catalog.close_session(TENANT, USER, SESSION)
        assert catalog.view_session(TENANT, USER, SESSION) is None
    with pytest.raises(NotFound):
        catalog.save_draft(TENANT, USER, SESSION, draft(made), expires_at=LATER)
    with pytest.raises(NotFound):
        catalog.move_session(TENANT, USER, SESSION, base_generation=Generation(0), base_commit=None)
    with pytest.raises(NotFound):
        catalog.prolong_session(TENANT, USER, SESSION, LATER)
    with pytest.raises(NotFound):
        catalog.drop_draft(TENANT, USER, SESSION, draft(made).commit)
    catalog.open_session(session(made))
    assert catalog.list_sessions(TENANT, USER) == [session(made)]


def test_expired_sessions_of_every_tenant_are_listed_the_longest_over_first(catalog: Catalog) -> None:
    for number, tenant in enumerate((TENANT, OTHER_TENANT, TENANT)):
        made = make_project(catalog, f"p{number}", tenant=tenant)
        catalog.open_session(
            session(made, SessionId(f"s{number}"), expires_at=NOW - timedelta(seconds=number), draft=draft(made))
        )
    made = make_project(catalog, "living")
    catalog.open_session(session(made, SessionId("living"), expires_at=NOW + timedelta(microseconds=1)))
    assert [row.session for row in catalog.expired_sessions(NOW)] == ["s2", "s1", "s0"]
    assert [row.session for row in catalog.expired_sessions(NOW, limit=1)] == ["s2"]
    assert all(row.draft is not None for row in catalog.expired_sessions(NOW))
