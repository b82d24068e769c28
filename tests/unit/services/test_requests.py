"""How many requests work costs: it depends on what changed, never on how many files there are."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.ids import ProjectId

from tests.support.manifold import MakeManifold
from tests.support.work import S1, S2, check_out, look, new_project, put

FILES = 500


def requests(manifold: Manifold) -> Counter[str]:
    found: Counter[str] = manifold.context.store.requests  # type: ignore[attr-defined]
    return found


@pytest.fixture
def manifold(make_manifold: MakeManifold) -> Manifold:
    return make_manifold()


@pytest.fixture
def project(manifold: Manifold, tmp_path: Path) -> ProjectId:
    project = new_project(manifold)
    for number in range(FILES):
        path = tmp_path / "source" / f"d{number % 20}" / f"f{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d" % number * 10)
    requests(manifold).clear()
    manifold.transfer.import_folder(LOCAL_PRINCIPAL, project, tmp_path / "source")
    return project


def test_many_small_files_are_one_request_in_and_one_out(
    manifold: Manifold, make_manifold: MakeManifold, project: ProjectId
) -> None:
    assert requests(manifold) == {"put": 1}
    requests(manifold).clear()
    work = check_out(make_manifold(node="b"), project)
    assert sum(requests(manifold).values()) <= 2
    assert sum(node.kind == "file" for node in look(work).values()) == FILES
    requests(manifold).clear()
    again = make_manifold(node="b").sessions.checkout(LOCAL_PRINCIPAL, None, project)
    assert look(Path(again.path)) == look(work)
    assert not requests(manifold)


def test_a_commit_is_one_request_and_a_refresh_one_for_each_commit_missed(
    manifold: Manifold, make_manifold: MakeManifold, project: ProjectId
) -> None:
    work, there = check_out(manifold, project), make_manifold(node="b")
    check_out(there, project, session=S2)
    for number in range(10):
        (work / "d0" / f"f{number * 20}").write_bytes(b"changed %d" % number)
    requests(manifold).clear()
    manifold.commits.commit(LOCAL_PRINCIPAL, S1)
    assert requests(manifold) == {"put": 1}
    put(manifold, project, b"other", b"other")
    requests(manifold).clear()
    check_out(there, session=S2)
    assert sum(requests(manifold).values()) <= 3
