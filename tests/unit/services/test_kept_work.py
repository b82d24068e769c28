"""What the strategy ``theirs`` drops is kept, named, and can be brought back, wherever it was dropped."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.conflict import Strategy
from manifold_common.engine.working_set.refresh import _Refresh
from manifold_common.errors import CommitConflict, GenerationMismatch, QuotaExceeded, StoreUnavailable
from manifold_common.ids import Generation, ProjectId, SessionId
from manifold_common.services.kept_work import kept_id
from manifold_common.services.projects.edits import Delete, PutFile
from manifold_common.shapes.intent import Intent
from manifold_common.shapes.path import listed
from manifold_common.shapes.requests import CheckoutRequest
from manifold_common.shapes.sessions import CheckedOut

from tests.support.manifold import MakeManifold
from tests.support.work import S1, S2, cat, check_out, look, lose_ram, new_project, paths, put, reader, remove

THEIRS, OURS = Intent(strategy=Strategy.THEIRS), Intent(strategy=Strategy.OURS)
LARGE = 2_200_000
"""More bytes than travel inside a commit object."""


@pytest.fixture
def manifold(make_manifold: MakeManifold) -> Manifold:
    return make_manifold()


@pytest.fixture
def project(manifold: Manifold) -> ProjectId:
    return new_project(manifold, a=b"base", b=b"base", c=b"base")


def both_edit(manifold: Manifold, project: ProjectId, session: SessionId = S1) -> Path:
    """Let others change ``a``, and the session ``a`` and ``b``."""
    work = check_out(manifold, project, session)
    (work / "a").write_bytes(b"mine")
    (work / "b").write_bytes(b"mine too")
    put(manifold, project, b"a", b"theirs")
    return work


def take_theirs(manifold: Manifold, session: SessionId = S1) -> CheckedOut:
    return manifold.sessions.checkout(LOCAL_PRINCIPAL, session, request=CheckoutRequest(strategy=Strategy.THEIRS))


def files(work: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in work.iterdir()}


def changed_in(manifold: Manifold, session: SessionId) -> list[bytes]:
    return [one.path for one in manifold.sessions.status(LOCAL_PRINCIPAL, session).differences]


def test_a_commit_names_and_keeps_what_it_drops(manifold: Manifold, project: ProjectId) -> None:
    both_edit(manifold, project)
    done = manifold.commits.commit(LOCAL_PRINCIPAL, S1, THEIRS)
    assert (done.generation, done.conflicts) == (3, listed([b"a"]))
    (kept,) = done.kept
    assert files(check_out(manifold, project, kept)) == {"a": b"mine", "b": b"mine too", "c": b"base"}
    assert changed_in(manifold, kept) == [b"a"]  # what went in is not told to be missing
    assert manifold.commits.commit(LOCAL_PRINCIPAL, kept).generation == 4
    assert cat(manifold, project, b"a") == b"mine"


def test_a_checkout_names_and_keeps_what_it_drops(manifold: Manifold, project: ProjectId) -> None:
    work = both_edit(manifold, project)
    done = take_theirs(manifold)
    assert (done.generation, done.conflicts) == (2, listed([b"a"]))
    assert files(work) == {"a": b"theirs", "b": b"mine too", "c": b"base"}
    (kept,) = done.kept
    assert files(check_out(manifold, project, kept)) == {"a": b"mine", "b": b"base", "c": b"base"}
    assert manifold.commits.commit(LOCAL_PRINCIPAL, kept).modified == 1
    assert cat(manifold, project, b"a") == b"mine"


def test_it_is_found_on_another_machine_when_this_one_is_gone(
    manifold: Manifold, make_manifold: MakeManifold, project: ProjectId
) -> None:
    work = both_edit(manifold, project)
    (kept,) = take_theirs(manifold).kept
    lose_ram(work)
    other = make_manifold(node="b")
    (row,) = [row for row in other.sessions.all(LOCAL_PRINCIPAL) if row.session == kept]
    assert row.draft is not None
    assert (check_out(other, project, kept) / "a").read_bytes() == b"mine"


def test_no_later_save_or_conflict_replaces_it(manifold: Manifold, project: ProjectId) -> None:
    work = both_edit(manifold, project)
    (first,) = take_theirs(manifold).kept
    (work / "a").write_bytes(b"mine again")
    manifold.commits.save(LOCAL_PRINCIPAL, S1)
    manifold.maintenance.save_drafts()
    put(manifold, project, b"a", b"theirs again")
    (second,) = take_theirs(manifold).kept
    assert (check_out(manifold, project, second) / "a").read_bytes() == b"mine again"
    with pytest.raises(CommitConflict):  # others went on since: nothing is taken for granted
        check_out(manifold, project, first)
    done = manifold.sessions.checkout(LOCAL_PRINCIPAL, first, project, CheckoutRequest(strategy=Strategy.OURS))
    assert (Path(done.path) / "a").read_bytes() == b"mine"


def test_what_is_dropped_of_kept_work_is_kept_as_well(manifold: Manifold, project: ProjectId) -> None:
    both_edit(manifold, project)
    (first,) = take_theirs(manifold).kept
    put(manifold, project, b"a", b"theirs again")
    done = manifold.sessions.checkout(LOCAL_PRINCIPAL, first, project, CheckoutRequest(strategy=Strategy.THEIRS))
    (second,) = done.kept
    assert (check_out(manifold, project, second) / "a").read_bytes() == b"mine"


def test_closing_it_removes_it(manifold: Manifold, project: ProjectId) -> None:
    both_edit(manifold, project)
    (kept,) = take_theirs(manifold).kept
    manifold.sessions.close(LOCAL_PRINCIPAL, kept)
    assert [row.session for row in manifold.sessions.all(LOCAL_PRINCIPAL)] == [S1]


def test_a_large_file_and_every_kind_of_entry_are_kept(manifold: Manifold, project: ProjectId) -> None:
    work = check_out(manifold, project)
    large = os.urandom(LARGE)
    (work / "a").write_bytes(large)
    (work / "a").chmod(0o755)
    (work / "b").unlink()
    (work / "b").symlink_to("nowhere")
    (work / "c").unlink()
    for name in (b"a", b"b", b"c"):
        put(manifold, project, name, b"theirs")
    done = take_theirs(manifold)
    assert done.conflicts == listed([b"a", b"b", b"c"])
    assert {path: node.content for path, node in look(work).items()} == dict.fromkeys((b"a", b"b", b"c"), b"theirs")
    kept = check_out(manifold, project, done.kept[0])
    assert (kept / "a").read_bytes() == large
    assert (kept / "a").stat().st_mode & 0o777 == 0o755
    assert os.readlink(kept / "b") == "nowhere"
    assert not (kept / "c").exists()
    manifold.commits.commit(LOCAL_PRINCIPAL, done.kept[0])
    assert paths(manifold, project) == {b"a", b"b"}


def file_for_a_folder(manifold: Manifold, project: ProjectId) -> None:
    remove(manifold, project, b"d")
    put(manifold, project, b"d", b"theirs")


def folder_removed(manifold: Manifold, project: ProjectId) -> None:
    remove(manifold, project, b"d")


def folder_filled(manifold: Manifold, project: ProjectId) -> None:
    put(manifold, project, b"d/new", b"theirs")


def mine_deeper(work: Path) -> None:
    (work / "d" / "deep").mkdir()
    (work / "d" / "deep" / "mine").write_bytes(b"mine")


def mine_a_file(work: Path) -> None:
    (work / "d" / "old").unlink()
    (work / "d").rmdir()
    (work / "d").write_bytes(b"mine")


def mine_removed(work: Path) -> None:
    (work / "d" / "old").unlink()
    (work / "d").rmdir()


@pytest.mark.parametrize("how", ["checkout", "commit"])
@pytest.mark.parametrize(
    ("others", "mine", "expected"),
    [
        (file_for_a_folder, mine_deeper, {b"d", b"d/deep", b"d/deep/mine"}),
        (folder_removed, mine_deeper, {b"d", b"d/deep", b"d/deep/mine"}),
        (folder_filled, mine_a_file, {b"d"}),
        (folder_filled, mine_removed, set()),
    ],
)
def test_where_files_and_folders_changed_places_it_comes_back_as_it_was(
    manifold: Manifold,
    others: Callable[[Manifold, ProjectId], None],
    mine: Callable[[Path], None],
    expected: set[bytes],
    how: str,
) -> None:
    project = new_project(manifold, a=b"one")
    put(manifold, project, b"d/old", b"old")
    work = check_out(manifold, project)
    mine(work)
    before = look(work)
    others(manifold, project)
    done = take_theirs(manifold) if how == "checkout" else manifold.commits.commit(LOCAL_PRINCIPAL, S1, THEIRS)
    shown = look(check_out(manifold, project, done.kept[0]))
    assert shown.keys() == expected | {b"a"}
    assert {path: node.content for path, node in shown.items()} == {path: before[path].content for path in shown}
    manifold.commits.commit(LOCAL_PRINCIPAL, done.kept[0])
    assert paths(manifold, project) == expected | {b"a"}


def test_when_all_is_dropped_all_is_kept(manifold: Manifold, project: ProjectId) -> None:
    work = check_out(manifold, project)
    (work / "a").write_bytes(b"mine")
    put(manifold, project, b"a", b"theirs")
    done = manifold.commits.commit(LOCAL_PRINCIPAL, S1, THEIRS)
    assert (done.commit, done.generation, done.conflicts) == (None, 2, listed([b"a"]))
    assert (work / "a").read_bytes() == b"theirs"
    assert (check_out(manifold, project, done.kept[0]) / "a").read_bytes() == b"mine"


def test_a_strategy_that_drops_nothing_opens_nothing(manifold: Manifold, project: ProjectId) -> None:
    work = check_out(manifold, project)
    (work / "b").write_bytes(b"mine")
    put(manifold, project, b"a", b"theirs")
    assert manifold.commits.commit(LOCAL_PRINCIPAL, S1, THEIRS).kept == []
    both_edit(manifold, project)
    assert manifold.commits.commit(LOCAL_PRINCIPAL, S1, OURS).kept == []
    assert [row.session for row in manifold.sessions.all(LOCAL_PRINCIPAL)] == [S1]


def test_edits_keep_what_they_drop(manifold: Manifold, project: ProjectId) -> None:
    """The head moves while they are made: after they were read, before they are published."""

    def late(into: memoryview) -> int:
        if not done:
            done.append(put(manifold, project, b"a", b"theirs"))
            into[:4] = b"mine"
            return 4
        return 0

    done: list[object] = []
    edits = [PutFile(b"a", late), PutFile(b"new", reader(b"mine"))]
    edited = manifold.edits.apply(LOCAL_PRINCIPAL, project, edits, Intent(strategy=Strategy.THEIRS))
    assert (edited.generation, edited.paths, edited.conflicts) == (3, listed([b"new"]), listed([b"a"]))
    assert cat(manifold, project, b"a") == b"theirs"
    (kept,) = edited.kept
    assert (check_out(manifold, project, kept) / "a").read_bytes() == b"mine"
    assert changed_in(manifold, kept) == [b"a"]


def test_nothing_is_kept_for_a_commit_that_is_refused(make_manifold: MakeManifold) -> None:
    """Mine fits, and theirs fits; together they are too much, which shows when the one is put on top of the other."""
    manifold = make_manifold()
    project = new_project(manifold, a=b"base", b=b"base", c=b"base")
    work = both_edit(manifold, project)
    (work / "b").write_bytes(b"m" * 100)
    put(manifold, project, b"c", b"t" * 100)
    small = make_manifold(PROJECTS_QUOTAS_MAX_PROJECT_BYTES="200")
    with pytest.raises(QuotaExceeded):
        small.commits.commit(LOCAL_PRINCIPAL, S1, THEIRS)
    assert [row.session for row in manifold.sessions.all(LOCAL_PRINCIPAL)] == [S1]
    assert (work / "a").read_bytes() == b"mine"


def test_where_it_cannot_be_kept_it_is_not_dropped(
    manifold: Manifold, project: ProjectId, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = both_edit(manifold, project)

    def refuse(key: str, data: object) -> None:
        raise StoreUnavailable("the store is full")

    with monkeypatch.context() as broken:
        broken.setattr(manifold.context.store, "put", refuse)
        with pytest.raises(StoreUnavailable):
            take_theirs(manifold)
        assert (work / "a").read_bytes() == b"mine"
        with pytest.raises(StoreUnavailable):
            manifold.commits.commit(LOCAL_PRINCIPAL, S1, THEIRS)
    assert files(work) == {"a": b"mine", "b": b"mine too", "c": b"base"}
    assert [row.session for row in manifold.sessions.all(LOCAL_PRINCIPAL)] == [S1]
    assert take_theirs(manifold).kept


class _Killed(BaseException):
    """Nobody catches it."""


def test_a_checkout_that_was_cut_off_is_finished_and_all_that_it_drops_is_kept(
    manifold: Manifold, make_manifold: MakeManifold, project: ProjectId, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was edited after the crash as well: it is finished with the strategy that it was begun with."""
    work = check_out(manifold, project)
    for name in ("a", "b"):
        (work / name).write_bytes(b"mine")
        put(manifold, project, name.encode(), b"theirs")
    put_in_place = _Refresh._put

    def die_at_the_second(self: _Refresh, *them: Any) -> None:
        if them[3] == b"b":
            raise _Killed
        put_in_place(self, *them)

    with monkeypatch.context() as killing:
        killing.setattr(_Refresh, "_put", die_at_the_second)
        with pytest.raises(_Killed):
            take_theirs(manifold)
    assert files(work) == {"a": b"theirs", "b": b"mine", "c": b"base"}
    (first,) = {row.session for row in manifold.sessions.all(LOCAL_PRINCIPAL)} - {S1}
    (work / "b").write_bytes(b"mine, later")

    again = make_manifold()
    done = again.sessions.checkout(LOCAL_PRINCIPAL, S1)
    assert files(work) == {"a": b"theirs", "b": b"theirs", "c": b"base"}
    assert done.conflicts == listed([b"b"])
    (second,) = done.kept
    assert files(check_out(again, project, first)) == {"a": b"mine", "b": b"mine", "c": b"base"}
    assert files(check_out(again, project, second)) == {"a": b"theirs", "b": b"mine, later", "c": b"base"}


def test_what_a_session_saved_elsewhere_does_not_drop_what_was_left_here(
    manifold: Manifold, make_manifold: MakeManifold, project: ProjectId
) -> None:
    first = check_out(manifold, project)
    (first / "a").write_bytes(b"left here")
    there = make_manifold(node="b")
    (check_out(there) / "a").write_bytes(b"saved there")
    there.commits.save(LOCAL_PRINCIPAL, S1)
    with pytest.raises(CommitConflict):
        check_out(manifold)
    done = take_theirs(manifold)
    assert (first / "a").read_bytes() == b"saved there"
    assert done.conflicts == listed([b"a"])
    assert (check_out(manifold, project, done.kept[0]) / "a").read_bytes() == b"left here"


def test_a_sparse_session_keeps_its_own_paths_alone(manifold: Manifold, project: ProjectId) -> None:
    put(manifold, project, b"d/x", b"base")
    put(manifold, project, b"d/y", b"base")
    work = Path(manifold.sessions.checkout(LOCAL_PRINCIPAL, S1, project, CheckoutRequest(paths=["/d/x"])).path)
    (work / "d" / "x").write_bytes(b"mine")
    put(manifold, project, b"d/x", b"theirs")
    kept = check_out(manifold, project, take_theirs(manifold).kept[0])
    assert set(look(kept)) == {b"d", b"d/x"}
    manifold.commits.commit(LOCAL_PRINCIPAL, SessionId(kept.parent.name))
    assert cat(manifold, project, b"d/x") == b"mine"
    assert cat(manifold, project, b"d/y") == b"base"


def test_in_a_shared_folder_it_is_brought_back_by_a_checkout(make_manifold: MakeManifold) -> None:
    """All sessions of a project have one folder in legacy mode: a checkout there merges what was kept into it."""
    manifold = make_manifold(PROJECTS_ENCRYPT="false", PROJECTS_WORKSPACE_MODE="legacy")
    project = new_project(manifold, a=b"base", b=b"base")
    work = both_edit(manifold, project)
    (kept,) = take_theirs(manifold).kept
    assert (work / "a").read_bytes() == b"theirs"
    assert check_out(manifold, project, kept) == work
    assert files(work) == {"a": b"mine", "b": b"mine too"}
    manifold.commits.commit(LOCAL_PRINCIPAL, kept)
    assert cat(manifold, project, b"a") == b"mine"


def test_a_first_checkout_of_a_shared_folder_takes_a_strategy(make_manifold: MakeManifold) -> None:
    """Its state may be lost: then whatever differs is a conflict, which a new session meets at once."""
    manifold = make_manifold(PROJECTS_ENCRYPT="false", PROJECTS_WORKSPACE_MODE="legacy")
    project = new_project(manifold, a=b"base")
    work = check_out(manifold, project)
    (work / "a").write_bytes(b"mine")
    (Path(manifold.settings.workdir) / ".state" / "default" / "local" / project / "state").unlink()
    again = make_manifold(PROJECTS_ENCRYPT="false", PROJECTS_WORKSPACE_MODE="legacy")
    with pytest.raises(CommitConflict):
        check_out(again, project, S2)
    done = again.sessions.checkout(LOCAL_PRINCIPAL, S2, project, CheckoutRequest(strategy=Strategy.OURS))
    assert (Path(done.path) / "a").read_bytes() == b"mine"
    assert again.commits.commit(LOCAL_PRINCIPAL, S2).modified == 1


@pytest.mark.parametrize("session", [None, "s", "x" * 64, "a.b" * 20, "a-kept-abcdefgh", ("y" * 49 + "." + "z" * 14)])
def test_kept_work_always_has_a_name_that_a_session_can_have(session: str | None) -> None:
    kept = kept_id(None if session is None else SessionId(session), "k" * 26)
    assert kept.endswith("-kept-kkkkkkkk")
    assert kept.count("-kept-") == 1


# --- a generation that is expected ------------------------------------------------------------------------------------


def test_expected_is_the_newest_generation_whichever_one_the_session_is_based_on(
    manifold: Manifold, project: ProjectId
) -> None:
    work = check_out(manifold, project)
    (work / "b").write_bytes(b"mine")
    put(manifold, project, b"a", b"theirs")
    for wrong in (0, 1, 3):
        with pytest.raises(GenerationMismatch, match="the project is at generation 2") as refused:
            manifold.commits.commit(LOCAL_PRINCIPAL, S1, Intent(expected=Generation(wrong)))
        assert refused.value.details == {"expected": wrong, "head_generation": 2}
    assert manifold.sessions.view(LOCAL_PRINCIPAL, S1).session.draft is not None
    done = manifold.commits.commit(LOCAL_PRINCIPAL, S1, Intent(expected=Generation(2)))
    assert (done.generation, done.rebased) == (3, True)
    assert files(work) == {"a": b"theirs", "b": b"mine", "c": b"base"}
    assert manifold.commits.commit(LOCAL_PRINCIPAL, S1, Intent(expected=Generation(3))).commit is None
    with pytest.raises(GenerationMismatch):  # nothing to commit is no reason to call a wrong expectation right
        manifold.commits.commit(LOCAL_PRINCIPAL, S1, Intent(expected=Generation(2)))


def test_expected_does_not_decide_conflicts(manifold: Manifold, project: ProjectId) -> None:
    both_edit(manifold, project)
    with pytest.raises(CommitConflict):
        manifold.commits.commit(LOCAL_PRINCIPAL, S1, Intent(expected=Generation(2)))
    done = manifold.commits.commit(LOCAL_PRINCIPAL, S1, Intent(expected=Generation(2), strategy=Strategy.OURS))
    assert (done.generation, done.conflicts) == (3, listed([b"a"]))


def test_an_edit_expects_the_newest_generation_until_it_is_published(manifold: Manifold, project: ProjectId) -> None:
    def late(into: memoryview) -> int:
        if not done:
            done.append(put(manifold, project, b"c", b"theirs"))
            return 1
        return 0

    done: list[object] = []
    for edits in ([PutFile(b"a", late)], [Delete(b"b")]):
        with pytest.raises(GenerationMismatch):
            manifold.edits.apply(LOCAL_PRINCIPAL, project, edits, Intent(expected=Generation(1)))
    assert manifold.edits.apply(LOCAL_PRINCIPAL, project, [Delete(b"b")], Intent(expected=Generation(2))).commit
