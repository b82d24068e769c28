"""What every catalog promises of drafts."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from manifold_common.errors import SessionMoved
from manifold_common.ids import SessionId
from manifold_common.ports.catalog import Catalog

from tests.contract.catalog_fixtures import (
    ELSEWHERE,
    HERE,
    NOW,
    OTHER_USER,
    SESSION,
    TENANT,
    TTL,
    USER,
    draft,
    make_plain,
    make_project,
    session,
    view,
)


def test_a_projects_drafts_are_those_of_all_its_users_the_newest_first(catalog: Catalog) -> None:
    made, other = make_plain(catalog), make_plain(catalog, "other")
    assert catalog.project_drafts(TENANT, made.id) == []
    drafts = [draft(made, saved_at=NOW + timedelta(seconds=n)) for n in range(3)]
    for user, name, one in zip((USER, OTHER_USER, USER), ("a", "b", "c"), drafts, strict=True):
        catalog.open_session(session(made, SessionId(name), user=user, draft=one), ttl=TTL)
    catalog.open_session(session(made, SessionId("none")), ttl=TTL)
    catalog.open_session(session(other, SessionId("other"), draft=draft(other)), ttl=TTL)
    found = catalog.project_drafts(TENANT, made.id)
    assert [(one.commit, one.dek, one.parent) for one in found] == [
        (one.commit, one.dek, one.parent) for one in drafts[::-1]
    ]


def test_only_the_draft_that_is_named_is_dropped(catalog: Catalog) -> None:
    made = make_project(catalog)
    older, newer = draft(made), draft(made)
    catalog.open_session(session(made, draft=older), ttl=TTL)
    catalog.save_draft(TENANT, USER, SESSION, newer, ttl=TTL)
    assert catalog.drop_draft(TENANT, USER, SESSION, older.commit) is False
    kept = view(catalog).session.draft
    assert kept is not None
    assert kept.commit == newer.commit
    assert catalog.drop_draft(TENANT, USER, SESSION, newer.commit) is True
    assert view(catalog).session.draft is None
    assert catalog.drop_draft(TENANT, USER, SESSION, newer.commit) is False


def test_one_that_is_to_replace_another_is_saved_only_while_that_is_there(catalog: Catalog) -> None:
    made = make_project(catalog)
    older, newer, newest = draft(made), draft(made), draft(made)
    catalog.open_session(session(made, draft=older), ttl=TTL)
    assert catalog.save_draft(TENANT, USER, SESSION, newer, ttl=TTL, replaces=older.commit) is True
    assert catalog.save_draft(TENANT, USER, SESSION, newest, ttl=TTL, replaces=older.commit) is False
    kept = view(catalog).session.draft
    assert kept is not None
    assert kept.commit == newer.commit
    assert catalog.drop_draft(TENANT, USER, SESSION, newer.commit)
    assert catalog.save_draft(TENANT, USER, SESSION, newest, ttl=TTL, replaces=newer.commit) is False
    assert view(catalog).session.draft is None
    assert catalog.save_draft(TENANT, USER, SESSION, newest, ttl=TTL) is True


def test_a_saved_draft_replaces_the_earlier_one_and_moves_the_expiry(catalog: Catalog) -> None:
    made = make_project(catalog)
    opened = catalog.open_session(session(made), ttl=TTL)
    for hours in (2, 3):
        saved = draft(made)
        catalog.save_draft(TENANT, USER, SESSION, saved, ttl=timedelta(hours=hours))
        found = view(catalog)
        assert found.session.draft is not None
        assert replace(found.session.draft, saved_at=saved.saved_at) == saved
        assert found.session.expires_at >= opened.created_at + timedelta(hours=hours)


def test_a_draft_of_a_working_set_where_the_session_is_not_is_refused(catalog: Catalog) -> None:
    made = make_project(catalog)
    opened = catalog.open_session(session(made, working_set=HERE), ttl=TTL)
    with pytest.raises(SessionMoved):
        catalog.save_draft(TENANT, USER, SESSION, draft(made), ttl=TTL, working_set=ELSEWHERE)
    assert catalog.list_sessions(TENANT, USER) == [opened]
    for place in (HERE, None):
        saved = draft(made)
        catalog.save_draft(TENANT, USER, SESSION, saved, ttl=TTL, working_set=place)
        found = view(catalog).session.draft
        assert found is not None
        assert found.commit == saved.commit


def test_a_session_without_a_place_takes_a_draft_from_anywhere(catalog: Catalog) -> None:
    made = make_project(catalog)
    catalog.open_session(session(made), ttl=TTL)
    catalog.save_draft(TENANT, USER, SESSION, draft(made), ttl=TTL, working_set=HERE)
