"""Objects that nothing refers to any more stay for a while, for those who go back to a dump, and then they go."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.errors import StoreUnavailable
from manifold_common.format.layout import commit_key
from manifold_common.ids import ProjectId
from manifold_common.ports.catalog import SessionRow
from manifold_common.services.upkeep import superseded as module
from manifold_common.services.upkeep.superseded import Superseded
from manifold_common.shapes.requests import CheckoutRequest

from tests.support.manifold import MakeManifold
from tests.support.work import S1, check_out, lose_ram, new_project, put

WHO = (LOCAL_PRINCIPAL.tenant, LOCAL_PRINCIPAL.user, S1)


@pytest.fixture
def manifold(make_manifold: MakeManifold) -> Manifold:
    return make_manifold()


@pytest.fixture
def project(manifold: Manifold) -> ProjectId:
    project = new_project(manifold)
    put(manifold, project, b"a", b"one")
    return project


def row(manifold: Manifold) -> SessionRow:
    view = manifold.context.catalog.view_session(*WHO)
    assert view is not None
    return view.session


def save(manifold: Manifold, work: Path, content: bytes) -> None:
    (work / "a").write_bytes(content)
    assert manifold.commits.save(LOCAL_PRINCIPAL, S1).draft is not None


def save_again(manifold: Manifold, work: Path) -> None:
    save(manifold, work, b"later")


def commit(manifold: Manifold, work: Path) -> None:
    (work / "a").write_bytes(b"published")
    assert manifold.commits.commit(LOCAL_PRINCIPAL, S1).commit is not None


def undo(manifold: Manifold, work: Path) -> None:
    (work / "a").write_bytes(b"one")
    os.utime(work / "a", ns=(1, 1))
    manifold.commits.save(LOCAL_PRINCIPAL, S1)


def close(manifold: Manifold, work: Path) -> None:
    manifold.sessions.close(LOCAL_PRINCIPAL, S1)


@pytest.mark.parametrize("go_on", [save_again, commit, undo, close])
def test_a_session_goes_back_to_any_draft_that_a_dump_still_names(
    manifold: Manifold, project: ProjectId, go_on: Callable[[Manifold, Path], None]
) -> None:
    work = check_out(manifold, project)
    save(manifold, work, b"in the dump")
    dumped = row(manifold)
    go_on(manifold, work)
    manifold.superseded.sweep()
    if work.exists():
        lose_ram(work)
    manifold.context.catalog.close_session(*WHO)
    manifold.context.catalog.open_session(dumped, ttl=manifold.context.policy.session_ttl)
    done = manifold.sessions.checkout(LOCAL_PRINCIPAL, S1, request=CheckoutRequest(dumped.base_generation))
    assert (Path(done.path) / "a").read_bytes() == b"in the dump"


def stored(manifold: Manifold, project: ProjectId) -> int:
    folder = commit_key(LOCAL_PRINCIPAL.tenant, project, row(manifold).base_generation, "x").rpartition("/")[0]
    return len(list(manifold.context.store.list(folder)))


def test_when_their_time_is_over_they_go_at_a_bounded_rate(
    manifold: Manifold, project: ProjectId, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = check_out(manifold, project)
    for number in range(8):
        save(manifold, work, b"%d" % number)
    assert manifold.superseded.sweep() == 0
    assert stored(manifold, project) == 9
    monkeypatch.setattr(module, "_PAGE", 2)
    monkeypatch.setattr(module, "_MOST_AT_ONCE", 4)
    sweep = Superseded(manifold.context, 0).sweep
    assert [sweep(), sweep(), sweep()] == [4, 3, 0]
    assert stored(manifold, project) == 2
    lose_ram(work)
    assert (check_out(manifold) / "a").read_bytes() == b"7"


def test_a_sweep_that_is_cut_off_at_any_step_is_gone_on_with(
    manifold: Manifold, project: ProjectId, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = check_out(manifold, project)
    for number in range(3):
        save(manifold, work, b"%d" % number)
    sweep, catalog = Superseded(manifold.context, 0).sweep, type(manifold.context.catalog)
    assert sweep(stop=lambda: True) == 0
    for owner, name in ((type(manifold.context.store), "delete"), (catalog, "forget_superseded")):
        with monkeypatch.context() as failing:
            failing.setattr(owner, name, _fail)
            with pytest.raises(StoreUnavailable):
                sweep()
        assert len(manifold.context.catalog.superseded_objects(0)) == 2
    assert sweep() == 2
    assert stored(manifold, project) == 2
    assert manifold.context.catalog.superseded_objects(0) == []


def test_what_is_named_again_stays(manifold: Manifold, project: ProjectId) -> None:
    work = check_out(manifold, project)
    save(manifold, work, b"named again")
    before = row(manifold)
    manifold.context.catalog.close_session(*WHO)
    manifold.context.catalog.open_session(before, ttl=manifold.context.policy.session_ttl)
    assert Superseded(manifold.context, 0).sweep() == 0
    lose_ram(work)
    assert (check_out(manifold) / "a").read_bytes() == b"named again"


def _fail(*_: object) -> None:
    raise StoreUnavailable("cut off")
