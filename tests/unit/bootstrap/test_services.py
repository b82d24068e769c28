"""Services are made when they are first asked for, once, and only those."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from manifold_common.bootstrap import Manifold, anew
from manifold_common.bootstrap.services import wired
from manifold_common.errors import RamUnavailable
from manifold_common.ports.object_links import ObjectLinks

from tests.support.manifold import MakeManifold
from tests.support.work import check_out, new_project

ALL = [name for name, what in vars(Manifold).items() if isinstance(what, wired)]


def test_every_service_can_be_asked_for_alone(make_manifold: MakeManifold) -> None:
    for name in ALL:
        manifold = make_manifold(node=name)
        made = getattr(manifold, name)
        assert made is not None or name in ("prefetcher", "served_objects")
        assert getattr(manifold, name) is made


def test_a_service_is_made_with_what_it_needs_and_nothing_else(make_manifold: MakeManifold) -> None:
    manifold = make_manifold()
    manifold.history  # noqa: B018 - asking is what makes it
    assert {name for name in ALL if name in vars(manifold)} == {"history", "projects"}


def test_threads_that_ask_at_once_get_the_same_service(make_manifold: MakeManifold) -> None:
    together, made = threading.Barrier(8), []

    class Slow(Manifold):
        @wired
        def slow(self) -> object:
            time.sleep(0.05)
            made.append(object())
            return made[-1]

    one = make_manifold()
    manifold = Slow(
        one.settings,
        one.context,
        one.working_sets,
        one.standing,
        one.installations,
        providers={},
        links=None,
        served=None,
        work_queues={},
        listens=False,
        caches=False,
        warnings=[],
    )

    def ask(_: int) -> object:
        together.wait()
        return manifold.slow

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(8))) == set(made)
    assert len(made) == 1


def test_services_made_anew_keep_the_connections(make_manifold: MakeManifold) -> None:
    manifold = make_manifold()
    manifold.links = _Links()
    again = anew(manifold)
    assert (again.links, again.providers) == (manifold.links, manifold.providers)
    assert (again.context.catalog, again.context.store) == (manifold.context.catalog, manifold.context.store)
    assert again.sessions is not manifold.sessions and again.context.keys is not manifold.context.keys
    again.context.workers.close()


def test_services_that_cannot_be_made_anew_go_on(make_manifold: MakeManifold) -> None:
    manifold = make_manifold()
    folder = manifold.settings.projects.workspace.tmpfs_dir
    folder.rmdir()
    folder.write_text("no folder")
    with pytest.raises(RamUnavailable):
        anew(manifold)
    folder.unlink()
    folder.mkdir()
    project = new_project(manifold, a=b"one")
    assert (check_out(manifold, project) / "a").read_bytes() == b"one"


class _Links(ObjectLinks):
    """Never asked."""
