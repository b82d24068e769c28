"""What every catalog promises of uploads: whose they are, until when, what is known of them, and how they go."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from manifold_common.errors import InternalError, NotFound
from manifold_common.ids import CommitId, DekId, Generation, ObjectId, SessionId, UserId
from manifold_common.ports.catalog import Catalog, Held, Upload

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
        draft=CommitId(new_id()),
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


def by_name(*uploads: Upload) -> list[Upload]:
    return sorted(uploads, key=lambda one: one.name)


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


def test_what_is_over_is_not_found_and_what_is_proven_or_about_to_be_referred_to_is_longer(
    catalog: Catalog, made: Made
) -> None:
    over, proven, referred = (upload(made, expires_at=LATER) for _ in range(3))
    catalog.add_uploads([over, proven, referred])
    end = LATER + timedelta(hours=1)
    assert catalog.prove_uploads(TENANT, made.id, {proven.name: b"digest", new_id(): b"x"}, end) == 1
    first, second = CommitId(new_id()), CommitId(new_id())
    for commit, until in ((first, end), (second, NOW)):
        assert catalog.refer_uploads(TENANT, made.id, [referred.name, new_id()], commit, until) == 1
    now_proven = replace(proven, proof=b"digest", expires_at=end)
    now_referred = replace(referred, commits=(first, second), expires_at=end)
    assert find(catalog, over, proven, referred) == by_name(over, now_proven, now_referred)
    assert find(catalog, over, proven, referred, at=LATER) == by_name(now_proven, now_referred)
    assert catalog.ended_uploads(LATER + timedelta(seconds=1)) == [over]
    assert {one.name for one in catalog.ended_uploads(end + timedelta(seconds=1))} == {
        over.name, proven.name, referred.name,
    }  # fmt: skip


def test_an_upload_has_one_length_once_a_link_was_given_out(catalog: Catalog, made: Made) -> None:
    one, two = upload(made), upload(made)
    catalog.add_uploads([one, two])
    linked = [replace(one, stored_bytes=10), replace(two, stored_bytes=20)]
    for _ in range(2):
        assert catalog.link_uploads(linked) == 2
    assert catalog.link_uploads([replace(one, stored_bytes=11), linked[1], upload(made, stored_bytes=1)]) == 1
    assert find(catalog, one, two) == by_name(*linked)


def test_what_is_open_is_counted_by_session_and_by_user(catalog: Catalog, made: Made) -> None:
    other = SessionId("another")
    catalog.open_session(replace(session(made), session=other), ttl=TTL)
    one, two, elsewhere = upload(made), upload(made), upload(made, session=other)
    catalog.add_uploads([one, two])
    catalog.add_uploads([elsewhere])
    catalog.link_uploads([replace(one, stored_bytes=10), replace(elsewhere, stored_bytes=20)])
    assert catalog.held_uploads(TENANT, USER, SESSION) == Held(2, 10, 3, 30)
    assert catalog.held_uploads(TENANT, USER, SessionId("third")) == Held(0, 0, 3, 30)
    assert catalog.held_uploads(TENANT, UserId("another"), SESSION) == Held(0, 0, 0, 0)
    assert catalog.held_uploads(OTHER_TENANT, USER, SESSION) == Held(0, 0, 0, 0)


def test_a_removal_that_was_begun_hides_the_upload_until_it_is_done(catalog: Catalog, made: Made) -> None:
    one = upload(made)
    catalog.add_uploads([one])
    for _ in range(2):
        assert catalog.remove_upload(one)
        assert find(catalog, one) == []
        assert catalog.ended_uploads(LATER + timedelta(days=1)) == [one]
    assert catalog.refer_uploads(TENANT, made.id, [one.name], CommitId(new_id()), LATER) == 0
    assert catalog.prove_uploads(TENANT, made.id, {one.name: b"digest"}, LATER) == 0
    assert catalog.link_uploads([replace(one, stored_bytes=1)]) == 0
    catalog.forget_uploads(TENANT, made.id, [one.name])
    assert catalog.ended_uploads(LATER + timedelta(days=1)) == []
    assert not catalog.remove_upload(one)


def test_what_came_into_use_meanwhile_is_not_removed(catalog: Catalog, made: Made) -> None:
    referred, proven = upload(made), upload(made)
    catalog.add_uploads([referred, proven])
    catalog.refer_uploads(TENANT, made.id, [referred.name], CommitId(new_id()), NOW)
    catalog.prove_uploads(TENANT, made.id, {proven.name: b"digest"}, LATER + timedelta(seconds=1))
    assert not catalog.remove_upload(referred)
    assert not catalog.remove_upload(proven)
    assert len(find(catalog, referred, proven)) == 2


def test_those_that_ended_are_listed_oldest_first(catalog: Catalog, made: Made) -> None:
    late, early = (upload(made, expires_at=NOW + timedelta(seconds=s)) for s in (3, 1))
    catalog.add_uploads([late, early])
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


def test_the_slots_of_a_draft_go_with_it_unless_something_may_be_stored_there(catalog: Catalog, made: Made) -> None:
    draft = CommitId(new_id())
    root = upload(made, kind="draft", name=draft, draft=draft, object_id=ObjectId(new_id()), generation=Generation(1))
    unused, linked, another = upload(made, draft=draft), upload(made, draft=draft), upload(made)
    catalog.add_uploads([root, unused, linked, another])
    catalog.link_uploads([replace(one, stored_bytes=1) for one in (root, linked)])
    catalog.forget_uploads(TENANT, made.id, [], slots_of=draft)
    assert {one.name for one in find(catalog, root, unused, linked, another)} == {root.name, linked.name, another.name}
