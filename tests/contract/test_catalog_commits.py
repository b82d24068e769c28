"""What every catalog promises of the commit point, and of the history that it leaves."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from manifold_common.errors import AlreadyExists, InternalError, NotFound
from manifold_common.ids import CommitId, Generation, RequestId, SessionId
from manifold_common.ports.catalog import (
    Catalog,
    CommitRow,
    Head,
)

from tests.contract.catalog_fixtures import (
    EVENT,
    LATER,
    NOW,
    OTHER_USER,
    SESSION,
    TENANT,
    TTL,
    USER,
    all_events,
    draft,
    everything,
    make_project,
    new_id,
    session,
)

REQUEST = RequestId("r-1")


def test_a_publication_advances_the_head_and_adds_the_commit_and_the_event(catalog: Catalog) -> None:
    made = make_project(catalog)
    commit = made.next_commit(created_at=LATER)
    head = catalog.publish_commit(made.publication(commit, tree_bytes=5, tree_files=3))
    assert head == Head(Generation(1), commit.commit, commit.record_hash, Generation(0), LATER)
    row = catalog.get_project(TENANT, made.id)
    assert row == replace(made.row, head=head, tree_bytes=5, tree_files=3, updated_at=LATER)
    assert catalog.commit_at(TENANT, made.id, Generation(1)) == commit
    assert catalog.find_commit(TENANT, made.id, commit.commit) == commit
    event = all_events(catalog)[-1]
    assert (event.type, event.generation, event.data, event.created_at) == (EVENT.type, 1, EVENT.data, LATER)


def test_the_skills_generation_follows_only_commits_that_touch_skills(catalog: Catalog) -> None:
    made = make_project(catalog)
    seen = [made.publish(touches_skills=touches).skills_generation for touches in (False, True, False, True, False)]
    assert seen == [0, 2, 2, 4, 4]
    assert catalog.head(TENANT, made.id).skills_generation == 4


def test_a_publication_on_an_old_base_answers_none_and_changes_nothing(catalog: Catalog) -> None:
    made = make_project(catalog)
    catalog.open_session(session(made), ttl=TTL)
    stale = made.publication(made.next_commit(session=SESSION), session_user=USER)
    made.publish()
    before = everything(catalog, made)
    assert catalog.publish_commit(stale) is None
    assert everything(catalog, made) == before


def test_the_same_generation_of_another_history_is_not_the_base(catalog: Catalog) -> None:
    made = make_project(catalog)
    made.publish()
    other = made.head._replace(commit=CommitId(new_id()))
    assert catalog.publish_commit(made.publication(base=other)) is None
    assert catalog.head(TENANT, made.id) == made.head


def test_repeating_a_publication_does_not_commit_twice(catalog: Catalog) -> None:
    made = make_project(catalog)
    publication = made.publication()
    assert catalog.publish_commit(publication) is not None
    assert catalog.publish_commit(publication) is None
    assert catalog.find_commit(TENANT, made.id, publication.commit.commit) == publication.commit
    assert len(catalog.list_commits(TENANT, made.id)) == 1


def test_a_commit_id_is_published_once_per_project(catalog: Catalog) -> None:
    made = make_project(catalog)
    made.publish()
    before = everything(catalog, made)
    with pytest.raises(AlreadyExists):
        catalog.publish_commit(made.publication(made.next_commit(commit=made.commits[0].commit)))
    assert everything(catalog, made) == before


def test_a_commit_that_does_not_follow_its_base_cannot_be_built(catalog: Catalog) -> None:
    made = make_project(catalog)
    made.publish()
    with pytest.raises(InternalError):
        made.publication(made.next_commit(generation=Generation(3)))
    with pytest.raises(InternalError):
        made.publication(made.next_commit(parent=CommitId(new_id())))


def test_a_publication_moves_its_session_to_the_new_base_and_drops_its_draft(catalog: Catalog) -> None:
    made = make_project(catalog)
    mine = session(made, draft=draft(made), scope=b"\x00scope")
    bystander = session(made, SessionId("s2"), draft=draft(made))
    namesake = session(made, user=OTHER_USER, draft=draft(made))
    mine, bystander, namesake = (catalog.open_session(row, ttl=TTL) for row in (mine, bystander, namesake))
    commit = made.next_commit(session=SESSION)
    catalog.publish_commit(made.publication(commit, session_user=USER))
    view = catalog.view_session(TENANT, USER, SESSION)
    assert view is not None
    moved = replace(mine, base_generation=Generation(1), base_commit=commit.commit, draft=None)
    assert replace(view.session, durable_at=mine.durable_at) == moved
    assert view.head.commit == commit.commit
    assert catalog.list_sessions(TENANT, USER) == [view.session, bystander]
    assert catalog.list_sessions(TENANT, OTHER_USER) == [namesake]


def test_a_session_is_only_named_not_moved_without_its_user(catalog: Catalog) -> None:
    made = make_project(catalog)
    catalog.open_session(session(made, draft=draft(made)), ttl=TTL)
    before = catalog.list_sessions(TENANT, USER)
    assert catalog.publish_commit(made.publication(made.next_commit(session=SESSION))) is not None
    assert catalog.list_sessions(TENANT, USER) == before


def test_a_publication_for_a_closed_or_foreign_session_is_not_found_and_changes_nothing(catalog: Catalog) -> None:
    made = make_project(catalog)
    elsewhere = make_project(catalog, "elsewhere")
    catalog.open_session(session(made), ttl=TTL)
    catalog.close_session(TENANT, USER, SESSION)
    catalog.open_session(session(elsewhere, SessionId("other")), ttl=TTL)
    before = everything(catalog, made)
    for name, user in [(SESSION, USER), (SessionId("other"), USER), (SessionId("other"), OTHER_USER)]:
        with pytest.raises(NotFound, match=name):
            catalog.publish_commit(made.publication(made.next_commit(session=name), session_user=user))
    assert everything(catalog, made) == before


def test_eight_threads_on_one_project_have_exactly_one_winner_per_generation(catalog: Catalog) -> None:
    made = make_project(catalog)
    goal, barrier = 40, threading.Barrier(8)

    def work(_: int) -> list[tuple[Generation, CommitId]]:
        won: list[tuple[Generation, CommitId]] = []
        barrier.wait()
        while (base := catalog.head(TENANT, made.id)).generation < goal:
            commit = made.next_commit(base)
            head = catalog.publish_commit(made.publication(commit, base=base))
            if head is not None:
                won.append((head.generation, commit.commit))
        return won

    with ThreadPoolExecutor(8) as threads:
        wins = sorted(win for wins in threads.map(work, range(8)) for win in wins)
    history = catalog.list_commits(TENANT, made.id, limit=1000)[::-1]
    assert wins == [(row.generation, row.commit) for row in history]
    assert [row.generation for row in history] == list(range(1, history[-1].generation + 1))
    assert [row.parent for row in history] == [None, *(row.commit for row in history[:-1])]
    events = [event.generation for event in all_events(catalog)]
    assert events == list(range(history[-1].generation + 1))


def test_commits_are_listed_newest_first_beyond_a_thousand(catalog: Catalog) -> None:
    made = make_project(catalog)
    made.publish(1050)
    assert [row.generation for row in catalog.list_commits(TENANT, made.id)] == list(range(1050, 950, -1))
    assert catalog.list_commits(TENANT, made.id, limit=2000) == made.commits[::-1]
    paged: list[CommitRow] = []
    while page := catalog.list_commits(TENANT, made.id, before=paged[-1].generation if paged else None, limit=333):
        paged += page
    assert paged == made.commits[::-1]
    assert catalog.read_plan(TENANT, made.id).commits == made.commits


def test_list_commits_outside_of_the_history_is_empty(catalog: Catalog) -> None:
    made = make_project(catalog)
    made.publish(2)
    assert catalog.list_commits(TENANT, made.id, before=Generation(1)) == []
    assert catalog.list_commits(TENANT, made.id, before=Generation(0)) == []
    assert len(catalog.list_commits(TENANT, made.id, before=Generation(99))) == 2


def test_a_generation_without_a_commit_is_not_found(catalog: Catalog) -> None:
    made = make_project(catalog)
    made.publish()
    for generation in (-1, 0, 2, 2**40):
        with pytest.raises(NotFound):
            catalog.commit_at(TENANT, made.id, Generation(generation))
    assert catalog.find_commit(TENANT, made.id, CommitId(new_id())) is None


def test_the_catalog_itself_says_when_a_commit_was_recorded(catalog: Catalog) -> None:
    """Whatever the clock of whoever made the commit says, and whatever the row says that is handed in."""
    made = make_project(catalog)
    long_ago, far_ahead = NOW - timedelta(days=9000), NOW + timedelta(days=9000)
    for said in (long_ago, far_ahead):
        made.publish(commit=made.next_commit(created_at=said, recorded_at=said))
    rows = catalog.list_commits(TENANT, made.id)
    assert {row.created_at for row in rows} == {long_ago, far_ahead}
    for row in rows:
        assert row.recorded_at is not None
        assert NOW <= row.recorded_at < far_ahead
    assert rows[0].recorded_at >= rows[1].recorded_at  # type: ignore[operator]


def test_the_commit_of_a_request_is_found_by_the_requests_name(catalog: Catalog) -> None:
    made = make_project(catalog)
    made.publish()
    named = made.next_commit(request=REQUEST)
    made.publish(commit=named)
    made.publish()
    assert catalog.find_request(TENANT, made.id, REQUEST) == named
    assert catalog.find_request(TENANT, made.id, RequestId("r-2")) is None
    assert catalog.commit_at(TENANT, made.id, Generation(2)) == named
    assert catalog.read_plan(TENANT, made.id).commits[1] == named


def test_a_request_makes_one_commit_at_most(catalog: Catalog) -> None:
    made = make_project(catalog)
    made.publish(commit=made.next_commit(request=REQUEST))
    before = everything(catalog, made)
    with pytest.raises(AlreadyExists):
        catalog.publish_commit(made.publication(made.next_commit(request=REQUEST)))
    assert everything(catalog, made) == before


def test_requests_of_two_projects_may_have_one_name(catalog: Catalog) -> None:
    for name in ("one", "two"):
        made = make_project(catalog, name)
        made.publish(commit=made.next_commit(request=REQUEST))
        found = catalog.find_request(TENANT, made.id, REQUEST)
        assert found is not None and found.commit == made.head.commit


def test_requests_of_a_deleted_project_are_not_found(catalog: Catalog) -> None:
    made = make_project(catalog)
    made.publish(commit=made.next_commit(request=REQUEST))
    catalog.delete_project(TENANT, made.id, EVENT)
    assert catalog.find_request(TENANT, made.id, REQUEST) is None
