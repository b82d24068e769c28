"""What every catalog promises of resumable uploads: whose they are, who writes, how far they are, how they go."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from manifold_common.errors import ContentCollected, InternalError, KeyUnavailable, NotFound
from manifold_common.ids import DekId, ObjectId, UploadId, UserId
from manifold_common.ports.catalog import SPARE_KEPT, Catalog, HeldResumable, ResumableUpload, UploadPart

from tests.contract.catalog_fixtures import (
    EVENT,
    LATER,
    NO_PROJECT,
    NOW,
    OTHER_TENANT,
    TENANT,
    USER,
    Made,
    key,
    make_plain,
    make_project,
    new_id,
)

LEASE = timedelta(minutes=1)
OVER = timedelta(minutes=-1)
"""A lease that has ended when it begins."""


def upload(made: Made, **changes: Any) -> ResumableUpload:
    row = ResumableUpload(
        tenant=made.tenant,
        project=made.id,
        upload=UploadId(new_id()),
        user=USER,
        dek=made.keys[-1].dek,
        about=b"\x00about\xff",
        progress=b"\x00begun\xff",
        received_bytes=0,
        total_bytes=100,
        spare=(),
        created_at=NOW,
        expires_at=LATER,
    )
    return replace(row, **changes)


def part(made: Made, number: int, *objects: ObjectId, **changes: Any) -> UploadPart:
    row = UploadPart(number, made.keys[-1].dek, objects, b"\x00places %d\xff" % number)
    return replace(row, **changes)


def find(catalog: Catalog, one: ResumableUpload) -> ResumableUpload | None:
    return catalog.find_resumable(one.tenant, one.project, one.user, one.upload, NOW)


def hold(
    catalog: Catalog, one: ResumableUpload, writer: str = "w1", lease: timedelta = LEASE, *spare: ObjectId
) -> ResumableUpload | None:
    return catalog.hold_resumable(one.tenant, one.project, one.upload, writer, lease, spare)


def parts(catalog: Catalog, one: ResumableUpload, first: int = 0) -> list[UploadPart]:
    return catalog.resumable_parts(one.tenant, one.project, one.upload, first=first)


def plain(found: ResumableUpload | None) -> ResumableUpload | None:
    """Return a row without the time of its lease, which is by the catalog's own clock."""
    return found and replace(found, writing_until=None)


@pytest.fixture
def made(catalog: Catalog) -> Made:
    return make_project(catalog)


def test_an_upload_is_found_as_it_was_added_by_its_user_alone_until_its_time_is_over(
    catalog: Catalog, made: Made
) -> None:
    one = upload(made, total_bytes=None, spare=(ObjectId(new_id()),))
    catalog.add_resumable(one)
    assert find(catalog, one) == one
    for changes in ({"user": UserId("another")}, {"tenant": OTHER_TENANT}, {"project": NO_PROJECT}):
        assert find(catalog, replace(one, **changes)) is None
    assert find(catalog, upload(made)) is None
    assert catalog.find_resumable(TENANT, made.id, USER, one.upload, LATER) is None


def test_an_upload_is_added_to_a_project_that_is_there_under_a_key_of_it(catalog: Catalog, made: Made) -> None:
    with pytest.raises(NotFound):
        catalog.add_resumable(upload(made, project=NO_PROJECT))
    with pytest.raises(InternalError):
        catalog.add_resumable(upload(made, dek=DekId(new_id())))
    assert catalog.ended_resumable(LATER + LEASE) == []


def test_one_writer_has_it_until_its_lease_is_over(catalog: Catalog, made: Made) -> None:
    one = upload(made, spare=(ObjectId(new_id()),))
    catalog.add_resumable(one)
    more = ObjectId(new_id())
    assert hold(catalog, one, "w1", LEASE, more) == one
    held = find(catalog, one)
    assert plain(held) == replace(one, writer="w1", spare=(*one.spare, more))
    assert hold(catalog, one, "w2") is None
    assert hold(catalog, upload(made), "w2") is None
    assert catalog.advance_resumable(one, "w1", [], OVER)
    assert plain(hold(catalog, one, "w2")) == replace(one, writer="w1")
    assert hold(catalog, one, "w3") is None


def test_only_the_writer_that_has_it_notes_anything(catalog: Catalog, made: Made) -> None:
    one = upload(made)
    catalog.add_resumable(one)
    pack = ObjectId(new_id())
    ahead = replace(
        one, progress=b"further", received_bytes=60, about=b"other", expires_at=LATER + LEASE, announced_at=NOW,
        spare=(ObjectId(new_id()),),
    )  # fmt: skip
    assert not catalog.advance_resumable(ahead, "w1", [part(made, 0, pack)], LEASE)
    hold(catalog, one, "w1", OVER)
    hold(catalog, one, "w2")
    assert not catalog.advance_resumable(ahead, "w1", [part(made, 0, pack)], LEASE)
    assert parts(catalog, one) == []
    assert catalog.advance_resumable(ahead, "w2", [part(made, 0, pack), part(made, 1)], LEASE)
    assert plain(find(catalog, one)) == replace(ahead, writer="w2")
    assert catalog.advance_resumable(ahead, "w2", [part(made, 2, pack, pack)], None)
    assert find(catalog, one) == ahead
    assert parts(catalog, one) == [part(made, 0, pack), part(made, 1), part(made, 2, pack, pack)]
    assert parts(catalog, one, 1) == [part(made, 1), part(made, 2, pack, pack)]
    assert not catalog.advance_resumable(ahead, "w2", [], LEASE), "its turn is over"


def test_a_done_upload_takes_no_more_and_has_no_parts(catalog: Catalog, made: Made) -> None:
    one = upload(made)
    catalog.add_resumable(one)
    hold(catalog, one)
    catalog.advance_resumable(replace(one, announced_at=NOW), "w1", [part(made, 0, ObjectId(new_id()))], LEASE)
    spare = (ObjectId(new_id()),)
    done = replace(
        one, progress=b"done", received_bytes=100, expires_at=LATER + LEASE, announced_at=NOW, spare=spare
    )  # fmt: skip
    for _ in range(2):
        catalog.settle_resumable(done)
        assert find(catalog, one) == replace(done, stage="done")
        assert parts(catalog, one) == []
    assert not catalog.advance_resumable(one, "w1", [], LEASE)
    assert hold(catalog, one) is None


def test_those_with_packs_to_be_removed_are_listed_where_nobody_is_at_work(catalog: Catalog, made: Made) -> None:
    many, few = (tuple(ObjectId(new_id()) for _ in range(count)) for count in (SPARE_KEPT + 1, SPARE_KEPT))
    cluttered, done = upload(made, spare=many), upload(made, spare=few[:1], announced_at=NOW, expires_at=LATER + LEASE)
    held, announced = upload(made, spare=many), upload(made, spare=many)
    for one in (cluttered, done, held, announced, upload(made, spare=few)):
        catalog.add_resumable(one)
    hold(catalog, held)
    hold(catalog, announced)
    catalog.advance_resumable(replace(announced, announced_at=NOW), "w1", [], None)
    catalog.settle_resumable(done)
    assert catalog.cluttered_resumable(NOW) == [cluttered]
    assert catalog.cluttered_resumable(LATER) == [cluttered, replace(done, stage="done")]
    assert catalog.cluttered_resumable(LATER, limit=1) == [cluttered]
    catalog.settle_resumable(replace(done, spare=()))
    assert catalog.cluttered_resumable(LATER) == [cluttered]


def test_what_is_open_is_counted_by_project_and_by_tenant(catalog: Catalog, made: Made) -> None:
    other, elsewhere = make_project(catalog, "other"), make_project(catalog, tenant=OTHER_TENANT)
    of_unknown_length = upload(made, total_bytes=None, received_bytes=7)
    done, removed = upload(made), upload(made)
    for one in (upload(made), of_unknown_length, done, removed, upload(made, expires_at=NOW), upload(other),
                upload(elsewhere)):  # fmt: skip
        catalog.add_resumable(one)
    catalog.settle_resumable(done)
    catalog.remove_resumable(removed, NOW)
    assert catalog.held_resumable(TENANT, made.id, NOW) == HeldResumable(2, 107, 3)
    assert catalog.held_resumable(TENANT, NO_PROJECT, NOW) == HeldResumable(0, 0, 3)


def test_a_removal_that_was_begun_hides_the_upload_until_it_is_done(catalog: Catalog, made: Made) -> None:
    one = upload(made)
    catalog.add_resumable(one)
    hold(catalog, one)
    assert not catalog.remove_resumable(one, NOW), "a writer has come meanwhile"
    held = find(catalog, one)
    assert held is not None
    assert catalog.remove_resumable(held, NOW)
    assert find(catalog, one) is None
    assert hold(catalog, one, "w2") is None
    assert not catalog.advance_resumable(one, "w1", [], LEASE)
    removing = replace(held, stage="removing", expires_at=NOW)
    assert catalog.ended_resumable(LATER) == [removing]
    assert catalog.remove_resumable(removing, NOW)
    for _ in range(2):
        catalog.forget_resumable(TENANT, made.id, one.upload)
        assert catalog.ended_resumable(LATER) == []
    assert not catalog.remove_resumable(removing, NOW)


def test_what_came_into_use_meanwhile_is_not_removed(catalog: Catalog, made: Made) -> None:
    longer, announced = upload(made), upload(made)
    for one, changes in ((longer, {"expires_at": LATER + LEASE}), (announced, {"announced_at": NOW})):
        catalog.add_resumable(one)
        hold(catalog, one)
        catalog.advance_resumable(replace(one, **changes), "w1", [], None)
        assert not catalog.remove_resumable(one, NOW)
        assert find(catalog, one) is not None


def test_those_that_ended_are_listed_oldest_first_also_of_deleted_projects(catalog: Catalog, made: Made) -> None:
    late, early = (upload(made, expires_at=NOW + timedelta(seconds=s)) for s in (3, 1))
    for one in (late, early):
        catalog.add_resumable(one)
    assert catalog.ended_resumable(NOW + timedelta(seconds=1)) == []
    catalog.delete_project(TENANT, made.id, EVENT)
    assert catalog.ended_resumable(LATER) == [early, late]
    assert catalog.ended_resumable(LATER, limit=1) == [early]
    assert hold(catalog, early) is None
    assert find(catalog, early) is None
    assert catalog.remove_resumable(early, NOW)


def test_parts_go_with_their_upload(catalog: Catalog, made: Made) -> None:
    one, two = upload(made), upload(made)
    for each in (one, two):
        catalog.add_resumable(each)
        hold(catalog, each)
        catalog.advance_resumable(each, "w1", [part(made, 0)], LEASE)
    catalog.forget_resumable(TENANT, made.id, one.upload)
    assert (parts(catalog, one), parts(catalog, two)) == ([], [part(made, 0)])


def test_nothing_in_the_clear_is_noted_once_the_project_is_encrypted(catalog: Catalog) -> None:
    made = make_plain(catalog)
    one = upload(made)
    catalog.add_resumable(one)
    hold(catalog, one)
    assert catalog.advance_resumable(one, "w1", [part(made, 0)], LEASE)
    sealed = key(made.id, epoch=1)
    assert catalog.begin_epoch(sealed, made.head)
    in_the_clear = part(made, 1)
    for row, given in ((one, []), (replace(one, dek=sealed.dek), [in_the_clear])):
        with pytest.raises(KeyUnavailable):
            catalog.advance_resumable(row, "w1", given, LEASE)
    with pytest.raises(KeyUnavailable):
        catalog.add_resumable(upload(made))
    with pytest.raises(KeyUnavailable):
        catalog.settle_resumable(replace(one, progress=b"what came of it"))
    assert parts(catalog, one) == [part(made, 0)]
    assert catalog.advance_resumable(
        replace(one, dek=sealed.dek), "w1", [replace(in_the_clear, dek=sealed.dek)], LEASE
    )  # fmt: skip


def test_what_a_job_was_asked_to_do_is_no_upload_and_no_upload_is_that(catalog: Catalog, made: Made) -> None:
    asked, one = upload(made, purpose="job", total_bytes=None), upload(made)
    for row in (asked, one):
        catalog.add_resumable(row)
        assert catalog.find_resumable(TENANT, made.id, USER, row.upload, NOW, purpose=row.purpose) == row
    assert find(catalog, asked) is None
    assert catalog.find_resumable(TENANT, made.id, USER, one.upload, NOW, purpose="job") is None
    assert hold(catalog, asked) == asked
    assert sorted(row.purpose for row, _ in catalog.holdings(TENANT, made.id).resumable) == ["file", "job"]
    assert catalog.held_resumable(TENANT, made.id, NOW) == HeldResumable(2, 100, 2)


def test_parts_that_refer_to_nothing_of_others_are_noted_whatever_was_collected(catalog: Catalog, made: Made) -> None:
    one = upload(made)
    catalog.add_resumable(one)
    hold(catalog, one)
    catalog.suspect(TENANT, [made.id], [])
    with pytest.raises(ContentCollected):
        catalog.advance_resumable(one, "w1", [part(made, 0)], LEASE)
    assert catalog.advance_resumable(one, "w1", [part(made, 0)], LEASE, gc_epoch=None)
    assert parts(catalog, one) == [part(made, 0)]
