"""A machine loses its RAM: whoever comes back to a session is told what that has cost."""

from __future__ import annotations

from pathlib import Path

import pytest
from manifold_common.adapters.memory.clock import ManualClock
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.ids import ProjectId
from manifold_common.shapes.sessions import CheckedOut, CheckoutKind

from tests.support.manifold import MakeManifold
from tests.support.work import S1, check_out, lose_ram, new_project

pytestmark = pytest.mark.in_memory("moves the clock")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def here(make_manifold: MakeManifold, clock: ManualClock) -> Manifold:
    return make_manifold(node="a", clock=clock)


@pytest.fixture
def there(make_manifold: MakeManifold, here: Manifold, clock: ManualClock) -> Manifold:
    return make_manifold(node="b", clock=clock)


@pytest.fixture
def project(here: Manifold) -> ProjectId:
    return new_project(here, "demo", a=b"one")


def come_back(manifold: Manifold) -> CheckedOut:
    return manifold.sessions.checkout(LOCAL_PRINCIPAL, S1)


def test_what_was_never_saved_is_said_to_be_lost_since_the_checkout(
    here: Manifold, project: ProjectId, clock: ManualClock
) -> None:
    work = check_out(here, project)
    begun = clock.now()
    (work / "mine").write_bytes(b"not saved")
    clock.advance(500)
    lose_ram(work)
    done = come_back(here)
    assert done.kind is CheckoutKind.RESTORED
    assert done.missing is not None
    assert (done.missing.is_lost, done.missing.since, done.missing.node) == (True, begun, here.standing.node)
    assert come_back(here).missing is None, "it is said once"


@pytest.mark.parametrize("how", ["save", "commit"])
def test_it_is_lost_since_it_was_last_saved(here: Manifold, project: ProjectId, clock: ManualClock, how: str) -> None:
    work = check_out(here, project)
    clock.advance(100)
    (work / "mine").write_bytes(b"saved")
    getattr(here.commits, how)(LOCAL_PRINCIPAL, S1)
    saved = clock.now()
    clock.advance(500)
    lose_ram(work)
    done = come_back(here)
    assert (work / "mine").read_bytes() == b"saved"
    assert done.missing is not None
    assert done.missing.since == saved


def test_a_working_set_on_another_machine_is_not_said_to_be_lost(
    here: Manifold, there: Manifold, project: ProjectId
) -> None:
    check_out(here, project)
    done = come_back(there)
    assert done.missing is not None
    assert (done.missing.is_lost, done.missing.node) == (False, here.standing.node)
    assert there.standing.node != here.standing.node


def test_a_working_set_that_was_saved_and_removed_when_its_time_was_over_is_not_missed(
    here: Manifold, project: ProjectId, clock: ManualClock
) -> None:
    work = check_out(here, project)
    (work / "mine").write_bytes(b"saved by the sweep")
    clock.advance(2 * 86_400)
    assert here.maintenance.sweep_working_sets() == 1
    assert not work.exists()
    done = come_back(here)
    assert (work / "mine").read_bytes() == b"saved by the sweep"
    assert done.missing is None


def test_a_new_session_misses_nothing(here: Manifold, project: ProjectId) -> None:
    assert here.sessions.checkout(LOCAL_PRINCIPAL, S1, project).missing is None


def test_a_working_set_that_was_set_aside_is_not_said_to_be_lost(here: Manifold, project: ProjectId) -> None:
    (check_out(here, project) / "mine").write_bytes(b"not saved")
    catalog = here.context.catalog
    dumped = dict(catalog.state.sessions)  # type: ignore[attr-defined]
    catalog.state.sessions.clear()  # type: ignore[attr-defined]
    here.maintenance.sweep_working_sets()
    catalog.state.sessions.update(dumped)  # type: ignore[attr-defined]
    done = come_back(here)
    assert done.missing is not None
    assert not done.missing.is_lost
    assert (Path(done.missing.set_aside) / "mine").read_bytes() == b"not saved"
