"""What every catalog promises writers that queue for a project."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from manifold_common.ids import ProjectId
from manifold_common.ports.catalog import (
    Catalog,
)

from tests.contract.catalog_fixtures import (
    TENANT,
    make_project,
)


def test_only_one_writer_at_a_time_has_the_turn_of_a_project(catalog: Catalog) -> None:
    made, other = make_project(catalog), make_project(catalog, "other")
    with catalog.commit_lease(TENANT, made.id, timeout_seconds=1) as first, ThreadPoolExecutor(1) as thread:

        def try_turn(project: ProjectId) -> bool:
            with catalog.commit_lease(TENANT, project, timeout_seconds=0.1) as had:
                return had

        assert first
        assert thread.submit(try_turn, made.id).result() is False
        assert thread.submit(try_turn, other.id).result() is True
    with catalog.commit_lease(TENANT, made.id, timeout_seconds=1) as again:
        assert again


def test_writers_that_take_turns_never_lose_a_race(catalog: Catalog) -> None:
    made = make_project(catalog)
    barrier = threading.Barrier(8)

    def work(_: int) -> list[bool]:
        barrier.wait()
        results = []
        for _ in range(5):
            with catalog.commit_lease(TENANT, made.id, timeout_seconds=30) as had:
                base = catalog.head(TENANT, made.id)
                results.append(had and catalog.publish_commit(made.publication(base=base)) is not None)
        return results

    with ThreadPoolExecutor(8) as threads:
        assert all(all(results) for results in threads.map(work, range(8)))
    assert catalog.head(TENANT, made.id).generation == 40


def test_a_turn_ends_when_its_block_raises(catalog: Catalog) -> None:
    made = make_project(catalog)
    with pytest.raises(ZeroDivisionError), catalog.commit_lease(TENANT, made.id, timeout_seconds=1):
        raise ZeroDivisionError
    with catalog.commit_lease(TENANT, made.id, timeout_seconds=1) as had:
        assert had
