"""Every promise of the Catalog port, kept by each adapter."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from manifold_common.errors import AlreadyExists, InternalError, ManifoldError, NotFound
from manifold_common.ids import CommitId, DekId, Generation, ProjectId, SessionId, TenantId
from manifold_common.ports.catalog import (
    Catalog,
    CheckpointRow,
    Head,
    OutboxEvent,
    Publication,
)

from tests.contract.catalog_fixtures import (
    EMPTY_HEAD,
    EVENT,
    LATER,
    NOW,
    OTHER_TENANT,
    OTHER_USER,
    SESSION,
    TENANT,
    TTL,
    USER,
    SettableClock,
    all_events,
    draft,
    everything,
    key,
    make_project,
    new_id,
    session,
)

# --- projects -----------------------------------------------------------------------------------------------------


def test_a_new_project_is_empty_and_comes_back_as_it_was_given(catalog: Catalog) -> None:
    made = make_project(catalog)
    assert catalog.get_project(TENANT, made.id) == made.row
    assert catalog.find_project(TENANT, USER, "paper") == made.row
    assert catalog.head(TENANT, made.id) == EMPTY_HEAD
    assert catalog.project_keys(TENANT, made.id) == made.keys
    assert catalog.list_commits(TENANT, made.id) == []
    assert catalog.list_checkpoints(TENANT, made.id) == []


def test_times_keep_their_microseconds_and_are_utc(catalog: Catalog) -> None:
    row = catalog.get_project(TENANT, make_project(catalog).id)
    assert row.created_at.microsecond == NOW.microsecond
    assert row.created_at.utcoffset() == timedelta(0)


@pytest.mark.parametrize("name", ["paper", "naïve 文書 🎈", "a'b\"c\\d%s%(x)s", " ", "x" * 255])
def test_a_name_of_any_characters_is_found_again(catalog: Catalog, name: str) -> None:
    made = make_project(catalog, name)
    found = catalog.find_project(TENANT, USER, name)
    assert found is not None
    assert found.project == made.id


def test_a_name_is_taken_once_per_owner_and_the_refused_project_leaves_no_trace(catalog: Catalog) -> None:
    made = make_project(catalog)
    before = everything(catalog, made)
    with pytest.raises(AlreadyExists):
        make_project(catalog)
    assert everything(catalog, made) == before
    assert [row.project for row in catalog.all_projects()] == [made.id]


def test_owners_and_tenants_have_names_of_their_own(catalog: Catalog) -> None:
    ids = {
        make_project(catalog).id,
        make_project(catalog, owner=OTHER_USER).id,
        make_project(catalog, tenant=OTHER_TENANT).id,
    }
    assert len(ids) == 3
    assert {row.project for row in catalog.all_projects()} == ids


def test_a_project_id_is_taken_once_per_tenant(catalog: Catalog) -> None:
    made = make_project(catalog)
    with pytest.raises(AlreadyExists):
        make_project(catalog, "another", project=made.id)
    assert make_project(catalog, "same id", tenant=OTHER_TENANT, project=made.id).id == made.id
    made.publish()
    assert catalog.head(OTHER_TENANT, made.id) == EMPTY_HEAD


def test_of_many_that_create_one_name_at_once_one_succeeds(catalog: Catalog) -> None:
    def create(_: int) -> bool:
        try:
            make_project(catalog, "wanted")
        except AlreadyExists:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(create, range(8))) == 1


def test_projects_are_listed_by_name_in_pages_of_any_size(catalog: Catalog) -> None:
    names = sorted([f"p{n:04}" for n in range(1100)] + ["Z", "a", "é", "ä", "~", "🎈", "_"])
    for name in reversed(names):
        make_project(catalog, name)
    make_project(catalog, "someone else's", owner=OTHER_USER)
    listed: list[str] = []
    while page := catalog.list_projects(TENANT, USER, after_name=listed[-1] if listed else "", limit=250):
        listed += [row.name for row in page]
    assert listed == names


def test_all_projects_pages_through_every_tenant_and_leaves_out_the_deleted(catalog: Catalog) -> None:
    made = [make_project(catalog, f"p{n}", tenant=TenantId(f"t{n % 3}")) for n in range(20)]
    catalog.delete_project(made[4].tenant, made[4].id, EVENT)
    wanted = sorted((m.tenant, m.id) for m in made if m is not made[4])
    seen: list[tuple[TenantId, ProjectId]] = []
    while page := catalog.all_projects(after=seen[-1] if seen else None, limit=6):
        seen += [(row.tenant, row.project) for row in page]
    assert seen == wanted


def test_renaming_keeps_everything_else_and_frees_the_old_name(catalog: Catalog, clock: SettableClock) -> None:
    made = make_project(catalog)
    made.publish()
    before = catalog.get_project(TENANT, made.id)
    clock.time = LATER
    renamed = catalog.rename_project(TENANT, made.id, "thesis", OutboxEvent("renamed", {"to": "thesis"}))
    assert (
        renamed == replace(before, name="thesis", updated_at=LATER, revision=1) == catalog.get_project(TENANT, made.id)
    )
    assert catalog.find_project(TENANT, USER, "paper") is None
    make_project(catalog)
    assert catalog.rename_project(TENANT, made.id, "thesis", EVENT).name == "thesis"


def test_a_revision_counts_what_changes_a_project_and_makes_no_generation(catalog: Catalog) -> None:
    made = make_project(catalog)
    revisions = [catalog.get_project(TENANT, made.id).revision]
    made.publish()
    revisions.append(catalog.get_project(TENANT, made.id).revision)
    catalog.rename_project(TENANT, made.id, "thesis", EVENT)
    revisions.append(catalog.get_project(TENANT, made.id).revision)
    assert catalog.begin_epoch(key(made.id, epoch=1), made.head)
    revisions.append(catalog.get_project(TENANT, made.id).revision)
    assert not catalog.begin_epoch(key(made.id, epoch=1), made.head)
    assert [*revisions, catalog.get_project(TENANT, made.id).revision] == [0, 0, 1, 2, 2]


def test_renaming_to_a_taken_name_changes_nothing(catalog: Catalog) -> None:
    made = make_project(catalog)
    make_project(catalog, "taken")
    before = everything(catalog, made)
    with pytest.raises(AlreadyExists):
        catalog.rename_project(TENANT, made.id, "taken", EVENT)
    assert everything(catalog, made) == before


# --- deletion -----------------------------------------------------------------------------------------------------


def test_only_a_project_that_is_empty_and_has_no_session_is_deleted_as_unused(catalog: Catalog) -> None:
    unused, used, in_session = (make_project(catalog, name) for name in ("unused", "used", "in session"))
    used.publish(1)
    catalog.open_session(session(in_session), ttl=TTL)
    for project in (used, in_session):
        with pytest.raises(NotFound):
            catalog.delete_project(TENANT, project.id, EVENT, only_unused=True)
        assert catalog.get_project(TENANT, project.id).project == project.id
    assert catalog.view_session(TENANT, USER, SESSION) is not None
    catalog.delete_project(TENANT, unused.id, EVENT, only_unused=True)
    with pytest.raises(NotFound):
        catalog.get_project(TENANT, unused.id)


def test_a_deleted_project_is_as_if_it_had_never_been(catalog: Catalog) -> None:
    made = make_project(catalog)
    made.publish(3)
    catalog.add_checkpoint(TENANT, made.id, CheckpointRow(Generation(2), made.commits[1].commit, made.keys[0].dek, 9))
    catalog.open_session(session(made), ttl=TTL)
    catalog.delete_project(TENANT, made.id, EVENT)
    commit = made.commits[-1].commit
    gone: list[Callable[[], object]] = [
        lambda: catalog.get_project(TENANT, made.id),
        lambda: catalog.head(TENANT, made.id),
        lambda: catalog.project_keys(TENANT, made.id),
        lambda: catalog.begin_epoch(key(made.id, epoch=1), made.head),
        lambda: catalog.project_drafts(TENANT, made.id),
        lambda: catalog.rename_project(TENANT, made.id, "x", EVENT),
        lambda: catalog.delete_project(TENANT, made.id, EVENT),
        lambda: catalog.read_plan(TENANT, made.id),
        lambda: catalog.commit_at(TENANT, made.id, Generation(1)),
        lambda: catalog.list_commits(TENANT, made.id),
        lambda: catalog.list_checkpoints(TENANT, made.id),
        lambda: catalog.add_checkpoint(TENANT, made.id, CheckpointRow(Generation(3), commit, made.keys[0].dek, 9)),
        lambda: catalog.open_session(session(made, SessionId("s2")), ttl=TTL),
        lambda: catalog.save_draft(TENANT, USER, SESSION, draft(made), ttl=TTL),
        lambda: catalog.publish_commit(made.publication()),
        lambda: catalog.publish_commit(made.publication(base=EMPTY_HEAD)),
    ]
    for call in gone:
        with pytest.raises(NotFound):
            call()
    assert catalog.find_project(TENANT, USER, "paper") is None
    assert catalog.list_projects(TENANT, USER) == []
    assert catalog.all_projects() == []
    assert catalog.find_commit(TENANT, made.id, commit) is None
    assert catalog.view_session(TENANT, USER, SESSION) is None
    assert catalog.list_sessions(TENANT, USER) == []
    assert catalog.expired_sessions(timedelta(days=-1)) == []


def test_a_deleted_projects_name_and_session_ids_are_free_at_once(catalog: Catalog) -> None:
    made = make_project(catalog)
    catalog.open_session(session(made), ttl=TTL)
    catalog.delete_project(TENANT, made.id, EVENT)
    again = make_project(catalog)
    catalog.open_session(session(again), ttl=TTL)
    view = catalog.view_session(TENANT, USER, SESSION)
    assert view is not None
    assert view.session.project == again.id


def test_a_deleted_projects_id_is_not_given_out_again(catalog: Catalog) -> None:
    made = make_project(catalog)
    catalog.delete_project(TENANT, made.id, EVENT)
    with pytest.raises(AlreadyExists):
        make_project(catalog, project=made.id)


# --- keys ---------------------------------------------------------------------------------------------------------


def test_keys_are_listed_newest_first_whatever_their_dates(catalog: Catalog) -> None:
    project = ProjectId(new_id())
    first, second, third = (key(project, created_at=NOW - timedelta(days=n)) for n in range(3))
    made = make_project(catalog, project=project)
    row = replace(made.row, project=ProjectId(new_id()), name="two keys")
    catalog.create_project(row, [replace(k, project=row.project) for k in (first, second)], EVENT)
    assert catalog.begin_epoch(replace(third, project=row.project, epoch=1), EMPTY_HEAD)
    assert [k.dek for k in catalog.project_keys(TENANT, row.project)] == [third.dek, second.dek, first.dek]


def test_a_key_id_is_taken_once_per_project(catalog: Catalog) -> None:
    made = make_project(catalog)
    with pytest.raises(AlreadyExists):
        catalog.begin_epoch(replace(made.keys[0], created_at=LATER, epoch=1), EMPTY_HEAD)
    assert catalog.project_keys(TENANT, made.id) == made.keys
    other = make_project(catalog, "other")
    assert catalog.begin_epoch(replace(made.keys[0], project=other.id, epoch=1), EMPTY_HEAD)


def test_a_commit_checkpoint_or_draft_under_an_unknown_key_is_refused(catalog: Catalog) -> None:
    made = make_project(catalog)
    made.publish()
    catalog.open_session(session(made), ttl=TTL)
    before = everything(catalog, made)
    stray = DekId(new_id())
    with pytest.raises(InternalError):
        catalog.publish_commit(made.publication(made.next_commit(dek=stray)))
    with pytest.raises(InternalError):
        catalog.add_checkpoint(TENANT, made.id, CheckpointRow(Generation(1), made.commits[0].commit, stray, 1))
    with pytest.raises(InternalError):
        catalog.save_draft(TENANT, USER, SESSION, draft(made, dek=stray), ttl=TTL)
    assert everything(catalog, made) == before


# --- the commit point ---------------------------------------------------------------------------------------------


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


def test_deleting_while_others_commit_and_open_sessions_ends_in_not_found_and_never_hangs(catalog: Catalog) -> None:
    made = make_project(catalog)
    barrier = threading.Barrier(5)

    def work(number: int) -> str:
        name = SessionId(f"s{number}")
        barrier.wait()
        try:
            while True:
                with contextlib.suppress(AlreadyExists):
                    catalog.open_session(session(made, name), ttl=TTL)
                base = catalog.head(TENANT, made.id)
                catalog.publish_commit(
                    made.publication(made.next_commit(base, session=name), base=base, session_user=USER)
                )
        except NotFound:
            return "gone"

    with ThreadPoolExecutor(5) as threads:
        working = [threads.submit(work, n) for n in range(4)]
        barrier.wait()
        while catalog.head(TENANT, made.id).generation < 5:
            pass
        catalog.delete_project(TENANT, made.id, EVENT)
        assert [future.result(timeout=30) for future in working] == ["gone"] * 4
    assert catalog.list_sessions(TENANT, USER) == []


def test_only_one_writer_at_a_time_has_the_turn_of_a_project(catalog: Catalog) -> None:
    made, other = make_project(catalog), make_project(catalog, "other")
    with catalog.commit_lease(TENANT, made.id, timeout_seconds=1) as first, ThreadPoolExecutor(1) as thread:

        def try_turn(project: ProjectId) -> bool:
            with catalog.commit_lease(TENANT, project, timeout_seconds=0.1) as had:
                return had

        assert first
        assert thread.submit(try_turn, made.id).result() is False
        assert thread.submit(try_turn, other.id).result() is True
    with catalog.commit_lease(TENANT, made.id, timeout_seconds=1) as again:
        assert again


def test_writers_that_take_turns_never_lose_a_race(catalog: Catalog) -> None:
    made = make_project(catalog)
    barrier = threading.Barrier(8)

    def work(_: int) -> list[bool]:
        barrier.wait()
        results = []
        for _ in range(5):
            with catalog.commit_lease(TENANT, made.id, timeout_seconds=30) as had:
                base = catalog.head(TENANT, made.id)
                results.append(had and catalog.publish_commit(made.publication(base=base)) is not None)
        return results

    with ThreadPoolExecutor(8) as threads:
        assert all(all(results) for results in threads.map(work, range(8)))
    assert catalog.head(TENANT, made.id).generation == 40


def test_a_turn_ends_when_its_block_raises(catalog: Catalog) -> None:
    made = make_project(catalog)
    with pytest.raises(ZeroDivisionError), catalog.commit_lease(TENANT, made.id, timeout_seconds=1):
        raise ZeroDivisionError
    with catalog.commit_lease(TENANT, made.id, timeout_seconds=1) as had:
        assert had


# --- tenants ------------------------------------------------------------------------------------------------------


def test_what_belongs_to_another_tenant_is_told_like_what_does_not_exist(catalog: Catalog) -> None:
    made = make_project(catalog)
    made.publish(2)
    catalog.open_session(session(made, draft=draft(made)), ttl=TTL)
    make_project(catalog, "own", tenant=OTHER_TENANT)
    before = everything(catalog, made)

    def attempts(tenant: TenantId, project: ProjectId) -> list[str]:
        publication: Publication = replace(made.publication(), tenant=tenant, project=project)
        commit = made.commits[0]
        calls: list[Callable[[], object]] = [
            lambda: catalog.get_project(tenant, project),
            lambda: catalog.rename_project(tenant, project, "mine", EVENT),
            lambda: catalog.delete_project(tenant, project, EVENT),
            lambda: catalog.project_keys(tenant, project),
            lambda: catalog.begin_epoch(key(project, tenant, epoch=1), made.head),
            lambda: catalog.project_drafts(tenant, project),
            lambda: catalog.publish_commit(publication),
            lambda: catalog.head(tenant, project),
            lambda: catalog.read_plan(tenant, project),
            lambda: catalog.commit_at(tenant, project, Generation(1)),
            lambda: catalog.list_commits(tenant, project),
            lambda: catalog.list_checkpoints(tenant, project),
            lambda: catalog.add_checkpoint(tenant, project, CheckpointRow(Generation(1), commit.commit, commit.dek, 1)),
            lambda: catalog.open_session(replace(session(made), tenant=tenant, project=project), ttl=TTL),
            lambda: catalog.save_draft(tenant, USER, SESSION, draft(made), ttl=TTL),
            lambda: catalog.find_commit(tenant, project, commit.commit),
            lambda: catalog.view_session(tenant, USER, SESSION),
            lambda: catalog.list_sessions(tenant, USER, project),
            lambda: catalog.forks_of(tenant, project),
            lambda: catalog.close_session(tenant, USER, SESSION),
        ]
        answers = []
        for call in calls:
            try:
                answers.append(repr(call()))
            except ManifoldError as error:
                answers.append(f"{error.code}: {error}".replace(project, "?"))
        return answers

    foreign, absent = attempts(OTHER_TENANT, made.id), attempts(OTHER_TENANT, ProjectId(new_id()))
    assert foreign == absent
    assert sum(answer.startswith("not_found") for answer in foreign) == 15
    assert everything(catalog, made) == before
    assert [row.name for row in catalog.list_projects(OTHER_TENANT, USER)] == ["own"]
    assert catalog.find_project(OTHER_TENANT, USER, "paper") is None


# --- outbox -------------------------------------------------------------------------------------------------------


def test_every_change_of_a_project_leaves_its_event_in_order(catalog: Catalog, clock: SettableClock) -> None:
    made = make_project(catalog)
    made.publish(2)
    clock.time = LATER
    catalog.rename_project(TENANT, made.id, "thesis", OutboxEvent("renamed", {}))
    catalog.delete_project(TENANT, made.id, OutboxEvent("deleted", {"nested": {"x": [1, None, True, "é"]}}))
    events = all_events(catalog)
    assert [(e.type, e.generation) for e in events] == [
        (EVENT.type, 0),
        (EVENT.type, 1),
        (EVENT.type, 2),
        ("renamed", 2),
        ("deleted", 2),
    ]
    assert [e.sequence for e in events] == sorted({e.sequence for e in events})
    assert {(e.tenant, e.project) for e in events} == {(TENANT, made.id)}
    assert events[0].data == EVENT.data
    assert events[-1].data == {"nested": {"x": [1, None, True, "é"]}}
    assert events[-1].created_at == LATER


def test_changing_an_events_data_afterwards_does_not_change_what_was_written(catalog: Catalog) -> None:
    paths = ["a"]
    made = make_project(catalog)
    made.publish(event=OutboxEvent("commit", {"paths": paths}))
    paths.append("b")
    assert all_events(catalog)[-1].data == {"paths": ["a"]}


def test_health_is_good(catalog: Catalog) -> None:
    for _ in range(3):
        ok, detail, latency_seconds, trouble = catalog.health()
        assert trouble == ""
    assert ok
    assert detail
    assert latency_seconds >= 0
