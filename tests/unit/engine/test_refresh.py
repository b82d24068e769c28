"""A working set goes on to another generation, with work of its own in it."""

from __future__ import annotations

import os
import shutil

from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.shapes.intent import Intent

from tests.support.manifold import MakeManifold
from tests.support.work import S1, check_out, look, new_project, paths, put, remove


def test_a_folder_that_was_removed_here_does_not_come_back_because_its_time_changed_there(
    make_manifold: MakeManifold,
) -> None:
    manifold = make_manifold()
    project = new_project(manifold)
    put(manifold, project, b"d/one", b"1")
    put(manifold, project, b"d/two", b"2")
    work = check_out(manifold, project)
    shutil.rmtree(work / "d")
    remove(manifold, project, b"d/one")
    check_out(manifold)
    assert not (work / "d").exists()
    manifold.commits.commit(LOCAL_PRINCIPAL, S1, Intent("remove d"))
    assert paths(manifold, project) == set()


def test_hard_links_of_one_file_that_others_changed_are_replaced_in_one_go(make_manifold: MakeManifold) -> None:
    """Each that is replaced gives the others a new ctime: that is no edit."""
    manifold = make_manifold()
    project = new_project(manifold)
    for name in (b"a", b"b", b"c", b"d"):
        put(manifold, project, name, b"one", mtime_ns=1_000_000_007)
    work = check_out(manifold, project)
    for link in "bcd":
        (work / link).unlink()
        os.link(work / "a", work / link)
    for name in (b"a", b"b", b"c"):
        put(manifold, project, name, b"two")
    remove(manifold, project, b"d")
    check_out(manifold)
    assert {path: node.content for path, node in look(work).items()} == dict.fromkeys((b"a", b"b", b"c"), b"two")
