"""What every catalog promises of projects. Those that are forks, or begin with a commit, are in test_catalog_forks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from manifold_common.domain.history import Point, Version
from manifold_common.errors import AlreadyExists, Conflict, GenerationMismatch, NotFound, PreconditionFailed
from manifold_common.ids import CommitId, ProjectId, TenantId, TenantProject
from manifold_common.ports.catalog import (
    Catalog,
    OutboxEvent,
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
    Made,
    SettableClock,
    everything,
    key,
    make_project,
    new_id,
    session,
)


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
    seen: list[TenantProject] = []
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


def _changes(made: Made) -> dict[str, Callable[[Version], object]]:
    """Return what may depend on the state of a project."""
    catalog, forked = made.catalog, ProjectId(new_id())
    row = replace(catalog.get_project(TENANT, made.id), project=forked, name="forked", head=EMPTY_HEAD)
    keys, source = [key(forked)], (made.id, made.head.generation)
    return {
        "rename": lambda expected: catalog.rename_project(TENANT, made.id, "x", EVENT, expected=expected),
        "fork": lambda expected: catalog.create_project(row, keys, EVENT, fork_of=source, source=expected),
        "delete": lambda expected: catalog.delete_project(TENANT, made.id, EVENT, expected=expected),
    }


@pytest.mark.parametrize("change", ["rename", "delete", "fork"])
def test_a_change_of_a_project_in_another_state_changes_nothing(catalog: Catalog, change: str) -> None:
    made = make_project(catalog)
    catalog.open_session(session(made), ttl=TTL)
    first = catalog.get_project(TENANT, made.id).version
    made.publish()
    second = catalog.get_project(TENANT, made.id).version
    catalog.rename_project(TENANT, made.id, "thesis", EVENT)
    before = everything(catalog, made)
    point = second.point
    for expected, error in [
        (first, GenerationMismatch),
        (Version(first.point, None), GenerationMismatch),
        (Version(Point(point.generation, CommitId("z" * 26)), None), GenerationMismatch),
        (second, PreconditionFailed),
        (Version(Point(point.generation), 0), PreconditionFailed),
    ]:
        with pytest.raises(error):
            _changes(made)[change](expected)
        assert everything(catalog, made) == before
        assert catalog.find_project(TENANT, USER, "forked") is None
        assert catalog.view_session(TENANT, USER, SESSION) is not None


@pytest.mark.parametrize("change", ["rename", "delete", "fork"])
@pytest.mark.parametrize("known", ["all", "no revision", "only the generation", "nothing committed"])
def test_a_change_of_a_project_in_the_expected_state_is_made(catalog: Catalog, change: str, known: str) -> None:
    made = make_project(catalog)
    catalog.open_session(session(made), ttl=TTL)
    if known != "nothing committed":
        made.publish()
    catalog.rename_project(TENANT, made.id, "thesis", EVENT)
    found = catalog.get_project(TENANT, made.id).version
    expected = {
        "no revision": Version(found.point, None),
        "only the generation": Version(Point(found.point.generation), None),
    }.get(known, found)
    _changes(made)[change](expected)
    if change == "delete":
        with pytest.raises(NotFound):
            catalog.get_project(TENANT, made.id)
        assert catalog.view_session(TENANT, USER, SESSION) is None
    elif change == "rename":
        assert catalog.get_project(TENANT, made.id).name == "x"
    else:
        assert catalog.find_project(TENANT, USER, "forked") is not None


@pytest.mark.parametrize("change", ["rename", "delete", "fork"])
def test_a_change_that_waits_for_a_commit_sees_what_it_has_made(catalog: Catalog, change: str) -> None:
    """Of many that depend on the same state, together with a commit, one at most is made on it."""
    made = make_project(catalog)
    catalog.open_session(session(made), ttl=TTL)
    expected = catalog.get_project(TENANT, made.id).version
    together = threading.Barrier(3)

    def committing() -> str:
        together.wait(20)
        try:
            head = catalog.publish_commit(made.publication())
        except (Conflict, NotFound):
            return "refused"
        return "refused" if head is None else "committed"

    def changing() -> str:
        act = _changes(made)[change]
        together.wait(20)
        try:
            act(expected)
        except (Conflict, NotFound):
            return "refused"
        return "changed"

    with ThreadPoolExecutor(3) as pool:
        found = [pool.submit(one) for one in (committing, changing, changing)]
        outcomes = sorted(one.result() for one in found)
    is_there = change != "delete" or "changed" not in outcomes
    assert outcomes.count("changed") <= 1
    assert (catalog.view_session(TENANT, USER, SESSION) is not None) is is_there, "sessions end only with their project"


def test_a_deleted_project_is_not_forked_where_its_state_matters(catalog: Catalog) -> None:
    made = make_project(catalog)
    fork = _changes(made)["fork"]
    expected = catalog.get_project(TENANT, made.id).version
    catalog.delete_project(TENANT, made.id, EVENT)
    with pytest.raises(NotFound):
        fork(expected)
