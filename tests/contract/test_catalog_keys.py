"""Keys that are to be wrapped anew: found whatever happened to their project, replaced only as they were read."""

from __future__ import annotations

from dataclasses import replace

from manifold_common.domain.keys import Kek, WrappedKey
from manifold_common.ids import PLAIN
from manifold_common.ports.catalog import Catalog

from tests.contract.catalog_fixtures import EVENT, OTHER_TENANT, TENANT, key, make_plain
from tests.contract.catalog_fixtures import make_project as make

OLD, NEW = Kek("file", "master", 1), Kek("file", "master", 2)
WRAPPED = WrappedKey(*NEW, b"anew")


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
