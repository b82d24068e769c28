"""Saved work that the store has lost: found by a verification, named at a checkout, given up only on request."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL, Principal
from manifold_common.errors import CorruptObject, DraftLost
from manifold_common.format.layout import commit_key, project_prefix
from manifold_common.ids import DEFAULT_TENANT, CommitId, Generation, ProjectId, UserId
from manifold_common.shapes.requests import CheckoutRequest
from manifold_common.shapes.verification import VerifyReport

from tests.support.manifold import MakeManifold
from tests.support.work import S1, S2, check_out, lose_ram, new_project, not_found_at_first, put

PACKED_BYTES = 2_200_000


@pytest.fixture
def manifold(make_manifold: MakeManifold) -> Manifold:
    return make_manifold(PROJECTS_WORKSPACE_CACHE_MAX_BYTES=str(2**24))


@pytest.fixture
def project(manifold: Manifold) -> ProjectId:
    project = new_project(manifold)
    put(manifold, project, b"a", b"one")
    return project


def saved(manifold: Manifold, project: ProjectId) -> CommitId:
    """Save work with content in a pack and inside the draft's own object, then lose the RAM."""
    work = check_out(manifold, project)
    (work / "a").write_bytes(b"edited")
    (work / "big").write_bytes(os.urandom(PACKED_BYTES))
    draft = manifold.commits.save(LOCAL_PRINCIPAL, S1).draft
    assert draft is not None
    lose_ram(work)
    return draft


Damage = Callable[[Manifold, ProjectId, CommitId], str]
"""Does it, and returns the key of the object."""


def lose_object(manifold: Manifold, project: ProjectId, draft: CommitId) -> str:
    key = commit_key(DEFAULT_TENANT, project, Generation(2), draft)
    manifold.context.objects.discard([key])
    return key


def _pack(manifold: Manifold, project: ProjectId) -> str:
    (pack,) = manifold.context.store.list(f"{project_prefix(DEFAULT_TENANT, project)}/packs")
    return pack.key


def lose_pack(manifold: Manifold, project: ProjectId, draft: CommitId) -> str:
    key = _pack(manifold, project)
    manifold.context.objects.discard([key])
    return key


def damage_pack(manifold: Manifold, project: ProjectId, draft: CommitId) -> str:
    key, store = _pack(manifold, project), manifold.context.store
    data = bytearray(store.get(key, max_bytes=2**30))
    data[len(data) // 2] ^= 1
    manifold.context.objects.discard([key])
    store.put(key, data)
    return key


DAMAGES = [lose_object, lose_pack, damage_pack]


def verify(manifold: Manifold, project: ProjectId) -> VerifyReport:
    return manifold.verify.run(LOCAL_PRINCIPAL, project, read_data=True)


def test_a_verification_reads_drafts(manifold: Manifold, project: ProjectId) -> None:
    saved(manifold, project)
    found = verify(manifold, project)
    assert (found.problems, found.drafts, found.unreferenced_objects) == ([], 1, 0)
    assert found.bytes_read > PACKED_BYTES


def test_the_draft_of_a_newer_generation_than_the_verification_began_with_is_no_damage(
    manifold: Manifold, project: ProjectId, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = manifold.projects.get(LOCAL_PRINCIPAL, project)
    put(manifold, project, b"a", b"two")
    saved(manifold, project)
    monkeypatch.setattr(manifold.projects, "get", lambda *_: row)
    assert verify(manifold, project).problems == []


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_verification_names_the_session_whose_saved_work_is_damaged(
    manifold: Manifold, project: ProjectId, damage: Damage
) -> None:
    key = damage(manifold, project, saved(manifold, project))
    check_out(manifold, project, S2)
    found = verify(manifold, project)
    assert not found.ok
    assert [(problem.object, problem.sessions) for problem in found.problems] == [(key, (S1,))]


def test_drafts_of_other_users_are_looked_at_too(manifold: Manifold, project: ProjectId) -> None:
    draft = saved(manifold, project)
    catalog = manifold.context.catalog
    view = catalog.view_session(LOCAL_PRINCIPAL.tenant, LOCAL_PRINCIPAL.user, S1)
    assert view is not None
    other = Principal(LOCAL_PRINCIPAL.tenant, UserId("somebody"))
    catalog.close_session(LOCAL_PRINCIPAL.tenant, LOCAL_PRINCIPAL.user, S1)
    catalog.open_session(replace(view.session, user=other.user), ttl=manifold.context.policy.session_ttl)
    key = lose_object(manifold, project, draft)
    assert [problem.object for problem in verify(manifold, project).problems] == [key]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_lost_draft_is_named_with_the_way_on_and_nothing_is_given_up_unasked(
    manifold: Manifold, make_manifold: MakeManifold, project: ProjectId, damage: Damage
) -> None:
    draft = saved(manifold, project)
    key = damage(manifold, project, draft)
    there = make_manifold(node="b")
    for _ in range(2):
        with pytest.raises(DraftLost) as lost:
            check_out(there, project)
        assert (lost.value.details["draft"], lost.value.details["object"]) == (draft, key)
        assert f"manifold checkout {project} --session s1 --drop-lost-draft" in str(lost.value.hint)
    view = manifold.context.catalog.view_session(LOCAL_PRINCIPAL.tenant, LOCAL_PRINCIPAL.user, S1)
    assert view is not None and view.session.draft is not None
    done = there.sessions.checkout(LOCAL_PRINCIPAL, S1, project, CheckoutRequest(drop_lost_draft=True))
    assert done.dropped_draft == draft
    assert (Path(done.path) / "a").read_bytes() == b"one"
    assert not (Path(done.path) / "big").exists()
    assert (
        there.sessions.checkout(LOCAL_PRINCIPAL, S1, request=CheckoutRequest(drop_lost_draft=True)).dropped_draft
        is None
    )
    assert verify(manifold, project).ok


def test_a_lost_draft_is_given_up_as_asked_also_where_another_opens_the_session_at_the_same_moment(
    manifold: Manifold, make_manifold: MakeManifold, project: ProjectId, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft = saved(manifold, project)
    lose_object(manifold, project, draft)
    there = make_manifold(node="b")
    not_found_at_first(there, monkeypatch)
    request = CheckoutRequest(drop_lost_draft=True)
    assert there.sessions.checkout(LOCAL_PRINCIPAL, S1, project, request).dropped_draft == draft


def test_a_working_set_that_was_left_behind_is_told_of_a_lost_draft_and_keeps_its_own_work(
    manifold: Manifold, make_manifold: MakeManifold, project: ProjectId
) -> None:
    left = check_out(manifold, project)
    there = make_manifold(node="b")
    work = check_out(there, project)
    (work / "b").write_bytes(b"saved there")
    draft = there.commits.save(LOCAL_PRINCIPAL, S1).draft
    assert draft is not None
    (left / "mine").write_bytes(b"of here")
    for node in (manifold, there):
        lose_object(node, project, draft)
    with pytest.raises(DraftLost):
        check_out(manifold)
    done = manifold.sessions.checkout(LOCAL_PRINCIPAL, S1, request=CheckoutRequest(drop_lost_draft=True))
    assert done.dropped_draft == draft
    assert (left / "mine").read_bytes() == b"of here"


def test_what_can_be_read_is_never_dropped(manifold: Manifold, project: ProjectId) -> None:
    saved(manifold, project)
    done = manifold.sessions.checkout(LOCAL_PRINCIPAL, S1, project, CheckoutRequest(drop_lost_draft=True))
    assert done.dropped_draft is None
    assert (Path(done.path) / "a").read_bytes() == b"edited"


def test_damage_of_the_project_is_not_blamed_on_the_draft(
    manifold: Manifold, make_manifold: MakeManifold, project: ProjectId
) -> None:
    saved(manifold, project)
    row = manifold.context.catalog.commit_at(DEFAULT_TENANT, project, Generation(1))
    manifold.context.objects.discard([commit_key(DEFAULT_TENANT, project, Generation(1), row.commit)])
    there = make_manifold(node="b")
    for drop in (False, True):
        with pytest.raises(CorruptObject):
            there.sessions.checkout(LOCAL_PRINCIPAL, S1, project, CheckoutRequest(drop_lost_draft=drop))


def test_a_working_set_elsewhere_keeps_what_it_took_for_saved_when_that_was_given_up(
    manifold: Manifold, make_manifold: MakeManifold, project: ProjectId
) -> None:
    work = check_out(manifold, project)
    (work / "a").write_bytes(b"the last copy")
    draft = manifold.commits.save(LOCAL_PRINCIPAL, S1).draft
    assert draft is not None
    lose_object(manifold, project, draft)
    there = make_manifold(node="there", PROJECTS_WORKSPACE_CACHE_MAX_BYTES=str(2**24))
    done = there.sessions.checkout(LOCAL_PRINCIPAL, S1, request=CheckoutRequest(drop_lost_draft=True))
    assert done.dropped_draft == draft
    assert done.missing is not None, "it may still be where it was"
    manifold.sessions.checkout(LOCAL_PRINCIPAL, S1)
    assert (work / "a").read_bytes() == b"the last copy"
    assert manifold.commits.commit(LOCAL_PRINCIPAL, S1).modified == 1
