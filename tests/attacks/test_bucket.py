"""Whoever owns the bucket puts well-formed objects in the clear where sealed ones are expected, and changes those that
are in the clear by right: such an object's checksum can be made by anybody."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.errors import CorruptObject
from manifold_common.format.layout import project_prefix
from manifold_common.format.sealed import ObjectKind
from manifold_common.ids import PLAIN, Generation, ProjectId
from manifold_common.services.archive import ArchiveFormat
from manifold_common.services.verification.verify import Verify
from manifold_common.shapes.requests import CheckoutRequest

from tests.attacks.begun import PLAIN_GENERATIONS, Begun, check_out_all
from tests.attacks.begun import begun as begun
from tests.attacks.forging import TENANT, plain_checkpoint, plain_commit, with_other_content
from tests.support.work import cat, put


def keys_of(begun: Begun, kind: str, project: ProjectId | None = None) -> list[str]:
    folder = f"{project_prefix(TENANT, project or begun.project)}/{kind}"
    return sorted(info.key for info in begun.store.list(folder))


def problems(begun: Begun, project: ProjectId) -> set[str]:
    verify: Verify = begun.make().verify
    found = verify.run(LOCAL_PRINCIPAL, project, read_data=True).problems
    return {problem.object for problem in found}


@pytest.mark.parametrize("which", ["project", "sealed"])
def test_a_commit_in_the_clear_in_the_place_of_a_sealed_one_is_refused(begun: Begun, which: str) -> None:
    project = getattr(begun, which)
    head = begun.make().context.log.load(TENANT, project)
    before = begun.make().context.log.load(TENANT, project, Generation(head.head.generation - 1))
    assert head.head.commit is not None
    forged = plain_commit(before, begun.id_key, commit=head.head.commit)
    assert forged.key in keys_of(begun, "commits", project)
    begun.store.put(forged.key, forged.data)
    with pytest.raises(CorruptObject) as caught:
        check_out_all(begun.make(), project)
    assert caught.value.object_name == forged.key
    assert forged.key in problems(begun, project)


def test_a_checkpoint_in_the_clear_in_the_place_of_the_sealed_one_is_refused(begun: Begun) -> None:
    tree = begun.make().context.log.load(TENANT, begun.project, Generation(PLAIN_GENERATIONS))
    hostile = {path: tree.tree[b"b"] for path in tree.tree if path} | {b"": tree.tree[b""]}
    (sealed,) = keys_of(begun, "checkpoints")
    forged = plain_checkpoint(replace(tree, tree=hostile), in_place_of=sealed)
    assert forged.key == sealed
    begun.store.put(forged.key, forged.data)
    with pytest.raises(CorruptObject) as caught:
        check_out_all(begun.make(), begun.project)
    assert caught.value.object_name == forged.key
    assert forged.key in problems(begun, begun.project)


def changed(begun: Begun) -> dict[bytes, str]:
    """Change the content of all that is in the clear, with checksums that are right; return the objects by a path whose
    content they hold."""
    found = {}
    commits = keys_of(begun, "commits")
    (pack,) = keys_of(begun, "packs")
    for path, key, kind in [
        (b"a", commits[0], ObjectKind.COMMIT),
        (b"b", commits[1], ObjectKind.COMMIT),
        (b"large", pack, ObjectKind.PACK),
    ]:
        begun.store.put(key, with_other_content(begun.get(key), key, kind))
        found[path] = key
    return found


def test_content_in_the_clear_that_was_changed_is_refused_whichever_way_it_is_read(
    begun: Begun, tmp_path: Path
) -> None:
    harmed = changed(begun)
    for path, key in harmed.items():
        with pytest.raises(CorruptObject) as caught:
            cat(begun.make(), begun.project, path)
        assert caught.value.object_name == key
    assert cat(begun.make(), begun.project, b"c") == begun.files[b"c"]
    for generation in range(1, 6):
        with pytest.raises(CorruptObject) as caught:
            check_out_all(begun.make(), begun.project, generation)
        assert caught.value.object_name in harmed.values()
    node = begun.make()
    with pytest.raises(CorruptObject):
        node.transfer.export(LOCAL_PRINCIPAL, begun.project, tmp_path / "export")
    with pytest.raises(CorruptObject):
        list(node.archives.export(LOCAL_PRINCIPAL, begun.project, ArchiveFormat.TAR_GZ).read())
    fork = node.forks.fork(LOCAL_PRINCIPAL, begun.project, "fork").id
    with pytest.raises(CorruptObject):
        check_out_all(begun.make(), fork)
    assert problems(begun, begun.project) == set(harmed.values())
    assert problems(begun, fork) == set(harmed.values())


def test_a_refresh_that_meets_changed_content_in_the_clear_leaves_the_working_set_alone(begun: Begun) -> None:
    node = begun.make()
    done = node.sessions.checkout(LOCAL_PRINCIPAL, None, begun.project, CheckoutRequest(Generation(1)))
    changed(begun)
    with pytest.raises(CorruptObject):
        node.sessions.checkout(LOCAL_PRINCIPAL, done.session)
    assert {path.name for path in Path(done.path).iterdir()} == {"a"}


def test_a_sealed_commit_is_not_led_to_refer_to_other_content_by_what_is_in_the_clear(begun: Begun) -> None:
    """The same content is committed again: it is not stored twice, and still proven when it is read."""
    changed(begun)
    put(begun.make(), begun.project, b"again", begun.files[b"b"])
    with pytest.raises(CorruptObject):
        cat(begun.make(), begun.project, b"again")


def test_key_records_that_change_places_are_found_by_verify_and_believed_by_nobody(begun: Begun) -> None:
    plain, sealed = sorted(keys_of(begun, "keys"), key=lambda key: not key.endswith(PLAIN))
    kept = {key: begun.get(key) for key in (plain, sealed)}
    (other,) = keys_of(begun, "keys", begun.sealed)
    for key, data in [
        (sealed, kept[plain]),
        (plain, kept[sealed]),
        (sealed, begun.get(other)),
        (sealed, b""),
        (sealed, kept[sealed][:-1] + b"\x02"),  # the epoch is its last byte
    ]:
        begun.store.put(key, data)
        assert problems(begun, begun.project) == {key}
        assert check_out_all(begun.make(), begun.project) == begun.files
        put(begun.make(), begun.project, b"c", begun.files[b"c"])
        begun.store.put(key, kept[key])
    assert problems(begun, begun.project) == set()
