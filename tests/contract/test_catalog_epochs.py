"""A project's encryption begins once, at one generation, and from then on the catalog takes nothing unsealed of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from manifold_common.domain.keys import Encryption
from manifold_common.errors import AlreadyExists, InternalError, KeyUnavailable, NotFound
from manifold_common.ids import PLAIN, CommitId, DekId, Generation, ObjectId, SessionId
from manifold_common.ports.catalog import Catalog, CheckpointRow, Head, PlainObjects, Upload

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
    draft,
    everything,
    key,
    make_plain,
    make_project,
    new_id,
    session,
)


def upload(made: Made, dek: DekId) -> Upload:
    name = new_id()
    return Upload(
        tenant=TENANT,
        project=made.id,
        user=USER,
        session=SESSION,
        kind="pack",
        name=name,
        object_id=ObjectId(name),
        draft=CommitId(new_id()),
        generation=Generation(0),
        dek=dek,
        created_at=NOW,
        expires_at=LATER,
    )


def test_the_key_of_a_new_epoch_comes_first_with_its_epoch(catalog: Catalog) -> None:
    made = make_plain(catalog)
    first, third = key(made.id, epoch=1), key(made.id, epoch=3)
    assert catalog.begin_epoch(first, made.head)
    assert catalog.begin_epoch(third, made.head, removals=1)
    assert catalog.project_keys(TENANT, made.id) == [third, first, *made.keys]


def test_an_epoch_begins_only_at_the_head_and_only_once(catalog: Catalog) -> None:
    made = make_plain(catalog)
    before = made.head
    made.publish()
    for key_and_head in [
        (key(made.id, epoch=1), before),
        (key(made.id, epoch=1), Head(made.head.generation, CommitId(new_id()), b"", Generation(0))),
    ]:
        assert not catalog.begin_epoch(*key_and_head)
    assert catalog.begin_epoch(key(made.id, epoch=2), made.head)
    standing = everything(catalog, made)
    for epoch in (1, 2):
        assert not catalog.begin_epoch(key(made.id, epoch=epoch), made.head)
    with pytest.raises(AlreadyExists):
        again = replace(catalog.project_keys(TENANT, made.id)[0], epoch=3)
        catalog.begin_epoch(again, made.head, removals=1)
    for wrong in (key(made.id), key(made.id, epoch=3, dek=PLAIN)):
        with pytest.raises(InternalError):
            catalog.begin_epoch(wrong, made.head)
    with pytest.raises(NotFound):
        catalog.begin_epoch(key(made.id, OTHER_TENANT, epoch=3), made.head)
    assert everything(catalog, made) == standing


def test_an_epoch_does_not_begin_over_an_unsealed_draft_that_is_not_known_of(catalog: Catalog) -> None:
    made = make_plain(catalog)
    one, two = draft(made), draft(made)
    for number, saved in enumerate((one, two)):
        catalog.open_session(session(made, SessionId(f"s{number}"), draft=saved), ttl=TTL)
    for known in ([], [one.commit]):
        assert not catalog.begin_epoch(key(made.id, epoch=1), made.head, drafts=known)
    assert catalog.begin_epoch(key(made.id, epoch=1), made.head, drafts=[one.commit, two.commit])


def test_of_many_that_begin_an_epoch_at_once_one_does(catalog: Catalog) -> None:
    made = make_plain(catalog)
    made.publish()
    keys = [key(made.id, epoch=1) for _ in range(8)]
    start = threading.Barrier(len(keys))

    def begin(one: int) -> bool:
        start.wait()
        return catalog.begin_epoch(keys[one], made.head)

    with ThreadPoolExecutor(len(keys)) as threads:
        begun = list(threads.map(begin, range(len(keys))))
    assert begun.count(True) == 1
    assert catalog.project_keys(TENANT, made.id) == [keys[begun.index(True)], *made.keys]


def test_commits_that_race_with_an_epoch_come_before_it_or_are_refused(catalog: Catalog) -> None:
    for round_number in range(10):
        made = make_plain(catalog, f"plain {round_number}")
        made.publish()
        start = threading.Barrier(2)
        publication = made.publication()

        def commit() -> Head | str | None:
            start.wait()  # noqa: B023 - it ends within the round
            try:
                return catalog.publish_commit(publication)  # noqa: B023
            except KeyUnavailable:
                return "refused"

        with ThreadPoolExecutor(1) as threads:
            answer = threads.submit(commit)
            start.wait()
            begun = catalog.begin_epoch(key(made.id, epoch=1), made.head)
            head = answer.result()
        # It may also be told only that it has to look again; then nothing was published either.
        assert isinstance(head, Head) != begun
        assert catalog.head(TENANT, made.id).generation == 1 + isinstance(head, Head)
        if begun:
            with pytest.raises(KeyUnavailable):
                catalog.publish_commit(publication)


def test_once_an_epoch_has_begun_nothing_unsealed_is_taken(catalog: Catalog) -> None:
    made = make_plain(catalog)
    made.publish()
    catalog.open_session(session(made), ttl=TTL)
    sealed = key(made.id, epoch=1)
    assert catalog.begin_epoch(sealed, made.head)
    catalog.add_checkpoint(TENANT, made.id, CheckpointRow(Generation(1), made.commits[0].commit, sealed.dek, 9))
    before = everything(catalog, made)
    plain: list[Callable[[], object]] = [
        lambda: catalog.publish_commit(made.publication()),
        lambda: catalog.add_checkpoint(TENANT, made.id, CheckpointRow(Generation(1), made.commits[0].commit, PLAIN, 9)),
        lambda: catalog.save_draft(TENANT, USER, SESSION, draft(made), ttl=TTL),
        lambda: catalog.add_uploads([upload(made, sealed.dek), upload(made, PLAIN)]),
    ]
    for write in plain:
        with pytest.raises(KeyUnavailable) as caught:
            write()
        assert caught.value.details["reason"] == "superseded"
        assert everything(catalog, made) == before
    catalog.save_draft(TENANT, USER, SESSION, draft(made, dek=sealed.dek), ttl=TTL)
    catalog.add_uploads([upload(made, sealed.dek)])
    assert catalog.publish_commit(made.publication(made.next_commit(dek=sealed.dek)))


def test_a_fork_with_a_later_epoch_takes_nothing_unsealed_from_the_beginning(catalog: Catalog) -> None:
    source = make_plain(catalog)
    keys = [replace(source.keys[0]), key(source.id, epoch=1)]
    fork = make_project(catalog, "fork", project=source.id, tenant=OTHER_TENANT,
                        keys=[replace(one, tenant=OTHER_TENANT) for one in keys])  # fmt: skip
    assert catalog.get_project(OTHER_TENANT, fork.id).encryption is Encryption.PARTLY
    with pytest.raises(KeyUnavailable):
        catalog.publish_commit(fork.publication(fork.next_commit(dek=PLAIN)))


def test_unsealed_checkpoints_do_not_count_once_an_epoch_has_begun(catalog: Catalog) -> None:
    made = make_plain(catalog)
    made.publish(3)
    plain = CheckpointRow(Generation(2), made.commits[1].commit, PLAIN, 9)
    catalog.add_checkpoint(TENANT, made.id, plain)
    assert catalog.read_plan(TENANT, made.id).checkpoint == plain
    assert catalog.begin_epoch(key(made.id, epoch=1), made.head)
    plan = catalog.read_plan(TENANT, made.id)
    assert plan.checkpoint is None
    assert list(plan.commits) == made.commits
    assert catalog.list_checkpoints(TENANT, made.id) == [plain]


def test_a_project_says_by_its_keys_whether_it_is_encrypted(catalog: Catalog) -> None:
    sealed, plain = make_project(catalog, "sealed"), make_plain(catalog, "plain")
    begun = make_plain(catalog, "begun")
    assert catalog.begin_epoch(key(begun.id, epoch=1), begun.head)
    states = {Encryption.ALL: sealed, Encryption.NONE: plain, Encryption.PARTLY: begun}
    for state, made in states.items():
        assert catalog.get_project(TENANT, made.id).encryption is state
        found = catalog.find_project(TENANT, USER, made.row.name)
        assert found is not None
        assert found.encryption is state
    by_name = {row.name: row.encryption for row in catalog.list_projects(TENANT, USER)}
    assert by_name == {made.row.name: state for state, made in states.items()}
    assert catalog.rename_project(TENANT, begun.id, "renamed", EVENT).encryption is Encryption.PARTLY


def test_unsealed_objects_and_projects_that_have_some_are_counted(catalog: Catalog) -> None:
    sealed, plain, empty = make_project(catalog, "sealed"), make_plain(catalog), make_plain(catalog, "empty")
    begun, gone = make_plain(catalog, "begun"), make_plain(catalog, "gone")
    for made in (sealed, plain, begun, gone):
        made.publish(2)
    catalog.add_checkpoint(TENANT, plain.id, CheckpointRow(Generation(2), plain.commits[1].commit, PLAIN, 9))
    assert catalog.begin_epoch(key(begun.id, epoch=1), begun.head)
    dek = catalog.project_keys(TENANT, begun.id)[0].dek
    assert catalog.publish_commit(begun.publication(begun.next_commit(dek=dek)))
    catalog.delete_project(TENANT, gone.id, EVENT)
    projects = [made.id for made in (sealed, plain, empty, begun, gone)]
    size = plain.commits[0].object_bytes
    assert catalog.plain_objects(TENANT, projects) == {
        plain.id: PlainObjects(3, 2 * size + 9),
        begun.id: PlainObjects(2, 2 * size),
    }
    assert catalog.plain_objects(OTHER_TENANT, projects) == catalog.plain_objects(TENANT, []) == {}
    assert catalog.count_plain_projects() == 3
