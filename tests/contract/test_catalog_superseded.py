"""What every catalog promises of objects that it named and names no more."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from manifold_common.errors import ManifoldError
from manifold_common.ids import CommitId, SessionId, WorkingSetId
from manifold_common.ports.catalog import Catalog, DraftRef, SessionRow, SupersededObject

from tests.contract.catalog_fixtures import (
    EVENT,
    OTHER_USER,
    SESSION,
    TENANT,
    TTL,
    USER,
    Made,
    draft,
    make_project,
    new_id,
    session,
)

HOUR = 3600.0


def row(catalog: Catalog) -> SessionRow:
    view = catalog.view_session(TENANT, USER, SESSION)
    assert view is not None
    return view.session


def delete_for_ever(made: Made) -> None:
    made.catalog.delete_project(TENANT, made.id, EVENT)
    assert [one.is_named for one in superseded(made.catalog)] == [True], "it may come back"
    assert made.catalog.purge_projects(timedelta(0)) == [(TENANT, made.id)]


End = Callable[[Made, DraftRef], object]

ENDS: dict[str, End] = {
    "another draft is saved": lambda made, _: made.catalog.save_draft(TENANT, USER, SESSION, draft(made), ttl=TTL),
    "it is dropped": lambda made, old: made.catalog.drop_draft(TENANT, USER, SESSION, old.commit),
    "the session publishes": lambda made, _: made.publish(
        commit=made.next_commit(session=SESSION), session_user=USER, session_ttl=TTL
    ),
    "the session is closed": lambda made, _: made.catalog.close_session(TENANT, USER, SESSION),
    "the session ends": lambda made, _: made.catalog.end_session(row(made.catalog)),
    "the project is deleted, and purged": lambda made, _: delete_for_ever(made),
}


def opened(catalog: Catalog) -> tuple[Made, DraftRef]:
    made = make_project(catalog)
    made.publish()
    old = draft(made)
    catalog.open_session(session(made, draft=old), ttl=TTL)
    return made, old


def superseded(catalog: Catalog) -> list[SupersededObject]:
    return catalog.superseded_objects(0)


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_whatever_ends_a_draft_has_its_object_noted(catalog: Catalog, end: End) -> None:
    made, old = opened(catalog)
    assert superseded(catalog) == []
    end(made, old)
    noted = SupersededObject(TENANT, made.id, old.generation, old.commit)
    assert superseded(catalog) == [noted]
    assert catalog.superseded_objects(HOUR) == [], "its time is not over"
    catalog.forget_superseded([noted])
    catalog.forget_superseded([noted])
    assert superseded(catalog) == []


def test_what_leaves_a_draft_alone_notes_nothing(catalog: Catalog) -> None:
    made, _ = opened(catalog)
    catalog.open_session(session(made, user=OTHER_USER), ttl=TTL)
    base = {"base_generation": made.head.generation, "base_commit": made.head.commit}
    catalog.move_session(TENANT, USER, SESSION, **base)
    catalog.prolong_session(TENANT, USER, SESSION, TTL)
    assert catalog.take_session(row(catalog), WorkingSetId(new_id()), "machine-1")
    assert not catalog.drop_draft(TENANT, USER, SESSION, CommitId(new_id()))
    catalog.save_draft(TENANT, OTHER_USER, SESSION, draft(made), ttl=TTL)
    made.publish()
    with pytest.raises(ManifoldError):
        catalog.save_draft(TENANT, USER, SESSION, draft(made), ttl=TTL, working_set=WorkingSetId(new_id()))
    assert superseded(catalog) == []


def test_they_come_oldest_first_and_no_more_than_were_asked_for(catalog: Catalog) -> None:
    made, old = opened(catalog)
    drafts = [old]
    for _ in range(4):
        drafts.append(draft(made))
        catalog.save_draft(TENANT, USER, SESSION, drafts[-1], ttl=TTL)
    found = catalog.superseded_objects(0, limit=3)
    assert [one.commit for one in found] == [one.commit for one in drafts[:3]]
    catalog.forget_superseded(found)
    assert [one.commit for one in superseded(catalog)] == [drafts[3].commit]


def test_one_that_is_named_again_is_said_to_be(catalog: Catalog) -> None:
    made, old = opened(catalog)
    catalog.drop_draft(TENANT, USER, SESSION, old.commit)
    catalog.save_draft(TENANT, USER, SESSION, old, ttl=TTL)
    assert [one.is_named for one in superseded(catalog)] == [True]
    catalog.drop_draft(TENANT, USER, SESSION, old.commit)
    assert [one.is_named for one in superseded(catalog)] == [False]
    made.publish(commit=made.next_commit(commit=old.commit))
    assert [one.is_named for one in superseded(catalog)] == [True]


def test_sessions_with_drafts_are_listed_for_all_users_of_a_project(catalog: Catalog) -> None:
    made, _ = opened(catalog)
    other = make_project(catalog, "other")
    theirs = catalog.open_session(session(made, user=OTHER_USER, draft=draft(made)), ttl=TTL)
    catalog.open_session(session(other, name=SessionId("s2"), draft=draft(other)), ttl=TTL)
    catalog.open_session(session(made, name=SessionId("s3")), ttl=TTL)
    assert catalog.drafted_sessions(TENANT, made.id) == [row(catalog), theirs]
    catalog.delete_project(TENANT, made.id, EVENT)
    assert catalog.drafted_sessions(TENANT, made.id) == []
