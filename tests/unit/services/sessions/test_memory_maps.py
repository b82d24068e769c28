"""What is written through a shared memory map, which a file system in RAM may not stamp the file for."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from manifold_common.adapters.memory.clock import ManualClock
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.conflict import Strategy
from manifold_common.errors import CommitConflict
from manifold_common.ids import ProjectId
from manifold_common.shapes.requests import CheckoutRequest

from tests.support.manifold import MakeManifold
from tests.support.work import MAPPED, S1, cat, check_out, new_project, put, remove, write_through_map


@pytest.fixture
def manifold(make_manifold: MakeManifold) -> Manifold:
    return make_manifold()


def test_it_is_seen_when_content_is_compared(manifold: Manifold) -> None:
    project = new_project(manifold, a=MAPPED, b=b"bee")
    work = check_out(manifold, project)
    changed = write_through_map(work / "a")
    status = manifold.sessions.status(LOCAL_PRINCIPAL, S1, checksum=True)
    assert [difference.path for difference in status.differences] == [b"a"]
    assert manifold.commits.save(LOCAL_PRINCIPAL, S1, checksum=True).changed == 1
    assert manifold.commits.commit(LOCAL_PRINCIPAL, S1, checksum=True).modified == 1
    assert cat(manifold, project, b"a") == changed
    assert manifold.commits.commit(LOCAL_PRINCIPAL, S1, checksum=True).commit is None


@pytest.mark.parametrize("path", [b"a", b"d/e/f"])
@pytest.mark.parametrize("others", [lambda *where: put(*where, b"theirs"), remove])
def test_it_is_not_lost_to_what_others_did(
    manifold: Manifold, others: Callable[[Manifold, ProjectId, bytes], object], path: bytes
) -> None:
    project = new_project(manifold, **{path.decode(): MAPPED, "b": b"bee"})
    work = check_out(manifold, project)
    changed = write_through_map(work / path.decode())
    others(manifold, project, path)
    with pytest.raises(CommitConflict) as refused:
        check_out(manifold)
    assert refused.value.details["paths"] == [path.decode()]
    assert (work / path.decode()).read_bytes() == changed
    manifold.sessions.checkout(LOCAL_PRINCIPAL, S1, request=CheckoutRequest(strategy=Strategy.OURS))
    assert manifold.commits.commit(LOCAL_PRINCIPAL, S1).commit is not None
    assert cat(manifold, project, path) == changed


def test_it_is_not_removed_with_the_folder_that_others_removed(manifold: Manifold) -> None:
    project = new_project(manifold, **{"d/e/f": MAPPED, "b": b"bee"})
    work = check_out(manifold, project)
    changed = write_through_map(work / "d/e/f")
    remove(manifold, project, b"d")
    with pytest.raises(CommitConflict):
        check_out(manifold)
    assert (work / "d/e/f").read_bytes() == changed


@pytest.mark.in_memory("moves the clock")
def test_it_is_saved_before_the_working_set_of_a_session_that_is_over_goes(make_manifold: MakeManifold) -> None:
    clock = ManualClock()
    manifold = make_manifold(clock=clock, PROJECTS_WORKSPACE_TTL_SECONDS="3600")
    project = new_project(manifold, a=MAPPED)
    changed = write_through_map(check_out(manifold, project) / "a")
    clock.advance(3601)
    assert manifold.maintenance.sweep_working_sets() == 1
    assert (check_out(manifold) / "a").read_bytes() == changed
