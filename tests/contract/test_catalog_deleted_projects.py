"""What every catalog promises of deleted projects: they come back whole, once, or are purged for ever."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from manifold_common.domain.history import Point
from manifold_common.domain.listing import ProjectFilter
from manifold_common.errors import AlreadyExists, NotFound
from manifold_common.ids import Generation, ProjectId, SessionId, TagName, UserId, WorkingSetId
from manifold_common.ports.catalog import (
    Catalog,
    CheckpointRow,
    DeletedProject,
    OutboxEvent,
    ProjectRow,
    SessionRow,
    Standing,
    UploadPart,
)

from tests.contract.catalog_fixtures import (
    EVENT,
    LATER,
    NOW,
    OTHER_TENANT,
    OTHER_USER,
    SESSION,
    TENANT,
    TTL,
    USER,
    Made,
    SettableClock,
    all_events,
    draft,
    everything,
    make_project,
    new_id,
    session,
)
from tests.contract.test_catalog_resumable_uploads import upload as resumable
from tests.contract.test_catalog_uploads import upload

GRACE, NO_GRACE = timedelta(days=7), timedelta(0)
UNDELETED = OutboxEvent("manifold.test.undeleted", {"by": "ann"})
OTHER_SESSION = SessionId("s2")
KEPT = SessionId("s1-kept-a")
TAG = TagName("release")


def delete(made: Made) -> DeletedProject:
    at = made.catalog.delete_project(made.tenant, made.id, EVENT)
    found = made.catalog.find_deleted(made.tenant, made.id, GRACE)
    assert found is not None and found.deleted_at == at
    return found


def undelete(
    catalog: Catalog, deleted: DeletedProject, name: str | None = None, *, grace: timedelta = GRACE
) -> ProjectRow | None:
    rows = catalog.deleted_sessions(deleted.row.tenant, deleted.row.project)
    others = {(row.user, row.session): SessionId(f"{row.session}-kept-{row.project[-3:]}") for row in rows}
    return catalog.undelete_project(deleted, name or deleted.row.name, UNDELETED, grace=grace, ttl=TTL, others=others)


def known_session(catalog: Catalog, name: SessionId = SESSION, user: UserId = USER) -> SessionRow | None:
    view = catalog.view_session(TENANT, user, name)
    return None if view is None else view.session


@pytest.fixture
def made(catalog: Catalog) -> Made:
    """A project with everything that a project can have."""
    made = make_project(catalog)
    made.publish(3)
    second = made.commits[1]
    catalog.add_checkpoint(TENANT, made.id, CheckpointRow(second.generation, second.commit, second.dek, 99))
    at = Point(made.commits[0].generation, made.commits[0].commit)
    catalog.set_tag(TENANT, made.id, TAG, at, USER, EVENT, expected=None)
    return made


# --- bringing back ------------------------------------------------------------------------------------------------


def test_a_project_comes_back_with_all_that_it_had(catalog: Catalog, made: Made) -> None:
    before = everything(catalog, made)[1:-2]
    row, tags = catalog.get_project(TENANT, made.id), catalog.list_tags(TENANT, made.id)
    deleted = delete(made)
    assert deleted.row == row
    back = undelete(catalog, deleted)
    assert back == replace(row, revision=row.revision + 1)
    assert catalog.get_project(TENANT, made.id) == back
    assert everything(catalog, made)[1:-2] == before
    assert catalog.list_tags(TENANT, made.id) == tags
    event = all_events(catalog)[-1]
    assert (event.type, event.project, event.generation, dict(event.data)) == (
        UNDELETED.type,
        made.id,
        3,
        {"by": "ann"},
    )
    made.publish()
    assert catalog.find_deleted(TENANT, made.id, GRACE) is None


def test_it_is_in_no_state_that_it_was_in_before(catalog: Catalog, made: Made) -> None:
    before = catalog.get_project(TENANT, made.id).version
    undelete(catalog, delete(made))
    again = catalog.get_project(TENANT, made.id).version
    assert again != before
    undelete(catalog, delete(made))
    assert catalog.get_project(TENANT, made.id).version not in (before, again)


def test_it_comes_back_under_another_name_where_its_own_is_taken(catalog: Catalog, made: Made) -> None:
    deleted = delete(made)
    taken = make_project(catalog, made.row.name)
    count = len(all_events(catalog))
    with pytest.raises(AlreadyExists, match="named 'paper'") as caught:
        undelete(catalog, deleted)
    assert caught.value.hint is not None and "--name" in caught.value.hint
    assert catalog.find_deleted(TENANT, made.id, GRACE) == deleted
    assert len(all_events(catalog)) == count
    back = undelete(catalog, deleted, "paper 2")
    assert back is not None and back.name == "paper 2"
    assert [row.project for row in catalog.list_projects(TENANT, USER)] == [taken.id, made.id]


def test_another_owners_project_of_that_name_is_in_nobodys_way(catalog: Catalog, made: Made) -> None:
    deleted = delete(made)
    make_project(catalog, made.row.name, owner=OTHER_USER)
    make_project(catalog, made.row.name, tenant=OTHER_TENANT)
    assert undelete(catalog, deleted) is not None


def test_another_name_counts_as_a_change_and_the_old_one_does_not(
    catalog: Catalog, made: Made, clock: SettableClock
) -> None:
    clock.time = LATER
    same = undelete(catalog, delete(made))
    assert same is not None and same.updated_at == NOW
    other = undelete(catalog, delete(made), "thesis")
    assert other is not None and other.updated_at == LATER


def test_what_is_not_deleted_or_was_deleted_again_since_does_not_come_back(catalog: Catalog, made: Made) -> None:
    deleted = delete(made)
    assert undelete(catalog, deleted) is not None
    before = everything(catalog, made)
    assert undelete(catalog, deleted, "other") is None
    assert everything(catalog, made) == before
    moved = replace(deleted, deleted_at=deleted.deleted_at - timedelta(microseconds=1))
    delete(made)
    assert undelete(catalog, moved) is None
    assert catalog.find_deleted(TENANT, made.id, GRACE) is not None


def test_after_its_grace_a_project_is_neither_shown_nor_brought_back(catalog: Catalog, made: Made) -> None:
    deleted = delete(made)
    assert catalog.find_deleted(TENANT, made.id, NO_GRACE) is None
    assert catalog.deleted_projects(TENANT, USER, NO_GRACE) == []
    assert undelete(catalog, deleted, grace=NO_GRACE) is None
    assert catalog.find_deleted(TENANT, made.id, GRACE) == deleted, "it is there all the same, until it is purged"


def test_the_grace_counts_by_the_catalogs_clock(catalog: Catalog, made: Made, clock: SettableClock) -> None:
    begun = datetime.now(UTC)
    at = delete(made).deleted_at
    assert at == clock.time or begun - timedelta(seconds=1) <= at <= datetime.now(UTC) + timedelta(seconds=1)


# --- lists --------------------------------------------------------------------------------------------------------


def test_deleted_projects_are_listed_by_name_and_id_page_by_page(catalog: Catalog) -> None:
    made = [make_project(catalog, name) for name in ("b", "a", "c")]
    deleted = [delete(one) for one in made]
    deleted += [delete(make_project(catalog, "b"))]
    for foreign in (make_project(catalog, "a", owner=OTHER_USER), make_project(catalog, "a", tenant=OTHER_TENANT)):
        delete(foreign)
    make_project(catalog, "a")
    expected = sorted(deleted, key=lambda one: (one.row.name, one.row.project))
    assert catalog.deleted_projects(TENANT, USER, GRACE) == expected
    paged: list[DeletedProject] = []
    while page := catalog.deleted_projects(
        TENANT, USER, GRACE, after=(paged[-1].row.name, paged[-1].row.project) if paged else None, limit=1
    ):
        paged += page
    assert paged == expected
    only = catalog.deleted_projects(TENANT, USER, GRACE, wanted=ProjectFilter("b"))
    assert [one.row.name for one in only] == ["b", "b"]
    assert catalog.deleted_projects(TENANT, USER, GRACE, wanted=ProjectFilter(created_since=LATER)) == []
    assert catalog.find_deleted(OTHER_TENANT, made[0].id, GRACE) is None


# --- sessions -----------------------------------------------------------------------------------------------------


def test_sessions_with_a_draft_come_back_as_they_were_and_the_others_have_ended(catalog: Catalog, made: Made) -> None:
    drafted = session(made, draft=draft(made), scope=b"\x00scope\xff", working_set=WorkingSetId(new_id()), node="n1")
    kept = catalog.open_session(drafted, ttl=TTL)
    theirs = catalog.open_session(session(made, user=OTHER_USER, draft=draft(made)), ttl=TTL)
    bare = catalog.open_session(session(made, OTHER_SESSION), ttl=TTL)
    deleted = delete(made)
    assert catalog.deleted_sessions(TENANT, made.id) == [kept, theirs]
    assert catalog.list_sessions(TENANT, USER) == [] and known_session(catalog) is None
    assert catalog.expired_sessions(-2 * TTL) == []
    assert all(catalog.was_ended(TENANT, one.user, one.session, one.created_at) for one in (kept, theirs, bare))
    assert undelete(catalog, deleted) is not None
    assert catalog.deleted_sessions(TENANT, made.id) == []
    back = known_session(catalog)
    assert back is not None and back == replace(kept, expires_at=back.expires_at)
    assert known_session(catalog, user=OTHER_USER) is not None and known_session(catalog, OTHER_SESSION) is None
    ended = [catalog.was_ended(TENANT, one.user, one.session, one.created_at) for one in (kept, theirs, bare)]
    assert ended == [False, False, True]
    named = catalog.superseded_objects(0)
    assert all(one.is_named for one in named), "what a session holds stays in the store"


def test_a_session_that_comes_back_lasts_as_one_that_is_opened_then(catalog: Catalog, made: Made) -> None:
    kept = catalog.open_session(session(made, draft=draft(made)), ttl=-TTL)
    assert [view.session for view in catalog.expired_sessions(NO_GRACE)] == [kept]
    deleted = delete(made)
    assert catalog.expired_sessions(NO_GRACE) == []
    undelete(catalog, deleted)
    view = catalog.view_session(TENANT, USER, SESSION)
    assert view is not None and timedelta(minutes=50) < view.left <= TTL


def test_a_session_gets_another_id_where_its_user_has_one_of_its_own_id_by_then(catalog: Catalog, made: Made) -> None:
    ours, theirs = (session(made, user=user, draft=draft(made), scope=b"x") for user in (USER, OTHER_USER))
    kept, other = catalog.open_session(ours, ttl=TTL), catalog.open_session(theirs, ttl=TTL)
    deleted = delete(made)
    elsewhere = make_project(catalog, "elsewhere")
    newer = catalog.open_session(session(elsewhere, draft=draft(elsewhere)), ttl=TTL)
    others = {(USER, SESSION): KEPT, (OTHER_USER, SESSION): KEPT}
    assert catalog.undelete_project(deleted, "paper", UNDELETED, grace=GRACE, ttl=TTL, others=others) is not None
    assert known_session(catalog) == newer
    back = known_session(catalog, KEPT)
    assert back is not None
    assert back == replace(kept, session=KEPT, scope_session=SESSION, expires_at=back.expires_at)
    same = known_session(catalog, user=OTHER_USER)
    assert same is not None and same == replace(other, expires_at=same.expires_at)
    assert catalog.was_ended(TENANT, USER, SESSION, kept.created_at), "a folder of that one is of none any more"
    again = delete(made)
    catalog.open_session(session(elsewhere, KEPT), ttl=TTL)
    third = {(row.user, row.session): SessionId("third") for row in catalog.deleted_sessions(TENANT, made.id)}
    assert catalog.undelete_project(again, "paper", UNDELETED, grace=GRACE, ttl=TTL, others=third) is not None
    back = known_session(catalog, SessionId("third"))
    assert back is not None and back.scope_session == SESSION, "its scope is sealed for the first id still"
    catalog.close_session(TENANT, USER, SESSION)
    reopened = catalog.open_session(session(elsewhere), ttl=TTL)
    assert reopened.scope_session is None and known_session(catalog) == reopened


def test_two_projects_that_had_a_session_of_one_id_give_back_both(catalog: Catalog) -> None:
    first, second = make_project(catalog, "first"), make_project(catalog, "second")
    rows = []
    for made in (first, second):
        rows.append(catalog.open_session(session(made, draft=draft(made)), ttl=TTL))
        delete(made)
    for made in (first, second):
        deleted = catalog.find_deleted(TENANT, made.id, GRACE)
        assert deleted is not None and undelete(catalog, deleted) is not None
    found = {row.project: row for row in catalog.list_sessions(TENANT, USER)}
    assert {row.project: row.draft for row in rows} == {project: row.draft for project, row in found.items()}


def test_a_draft_of_a_deleted_project_stays_in_the_store_until_it_is_purged(catalog: Catalog, made: Made) -> None:
    saved = draft(made)
    catalog.open_session(session(made, draft=saved), ttl=TTL)
    delete(made)
    assert [(one.commit, one.is_named) for one in catalog.superseded_objects(0)] == [(saved.commit, True)]
    catalog.forget_superseded(catalog.superseded_objects(0))
    assert catalog.purge_projects(NO_GRACE) == [(TENANT, made.id)]
    assert [(one.commit, one.is_named) for one in catalog.superseded_objects(0)] == [(saved.commit, False)]


def test_a_collection_sees_what_a_deleted_project_would_come_back_with(catalog: Catalog, made: Made) -> None:
    saved = draft(made)
    catalog.open_session(session(made, draft=saved), ttl=TTL)
    catalog.open_session(session(made, OTHER_SESSION), ttl=TTL)
    before = catalog.holdings(TENANT, made.id)
    deleted = delete(made)
    held = catalog.holdings(TENANT, made.id)
    assert (held.standing, held.drafts, held.pinned) == (Standing.DELETED, before.drafts, before.pinned)
    assert (held.commits, held.checkpoints) == (before.commits, before.checkpoints)
    undelete(catalog, deleted)
    assert catalog.holdings(TENANT, made.id).drafts == before.drafts
    delete(made)
    catalog.purge_projects(NO_GRACE)
    purged = catalog.holdings(TENANT, made.id)
    assert purged.standing is Standing.PURGED
    assert (purged.commits, purged.drafts, purged.keys, purged.pinned) == ([], [], [], frozenset())
    [member] = catalog.fork_family(TENANT, made.id)
    assert (member.standing, member.head.generation, member.head.commit) == (Standing.PURGED, 3, None)


# --- purging ------------------------------------------------------------------------------------------------------


def part(made: Made) -> UploadPart:
    return UploadPart(0, made.keys[-1].dek, (), b"places")


def test_a_purged_project_leaves_nothing_and_never_comes_back(catalog: Catalog, made: Made) -> None:
    row = catalog.open_session(session(made, draft=draft(made)), ttl=TTL)
    catalog.add_uploads([upload(made, expires_at=NOW)])
    whole = resumable(made)
    catalog.add_resumable(whole)
    assert catalog.hold_resumable(TENANT, made.id, whole.upload, "writer", TTL, ()) is not None
    assert catalog.advance_resumable(whole, "writer", [part(made)], None)
    deleted = delete(made)
    assert catalog.purge_projects(GRACE) == [], "its grace is not over"
    assert catalog.purge_projects(NO_GRACE) == [(TENANT, made.id)]
    assert catalog.purge_projects(NO_GRACE) == []
    assert undelete(catalog, deleted) is None
    assert catalog.find_deleted(TENANT, made.id, GRACE) is None
    assert catalog.deleted_projects(TENANT, USER, GRACE) == []
    assert catalog.deleted_sessions(TENANT, made.id) == []
    assert catalog.was_ended(TENANT, USER, SESSION, row.created_at)
    assert catalog.find_keys([(TENANT, made.id, key.dek) for key in made.keys]) == []
    assert catalog.ended_uploads(LATER + TTL) == [] and catalog.ended_resumable(LATER + TTL) == []
    assert catalog.resumable_parts(TENANT, made.id, whole.upload) == []
    with pytest.raises(NotFound):
        make_project(catalog, "fork", fork_of=(made.id, Generation(1)))
    with pytest.raises(AlreadyExists):
        make_project(catalog, "again", project=made.id)
    assert [event.type for event in all_events(catalog) if event.project == made.id]


def test_a_project_is_not_purged_while_an_object_of_it_may_still_be_stored(
    catalog: Catalog, made: Made, clock: SettableClock
) -> None:
    other, clear = make_project(catalog, "other"), make_project(catalog, "clear")
    catalog.open_session(session(made), ttl=TTL)
    far = datetime.now(UTC) + timedelta(days=1)
    catalog.add_uploads([upload(made, expires_at=far)])
    writing = resumable(other)
    catalog.add_resumable(writing)
    assert catalog.hold_resumable(TENANT, other.id, writing.upload, "writer", TTL, ()) is not None
    for one in (made, other, clear):
        delete(one)
    assert catalog.purge_projects(NO_GRACE) == [(TENANT, clear.id)]
    [waiting] = catalog.ended_uploads(far + TTL)
    catalog.forget_uploads(TENANT, made.id, [waiting.name])
    assert catalog.purge_projects(NO_GRACE) == [(TENANT, made.id)]


def test_no_more_are_purged_than_were_asked_for_and_the_first_deleted_goes_first(
    catalog: Catalog, clock: SettableClock
) -> None:
    made = [make_project(catalog, f"p{number}") for number in range(5)]
    living = make_project(catalog, "living")
    for one in reversed(made):
        delete(one)
        clock.time += timedelta(seconds=1)
    assert set(catalog.purge_projects(NO_GRACE, limit=2)) == {(TENANT, made[4].id), (TENANT, made[3].id)}
    assert set(catalog.purge_projects(NO_GRACE, limit=9)) == {(TENANT, one.id) for one in made[:3]}
    assert catalog.get_project(TENANT, living.id).project == living.id


def test_forks_outlive_the_purge_of_their_source(catalog: Catalog, made: Made) -> None:
    fork = make_project(catalog, "fork", fork_of=(made.id, Generation(2)))
    fork.publish()
    before = everything(catalog, fork)[:-1]
    delete(made)
    assert catalog.purge_projects(NO_GRACE) == [(TENANT, made.id)]
    assert everything(catalog, fork)[:-1] == before
    assert catalog.forks_of(TENANT, made.id) == [(fork.id, 2)]
    fork.publish()
    deleted = delete(fork)
    assert catalog.forks_of(TENANT, made.id) == []
    assert undelete(catalog, deleted) is not None
    assert catalog.forks_of(TENANT, made.id) == [(fork.id, 2)]


# --- at once ------------------------------------------------------------------------------------------------------


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        barrier.wait()
        try:
            return call()
        except AlreadyExists as error:
            return error

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(run, calls))


def test_of_an_undeletion_and_a_purge_at_once_exactly_one_happens(catalog: Catalog) -> None:
    for number in range(20):
        made = make_project(catalog, f"project {number}")
        made.publish(2)
        saved = draft(made)
        catalog.open_session(session(made, SessionId(f"s{number}"), draft=saved), ttl=TTL)
        deleted = delete(made)
        back, purged = at_once(
            lambda deleted=deleted: undelete(catalog, deleted), lambda: catalog.purge_projects(NO_GRACE)
        )
        assert (back is None) is (purged == [(TENANT, made.id)])
        if back is None:
            assert known_session(catalog, SessionId(f"s{number}")) is None
            with pytest.raises(NotFound):
                catalog.head(TENANT, made.id)
        else:
            assert purged == []
            assert len(catalog.list_commits(TENANT, made.id)) == 2
            found = known_session(catalog, SessionId(f"s{number}"))
            assert found is not None and found.draft is not None and found.draft.commit == saved.commit


def test_of_many_undeletions_at_once_one_happens(catalog: Catalog, made: Made) -> None:
    catalog.open_session(session(made, draft=draft(made)), ttl=TTL)
    deleted = delete(made)
    others = {(USER, SESSION): KEPT}

    def back() -> ProjectRow | None:
        return catalog.undelete_project(deleted, "paper", UNDELETED, grace=GRACE, ttl=TTL, others=others)

    found = at_once(*[back] * 6)
    assert sum(isinstance(one, ProjectRow) for one in found) == 1
    assert [event.type for event in all_events(catalog)].count(UNDELETED.type) == 1
    assert [row.session for row in catalog.list_sessions(TENANT, USER)] == [SESSION]


def test_of_an_undeletion_and_a_new_project_of_its_name_one_happens(catalog: Catalog) -> None:
    for number in range(20):
        made = make_project(catalog, f"project {number}")
        deleted = delete(made)
        back, new = at_once(
            lambda deleted=deleted: undelete(catalog, deleted),
            lambda number=number: make_project(catalog, f"project {number}"),
        )
        assert isinstance(back, AlreadyExists) is not isinstance(new, AlreadyExists)
        found = catalog.find_project(TENANT, USER, f"project {number}")
        assert found is not None and found.project == (new.id if isinstance(new, Made) else made.id)
        assert (catalog.find_deleted(TENANT, made.id, GRACE) is None) is not isinstance(back, AlreadyExists)


def test_no_session_is_lost_to_one_of_its_id_that_is_opened_at_that_moment(catalog: Catalog) -> None:
    elsewhere = make_project(catalog, "elsewhere")
    for number in range(20):
        made, name = make_project(catalog, f"project {number}"), SessionId(f"s{number}")
        saved = draft(made)
        catalog.open_session(session(made, name, draft=saved), ttl=TTL)
        deleted = delete(made)
        back, opened = at_once(
            lambda deleted=deleted: undelete(catalog, deleted),
            lambda name=name: catalog.open_session(session(elsewhere, name), ttl=TTL),
        )
        assert isinstance(back, ProjectRow)
        [found] = catalog.list_sessions(TENANT, USER, made.id)
        assert found.draft is not None and found.draft.commit == saved.commit
        assert (found.session == name) is isinstance(opened, AlreadyExists)


def test_a_draft_that_is_saved_while_its_project_is_deleted_comes_back_or_was_refused(catalog: Catalog) -> None:
    for number in range(20):
        made, name = make_project(catalog, f"project {number}"), SessionId(f"s{number}")
        first, second = draft(made), draft(made)
        catalog.open_session(session(made, name, draft=first), ttl=TTL)

        def save(name: SessionId = name, second: Any = second) -> bool:
            try:
                catalog.save_draft(TENANT, USER, name, second, ttl=TTL)
            except NotFound:
                return False
            return True

        saved, deleted = at_once(save, lambda made=made: delete(made))
        assert undelete(catalog, deleted) is not None
        found = known_session(catalog, name)
        assert found is not None and found.draft is not None
        assert found.draft.commit == (second if saved else first).commit


def test_many_purges_at_once_take_each_project_once(catalog: Catalog) -> None:
    made = [make_project(catalog, f"p{number}") for number in range(12)]
    for one in made:
        one.publish()
        delete(one)
    purged = at_once(*[lambda: catalog.purge_projects(NO_GRACE, limit=5)] * 4)
    taken: list[tuple[str, ProjectId]] = [one for some in purged for one in some]
    taken += catalog.purge_projects(NO_GRACE, limit=100)
    assert sorted(taken) == sorted((TENANT, one.id) for one in made)
