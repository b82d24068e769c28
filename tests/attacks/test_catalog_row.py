"""Whoever can write to the database forges rows. Nothing is ever written in the clear because of it, or under a key
that somebody else knows; and nothing is read that the project's own keys do not vouch for."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import msgspec
import pytest
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.engine.tree_log import Snapshot
from manifold_common.errors import CorruptObject, DraftLost, ManifoldError
from manifold_common.ids import PLAIN, DekId, Generation, ProjectId, SessionId, encode_id
from manifold_common.ports.catalog import DraftRef
from manifold_common.shapes.requests import CheckoutRequest

from tests.attacks.begun import PLAIN_GENERATIONS, Begun, check_out_all, in_the_clear
from tests.attacks.begun import begun as begun
from tests.attacks.forging import (
    TENANT,
    Forged,
    Rows,
    clear_record,
    plain_checkpoint,
    plain_commit,
    plain_commit_note,
    plain_note,
)
from tests.support.work import S1, cat, check_out, new_project, put

pytestmark = pytest.mark.in_memory("changes rows of a catalog in memory")

KNOWN = DekId(encode_id(b"k" * 16))
"""A data key that everybody knows."""
_paths = itertools.count(1)


def write(manifold: Manifold, project: ProjectId) -> None:
    put(manifold, project, b"new-%d" % next(_paths), b"new content")


def refused(action: Callable[[], object]) -> str:
    with pytest.raises(CorruptObject) as caught:
        action()
    return caught.value.object_name


def second_epoch(begun: Begun) -> None:
    """Let the project have another key, of epoch 2, as a rotation would make it."""
    context = begun.make().context
    keys = context.keys.of(TENANT, begun.project)
    past = keys.past
    assert past is not None
    record = context.keys.make_next(keys, begun.project, past)
    removals, _ = context.catalog.history_starts(TENANT, begun.project)
    assert context.catalog.begin_epoch(record, context.catalog.head(TENANT, begun.project), removals=removals)
    write(begun.make(), begun.project)


# --- rows of keys -----------------------------------------------------------------------------------------------------

Forgery = Callable[[Begun, Rows], None]


def a_known_data_key(begun: Begun, rows: Rows) -> None:
    rows.keys.append(clear_record(rows.project, KNOWN))


def a_known_data_key_of_a_high_epoch(begun: Begun, rows: Rows) -> None:
    rows.keys.append(clear_record(rows.project, KNOWN, epoch=99, extra=40))


def a_known_data_key_in_the_place_of_the_real_one(begun: Begun, rows: Rows) -> None:
    for key in [key for key in rows.keys if key.dek != PLAIN]:
        known = clear_record(rows.project, key.dek, key.epoch, extra=40 if key.epoch else 0)
        rows.replace_key(key, replace(key, wrapped=known.wrapped))


def a_key_of_another_project(begun: Begun, rows: Rows) -> None:
    other = new_project(begun.make(), f"other {next(_paths)}")
    rows.keys.append(replace(Rows(begun.make(), other).keys[0], project=rows.project))


def a_key_of_another_project_of_a_high_epoch(begun: Begun, rows: Rows) -> None:
    other = new_project(begun.make(), f"other {next(_paths)}")
    rows.keys.append(replace(Rows(begun.make(), other).keys[0], project=rows.project, epoch=9))


def the_data_key_of_another_project_in_the_place_of_the_real_one(begun: Begun, rows: Rows) -> None:
    other = new_project(begun.make(), f"other {next(_paths)}")
    key = next(key for key in rows.keys if key.dek != PLAIN)
    rows.replace_key(key, replace(key, wrapped=Rows(begun.make(), other).keys[0].wrapped))


def a_later_epoch(begun: Begun, rows: Rows) -> None:
    key = next(key for key in rows.keys if key.dek != PLAIN)
    rows.replace_key(key, replace(key, epoch=key.epoch + 1))


def no_epoch(begun: Begun, rows: Rows) -> None:
    key = next(key for key in rows.keys if key.dek != PLAIN)
    rows.replace_key(key, replace(key, epoch=0 if key.epoch else 7))


def a_changed_byte_of_what_the_key_vouches_for(begun: Begun, rows: Rows) -> None:
    key = next(key for key in rows.keys if key.dek != PLAIN)
    at = len(key.wrapped.ciphertext) - 30
    data = bytearray(key.wrapped.ciphertext)
    data[at] ^= 1
    rows.replace_key(key, replace(key, wrapped=key.wrapped._replace(ciphertext=bytes(data))))


def only_the_plain_key(begun: Begun, rows: Rows) -> None:
    rows.keys[:] = [clear_record(rows.project, PLAIN)]


def no_key_at_all(begun: Begun, rows: Rows) -> None:
    rows.keys.clear()


def a_plain_key_that_names_a_provider(begun: Begun, rows: Rows) -> None:
    key = next(key for key in rows.keys if key.dek != PLAIN)
    rows.keys[:] = [replace(key, dek=PLAIN, epoch=0)]


FORGERIES: list[Forgery] = [
    a_known_data_key,
    a_known_data_key_of_a_high_epoch,
    a_known_data_key_in_the_place_of_the_real_one,
    a_key_of_another_project,
    a_key_of_another_project_of_a_high_epoch,
    the_data_key_of_another_project_in_the_place_of_the_real_one,
    a_later_epoch,
    no_epoch,
    a_changed_byte_of_what_the_key_vouches_for,
    only_the_plain_key,
    no_key_at_all,
    a_plain_key_that_names_a_provider,
]


@pytest.mark.parametrize("which", ["project", "sealed"])
@pytest.mark.parametrize("forge", FORGERIES, ids=lambda forge: forge.__name__)
def test_no_forged_row_of_a_key_lets_anything_be_written(begun: Begun, forge: Forgery, which: str) -> None:
    project = getattr(begun, which)
    standing = {info.key for info in begun.store.list("")}
    forge(begun, begun.rows(project))
    refused(lambda: write(begun.make(), project))
    refused(lambda: begun.make().forks.fork(LOCAL_PRINCIPAL, project, "fork"))
    made = {info.key for info in begun.store.list(f"t/default/p/{project}")} - standing
    assert made == set()


@pytest.mark.parametrize("forge", FORGERIES, ids=lambda forge: forge.__name__)
def test_a_deployment_that_does_not_encrypt_is_not_led_to_write_in_the_clear_either(
    begun: Begun, forge: Forgery, make_manifold: Callable[..., Manifold]
) -> None:
    before = in_the_clear(begun.store)
    forge(begun, begun.rows())
    with pytest.raises(ManifoldError):
        write(make_manifold(PROJECTS_ENCRYPT="false", node=f"off-{forge.__name__}"), begun.project)
    assert in_the_clear(begun.store) == before


@pytest.mark.parametrize("which", ["project", "sealed"])
def test_a_plain_key_beside_the_others_is_not_written_under_however_new_it_is(begun: Begun, which: str) -> None:
    project = getattr(begun, which)
    rows = begun.rows(project)
    rows.keys[:] = [key for key in rows.keys if key.dek != PLAIN] + [clear_record(project, PLAIN)]
    before = in_the_clear(begun.store)
    write(begun.make(), project)
    node = begun.make()
    check_out(node, project, SessionId(f"s-{which}")).joinpath("draft").write_bytes(b"draft")
    node.commits.save(LOCAL_PRINCIPAL, SessionId(f"s-{which}"))
    assert in_the_clear(begun.store) == before
    assert cat(begun.make(), project, b"a") == (begun.files[b"a"] if which == "project" else b"one")


def test_the_order_of_rows_decides_nothing(begun: Begun) -> None:
    second_epoch(begun)
    rows = begun.rows()
    newest = rows.key(epoch=2).dek
    for order in itertools.permutations(list(rows.keys)):
        rows.keys[:] = order
        assert begun.make().context.keys.of(TENANT, begun.project).write_dek == newest
        assert check_out_all(begun.make(), begun.project).keys() >= begun.files.keys()


def swap_epochs(begun: Begun, rows: Rows) -> None:
    one, two = rows.key(epoch=1), rows.key(epoch=2)
    rows.keys[:] = [rows.key(dek=PLAIN), replace(one, epoch=2), replace(two, epoch=1)]


def raise_the_older(begun: Begun, rows: Rows) -> None:
    rows.replace_key(rows.key(epoch=1), replace(rows.key(epoch=1), epoch=3))


def lower_the_newer(begun: Begun, rows: Rows) -> None:
    rows.replace_key(rows.key(epoch=2), replace(rows.key(epoch=2), epoch=0))


def swap_the_material(begun: Begun, rows: Rows) -> None:
    one, two = rows.key(epoch=1), rows.key(epoch=2)
    rows.keys[:] = [rows.key(dek=PLAIN), replace(one, wrapped=two.wrapped), replace(two, wrapped=one.wrapped)]


def the_older_under_the_name_of_the_newer(begun: Begun, rows: Rows) -> None:
    rows.replace_key(rows.key(epoch=2), replace(rows.key(epoch=1), dek=rows.key(epoch=2).dek, epoch=2))


def a_provider_that_is_not_there_for_the_newer(begun: Begun, rows: Rows) -> None:
    two = rows.key(epoch=2)
    rows.replace_key(two, replace(two, epoch=0, wrapped=two.wrapped._replace(provider="vault")))


@pytest.mark.parametrize(
    "forge",
    [
        swap_epochs,
        raise_the_older,
        lower_the_newer,
        swap_the_material,
        the_older_under_the_name_of_the_newer,
        a_provider_that_is_not_there_for_the_newer,
    ],
    ids=lambda forge: forge.__name__,
)
def test_an_older_epoch_does_not_write_again(begun: Begun, forge: Forgery) -> None:
    second_epoch(begun)
    forge(begun, begun.rows())
    with pytest.raises(ManifoldError) as caught:
        write(begun.make(), begun.project)
    assert caught.value.code in ("corrupt_object", "key_unavailable")


def test_a_newest_key_that_is_gone_takes_what_it_sealed_with_it_and_is_not_replaced_by_an_older_one(
    begun: Begun,
) -> None:
    second_epoch(begun)
    rows = begun.rows()
    gone = rows.key(epoch=2)
    rows.keys.remove(gone)
    with pytest.raises(CorruptObject, match=gone.dek):
        write(begun.make(), begun.project)


# --- rows that name what is not sealed ------------------------------------------------------------------------------


def snapshot(begun: Begun, project: ProjectId, generation: int | None = None) -> Snapshot:
    wanted = None if generation is None else Generation(generation)
    return begun.make().context.log.load(TENANT, project, wanted)


def store(begun: Begun, forged: Forged) -> None:
    begun.store.put(forged.key, forged.data)


@pytest.mark.parametrize("which", ["project", "sealed"])
def test_a_commit_in_the_clear_is_refused_after_the_encryption_began(begun: Begun, which: str) -> None:
    project = getattr(begun, which)
    forged = plain_commit(snapshot(begun, project), begun.id_key)
    store(begun, forged)
    rows = begun.rows(project)
    rows.allow_plain()
    rows.append_commit(forged, plain_commit_note(project, forged.commit))
    node = begun.make()
    assert refused(lambda: check_out_all(node, project)) == forged.key
    assert refused(lambda: write(begun.make(), project)) == forged.key
    assert refused(lambda: cat(begun.make(), project, b"a")) == forged.key
    assert node.history.log(LOCAL_PRINCIPAL, project, before=forged.generation)
    refused(lambda: node.history.log(LOCAL_PRINCIPAL, project))
    found = begun.make().verify.run(LOCAL_PRINCIPAL, project).problems
    assert forged.key in {problem.object for problem in found}


@pytest.mark.parametrize("generation", [1, 2, 3])
def test_the_old_commits_are_those_of_then_and_no_others(begun: Begun, generation: int) -> None:
    """Whoever knows the chunk-id key, which lay in the clear, can make any of them anew, with the right hash."""
    base = snapshot(begun, begun.project, generation - 1)
    forged = plain_commit(base, begun.id_key)
    store(begun, forged)
    rows = begun.rows()
    forged_row = replace(
        rows.commit(generation),
        commit=forged.commit,
        record_hash=forged.record_hash,
        object_bytes=len(forged.data),
    )
    rows.replace_commit(generation, forged_row)
    if generation < PLAIN_GENERATIONS:
        refused(lambda: check_out_all(begun.make(), begun.project, generation))
        refused(lambda: begun.make().edits.restore(LOCAL_PRINCIPAL, begun.project, Generation(generation)))
    else:
        assert check_out_all(begun.make(), begun.project, generation).items() <= begun.files.items()
    assert check_out_all(begun.make(), begun.project) == begun.files, "the sealed checkpoint is what counts"
    assert not begun.make().verify.run(LOCAL_PRINCIPAL, begun.project).ok


@pytest.mark.parametrize("generation", [3, 5])
def test_a_checkpoint_in_the_clear_is_ignored_and_refused_if_the_catalog_insists_on_it(
    begun: Begun, generation: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = snapshot(begun, begun.project, generation)
    hostile = {path: tree.tree[b"b"] for path in tree.tree if path} | {b"": tree.tree[b""]}
    forged = plain_checkpoint(replace(tree, tree=hostile))
    store(begun, forged)
    rows = begun.rows()
    row = rows.checkpoint_of(forged)
    assert check_out_all(begun.make(), begun.project) == begun.files
    node = begun.make()
    plan = node.context.catalog.read_plan(TENANT, begun.project)
    insisting = plan._replace(checkpoint=row, commits=rows.commits_after(generation))
    monkeypatch.setattr(node.context.catalog, "read_plan", lambda *_, **__: insisting)
    assert refused(lambda: check_out_all(node, begun.project)) == forged.key


@pytest.mark.parametrize("which", ["project", "sealed"])
def test_a_planted_draft_in_the_clear_is_refused(begun: Begun, which: str) -> None:
    project = getattr(begun, which)
    check_out(begun.make(), project)
    base = snapshot(begun, project)
    forged = plain_commit(base, begun.id_key)
    store(begun, forged)
    rows = begun.rows(project)
    rows.allow_plain()
    draft = DraftRef(
        forged.generation, forged.commit, base.head.commit, PLAIN, len(forged.data), rows.commit(1).created_at
    )
    rows.change_session(S1, draft=draft)
    with pytest.raises(DraftLost, match="it is not encrypted, though its project is"):
        check_out(begun.make(), project)


@pytest.mark.parametrize(("which", "generation"), [("project", 5), ("sealed", 1)])
def test_a_message_in_the_clear_is_refused_where_the_commit_is_sealed(
    begun: Begun, which: str, generation: int
) -> None:
    project = getattr(begun, which)
    rows = begun.rows(project)
    rows.allow_plain()
    row = rows.commit(generation)
    rows.replace_commit(generation, replace(row, note=plain_commit_note(project, row.commit)))
    refused(lambda: begun.make().history.commit(LOCAL_PRINCIPAL, project, Generation(generation)))


def test_paths_of_a_session_in_the_clear_are_refused_where_the_project_always_was_encrypted(begun: Begun) -> None:
    begun.make().sessions.checkout(LOCAL_PRINCIPAL, S1, begun.sealed, CheckoutRequest(paths=("a",)))
    rows = begun.rows(begun.sealed)
    rows.allow_plain()
    rows.change_session(S1, scope=plain_note(begun.sealed, f"scope/{S1}", msgspec.msgpack.encode(["b"])))
    refused(lambda: check_out(begun.make(), begun.sealed))
