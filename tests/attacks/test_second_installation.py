"""Another installation uses the same RAM folder, under the same user, with sessions of the same names."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from manifold_common.adapters.memory.catalog import MemoryCatalog
from manifold_common.adapters.memory.clock import ManualClock
from manifold_common.adapters.memory.object_store import MemoryObjectStore
from manifold_common.adapters.system.clock import SystemClock
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.errors import NotFound
from manifold_common.ids import ProjectId, SessionId

from tests.support.manifold import MakeManifold
from tests.support.work import S1, S2, check_out, new_project

pytestmark = pytest.mark.in_memory("makes installations of its own")


@pytest.fixture
def make(make_manifold: MakeManifold, ram_folder: Path) -> MakeManifold:
    """Return a function that builds an installation of its own, with the RAM folder that all of them use."""

    def build(name: str, **how: object) -> Manifold:
        clock = how.pop("clock", None) or SystemClock()
        how.setdefault("catalog", MemoryCatalog(clock=clock))  # type: ignore[arg-type]
        how.setdefault("store", MemoryObjectStore(clock))  # type: ignore[arg-type]
        return make_manifold(node=name, clock=clock, PROJECTS_WORKSPACE_TMPFS_DIR=str(ram_folder), **how)  # type: ignore[arg-type]

    return build


def edited(manifold: Manifold) -> tuple[ProjectId, Path]:
    project = new_project(manifold, "demo", a=b"one")
    work = check_out(manifold, project)
    (work / "mine").write_bytes(b"not saved yet")
    return project, work


def test_its_housekeeping_leaves_the_working_sets_of_others_alone(make: MakeManifold) -> None:
    one, other = make("one"), make("other")
    _, work = edited(one)
    assert other.maintenance.sweep_working_sets() == 0
    assert other.maintenance.save_drafts() == 0
    assert (work / "mine").read_bytes() == b"not saved yet"


def test_its_session_of_the_same_name_has_a_folder_of_its_own(make: MakeManifold) -> None:
    one, other = make("one"), make("other")
    _, work = edited(one)
    theirs = check_out(other, new_project(other, "demo", b=b"two"))
    assert theirs != work
    assert sorted(path.name for path in theirs.iterdir()) == ["b"]
    other.sessions.close(LOCAL_PRINCIPAL, S1)
    assert (work / "mine").read_bytes() == b"not saved yet"
    assert one.commits.commit(LOCAL_PRINCIPAL, S1).added == 1


def test_its_working_sets_are_listed_and_not_to_be_removed(make: MakeManifold) -> None:
    one, other = make("one"), make("other")
    edited(one)
    assert [(found.folder, found.working_sets) for found in other.leftovers.strangers()] == [
        (one.working_sets.folders.own, 1)
    ]
    assert other.leftovers.set_aside() == []


def test_an_owners_record_that_was_brought_over_from_another_installation_is_nobodys(make: MakeManifold) -> None:
    one, other = make("one"), make("other")
    edited(one)
    check_out(other, new_project(other, "demo", b=b"two"))
    planted = Path(other.working_sets.folders.own, "default", "local", "s2")
    shutil.copytree(Path(one.working_sets.folders.own, "default", "local", "s1"), planted)
    assert [owner.session for owner in other.working_sets.folders.found()] == [S1]
    assert other.maintenance.sweep_working_sets() == 1
    aside = other.leftovers.set_aside()
    assert [one.reason for one in aside] == ["its owner's record is lost"]
    assert Path(aside[0].folder, "mine").read_bytes() == b"not saved yet"


def test_a_catalog_that_does_not_know_a_session_has_its_working_set_set_aside_and_kept(make: MakeManifold) -> None:
    clock = ManualClock()
    one = make("one", clock=clock)
    project, work = edited(one)
    kept = work.stat().st_ino
    one.context.catalog.state.sessions.clear()  # type: ignore[attr-defined] # as after a restore of a dump from before
    assert one.maintenance.sweep_working_sets() == 1
    (aside,) = one.leftovers.set_aside()
    assert not work.exists()
    assert Path(aside.folder).stat().st_ino == kept
    assert Path(aside.folder, "mine").read_bytes() == b"not saved yet"
    assert aside.owner is not None
    assert (aside.owner.session, aside.owner.project) == (S1, project)
    clock.advance(timedelta(days=400).total_seconds())
    one.maintenance.sweep_working_sets()
    assert [found.name for found in one.leftovers.set_aside()] == [aside.name], "it waits for somebody"
    assert check_out(one, project) == work, "its place is free"
    one.leftovers.remove([aside.name])
    assert one.leftovers.set_aside() == []
    assert not Path(aside.folder).exists()


def test_what_was_set_aside_stays_when_its_session_is_known_again_and_closed(make: MakeManifold) -> None:
    one = make("one")
    edited(one)
    catalog = one.context.catalog
    newer = dict(catalog.state.sessions)  # type: ignore[attr-defined]
    catalog.state.sessions.clear()  # type: ignore[attr-defined]
    one.maintenance.sweep_working_sets()
    catalog.state.sessions.update(newer)  # type: ignore[attr-defined]
    one.sessions.close(LOCAL_PRINCIPAL, S1)
    one.maintenance.sweep_working_sets()
    (aside,) = one.leftovers.set_aside()
    assert Path(aside.folder, "mine").read_bytes() == b"not saved yet"


def test_a_session_opened_anew_where_an_unknown_one_was_does_not_empty_its_folder(make: MakeManifold) -> None:
    clock = ManualClock()
    one = make("one", clock=clock)
    project, _ = edited(one)
    one.context.catalog.state.sessions.clear()  # type: ignore[attr-defined]
    clock.advance(1)
    again = make("one", clock=clock, catalog=one.context.catalog, store=one.context.store)
    work = check_out(again, project)
    assert not (work / "mine").exists()
    (aside,) = again.leftovers.set_aside()
    assert Path(aside.folder, "mine").read_bytes() == b"not saved yet"


def test_a_session_that_was_on_another_project_when_the_dump_was_taken_takes_nothing_of_what_came_after(
    make: MakeManifold,
) -> None:
    one = make("one")
    before, after = new_project(one, "before", a=b"one"), new_project(one, "after", b=b"two")
    check_out(one, before)
    catalog = one.context.catalog
    dumped = one.sessions.view(LOCAL_PRINCIPAL, S1).session
    one.sessions.close(LOCAL_PRINCIPAL, S1)
    (check_out(one, after) / "mine").write_bytes(b"not saved yet")
    catalog.state.sessions[dumped.tenant, dumped.user, S1] = dumped  # type: ignore[attr-defined]
    catalog.state.ended.clear()  # type: ignore[attr-defined]

    again = make("one", catalog=catalog, store=one.context.store)
    work = check_out(again, before)
    assert [path.name for path in work.iterdir()] == ["a"]
    (aside,) = again.leftovers.set_aside()
    assert aside.owner is not None
    assert aside.owner.project == after
    assert Path(aside.folder, "mine").read_bytes() == b"not saved yet"


@pytest.mark.parametrize("how", ["closed", "ended", "deleted"])
@pytest.mark.parametrize("own", [False, True], ids=["clean", "dirty"])
def test_of_what_has_ended_elsewhere_only_work_that_nobody_else_has_is_kept(
    make: MakeManifold, how: str, own: bool
) -> None:
    one = make("one")
    project = new_project(one, a=b"one")
    work = check_out(one, project)
    (work / "saved").write_bytes(b"kept as a draft")
    one.commits.save(LOCAL_PRINCIPAL, S1)
    if own:
        (work / "mine").write_bytes(b"not saved yet")
    catalog = one.context.catalog
    if how == "closed":  # on another node
        catalog.close_session(LOCAL_PRINCIPAL.tenant, LOCAL_PRINCIPAL.user, S1)
    elif how == "ended":
        assert catalog.end_session(one.sessions.view(LOCAL_PRINCIPAL, S1).session)
    else:
        one.projects.delete(LOCAL_PRINCIPAL, project)
    assert one.maintenance.sweep_working_sets() == 1
    assert not work.exists()
    aside = [(Path(found.folder, "mine").read_bytes(), found.reason) for found in one.leftovers.set_aside()]
    kept = [(b"not saved yet", "session 's1' has ended elsewhere, without what was changed here")]
    assert aside == (kept if own and how != "deleted" else [])
    assert one.maintenance.sweep_working_sets() == 0 and len(one.leftovers.set_aside()) == len(aside)


@pytest.mark.parametrize("ask", ["commit", "save", "status"])
def test_who_goes_on_in_a_session_that_was_closed_elsewhere_loses_nothing(make: MakeManifold, ask: str) -> None:
    one = make("one")
    project, _ = edited(one)
    one.context.catalog.close_session(LOCAL_PRINCIPAL.tenant, LOCAL_PRINCIPAL.user, S1)
    one.working_sets.forget(one.sessions.owner(LOCAL_PRINCIPAL, S1))
    act = {"commit": one.commits.commit, "save": one.commits.save, "status": one.sessions.status}[ask]
    with pytest.raises(NotFound) as refused:
        act(LOCAL_PRINCIPAL, S1)
    assert "'manifold leftovers set-aside s1'" in str(refused.value.hint) and "checkout" not in str(refused.value.hint)
    done = one.leftovers.put_aside(LOCAL_PRINCIPAL, S1)
    assert Path(done.folder, "mine").read_bytes() == b"not saved yet"
    assert not (check_out(one, project) / "mine").exists()


@pytest.mark.parametrize("known", [False, True], ids=["looked up", "remembered"])
def test_a_checkout_keeps_what_a_session_of_that_name_left_unsaved(make: MakeManifold, known: bool) -> None:
    one = make("one")
    project, _ = edited(one)
    one.context.catalog.close_session(LOCAL_PRINCIPAL.tenant, LOCAL_PRINCIPAL.user, S1)
    if known:
        with pytest.raises(NotFound) as refused:
            one.commits.commit(LOCAL_PRINCIPAL, S1)
        assert "'manifold leftovers set-aside s1'" in str(refused.value.hint)
    assert not (check_out(one, project) / "mine").exists()
    (aside,) = one.leftovers.set_aside()
    assert Path(aside.folder, "mine").read_bytes() == b"not saved yet"
    one.sessions.close(LOCAL_PRINCIPAL, S1)
    assert [path.name for path in check_out(one, project).iterdir()] == ["a"]
    one.context.catalog.close_session(LOCAL_PRINCIPAL.tenant, LOCAL_PRINCIPAL.user, S1)
    check_out(one, project)
    assert one.leftovers.set_aside() == [aside], "what holds nothing of its own is not kept"


def test_a_node_whose_clock_is_ahead_ends_no_living_session(make: MakeManifold) -> None:
    """Expiry is the catalog's to tell."""
    clock, ahead = ManualClock(), ManualClock()
    one = make("one", clock=clock)
    project, work = edited(one)
    ahead.advance(timedelta(days=60).total_seconds())
    hasty = make("one", clock=ahead, catalog=one.context.catalog, store=one.context.store)
    assert hasty.maintenance.sweep_working_sets() == 0
    assert hasty.maintenance.sweep_sessions() == 0
    assert (work / "mine").read_bytes() == b"not saved yet"
    check_out(hasty, project, session=S2)
    assert hasty.sessions.view(LOCAL_PRINCIPAL, S2).left <= timedelta(days=1)


def test_a_node_whose_clock_is_behind_opens_sessions_that_last(make: MakeManifold) -> None:
    clock, behind = ManualClock(), ManualClock()
    clock.advance(timedelta(days=60).total_seconds())
    one = make("one", clock=clock)
    project = new_project(one, "demo", a=b"one")
    slow = make("one", clock=behind, catalog=one.context.catalog, store=one.context.store)
    check_out(slow, project, session=SessionId("late"))
    assert one.maintenance.sweep_working_sets() == 0
    assert one.sessions.view(LOCAL_PRINCIPAL, SessionId("late")).left == timedelta(days=1)
