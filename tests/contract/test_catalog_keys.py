"""Keys that are to be wrapped anew: found whatever happened to their project, replaced only as they were read."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from manifold_common.domain.keys import Kek, WrappedKey
from manifold_common.errors import AlreadyExists, InternalError
from manifold_common.ids import PLAIN, DekId, Generation, ProjectId
from manifold_common.ports.catalog import (
    Catalog,
    CheckpointRow,
)

from tests.contract.catalog_fixtures import (
    EMPTY_HEAD,
    EVENT,
    LATER,
    NOW,
    OTHER_TENANT,
    SESSION,
    TENANT,
    TTL,
    USER,
    draft,
    everything,
    key,
    make_plain,
    make_project,
    new_id,
    session,
)
from tests.contract.catalog_fixtures import make_project as make

OLD, NEW = Kek("file", "master", 1), Kek("file", "master", 2)
WRAPPED = WrappedKey(*NEW, b"anew")


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


def test_keys_under_another_kek_are_listed_by_context_in_pages(catalog: Catalog) -> None:
    made = [make(catalog, name="a"), make(catalog, name="b"), make(catalog, tenant=OTHER_TENANT, name="c")]
    second = key(made[0].id, wrapped=WrappedKey("vault", "kek", 7, b"other"), epoch=1)
    assert catalog.begin_epoch(second, made[0].head)
    every = sorted([*(one.keys[0] for one in made), second], key=lambda record: record.context)
    assert catalog.keys_not_under(NEW) == every
    assert catalog.keys_not_under(OLD) == [second]
    assert catalog.keys_not_under(Kek("vault", "kek", 7)) == [record for record in every if record != second]
    pages, after = [], None
    while page := catalog.keys_not_under(NEW, after=after, limit=2):
        pages.append(page)
        after = (page[-1].tenant, page[-1].project, page[-1].dek)
    assert [record for page in pages for record in page] == every
    assert [len(page) for page in pages] == [2, 2]


def test_keys_of_deleted_projects_are_listed_too_and_plain_ones_are_not(catalog: Catalog) -> None:
    gone = make(catalog, name="gone")
    make_plain(catalog)
    catalog.delete_project(TENANT, gone.id, EVENT)
    found = catalog.keys_not_under(NEW)
    assert gone.keys[0] in found
    assert all(record.dek != PLAIN for record in found)


def test_a_wrapped_key_is_replaced_as_it_was_read(catalog: Catalog) -> None:
    made = make(catalog)
    assert catalog.replace_wrapped_key(made.keys[0], WRAPPED) == WRAPPED
    assert catalog.project_keys(TENANT, made.id) == [replace(made.keys[0], wrapped=WRAPPED)]
    assert catalog.keys_not_under(NEW) == []


def test_of_two_that_replace_it_the_second_is_told_what_the_first_did(catalog: Catalog) -> None:
    made = make(catalog)
    catalog.replace_wrapped_key(made.keys[0], WRAPPED)
    other = WrappedKey("file", "master", 3, b"later")
    assert catalog.replace_wrapped_key(made.keys[0], other) == WRAPPED
    assert catalog.project_keys(TENANT, made.id)[0].wrapped == WRAPPED


def test_a_key_that_is_not_there_is_not_made(catalog: Catalog) -> None:
    made = make(catalog)
    assert catalog.replace_wrapped_key(key(made.id), WRAPPED) is None
    assert catalog.replace_wrapped_key(replace(made.keys[0], tenant=OTHER_TENANT), WRAPPED) is None
    assert catalog.project_keys(TENANT, made.id) == made.keys


def test_keys_of_a_deleted_project_are_replaced_too(catalog: Catalog) -> None:
    gone = make(catalog)
    catalog.delete_project(TENANT, gone.id, EVENT)
    assert catalog.replace_wrapped_key(gone.keys[0], WRAPPED) == WRAPPED
    assert catalog.keys_not_under(NEW) == []


def test_keys_are_found_by_name_whoever_has_them_and_once(catalog: Catalog) -> None:
    one, other, gone = make(catalog, name="a"), make(catalog, tenant=OTHER_TENANT), make(catalog, name="gone")
    plain = make_plain(catalog)
    second = key(one.id, wrapped=WRAPPED, epoch=1)
    assert catalog.begin_epoch(second, one.head)
    catalog.delete_project(TENANT, gone.id, EVENT)
    wanted = [one.keys[0], second, other.keys[0], gone.keys[0], plain.keys[0]]
    names = [(record.tenant, record.project, record.dek) for record in wanted]
    found = catalog.find_keys([*names, names[0]])
    assert sorted(found, key=lambda record: record.context) == sorted(wanted, key=lambda record: record.context)
    assert catalog.find_keys(names[1:2]) == [second]


def test_a_key_whose_name_is_right_in_part_is_not_found(catalog: Catalog) -> None:
    one, other = make(catalog, name="a"), make(catalog, tenant=OTHER_TENANT)
    wrong = [
        (OTHER_TENANT, one.id, one.keys[0].dek),
        (TENANT, other.id, one.keys[0].dek),
        (TENANT, one.id, other.keys[0].dek),
    ]
    assert catalog.find_keys(wrong) == catalog.find_keys([]) == []
