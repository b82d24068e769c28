"""When a commit was made: never before its parent, whatever the clocks of those who make them say."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from manifold_common.adapters.memory.clock import ManualClock
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.ids import DEFAULT_TENANT, Generation, ProjectId

from tests.support.manifold import MakeManifold
from tests.support.work import S1, check_out, new_project, put

AHEAD = timedelta(hours=2)
STEP = timedelta(microseconds=1)


def times(manifold: Manifold, project: ProjectId) -> list[datetime]:
    """Return when each generation was made: the catalog and the commit object say the same."""
    context = manifold.context
    rows = context.catalog.list_commits(DEFAULT_TENANT, project)[::-1]
    for row in rows:
        meta = context.log.read_commit(DEFAULT_TENANT, project, row).meta
        assert datetime.fromtimestamp(0, UTC) + timedelta(microseconds=meta.time_ns // 1000) == row.created_at
        assert meta.time_ns % 1000 == 0
    return [row.created_at for row in rows]


@pytest.fixture
def nodes(make_manifold: MakeManifold) -> Callable[[timedelta], Manifold]:
    """Return a function that makes a node whose clock is off by so much. The catalog's own is right."""
    make_manifold(node="right", clock=ManualClock())  # the first one's clock is the catalog's
    return lambda off: make_manifold(node=f"off-{off}".replace(":", "-"), clock=ManualClock(NOW + off))


NOW = ManualClock().now()


def test_a_commit_by_a_clock_that_is_behind_is_a_step_after_its_parent(
    nodes: Callable[[timedelta], Manifold], tmp_path: Path
) -> None:
    ahead, right, behind = nodes(AHEAD), nodes(timedelta()), nodes(-AHEAD)
    project = new_project(ahead, a=b"one")
    put(right, project, b"b", b"b")
    put(behind, project, b"c", b"c")
    work = check_out(behind, project)
    (work / "d").write_bytes(b"d")
    behind.commits.commit(LOCAL_PRINCIPAL, S1)
    behind.edits.restore(LOCAL_PRINCIPAL, project, Generation(1))
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "e").write_bytes(b"e")
    behind.transfer.import_folder(LOCAL_PRINCIPAL, project, tmp_path / "source")
    assert times(right, project) == [NOW + AHEAD + number * STEP for number in range(6)]
    ahead.context.clock.advance(60)  # type: ignore[attr-defined]
    put(ahead, project, b"f", b"f")
    assert times(right, project)[-1] == NOW + AHEAD + timedelta(minutes=1)


def test_a_commit_that_is_rebased_is_after_what_it_was_rebased_on(nodes: Callable[[timedelta], Manifold]) -> None:
    behind, ahead = nodes(-AHEAD), nodes(AHEAD)
    project = new_project(behind, a=b"one")
    work = check_out(behind, project)
    (work / "mine").write_bytes(b"mine")
    put(ahead, project, b"b", b"b")
    assert behind.commits.commit(LOCAL_PRINCIPAL, S1).rebased
    assert times(ahead, project) == [NOW - AHEAD, NOW + AHEAD, NOW + AHEAD + STEP]


@pytest.mark.parametrize("generation", [1, 2, None])
def test_a_fork_begins_after_what_it_was_made_from(
    nodes: Callable[[timedelta], Manifold], generation: int | None
) -> None:
    ahead, behind = nodes(AHEAD), nodes(-AHEAD)
    project = new_project(ahead, a=b"one")
    put(ahead, project, b"b", b"b")
    source = times(ahead, project)
    wanted = None if generation is None else Generation(generation)
    for node in (behind, ahead):
        fork = node.forks.fork(LOCAL_PRINCIPAL, project, f"fork by {id(node)}", wanted).id
        (made,) = times(ahead, fork)
        assert made >= source[(generation or 2) - 1] + STEP


def test_the_time_of_a_generation_that_only_a_checkpoint_holds_is_known(
    make_manifold: MakeManifold,
) -> None:
    clock = ManualClock()
    writer = make_manifold(node="writer", clock=clock, PROJECTS_MAINTENANCE_CHECKPOINT_COMMITS="1")
    project = new_project(writer, a=b"one")
    put(writer, project, b"a", b"two")
    clock.advance(10)
    assert writer.maintenance.write_checkpoints() == 1
    put(writer, project, b"a", b"three")
    reader = make_manifold(node="reader", clock=clock)
    found = reader.context.log.load(DEFAULT_TENANT, project, Generation(2))
    assert found.head.committed_at == NOW + STEP  # not the checkpoint's own time


@pytest.mark.in_memory("moves the clock")
def test_a_clock_that_is_ahead_does_not_let_sessions_live_longer(nodes: Callable[[timedelta], Manifold]) -> None:
    ahead, right = nodes(timedelta(days=999)), nodes(timedelta())
    project = new_project(ahead, a=b"one")
    work = check_out(right, project)
    (work / "mine").write_bytes(b"mine")
    right.commits.commit(LOCAL_PRINCIPAL, S1)
    assert times(right, project)[-1] > NOW + timedelta(days=998)
    row = right.sessions.view(LOCAL_PRINCIPAL, S1).session
    assert row.expires_at == NOW + right.context.policy.session_ttl


@pytest.mark.in_memory("moves the clock")
def test_what_the_catalog_recorded_is_by_its_own_clock(nodes: Callable[[timedelta], Manifold]) -> None:
    ahead = nodes(AHEAD)
    project = new_project(ahead, a=b"one")
    put(ahead, project, b"b", b"b")
    fork = ahead.forks.fork(LOCAL_PRINCIPAL, project, "fork").id
    for where in (project, fork):
        for row in ahead.context.catalog.list_commits(DEFAULT_TENANT, where):
            assert row.recorded_at == NOW
            assert row.created_at >= NOW + AHEAD
