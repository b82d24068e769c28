"""A session that goes from one node to another while both live: what was saved on either is neither lost nor replaced
by what the other one still has."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from manifold_common.adapters.memory.clock import ManualClock
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.conflict import Strategy
from manifold_common.errors import CommitConflict, NotFound, SessionMoved
from manifold_common.ids import ProjectId, SessionId
from manifold_common.services.upkeep.maintenance import DRAFT_KEPT
from manifold_common.shapes.requests import CheckoutRequest
from manifold_common.shapes.sessions import CheckedOut, CheckoutKind

from tests.support.manifold import MakeManifold
from tests.support.work import S1, cat, check_out, look, lose_ram, new_project, put

PACKED_BYTES = 2_200_000
"""More than travels inside a commit object."""


@pytest.fixture
def here(make_manifold: MakeManifold) -> Manifold:
    return make_manifold(node="a")


@pytest.fixture
def there(make_manifold: MakeManifold) -> Manifold:
    return make_manifold(node="b")


@pytest.fixture
def project(here: Manifold) -> ProjectId:
    return new_project(here, "demo", a=b"one", b=b"two")


def save(manifold: Manifold) -> None:
    assert manifold.commits.save(LOCAL_PRINCIPAL, S1).draft is not None


@pytest.mark.parametrize("own", [None, b"on the first node"], ids=["clean", "dirty"])
def test_a_working_set_that_was_left_behind_does_not_replace_what_was_saved_since(
    here: Manifold, there: Manifold, make_manifold: MakeManifold, project: ProjectId, own: bytes | None
) -> None:
    first = check_out(here, project)
    if own is not None:
        (first / "a").write_bytes(own)
        save(here)
        (first / "a").write_bytes(b"not even saved")
    work = check_out(there)
    (work / "a").write_bytes(b"on the second node")
    (work / "packed").write_bytes(os.urandom(PACKED_BYTES))
    save(there)
    expected = look(work)
    for _ in range(2):
        here.maintenance.save_drafts()
        here.maintenance.sweep_working_sets()
    lose_ram(work)
    assert look(check_out(make_manifold(node="c"))) == expected


def test_a_commit_and_a_save_where_the_session_no_longer_is_are_refused_and_keep_the_work(
    here: Manifold, there: Manifold, project: ProjectId
) -> None:
    left = check_out(here, project)
    (left / "b").write_bytes(b"left behind")
    work = check_out(there)
    (work / "a").write_bytes(b"on the second node")
    save(there)
    with pytest.raises(SessionMoved, match="check it out here again"):
        here.commits.commit(LOCAL_PRINCIPAL, S1)
    with pytest.raises(SessionMoved):
        here.commits.save(LOCAL_PRINCIPAL, S1)
    (left / "b").write_bytes(b"two")
    os.utime(left / "b", ns=(0, 0))
    with pytest.raises(SessionMoved):
        here.commits.save(LOCAL_PRINCIPAL, S1)
    (left / "b").write_bytes(b"left behind")
    done = there.commits.commit(LOCAL_PRINCIPAL, S1)
    assert (done.generation, done.modified) == (2, 1)
    assert cat(there, project, b"b") == b"two"
    assert (check_out(here) / "b").read_bytes() == b"left behind"
    assert here.commits.commit(LOCAL_PRINCIPAL, S1).generation == 3
    assert (cat(here, project, b"a"), cat(here, project, b"b")) == (b"on the second node", b"left behind")


@pytest.mark.parametrize("remembers", [True, False], ids=["the same process", "a new process"])
def test_a_session_that_comes_back_brings_what_was_saved_elsewhere(
    here: Manifold, there: Manifold, make_manifold: MakeManifold, project: ProjectId, remembers: bool
) -> None:
    left = check_out(here, project)
    (left / "mine").write_bytes(b"saved here, and left alone there")
    save(here)
    work = check_out(there)
    (work / "a").write_bytes(b"on the second node")
    (work / "b").unlink()
    (work / "new").mkdir()
    save(there)
    expected = look(work)
    again = here if remembers else make_manifold(node="a")
    done = again.sessions.checkout(LOCAL_PRINCIPAL, S1)
    assert (done.kind, done.path) == (CheckoutKind.RESTORED, str(left))
    assert look(left) == expected
    assert again.sessions.checkout(LOCAL_PRINCIPAL, S1).kind is CheckoutKind.WARM
    again.maintenance.save_drafts()
    lose_ram(left)
    assert look(check_out(again)) == expected
    assert again.commits.commit(LOCAL_PRINCIPAL, S1).generation == 2


def test_a_file_edited_on_both_nodes_after_each_save_goes_on_with_the_newer_one(
    here: Manifold, there: Manifold, project: ProjectId
) -> None:
    """What was saved here was there already when the session went on: it is not held against what became of it."""
    left = check_out(here, project)
    (left / "a").write_bytes(b"first")
    save(here)
    (check_out(there) / "a").write_bytes(b"second")
    save(there)
    assert (check_out(here) / "a").read_bytes() == b"second"
    (left / "a").write_bytes(b"third")
    save(here)
    assert (check_out(there) / "a").read_bytes() == b"third"


def test_what_was_left_unsaved_is_merged_when_the_session_comes_back(
    here: Manifold, there: Manifold, project: ProjectId
) -> None:
    left = check_out(here, project)
    (left / "a").write_bytes(b"unsaved")
    (left / "unsaved").write_bytes(b"new")
    work = check_out(there)
    (work / "a").write_bytes(b"saved")
    (work / "b").write_bytes(b"saved too")
    save(there)
    put(there, project, b"c", b"by others")
    before = look(left)
    with pytest.raises(CommitConflict) as caught:
        check_out(here)
    assert caught.value.paths == ["a"]
    assert look(left) == before
    with pytest.raises(SessionMoved):
        here.commits.commit(LOCAL_PRINCIPAL, S1)
    done = here.sessions.checkout(LOCAL_PRINCIPAL, S1, request=CheckoutRequest(strategy=Strategy.THEIRS))
    assert done.generation == 2
    assert {path: node.content for path, node in look(left).items() if node.kind == "file"} == {
        b"a": b"saved", b"b": b"saved too", b"c": b"by others", b"unsaved": b"new",
    }  # fmt: skip
    assert here.commits.commit(LOCAL_PRINCIPAL, S1).generation == 3


def test_commits_made_elsewhere_are_there_when_the_session_comes_back(
    here: Manifold, there: Manifold, project: ProjectId
) -> None:
    left = check_out(here, project)
    for number in range(3):
        work = check_out(there)
        (work / "a").write_bytes(b"commit %d" % number)
        there.commits.commit(LOCAL_PRINCIPAL, S1)
        assert (check_out(here) / "a").read_bytes() == b"commit %d" % number
        (left / "b").write_bytes(b"commit %d" % number)
        here.commits.commit(LOCAL_PRINCIPAL, S1)
    assert (check_out(there) / "b").read_bytes() == b"commit 2"


@pytest.mark.in_memory("moves the clock")
def test_when_the_session_is_over_what_was_left_behind_goes_and_what_was_saved_stays(
    make_manifold: MakeManifold,
) -> None:
    clock = ManualClock()
    here, there, last = (make_manifold(node=name, clock=clock, PROJECTS_WORKSPACE_TTL_SECONDS="3600") for name in "abc")
    project = new_project(here, a=b"one")
    left = check_out(here, project)
    (left / "a").write_bytes(b"left behind")
    work = check_out(there)
    (work / "a").write_bytes(b"saved")
    save(there)
    clock.advance(3601)
    assert here.maintenance.sweep_working_sets() == 1
    assert not left.exists()
    assert there.maintenance.sweep_working_sets() == 1
    assert (check_out(last) / "a").read_bytes() == b"saved"


@pytest.mark.in_memory("moves the clock")
def test_a_draft_of_a_machine_that_is_gone_is_kept_for_as_long_as_any_draft(make_manifold: MakeManifold) -> None:
    clock = ManualClock()
    here, there = (make_manifold(node=name, clock=clock, PROJECTS_WORKSPACE_TTL_SECONDS="3600") for name in "ab")
    project = new_project(here, a=b"one")
    (check_out(here, project) / "a").write_bytes(b"saved")
    save(here)
    clock.advance(DRAFT_KEPT.total_seconds() - 3600)
    assert there.maintenance.sweep_sessions() == 0
    assert (check_out(there) / "a").read_bytes() == b"saved"
    clock.advance((DRAFT_KEPT + timedelta(hours=3)).total_seconds())
    assert there.maintenance.sweep_sessions() == 1
    with pytest.raises(NotFound):
        there.sessions.view(LOCAL_PRINCIPAL, S1)


@pytest.mark.parametrize("session", [SessionId(f"new-{number}") for number in range(10)])
def test_a_new_session_that_two_processes_of_a_machine_check_out_at_once_is_there_for_both(
    here: Manifold, make_manifold: MakeManifold, project: ProjectId, session: SessionId
) -> None:
    other = make_manifold(node="a")
    start = threading.Barrier(2)

    def check(manifold: Manifold) -> CheckedOut:
        start.wait()
        return manifold.sessions.checkout(LOCAL_PRINCIPAL, session, project)

    with ThreadPoolExecutor(2) as both:
        found = list(both.map(check, (here, other)))
    (path,) = {one.path for one in found}
    (Path(path) / "a").write_bytes(b"edited")
    assert other.commits.commit(LOCAL_PRINCIPAL, session).modified == 1


def test_where_nobody_knows_what_a_left_working_set_was_made_from_what_differs_is_a_conflict(
    here: Manifold, there: Manifold, make_manifold: MakeManifold, project: ProjectId
) -> None:
    left = check_out(here, project)
    work = check_out(there)
    (work / "a").write_bytes(b"saved")
    (work / "b").unlink()
    there.commits.commit(LOCAL_PRINCIPAL, S1)
    (left.parent / "state").unlink()
    before = look(left)
    with pytest.raises(CommitConflict) as caught:
        check_out(make_manifold(node="a"))
    assert caught.value.paths == ["a"]
    assert look(left) == before
    make_manifold(node="a").sessions.checkout(LOCAL_PRINCIPAL, S1, request=CheckoutRequest(strategy=Strategy.THEIRS))
    assert (left / "a").read_bytes() == b"saved"


@pytest.mark.parametrize("own", [False, True], ids=["clean", "dirty"])
def test_what_is_only_here_of_a_session_that_went_on_elsewhere_is_set_aside_when_it_is_closed_here(
    here: Manifold, there: Manifold, project: ProjectId, own: bool
) -> None:
    left = check_out(here, project)
    check_out(there)
    if own:
        (left / "mine").write_bytes(b"only here")
    done = here.sessions.close(LOCAL_PRINCIPAL, S1)
    assert not left.exists()
    assert [one.folder for one in here.leftovers.set_aside()] == ([done.set_aside] if own else [])
    if own:
        assert (Path(done.set_aside) / "mine").read_bytes() == b"only here"
