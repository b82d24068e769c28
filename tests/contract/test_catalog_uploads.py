"""What every catalog promises of uploads: whose they are, until when, and that what was claimed is never swept."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from manifold_common.errors import InternalError, NotFound
from manifold_common.ids import DekId, Generation, ObjectId, SessionId, UserId
from manifold_common.ports.catalog import Catalog
from manifold_common.ports.uploads import Upload

from tests.contract.catalog_fixtures import (
    EVENT,
    LATER,
    NOW,
    OTHER_TENANT,
    SESSION,
    TENANT,
    TTL,
    USER,
    Made,
    make_project,
    new_id,
    session,
)


def upload(made: Made, **changes: Any) -> Upload:
    name = new_id()
    row = Upload(
        tenant=made.tenant,
        project=made.id,
        user=USER,
        session=SESSION,
        kind="pack",
        name=name,
        object_id=ObjectId(name),
        generation=Generation(0),
        dek=made.keys[-1].dek,
        created_at=NOW,
        expires_at=LATER,
    )
    return replace(row, **changes)


@pytest.fixture
def made(catalog: Catalog) -> Made:
    made = make_project(catalog)
    catalog.open_session(session(made), ttl=TTL)
    return made


def find(catalog: Catalog, *uploads: Upload, at: datetime = NOW) -> list[Upload]:
    found = catalog.find_uploads(TENANT, USER, SESSION, [one.name for one in uploads], at)
    return sorted(found, key=lambda one: one.name)


def test_a_session_finds_its_uploads_as_they_were_added(catalog: Catalog, made: Made) -> None:
    pack = upload(made)
    draft = upload(made, kind="draft", object_id=ObjectId(new_id()), generation=Generation(1))
    catalog.add_uploads([pack, draft])
    assert find(catalog, pack, draft, upload(made)) == sorted([pack, draft], key=lambda one: one.name)
    assert find(catalog) == []


def test_nobody_else_finds_them(catalog: Catalog, made: Made) -> None:
    pack = upload(made)
    catalog.add_uploads([pack])
    assert catalog.find_uploads(OTHER_TENANT, USER, SESSION, [pack.name], NOW) == []
    assert catalog.find_uploads(TENANT, UserId("another"), SESSION, [pack.name], NOW) == []
    assert catalog.find_uploads(TENANT, USER, SessionId("another"), [pack.name], NOW) == []


def test_uploads_are_added_for_an_open_session_of_that_project_only(catalog: Catalog, made: Made) -> None:
    other = make_project(catalog, "other")
    for wrong in (upload(made, session=SessionId("closed")), upload(made, project=other.id, dek=other.keys[0].dek)):
        with pytest.raises(NotFound):
            catalog.add_uploads([wrong])
        assert catalog.ended_uploads(LATER + timedelta(days=1)) == []


def test_an_upload_names_a_key_of_its_project(catalog: Catalog, made: Made) -> None:
    with pytest.raises(InternalError):
        catalog.add_uploads([upload(made, dek=DekId(new_id()))])
    assert catalog.ended_uploads(LATER + timedelta(days=1)) == []


def test_what_was_claimed_in_time_stays_and_what_was_not_is_not_found_any_more(catalog: Catalog, made: Made) -> None:
    one, two = upload(made, expires_at=LATER), upload(made, expires_at=LATER)
    catalog.add_uploads([one, two])
    for _ in range(2):
        assert catalog.claim_uploads(TENANT, made.id, [one.name, new_id()]) == 1
    assert find(catalog, one, two) == sorted([replace(one, claimed=True), two], key=lambda row: row.name)
    assert find(catalog, one, two, at=LATER) == [replace(one, claimed=True)]


def test_what_was_claimed_is_never_among_those_that_ended(catalog: Catalog, made: Made) -> None:
    late, early, claimed = (upload(made, expires_at=NOW + timedelta(seconds=s)) for s in (3, 1, 2))
    catalog.add_uploads([late, early, claimed])
    catalog.claim_uploads(TENANT, made.id, [claimed.name])
    assert catalog.ended_uploads(NOW + timedelta(seconds=1)) == []
    assert catalog.ended_uploads(NOW + timedelta(seconds=9)) == [early, late]
    assert catalog.ended_uploads(NOW + timedelta(seconds=9), limit=1) == [early]


def test_ended_uploads_of_closed_sessions_and_deleted_projects_are_listed_too(catalog: Catalog, made: Made) -> None:
    pack = upload(made)
    catalog.add_uploads([pack])
    catalog.close_session(TENANT, USER, SESSION)
    catalog.delete_project(TENANT, made.id, EVENT)
    assert find(catalog, pack) == []
    assert catalog.ended_uploads(LATER + timedelta(days=1)) == [pack]


def test_what_was_forgotten_is_gone(catalog: Catalog, made: Made) -> None:
    one, two = upload(made), upload(made)
    catalog.add_uploads([one, two])
    catalog.forget_uploads(TENANT, made.id, [one.name, new_id()])
    assert find(catalog, one, two) == [two]
