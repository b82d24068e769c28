"""A refresh was cut off half-way, and somebody went on editing before Manifold came back."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.conflict import Strategy
from manifold_common.engine.working_set import refresh as refreshing
from manifold_common.errors import CommitConflict
from manifold_common.ids import ProjectId
from manifold_common.shapes.intent import Intent
from manifold_common.shapes.requests import CheckoutRequest

from tests.support.faulty_store import Crash
from tests.support.manifold import MakeManifold
from tests.support.work import S1, cat, check_out, lose_ram, new_project, put


@pytest.fixture
def interrupted(make_manifold: MakeManifold, monkeypatch: pytest.MonkeyPatch) -> tuple[Manifold, ProjectId, Path]:
    """A working set in which ``a`` is of generation 3 already and ``b`` still of 1, then edited."""
    manifold = make_manifold()
    project = new_project(manifold, a=b"one", b=b"one")
    work = check_out(manifold, project)
    put(manifold, project, b"a", b"two!")
    put(manifold, project, b"b", b"two!")
    renamed = os.rename

    def die(source: str | bytes, target: str | bytes, **more: int) -> None:
        if os.fsencode(target) == b"b":
            raise Crash("the process dies here")
        renamed(source, target, **more)

    with monkeypatch.context() as patch:
        patch.setattr(refreshing.os, "rename", die)
        with pytest.raises(Crash):
            check_out(manifold)
    assert ((work / "a").read_bytes(), (work / "b").read_bytes()) == (b"two!", b"one")
    (work / "b").write_bytes(b"mine")
    return make_manifold(), project, work


def test_the_conflict_is_named_and_nothing_is_touched(interrupted: tuple[Manifold, ProjectId, Path]) -> None:
    manifold, _, work = interrupted
    for _ in range(2):
        with pytest.raises(CommitConflict) as caught:
            check_out(manifold)
        assert caught.value.paths == ["b"]
        assert (work / "b").read_bytes() == b"mine"


@pytest.mark.parametrize(("strategy", "kept"), [(Strategy.OURS, b"mine"), (Strategy.THEIRS, b"two!")])
def test_a_checkout_with_a_strategy_goes_on(
    interrupted: tuple[Manifold, ProjectId, Path], strategy: Strategy, kept: bytes
) -> None:
    manifold, _, work = interrupted
    manifold.sessions.checkout(LOCAL_PRINCIPAL, S1, request=CheckoutRequest(strategy=strategy))
    assert ((work / "a").read_bytes(), (work / "b").read_bytes()) == (b"two!", kept)


@pytest.mark.parametrize(("strategy", "kept"), [(Strategy.OURS, b"mine"), (Strategy.THEIRS, b"two!")])
def test_a_commit_with_a_strategy_goes_on(
    interrupted: tuple[Manifold, ProjectId, Path], strategy: Strategy, kept: bytes
) -> None:
    manifold, project, _ = interrupted
    manifold.commits.commit(LOCAL_PRINCIPAL, S1, Intent(strategy=strategy))
    assert (cat(manifold, project, b"a"), cat(manifold, project, b"b")) == (b"two!", kept)


def test_the_work_can_be_saved_as_it_is(interrupted: tuple[Manifold, ProjectId, Path]) -> None:
    manifold, _, work = interrupted
    assert manifold.commits.save(LOCAL_PRINCIPAL, S1).draft is not None
    lose_ram(work)
    with pytest.raises(CommitConflict):
        check_out(manifold)
    assert (work / "b").read_bytes() == b"mine"


def test_the_host_saves_it_too(interrupted: tuple[Manifold, ProjectId, Path]) -> None:
    manifold, _, work = interrupted
    assert manifold.maintenance.save_drafts() == 1
    lose_ram(work)
    manifold.sessions.checkout(LOCAL_PRINCIPAL, S1, request=CheckoutRequest(strategy=Strategy.OURS))
    assert (work / "b").read_bytes() == b"mine"


def test_its_status_can_be_looked_at(interrupted: tuple[Manifold, ProjectId, Path]) -> None:
    manifold, _, _ = interrupted
    assert b"b" in {found.path for found in manifold.sessions.status(LOCAL_PRINCIPAL, S1).differences}
