"""What every catalog promises of forks, and of projects that begin with a commit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from manifold_common.errors import AlreadyExists, InternalError, NotFound
from manifold_common.ids import DekId, Generation, ProjectId
from manifold_common.ports.catalog import (
    Catalog,
    OutboxEvent,
    ProjectRow,
    Publication,
)

from tests.contract.catalog_fixtures import (
    EMPTY_HEAD,
    EVENT,
    LATER,
    NOW,
    OTHER_TENANT,
    TENANT,
    USER,
    Made,
    all_events,
    everything,
    key,
    make_project,
    new_id,
)


def test_a_fork_is_an_empty_project_that_its_source_knows_of(catalog: Catalog) -> None:
    source = make_project(catalog)
    source.publish(3)
    fork = make_project(catalog, "fork", fork_of=(source.id, Generation(2)))
    assert catalog.head(TENANT, fork.id) == EMPTY_HEAD
    assert catalog.forks_of(TENANT, source.id) == [(fork.id, 2)]
    assert catalog.forks_of(TENANT, fork.id) == []
    fork.publish()
    assert catalog.head(TENANT, source.id).generation == 3


def test_a_deleted_source_is_remembered_and_can_still_be_forked(catalog: Catalog) -> None:
    source = make_project(catalog)
    source.publish()
    first = make_project(catalog, "first", fork_of=(source.id, Generation(1)))
    catalog.delete_project(TENANT, source.id, EVENT)
    second = make_project(catalog, "second", fork_of=(source.id, Generation(0)))
    assert catalog.forks_of(TENANT, source.id) == sorted([(first.id, 1), (second.id, 0)])
    catalog.delete_project(TENANT, first.id, EVENT)
    assert catalog.forks_of(TENANT, source.id) == [(second.id, 0)]


def test_a_fork_of_a_fork_holds_on_to_the_first_source_through_a_deleted_one(catalog: Catalog) -> None:
    source = make_project(catalog)
    source.publish(5)
    middle = make_project(catalog, "middle", fork_of=(source.id, Generation(4)))
    middle.publish(2)
    last = make_project(catalog, "last", fork_of=(middle.id, Generation(2)))
    assert catalog.forks_of(TENANT, source.id) == sorted([(middle.id, 4), (last.id, 4)])
    catalog.delete_project(TENANT, middle.id, EVENT)
    assert catalog.forks_of(TENANT, source.id) == [(last.id, 4)]
    assert catalog.forks_of(TENANT, middle.id) == [(last.id, 2)]


def test_a_fork_of_nothing_is_refused_and_leaves_no_trace(catalog: Catalog) -> None:
    source = make_project(catalog)
    source.publish(2)
    foreign = make_project(catalog, tenant=OTHER_TENANT)
    before = len(catalog.list_events())
    for wanted in [(ProjectId(new_id()), 0), (source.id, 3), (foreign.id, 0)]:
        with pytest.raises(NotFound):
            make_project(catalog, "fork", fork_of=(wanted[0], Generation(wanted[1])))
    assert catalog.find_project(TENANT, USER, "fork") is None
    assert len(catalog.list_events()) == before


def _first_commit(made: Made, **changes: Any) -> Publication:
    commit = made.next_commit(created_at=LATER)
    event = OutboxEvent("manifold.first", {"n": 2})
    return replace(made.publication(commit, tree_bytes=70, tree_files=7, event=event), **changes)


@pytest.mark.parametrize("touches_skills", [False, True])
def test_a_first_commit_is_there_with_its_project_as_if_published_right_after(
    catalog: Catalog, touches_skills: bool
) -> None:
    row = ProjectRow(TENANT, ProjectId(new_id()), USER, "paper", EMPTY_HEAD, 0, 0, NOW, NOW)
    one = Made(catalog, row, [key(row.project), key(row.project)])
    first = _first_commit(one, touches_skills=touches_skills)
    catalog.create_project(row, one.keys, EVENT, first=first)

    row = replace(row, project=ProjectId(new_id()), name="twin")
    twin = Made(catalog, row, [replace(each, project=row.project) for each in one.keys])
    catalog.create_project(row, twin.keys, EVENT)
    assert catalog.publish_commit(replace(first, project=twin.id)) is not None

    assert replace(catalog.get_project(TENANT, one.id), project=twin.id, name="twin") == catalog.get_project(
        TENANT, twin.id
    )
    assert catalog.list_commits(TENANT, one.id) == catalog.list_commits(TENANT, twin.id) == [first.commit]
    assert catalog.head(TENANT, one.id).skills_generation == (1 if touches_skills else 0)
    events = {made.id: [e[3:] for e in all_events(catalog) if e.project == made.id] for made in (one, twin)}
    assert events[one.id] == events[twin.id]
    assert [e[0] for e in events[one.id]] == ["manifold.test", "manifold.first"]
    one.head = catalog.head(TENANT, one.id)
    assert one.publish().generation == 2


def test_a_project_that_is_refused_leaves_nothing_of_its_first_commit(catalog: Catalog) -> None:
    made = make_project(catalog)
    before = everything(catalog, made)
    for name, foreign_key, error in (("paper", False, AlreadyExists), ("other", True, InternalError)):
        row = ProjectRow(TENANT, ProjectId(new_id()), USER, name, EMPTY_HEAD, 0, 0, NOW, NOW)
        refused = Made(catalog, row, [key(row.project)])
        first = _first_commit(refused)
        if foreign_key:
            first = replace(first, commit=replace(first.commit, dek=DekId(new_id())))
        with pytest.raises(error):
            catalog.create_project(row, refused.keys, EVENT, first=first)
        with pytest.raises(NotFound):
            catalog.get_project(TENANT, row.project)
    assert everything(catalog, made) == before
    assert [row.project for row in catalog.all_projects()] == [made.id]
