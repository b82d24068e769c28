"""What others collect while an edit or a fork is being made is no business of whoever asked for it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.errors import ContentCollected
from manifold_common.ids import Generation, ProjectId
from manifold_common.services.commit_point import CommitPoint
from manifold_common.services.projects.edits import Copy, Delete, PutFile, reading

from tests.support.garbage import collect
from tests.support.manifold import MakeManifold
from tests.support.work import committed, new_project, put

FILES = 24
KEPT = b"f00"


@pytest.fixture
def manifold(make_manifold: MakeManifold) -> Manifold:
    return make_manifold()


def mostly_dead(manifold: Manifold) -> tuple[ProjectId, bytes]:
    """Return a project and the content of the one file that is left of its pack: a collection moves it."""
    project = new_project(manifold)
    files = {f"f{number:02}".encode(): os.urandom(100_000) for number in range(FILES)}
    manifold.edits.apply(LOCAL_PRINCIPAL, project, [PutFile(path, reading(data)) for path, data in files.items()])
    manifold.edits.apply(LOCAL_PRINCIPAL, project, [Delete(path) for path in files if path != KEPT])
    put(manifold, project, b"more", b"x")
    put(manifold, project, b"more", b"y")
    return project, files[KEPT]


class Meanwhile:
    """Collects a project, by another node, when the next commit is stored and about to be published."""

    def __init__(self, other: Manifold) -> None:
        self.other = other
        self.next: ProjectId | None = None
        self.did: list[bool] = []

    def come(self) -> None:
        project, self.next = self.next, None
        if project is not None:
            self.did.append(collect(self.other, project, generations=3))


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch, make_manifold: MakeManifold) -> Meanwhile:
    hook, store = Meanwhile(make_manifold(node="other")), CommitPoint.store

    def store_and_collect(self: CommitPoint, *args: Any) -> Any:
        stored = store(self, *args)
        hook.come()
        return stored

    monkeypatch.setattr(CommitPoint, "store", store_and_collect)
    return hook


def test_a_fork_is_made_all_the_same(manifold: Manifold, meanwhile: Meanwhile, make_manifold: MakeManifold) -> None:
    project, content = mostly_dead(manifold)
    meanwhile.next = project
    fork = manifold.forks.fork(LOCAL_PRINCIPAL, project, "fork").id
    assert meanwhile.did == [True]
    collect(manifold, project)
    assert committed(make_manifold(node="new"), fork)[KEPT][1] == content
    assert manifold.verify.run(LOCAL_PRINCIPAL, fork, read_data=True).ok


def test_a_restore_is_made_all_the_same(manifold: Manifold, meanwhile: Meanwhile, make_manifold: MakeManifold) -> None:
    project, content = mostly_dead(manifold)
    manifold.edits.apply(LOCAL_PRINCIPAL, project, [Delete(KEPT)])
    put(manifold, project, b"more", b"z")  # two generations stay that have the file no more, and one that has
    meanwhile.next = project
    done = manifold.edits.restore(LOCAL_PRINCIPAL, project, Generation(4), [KEPT])
    assert meanwhile.did == [True]
    collect(manifold, project, generations=1)
    assert committed(make_manifold(node="new"), project, done.generation)[KEPT][1] == content
    assert manifold.verify.run(LOCAL_PRINCIPAL, project, read_data=True).ok


def test_a_copy_is_made_all_the_same(manifold: Manifold, meanwhile: Meanwhile, make_manifold: MakeManifold) -> None:
    project, content = mostly_dead(manifold)
    meanwhile.next = project
    done = manifold.edits.apply(LOCAL_PRINCIPAL, project, [Copy(KEPT, b"copy")])
    assert meanwhile.did == [True]
    collect(manifold, project, generations=1)
    assert committed(make_manifold(node="new"), project, done.generation)[b"copy"][1] == content


Work = Callable[[Manifold, ProjectId], object]
WORKS: dict[str, Work] = {
    "fork": lambda manifold, project: manifold.forks.fork(LOCAL_PRINCIPAL, project, "fork"),
    "restore": lambda manifold, project: manifold.edits.restore(LOCAL_PRINCIPAL, project, Generation(1)),
    "copy": lambda manifold, project: manifold.edits.apply(LOCAL_PRINCIPAL, project, [Copy(KEPT, b"copy")]),
}


@pytest.mark.parametrize("work", WORKS.values(), ids=WORKS)
@pytest.mark.parametrize("times", [1, 2, 3])
def test_what_cannot_be_renewed_is_done_again_and_not_for_ever(
    manifold: Manifold, monkeypatch: pytest.MonkeyPatch, work: Work, times: int
) -> None:
    project, _ = mostly_dead(manifold)
    publication, left = CommitPoint.publication, [ContentCollected(project)] * times

    def collected(self: CommitPoint, *args: Any) -> Any:
        if left:
            raise left.pop()
        return publication(self, *args)

    monkeypatch.setattr(CommitPoint, "publication", collected)
    if times < 3:
        work(manifold, project)
    else:
        with pytest.raises(ContentCollected, match="was collected"):
            work(manifold, project)
    assert not left
