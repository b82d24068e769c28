"""The memory that reading a project's log takes is bounded as a whole: not each commit, and not each reader."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.patience import hurried, wanted_while
from manifold_common.engine import tree_log
from manifold_common.engine.memory import Memory
from manifold_common.engine.tree_log import Snapshot
from manifold_common.errors import Abandoned, QuotaExceeded, Unavailable
from manifold_common.ids import ProjectId
from manifold_common.services.projects.edits import PutFile, reading

from tests.support.manifold import MakeManifold
from tests.support.work import new_project

COMMITS, FILES = 20, 200


def _commit(manifold: Manifold, project: ProjectId, folder: str) -> None:
    edits = [PutFile(f"{folder}/{number}".encode(), reading(f"{folder} {number}".encode())) for number in range(FILES)]
    manifold.edits.apply(LOCAL_PRINCIPAL, project, edits)


def _read_anew(manifold: Manifold, project: ProjectId, limit_bytes: int) -> Snapshot:
    log = manifold.context.log
    log.forget(LOCAL_PRINCIPAL.tenant, project)
    log.memory = Memory(limit_bytes)
    try:
        return log.load(LOCAL_PRINCIPAL.tenant, project)
    finally:
        assert log.memory.taken == 0


@pytest.fixture
def manifold(make_manifold: MakeManifold) -> Manifold:
    return make_manifold()


def test_commits_that_are_small_are_too_much_together(manifold: Manifold) -> None:
    project = new_project(manifold)
    for number in range(COMMITS):
        _commit(manifold, project, str(number))
    needed = _read_anew(manifold, project, 1 << 40).memory_bytes
    _read_anew(manifold, project, needed)  # whatever is read ahead
    with pytest.raises(
        QuotaExceeded, match=rf"tree of project {project} at generation {COMMITS} takes about .* limit of"
    ):
        _read_anew(manifold, project, needed * 3 // 4)


def test_a_long_history_of_the_same_files_takes_no_more_than_the_files(
    manifold: Manifold, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree_log, "_COUNTED_ANEW_BYTES", 0)
    project = new_project(manifold)
    for _ in range(COMMITS):
        _commit(manifold, project, "a")
    tree = _read_anew(manifold, project, 1_200 * 4 * FILES)
    assert tree.memory_bytes < 1_200 * 2 * FILES


def test_one_reader_waits_for_another_and_is_told_when_that_takes_too_long() -> None:
    memory = Memory(1000)
    with memory.account("one") as one:
        one.take(700)
        with memory.account("other") as other, hurried(0.01):
            with pytest.raises(Unavailable, match=r"reading other takes about 600 bytes.*others take 700 of the 1000"):
                other.take(600)
            other.take(300)
        with memory.account("gone") as gone, wanted_while(lambda: False), pytest.raises(Abandoned):
            gone.take(600)
        later = threading.Timer(0.05, one.give_back, [700])
        later.start()
        with memory.account("patient") as patient:
            patient.take(600)
        later.join()
    assert memory.taken == 0


def test_a_reader_that_waits_for_memory_keeps_no_thread_from_others(manifold: Manifold) -> None:
    project = new_project(manifold)
    for number in range(COMMITS):
        _commit(manifold, project, str(number))
    needed = _read_anew(manifold, project, 1 << 40).memory_bytes
    log, workers = manifold.context.log, manifold.context.workers
    log.forget(LOCAL_PRINCIPAL.tenant, project)
    log.memory = Memory(2 * needed)
    with ThreadPoolExecutor(1) as reader, log.memory.account("other") as other:
        other.take(2 * needed - needed // 3)
        reading_on = reader.submit(log.load, LOCAL_PRINCIPAL.tenant, project)
        time.sleep(0.5)
        assert workers.requests.submit(lambda: "done").result(1.0) == "done"
        assert not reading_on.done()
        other.give_back(other.taken)
        assert len(reading_on.result(10.0).tree) > COMMITS * FILES
    assert log.memory.taken == 0


def test_of_readers_who_wait_for_each_other_one_makes_way_at_once() -> None:
    memory = Memory(1000)

    def read(what: str) -> str:
        with memory.account(what) as account:
            account.take(500)
            both.wait(5.0)
            try:
                account.take(100)
            except Unavailable:
                return "made way"
            return "done"

    both = threading.Barrier(2)
    with ThreadPoolExecutor(2) as readers:
        begun = time.monotonic()
        assert sorted(readers.map(read, ["one", "other"])) == ["done", "made way"]
    assert time.monotonic() - begun < 5
    assert memory.taken == 0


def test_trees_that_are_remembered_are_bounded_together(manifold: Manifold) -> None:
    projects = [new_project(manifold, f"p{number}", a=b"a") for number in range(4)]
    log = manifold.context.log
    sizes = [_read_anew(manifold, project, 1 << 40).memory_bytes for project in projects]
    assert len(log.remembered()) == 4
    log.memory = Memory(5 * max(sizes))
    log.remember(log.load(LOCAL_PRINCIPAL.tenant, projects[0]))
    assert len(log.remembered()) == 2
