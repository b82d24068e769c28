"""Packs of an upload stay while a kept tree needs them, though the commit that brought them has left the history."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from manifold_common.adapters.memory.catalog import MemoryCatalog
from manifold_common.adapters.memory.clock import ManualClock
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.errors import CatalogUnavailable, NotFound
from manifold_common.ids import ProjectId

from tests.support.garbage import TENANT, collect
from tests.support.manifold import MakeManifold
from tests.support.resumable import begin, packs, packs_in_use, send, tidy
from tests.support.work import cat, new_project, put

CONTENT = os.urandom(2_000_000)
DAY = 86_400.0
AHEAD_SECONDS = 2.0


def refuse(*_: Any) -> None:
    raise CatalogUnavailable("not now")


def committed_and_not_noted(manifold: Manifold, monkeypatch: pytest.MonkeyPatch) -> ProjectId:
    """Return a project with an uploaded file. Whoever has committed it could not note that it is done."""
    project = new_project(manifold)
    upload = begin(manifold, project, len(CONTENT))
    with monkeypatch.context() as patch:
        patch.setattr(manifold.context.catalog, "settle_resumable", refuse)
        assert send(manifold, upload, 0, CONTENT).outcome is not None
    return project


def test_also_where_the_clock_of_who_took_the_upload_was_ahead_of_the_catalogs(
    make_manifold: MakeManifold, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = MemoryCatalog(clock=clock)
    early = ManualClock()
    early.advance(AHEAD_SECONDS)
    manifold = make_manifold(catalog=catalog, clock=early)
    project = committed_and_not_noted(manifold, monkeypatch)
    put(manifold, project, b"a", b"more")
    for one in (clock, early):
        one.advance(8 * DAY)
    collect(manifold, project, generations=1)
    with pytest.raises(NotFound, match="removed by retention"):
        cat(manifold, project, b"big", 1)
    tidy(manifold, early)
    assert packs_in_use(manifold, project) <= packs(manifold)
    assert cat(manifold, project, b"big") == CONTENT


def test_also_where_that_commit_goes_as_it_is_looked_for(
    manifold: Manifold, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = committed_and_not_noted(manifold, monkeypatch)
    put(manifold, project, b"a", b"more")
    _before(manifold, "find_request", monkeypatch, lambda: collect(manifold, project, generations=1))
    clock.advance(8 * DAY)
    tidy(manifold, clock)
    assert cat(manifold, project, b"big") == CONTENT


def test_also_where_the_project_is_deleted_at_that_moment_and_brought_back(
    manifold: Manifold, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = committed_and_not_noted(manifold, monkeypatch)
    clock.advance(8 * DAY)
    _before(manifold, "find_request", monkeypatch, lambda: manifold.projects.delete(LOCAL_PRINCIPAL, project))
    tidy(manifold, clock)
    manifold.deleted_projects.undelete(LOCAL_PRINCIPAL, project)
    assert cat(manifold, project, b"big") == CONTENT


def test_what_nothing_refers_to_goes_all_the_same(manifold: Manifold, clock: ManualClock) -> None:
    project = new_project(manifold, a=b"one")
    upload = begin(manifold, project, len(CONTENT))
    send(manifold, upload, 0, CONTENT[:-1])
    assert packs(manifold)
    clock.advance(8 * DAY)
    tidy(manifold, clock)
    assert not packs(manifold)
    assert manifold.context.catalog.holdings(TENANT, project).resumable == []


def _before(manifold: Manifold, name: str, monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Have something happen right before the next call of the catalog of that name."""
    inner = getattr(manifold.context.catalog, name)
    waiting = [act]

    def call(*args: Any, **kwargs: Any) -> Any:
        if waiting:
            waiting.pop()()
        return inner(*args, **kwargs)

    monkeypatch.setattr(manifold.context.catalog, name, call)
