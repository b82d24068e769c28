"""A catalog that was set back is noticed by whoever has seen more, and nothing is undone on its word."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from manifold_common.adapters.memory.catalog import MemoryCatalog
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.errors import StaleStore
from manifold_common.ids import Generation, ProjectId
from manifold_common.shapes.requests import CheckoutRequest

from tests.support.manifold import MakeManifold
from tests.support.work import S1, S2, cat, check_out, new_project, put

pytestmark = pytest.mark.in_memory("takes a catalog in memory back to an earlier state")


def backup_of(manifold: Manifold, project: ProjectId) -> Callable[[], None]:
    """Return a function that restores the catalog as it is now."""
    catalog = manifold.context.catalog
    assert isinstance(catalog, MemoryCatalog)
    inside = catalog.state.projects[LOCAL_PRINCIPAL.tenant, project]
    kept = (inside.row, dict(inside.commits), dict(inside.by_id), dict(catalog.state.sessions))

    def restore() -> None:
        inside.row, inside.commits, inside.by_id = replace(kept[0]), dict(kept[1]), dict(kept[2])
        catalog.state.sessions.clear()
        catalog.state.sessions.update(kept[3])

    return restore


@pytest.fixture(params=["same process", "new process"])
def again(request: pytest.FixtureRequest, make_manifold: MakeManifold) -> Callable[[Manifold], Manifold]:
    return (lambda manifold: manifold) if request.param == "same process" else (lambda _: make_manifold())


def edit(work: Path, data: bytes) -> None:
    (work / "a").write_bytes(data)


def test_a_working_set_does_not_go_back_with_the_catalog(
    make_manifold: MakeManifold, again: Callable[[Manifold], Manifold]
) -> None:
    manifold = make_manifold()
    project = new_project(manifold, a=b"one")
    work = check_out(manifold, project)
    restore = backup_of(manifold, project)
    edit(work, b"two!")
    manifold.commits.commit(LOCAL_PRINCIPAL, S1)
    restore()
    manifold = again(manifold)
    with pytest.raises(StaleStore, match="generation 2 was seen before"):
        check_out(manifold)
    assert (work / "a").read_bytes() == b"two!"


def test_a_commit_on_a_generation_that_the_catalog_lost_is_refused(
    make_manifold: MakeManifold, again: Callable[[Manifold], Manifold]
) -> None:
    manifold = make_manifold()
    project = new_project(manifold, a=b"one")
    work = check_out(manifold, project)
    restore = backup_of(manifold, project)
    edit(work, b"two!")
    manifold.commits.commit(LOCAL_PRINCIPAL, S1)
    restore()
    edit(work, b"three")
    manifold = again(manifold)
    with pytest.raises(StaleStore):
        manifold.commits.commit(LOCAL_PRINCIPAL, S1)
    assert (work / "a").read_bytes() == b"three"
    assert cat(make_manifold(node="b"), project, b"a") == b"one"


def test_another_commit_of_the_same_number_is_not_the_one_that_was_seen(
    make_manifold: MakeManifold, again: Callable[[Manifold], Manifold]
) -> None:
    manifold = make_manifold()
    project = new_project(manifold, a=b"one")
    work = check_out(manifold, project)
    restore = backup_of(manifold, project)
    edit(work, b"two!")
    manifold.commits.commit(LOCAL_PRINCIPAL, S1)
    restore()
    other = make_manifold(node="b")
    put(other, project, b"a", b"another two")
    edit(work, b"three")
    manifold = again(manifold)
    with pytest.raises(StaleStore):
        check_out(manifold)
    with pytest.raises(StaleStore):
        manifold.commits.commit(LOCAL_PRINCIPAL, S1)
    assert (work / "a").read_bytes() == b"three"
    assert cat(manifold, project, b"a") == b"another two"


def test_a_client_that_has_seen_more_is_not_answered(make_manifold: MakeManifold) -> None:
    manifold = make_manifold()
    project = new_project(manifold, a=b"one")
    check_out(manifold, project)
    for session in (S1, S2):
        with pytest.raises(StaleStore):
            manifold.sessions.checkout(
                LOCAL_PRINCIPAL, session, project, CheckoutRequest(seen_generation=Generation(2))
            )
        manifold.sessions.checkout(LOCAL_PRINCIPAL, session, project, CheckoutRequest(seen_generation=Generation(1)))


def test_generation_zero_is_a_generation_like_any_other(make_manifold: MakeManifold) -> None:
    """Not "unknown": the empty project is listed, checked out, compared with, and gone back to."""
    manifold = make_manifold()
    project = new_project(manifold)
    work = check_out(manifold, project)
    assert list(work.iterdir()) == []
    put(manifold, project, b"a", b"one")
    assert manifold.history.list_tree(LOCAL_PRINCIPAL, project, generation=Generation(0)).entries == []
    assert manifold.history.snapshot(LOCAL_PRINCIPAL, project, Generation(0)).head.generation == 0
    difference = manifold.history.diff(LOCAL_PRINCIPAL, project, Generation(0), Generation(1))
    assert {found.path for found in difference} >= {b"a"}
    check_out(manifold)
    assert (work / "a").exists()
    manifold.sessions.checkout(LOCAL_PRINCIPAL, S1, request=CheckoutRequest(Generation(0)))
    assert list(work.iterdir()) == []
    with pytest.raises(StaleStore):
        manifold.sessions.checkout(LOCAL_PRINCIPAL, S1, request=CheckoutRequest(seen_generation=Generation(2)))
    manifold.sessions.checkout(
        LOCAL_PRINCIPAL, S2, project, CheckoutRequest(Generation(0), seen_generation=Generation(0))
    )
