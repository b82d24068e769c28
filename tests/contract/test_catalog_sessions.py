"""What every catalog promises of sessions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from manifold_common.errors import AlreadyExists, NotFound, SessionMoved
from manifold_common.ids import Generation, SessionId
from manifold_common.ports.catalog import Catalog, SessionRow

from tests.contract.catalog_fixtures import (
    ELSEWHERE,
    EVENT,
    HERE,
    NOW,
    OTHER_TENANT,
    OTHER_USER,
    SESSION,
    TENANT,
    TTL,
    USER,
    SettableClock,
    draft,
    make_project,
    session,
    view,
)


def test_a_session_comes_back_as_it_was_opened_beside_the_projects_head(catalog: Catalog) -> None:
    made = make_project(catalog)
    made.publish(2)
    row = session(made, scope=b"\x00\xff", draft=draft(made), working_set=HERE, node="machine-1")
    opened = catalog.open_session(row, ttl=TTL)
    made.publish()
    found = view(catalog)
    assert (found.session, found.head) == (opened, made.head)
    assert catalog.view_session(TENANT, USER, SessionId("absent")) is None
    times = {"created_at": opened.created_at, "expires_at": opened.expires_at, "durable_at": opened.durable_at}
    assert row.draft is not None
    assert opened == replace(row, draft=replace(row.draft, saved_at=opened.created_at), **times)


def test_the_catalogs_clock_alone_says_when_a_session_begins_and_ends(catalog: Catalog) -> None:
    made = make_project(catalog)
    wrong = NOW - timedelta(days=4000)
    opened = catalog.open_session(session(made, created_at=wrong, expires_at=wrong), ttl=TTL)
    assert opened.expires_at - opened.created_at == TTL
    assert timedelta(0) <= view(catalog).now - opened.created_at < timedelta(minutes=1)
    assert TTL - timedelta(minutes=1) < view(catalog).left <= TTL
    catalog.save_draft(TENANT, USER, SESSION, replace(draft(made), saved_at=wrong), ttl=5 * TTL)
    saved = view(catalog)
    assert saved.session.draft is not None
    assert timedelta(0) <= saved.now - saved.session.draft.saved_at < timedelta(minutes=1)
    assert 5 * TTL - timedelta(minutes=1) < saved.left <= 5 * TTL
    made.publish(commit=made.next_commit(session=SESSION, created_at=wrong), session_user=USER, session_ttl=9 * TTL)
    assert 9 * TTL - timedelta(minutes=1) < view(catalog).left <= 9 * TTL


def test_what_makes_changes_durable_says_when(catalog: Catalog) -> None:
    made = make_project(catalog)
    opened = catalog.open_session(session(made), ttl=TTL)
    assert opened.durable_at == opened.created_at
    saved = draft(made)
    durable: list[Callable[[], object]] = [
        lambda: catalog.save_draft(TENANT, USER, SESSION, saved, ttl=TTL),
        lambda: catalog.drop_draft(TENANT, USER, SESSION, saved.commit),
        lambda: made.publish(commit=made.next_commit(session=SESSION), session_user=USER),
        lambda: catalog.take_session(view(catalog).session, HERE, "machine-1"),
    ]
    for make_durable in durable:
        before = view(catalog).now
        make_durable()
        found = view(catalog)
        assert found.session.durable_at is not None
        assert before <= found.session.durable_at <= found.now
    at = view(catalog).session.durable_at
    catalog.prolong_session(TENANT, USER, SESSION, TTL)
    assert view(catalog).session.durable_at == at, "looking after a session saves nothing"


def test_a_session_of_a_user_without_projects_can_be_opened(catalog: Catalog) -> None:
    made = make_project(catalog)
    catalog.open_session(session(made, user=OTHER_USER), ttl=TTL)
    assert catalog.view_session(TENANT, OTHER_USER, SESSION) is not None


def test_a_session_id_is_taken_once_per_user_and_the_first_is_untouched(catalog: Catalog) -> None:
    made, other = make_project(catalog), make_project(catalog, "other")
    first = catalog.open_session(session(made, draft=draft(made)), ttl=TTL)
    for again in (session(made), session(other)):
        with pytest.raises(AlreadyExists):
            catalog.open_session(again, ttl=TTL)
    catalog.open_session(session(made, user=OTHER_USER), ttl=TTL)
    assert catalog.list_sessions(TENANT, USER) == [first]


def test_sessions_are_listed_by_id_and_by_project(catalog: Catalog) -> None:
    made, other = make_project(catalog), make_project(catalog, "other")
    rows = [session(made if n % 2 else other, SessionId(f"s{n}")) for n in (3, 1, 2)]
    for row in rows:
        catalog.open_session(row, ttl=TTL)
    assert [row.session for row in catalog.list_sessions(TENANT, USER)] == ["s1", "s2", "s3"]
    assert [row.session for row in catalog.list_sessions(TENANT, USER, made.id)] == ["s1", "s3"]
    assert catalog.list_sessions(TENANT, OTHER_USER) == []


def test_a_moved_session_has_the_new_base_and_nothing_else_changed(catalog: Catalog) -> None:
    made = make_project(catalog)
    opened = catalog.open_session(session(made, scope=b"x", draft=draft(made)), ttl=TTL)
    made.publish(2)
    catalog.move_session(TENANT, USER, SESSION, base_generation=made.head.generation, base_commit=made.head.commit)
    assert catalog.list_sessions(TENANT, USER) == [
        replace(opened, base_generation=made.head.generation, base_commit=made.head.commit)
    ]


def test_a_prolonged_session_has_the_new_expiry_and_nothing_else_changed(catalog: Catalog) -> None:
    made = make_project(catalog)
    opened = catalog.open_session(session(made, draft=draft(made)), ttl=TTL)
    until = catalog.prolong_session(TENANT, USER, SESSION, 5 * TTL)
    assert until >= opened.expires_at + 4 * TTL
    assert catalog.list_sessions(TENANT, USER) == [replace(opened, expires_at=until)]


def test_a_commit_of_a_working_set_where_the_session_is_not_is_refused_and_changes_nothing(catalog: Catalog) -> None:
    made = make_project(catalog)
    opened = catalog.open_session(session(made, draft=draft(made), working_set=HERE), ttl=TTL)
    row = made.next_commit(session=SESSION)
    with pytest.raises(SessionMoved):
        catalog.publish_commit(made.publication(row, session_user=USER, working_set=ELSEWHERE))
    assert view(catalog)[:2] == (opened, made.head)
    made.publish(commit=row, session_user=USER, working_set=HERE)
    found = catalog.view_session(TENANT, USER, SESSION)
    assert found is not None
    assert (found.session.base_commit, found.session.draft, found.session.working_set) == (row.commit, None, HERE)


def test_a_session_is_taken_only_as_it_was_seen(catalog: Catalog) -> None:
    made = make_project(catalog)
    seen = catalog.open_session(session(made), ttl=TTL)
    assert catalog.take_session(seen, HERE, "machine-1") is True
    assert catalog.take_session(seen, ELSEWHERE, "machine-2") is False, "it has been taken since"
    taken = view(catalog).session
    assert taken == replace(seen, working_set=HERE, node="machine-1", durable_at=taken.durable_at)
    seen = taken
    catalog.save_draft(TENANT, USER, SESSION, draft(made), ttl=TTL)
    assert catalog.take_session(seen, ELSEWHERE, "machine-2") is False, "another draft has been saved since"
    seen = catalog.list_sessions(TENANT, USER)[0]
    made.publish(commit=made.next_commit(session=SESSION), session_user=USER)
    assert catalog.take_session(seen, ELSEWHERE, "machine-2") is False, "it has another base now"
    catalog.close_session(TENANT, USER, SESSION)
    assert catalog.take_session(seen, ELSEWHERE, "machine-2") is False, "it is closed"
    catalog.open_session(replace(seen, draft=None), ttl=TTL)
    assert catalog.take_session(seen, ELSEWHERE, "machine-2") is False, "it is another one of that name"


def test_a_session_ends_only_as_it_was_seen(catalog: Catalog, clock: SettableClock) -> None:
    made = make_project(catalog)

    def seen() -> SessionRow:
        return catalog.list_sessions(TENANT, USER)[0]

    catalog.open_session(session(made, draft=draft(made)), ttl=TTL)
    came_back: list[Callable[[], object]] = [
        lambda: catalog.prolong_session(TENANT, USER, SESSION, 2 * TTL),
        lambda: catalog.take_session(seen(), HERE, "machine-1"),
        lambda: catalog.save_draft(TENANT, USER, SESSION, draft(made), ttl=TTL),
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
    clock.time += timedelta(seconds=1)
    again = catalog.open_session(replace(before, draft=None), ttl=TTL)
    assert catalog.end_session(before) is False, "it is another one of that name"
    assert seen() == again


def test_a_commit_puts_the_end_of_its_session_off_and_never_nearer(catalog: Catalog) -> None:
    made = make_project(catalog)
    opened = catalog.open_session(session(made), ttl=TTL)
    for ttl, longer in ((2 * TTL, True), (TTL / 2, False), (timedelta(0), False)):
        before = view(catalog).session.expires_at
        made.publish(commit=made.next_commit(session=SESSION), session_user=USER, session_ttl=ttl)
        after = view(catalog).session.expires_at
        assert (after > before) is longer
        assert after >= before
    assert view(catalog).session.expires_at >= opened.created_at + 2 * TTL


def test_a_closed_session_is_gone_with_its_draft_and_closing_again_is_no_error(catalog: Catalog) -> None:
    made = make_project(catalog)
    catalog.open_session(session(made, draft=draft(made)), ttl=TTL)
    for _ in range(2):
        catalog.close_session(TENANT, USER, SESSION)
        assert catalog.view_session(TENANT, USER, SESSION) is None
    with pytest.raises(NotFound):
        catalog.save_draft(TENANT, USER, SESSION, draft(made), ttl=TTL)
    with pytest.raises(NotFound):
        catalog.move_session(TENANT, USER, SESSION, base_generation=Generation(0), base_commit=None)
    with pytest.raises(NotFound):
        catalog.prolong_session(TENANT, USER, SESSION, TTL)
    with pytest.raises(NotFound):
        catalog.drop_draft(TENANT, USER, SESSION, draft(made).commit)
    again = catalog.open_session(session(made), ttl=TTL)
    assert catalog.list_sessions(TENANT, USER) == [again]


def test_expired_sessions_of_every_tenant_are_listed_the_longest_over_first(catalog: Catalog) -> None:
    for number, tenant in enumerate((TENANT, OTHER_TENANT, TENANT)):
        made = make_project(catalog, f"p{number}", tenant=tenant)
        over = timedelta(minutes=number + 1)
        catalog.open_session(session(made, SessionId(f"s{number}"), draft=draft(made)), ttl=-over)
    made = make_project(catalog, "living")
    catalog.open_session(session(made, SessionId("living")), ttl=TTL)
    now = timedelta(0)
    assert [one.session.session for one in catalog.expired_sessions(now)] == ["s2", "s1", "s0"]
    assert [one.session.session for one in catalog.expired_sessions(now, limit=1)] == ["s2"]
    assert [one.session.session for one in catalog.expired_sessions(timedelta(seconds=150))] == ["s2"]
    assert all(one.session.draft is not None and one.left <= now for one in catalog.expired_sessions(now))


def test_a_session_that_has_ended_is_told_from_one_that_nobody_knows(catalog: Catalog, clock: SettableClock) -> None:
    made, deleted = make_project(catalog), make_project(catalog, "deleted")

    def known(row: SessionRow) -> bool:
        assert catalog.was_ended(row.tenant, OTHER_USER, row.session, row.created_at) is False
        assert catalog.was_ended(OTHER_TENANT, row.user, row.session, row.created_at) is False
        found = catalog.was_ended(row.tenant, row.user, row.session, row.created_at)
        assert found is catalog.was_ended(row.tenant, row.user, row.session, None)
        return found

    closed = catalog.open_session(session(made, SessionId("closed")), ttl=TTL)
    ended = catalog.open_session(session(made, SessionId("ended")), ttl=TTL)
    gone = catalog.open_session(session(deleted, SessionId("gone")), ttl=TTL)
    living = catalog.open_session(session(made, SessionId("living")), ttl=TTL)
    assert not any(map(known, (closed, ended, gone, living)))
    catalog.close_session(TENANT, USER, closed.session)
    assert catalog.end_session(ended) is True
    catalog.delete_project(TENANT, deleted.id, EVENT)
    assert list(map(known, (closed, ended, gone, living))) == [True, True, True, False]
    clock.time += timedelta(seconds=1)
    again = catalog.open_session(session(made, SessionId("closed")), ttl=TTL)
    assert catalog.was_ended(TENANT, USER, closed.session, closed.created_at) is True
    assert catalog.was_ended(TENANT, USER, again.session, again.created_at) is False
    catalog.forget_ended(TTL)
    assert known(ended) is True
    catalog.forget_ended(timedelta(seconds=-1))
    assert not any(map(known, (ended, gone)))
