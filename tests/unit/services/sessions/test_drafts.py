"""Work that was not committed: kept through checkouts, saved, and brought back wherever the session goes."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from manifold_common.adapters.memory.clock import ManualClock
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.conflict import Strategy
from manifold_common.errors import CommitConflict, NotFound
from manifold_common.format.layout import project_prefix
from manifold_common.ids import DEFAULT_TENANT, ProjectId
from manifold_common.ports.catalog import SessionView
from manifold_common.services.upkeep.superseded import Superseded
from manifold_common.shapes.intent import Intent
from manifold_common.shapes.requests import CheckoutRequest
from manifold_common.shapes.sessions import CheckoutKind

from tests.support.manifold import MakeManifold
from tests.support.work import S1, S2, cat, check_out, look, lose_ram, new_project, paths, put, remove

PACKED_BYTES = 2_200_000
"""More than travels inside a commit object."""


def requests(manifold: Manifold) -> Counter[str]:
    found: Counter[str] = manifold.context.store.requests  # type: ignore[attr-defined]
    return found


def commit_objects(manifold: Manifold, project: ProjectId) -> set[str]:
    folder = f"{project_prefix(DEFAULT_TENANT, project)}/commits"
    return {info.key for info in manifold.context.store.list(folder)}


def kept_objects(manifold: Manifold, project: ProjectId) -> set[str]:
    """Return the commit objects that stay for good: those that something refers to."""
    Superseded(manifold.context, 0).sweep()
    return commit_objects(manifold, project)


def edit(work: Path) -> None:
    """Change something of every kind."""
    (work / "a").write_bytes(b"edited")
    (work / "b").unlink()
    shutil.rmtree(work / "d")
    (work / "empty").mkdir()
    (work / "new").mkdir(mode=0o700)
    (work / "new" / "packed").write_bytes(os.urandom(PACKED_BYTES))
    (work / "new" / "run.sh").write_bytes(b"#!/bin/sh\n")
    (work / "new" / "run.sh").chmod(0o755)
    (work / "link").symlink_to("new/run.sh")
    os.utime(work / "a", ns=(1, 1_234_567_890_123_456_789))


@pytest.fixture
def manifold(make_manifold: MakeManifold) -> Manifold:
    return make_manifold()


@pytest.fixture
def project(manifold: Manifold) -> ProjectId:
    files = {"a": b"one", "b": b"bee", "d/e/f": b"deep"}
    return new_project(manifold, "demo", **files)


@pytest.mark.parametrize("node", ["a", "b"], ids=["after the loss of its RAM", "on another node"])
def test_saved_work_comes_back_as_it_was(
    manifold: Manifold, make_manifold: MakeManifold, project: ProjectId, node: str
) -> None:
    work = check_out(manifold, project)
    edit(work)
    expected = look(work)
    saved = manifold.commits.save(LOCAL_PRINCIPAL, S1)
    assert saved.draft is not None
    lose_ram(work)
    there = make_manifold(node=node)
    done = there.sessions.checkout(LOCAL_PRINCIPAL, S1)
    assert (done.kind, done.generation) == (CheckoutKind.RESTORED, 1)
    assert look(Path(done.path)) == expected
    assert (cat(there, project, b"a"), b"d/e/f" in paths(there, project)) == (b"one", True)
    committed = there.commits.commit(LOCAL_PRINCIPAL, S1)
    assert (committed.added, committed.modified, committed.deleted) == (5, 1, 4)
    assert paths(there, project) == expected.keys()


def test_a_second_checkout_keeps_what_was_not_committed(manifold: Manifold, project: ProjectId) -> None:
    work = check_out(manifold, project)
    edit(work)
    expected = look(work)
    for _ in range(2):
        assert manifold.sessions.checkout(LOCAL_PRINCIPAL, S1, project).kind is CheckoutKind.WARM
        assert look(work) == expected
    put(manifold, project, b"theirs", b"theirs")
    assert manifold.sessions.checkout(LOCAL_PRINCIPAL, S1, project).kind is CheckoutKind.REFRESHED
    assert look(work).keys() == expected.keys() | {b"theirs"}
    assert {path: node for path, node in look(work).items() if path != b"theirs"} == expected


def test_deleted_files_do_not_come_back(manifold: Manifold, make_manifold: MakeManifold, project: ProjectId) -> None:
    """Not by a refresh, not from a cache, not with a draft, and not for others."""
    work = check_out(manifold, project)
    other = Path(make_manifold(node="b").sessions.checkout(LOCAL_PRINCIPAL, S2, project).path)
    (work / "b").unlink()
    remove(manifold, project, b"a")
    check_out(manifold)
    assert look(work).keys() == {b"d", b"d/e", b"d/e/f"}
    manifold.commits.save(LOCAL_PRINCIPAL, S1)
    lose_ram(work)
    check_out(manifold)
    assert look(work).keys() == {b"d", b"d/e", b"d/e/f"}
    manifold.commits.commit(LOCAL_PRINCIPAL, S1)
    check_out(make_manifold(node="b"), session=S2)
    assert look(other).keys() == {b"d", b"d/e", b"d/e/f"}
    put(manifold, project, b"c", b"c")
    for node in ("a", "b"):
        assert look(check_out(make_manifold(node=node), session=S2)).keys() == {b"c", b"d", b"d/e", b"d/e/f"}


def test_a_nodes_own_commit_need_not_be_fetched(
    manifold: Manifold, make_manifold: MakeManifold, project: ProjectId
) -> None:
    work = check_out(manifold, project)
    edit(work)
    manifold.commits.commit(LOCAL_PRINCIPAL, S1)
    expected = look(work)
    requests(manifold).clear()
    assert manifold.sessions.checkout(LOCAL_PRINCIPAL, S1).kind is CheckoutKind.WARM
    for node in (manifold, make_manifold()):
        session = S2 if node is manifold else None
        assert look(Path(node.sessions.checkout(LOCAL_PRINCIPAL, session, project).path)) == expected
    assert check_out(make_manifold()) == work
    assert not requests(manifold), "something was fetched that this node had written itself"


def test_a_draft_is_merged_with_what_others_committed_meanwhile(
    manifold: Manifold, make_manifold: MakeManifold, project: ProjectId
) -> None:
    work = check_out(manifold, project)
    (work / "a").write_bytes(b"mine")
    (work / "d" / "mine").write_bytes(b"mine")
    manifold.commits.save(LOCAL_PRINCIPAL, S1)
    put(manifold, project, b"b", b"theirs")
    remove(manifold, project, b"d/e")
    there = make_manifold(node="b")
    found = look(check_out(there))
    assert {path: node.content for path, node in found.items() if node.kind == "file"} == {
        b"a": b"mine",
        b"b": b"theirs",
        b"d/mine": b"mine",
    }


@pytest.mark.parametrize(("strategy", "kept"), [(Strategy.OURS, b"mine"), (Strategy.THEIRS, b"theirs")])
def test_a_draft_that_conflicts_is_not_lost(
    manifold: Manifold, make_manifold: MakeManifold, project: ProjectId, strategy: Strategy, kept: bytes
) -> None:
    work = check_out(manifold, project)
    (work / "a").write_bytes(b"mine")
    put(manifold, project, b"a", b"theirs")
    with pytest.raises(CommitConflict) as caught:
        manifold.commits.commit(LOCAL_PRINCIPAL, S1)
    assert caught.value.paths == ["a"]
    there = make_manifold(node="b")
    for _ in range(2):
        with pytest.raises(CommitConflict):
            check_out(there)
    done = there.sessions.checkout(LOCAL_PRINCIPAL, S1, request=CheckoutRequest(strategy=strategy))
    assert (done.generation, (Path(done.path) / "a").read_bytes()) == (2, kept)


def test_only_the_newest_draft_is_kept_and_a_commit_ends_it(
    manifold: Manifold, make_manifold: MakeManifold, project: ProjectId
) -> None:
    published = commit_objects(manifold, project)
    work = check_out(manifold, project)
    for text in (b"first", b"second", b"third"):
        (work / "a").write_bytes(text)
        manifold.commits.save(LOCAL_PRINCIPAL, S1)
        assert len(kept_objects(manifold, project) - published) == 1
    assert (check_out(make_manifold(node="b")) / "a").read_bytes() == b"third"
    assert (check_out(manifold) / "a").read_bytes() == b"third"
    (work / "a").write_bytes(b"last")
    assert manifold.commits.commit(LOCAL_PRINCIPAL, S1).generation == 2
    assert len(kept_objects(manifold, project)) == 2
    lose_ram(work)
    assert (check_out(manifold) / "a").read_bytes() == b"last"
    assert manifold.sessions.status(LOCAL_PRINCIPAL, S1).differences == []


def test_work_that_was_undone_is_not_brought_back(manifold: Manifold, project: ProjectId) -> None:
    work = check_out(manifold, project)
    before = (work / "a").stat()
    (work / "a").write_bytes(b"a mistake")
    assert manifold.commits.save(LOCAL_PRINCIPAL, S1).changed == 1
    (work / "a").write_bytes(b"one")
    os.utime(work / "a", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert manifold.commits.save(LOCAL_PRINCIPAL, S1).draft is None
    lose_ram(work)
    assert (check_out(manifold) / "a").read_bytes() == b"one"
    assert len(kept_objects(manifold, project)) == 1


def test_saving_twice_stores_once(manifold: Manifold, project: ProjectId) -> None:
    work = check_out(manifold, project)
    edit(work)
    first = manifold.commits.save(LOCAL_PRINCIPAL, S1)
    requests(manifold).clear()
    assert manifold.commits.save(LOCAL_PRINCIPAL, S1) == first
    assert requests(manifold)["put"] == 0


def test_the_draft_of_a_sparse_session_holds_only_its_paths(
    manifold: Manifold, make_manifold: MakeManifold, project: ProjectId
) -> None:
    done = manifold.sessions.checkout(LOCAL_PRINCIPAL, S1, project, CheckoutRequest(paths=("/d/",)))
    work = Path(done.path)
    (work / "d" / "e" / "f").write_bytes(b"edited")
    manifold.commits.save(LOCAL_PRINCIPAL, S1)
    there = make_manifold(node="b")
    assert look(check_out(there)) == look(work)
    there.commits.commit(LOCAL_PRINCIPAL, S1)
    assert paths(there, project) == {b"a", b"b", b"d", b"d/e", b"d/e/f"}
    assert cat(there, project, b"d/e/f") == b"edited"


def test_the_status_of_a_sparse_session_names_what_its_commit_would_change(
    manifold: Manifold, project: ProjectId
) -> None:
    put(manifold, project, b"d/out", b"never here")
    work = Path(manifold.sessions.checkout(LOCAL_PRINCIPAL, S1, project, CheckoutRequest(paths=("/d/e/",))).path)
    shutil.rmtree(work / "d")
    named = {one.path for one in manifold.sessions.status(LOCAL_PRINCIPAL, S1).differences}
    assert named == {b"d/e", b"d/e/f"}
    assert manifold.commits.commit(LOCAL_PRINCIPAL, S1).deleted == len(named)
    assert paths(manifold, project) == {b"a", b"b", b"d", b"d/out"}


@pytest.mark.in_memory("moves the clock")
def test_a_session_whose_time_is_over_gives_its_ram_back_and_keeps_its_work(make_manifold: MakeManifold) -> None:
    clock = ManualClock()
    manifold = make_manifold(clock=clock, PROJECTS_WORKSPACE_TTL_SECONDS="3600")
    project = new_project(manifold, a=b"one")
    work, idle = check_out(manifold, project), check_out(manifold, project, S2)
    (work / "a").write_bytes(b"mine")
    assert manifold.maintenance.sweep_working_sets() == 0
    clock.advance(3601)
    assert manifold.maintenance.sweep_working_sets() == 2
    assert not work.parent.exists() and not idle.parent.exists()
    with pytest.raises(NotFound):
        manifold.sessions.view(LOCAL_PRINCIPAL, S2)
    manifold.maintenance.sweep_sessions()
    assert (check_out(manifold) / "a").read_bytes() == b"mine"


@pytest.mark.in_memory("moves the clock")
def test_a_session_that_is_used_does_not_end(make_manifold: MakeManifold) -> None:
    clock = ManualClock()
    manifold = make_manifold(clock=clock, PROJECTS_WORKSPACE_TTL_SECONDS="3600")
    project = new_project(manifold, a=b"one")
    work = check_out(manifold, project)
    (work / "a").write_bytes(b"two")
    uses: list[Callable[[], object]] = [
        lambda: manifold.commits.commit(LOCAL_PRINCIPAL, S1),
        lambda: manifold.commits.commit(LOCAL_PRINCIPAL, S1),  # of nothing
        lambda: manifold.commits.save(LOCAL_PRINCIPAL, S1),  # of nothing
        lambda: check_out(manifold, project),
    ]
    for use in uses:
        clock.advance(3599)
        use()
        clock.advance(3599)
        manifold.maintenance.save_drafts()
        assert manifold.maintenance.sweep_working_sets() == 0
        manifold.maintenance.sweep_sessions()
        assert manifold.sessions.view(LOCAL_PRINCIPAL, S1).session.base_generation == 2
        assert (work / "a").read_bytes() == b"two"
        check_out(manifold, project)
    clock.advance(3601)
    assert manifold.maintenance.sweep_working_sets() == 1


def test_a_session_that_somebody_comes_back_to_while_it_is_ended_goes_on(
    make_manifold: MakeManifold, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ManualClock()
    manifold = make_manifold(clock=clock, PROJECTS_WORKSPACE_TTL_SECONDS="3600")
    project = new_project(manifold, a=b"one")
    work = check_out(manifold, project)
    clock.advance(7201)
    expired = manifold.context.catalog.expired_sessions

    def and_somebody_comes_back(over_for: timedelta, *, limit: int = 100) -> list[SessionView]:
        found = expired(over_for, limit=limit)
        check_out(manifold, project)
        (work / "a").write_bytes(b"mine")
        return found

    monkeypatch.setattr(manifold.context.catalog, "expired_sessions", and_somebody_comes_back)
    assert manifold.maintenance.sweep_sessions() == 0
    assert manifold.maintenance.sweep_working_sets() == 0
    assert manifold.commits.commit(LOCAL_PRINCIPAL, S1).generation == 2


def test_a_closed_session_leaves_no_draft(manifold: Manifold, project: ProjectId) -> None:
    work = check_out(manifold, project)
    edit(work)
    manifold.commits.save(LOCAL_PRINCIPAL, S1)
    manifold.sessions.close(LOCAL_PRINCIPAL, S1)
    assert not work.exists() and len(kept_objects(manifold, project)) == 1
    assert (check_out(manifold, project) / "a").read_bytes() == b"one"


def test_a_draft_on_a_base_that_was_committed_here_since_is_the_newer_one(
    manifold: Manifold, make_manifold: MakeManifold, project: ProjectId
) -> None:
    """Save, commit, edit, save, refresh, lose: what comes back stands on the refreshed base, with the last edits."""
    work = check_out(manifold, project)
    (work / "a").write_bytes(b"first")
    manifold.commits.save(LOCAL_PRINCIPAL, S1)
    manifold.commits.commit(LOCAL_PRINCIPAL, S1, Intent("first"))
    (work / "b").write_bytes(b"second")
    manifold.commits.save(LOCAL_PRINCIPAL, S1)
    put(manifold, project, b"c", b"theirs")
    check_out(manifold)
    there = look(check_out(make_manifold(node="b")))
    assert {path: there[path].content for path in (b"a", b"b", b"c")} == {
        b"a": b"first",
        b"b": b"second",
        b"c": b"theirs",
    }


def test_work_that_others_have_committed_alike_leaves_nothing_to_do_and_no_draft(
    manifold: Manifold, make_manifold: MakeManifold, project: ProjectId
) -> None:
    work = check_out(manifold, project)
    (work / "a").write_bytes(b"the same")
    manifold.commits.save(LOCAL_PRINCIPAL, S1)
    put(manifold, project, b"a", b"the same")
    done = manifold.commits.commit(LOCAL_PRINCIPAL, S1)
    assert (done.commit, done.generation) == (None, 2)
    assert len(kept_objects(manifold, project)) == 2
    put(manifold, project, b"b", b"newer")
    lose_ram(work)
    for node in ("a", "b"):
        there = check_out(make_manifold(node=node))
        assert ((there / "a").read_bytes(), (there / "b").read_bytes()) == (b"the same", b"newer")
