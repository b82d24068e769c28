"""Work over a quota is refused before anything is stored, written or opened; work just below it is done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.errors import NotFound, QuotaExceeded
from manifold_common.ids import Generation, ProjectId
from manifold_common.services.projects.edits import Copy
from manifold_common.shapes.requests import CheckoutRequest

from tests.support.manifold import MakeManifold
from tests.support.work import S1, S2, cat, check_out, look, new_project, paths, put, remove

LIMITS = {
    "PROJECTS_QUOTAS_MAX_PROJECT_BYTES": "1000",
    "PROJECTS_QUOTAS_MAX_FILES": "5",
    "PROJECTS_QUOTAS_MAX_FILE_BYTES": "600",
}


def stored(manifold: Manifold) -> set[str]:
    return {info.key for info in manifold.context.store.list("")}


@pytest.fixture
def manifold(make_manifold: MakeManifold) -> Manifold:
    return make_manifold(**LIMITS)


@pytest.fixture
def project(manifold: Manifold) -> ProjectId:
    """Of 800 bytes in two files: 200 bytes and three entries are left."""
    return new_project(manifold, a=b"a" * 400, b=b"b" * 400)


def fill(folder: Path, files: dict[str, int]) -> None:
    for name, size in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x" * size)


TOO_MUCH = {
    "bytes of the project": {"c": 201},
    "bytes in several files": {"c": 100, "d": 101},
    "number of files": {"c": 0, "d": 0, "e": 0, "f": 0},
    "number of files and folders": {"c/d/e": 0, "f": 0},
    "bytes of one file": {"a": 0, "b": 0, "c": 601},
}
ENOUGH = {"all bytes": {"c": 200}, "all files": {"c/d/e": 0}, "the largest file": {"a": 0, "b": 0, "c": 600}}


@pytest.mark.parametrize("files", TOO_MUCH.values(), ids=TOO_MUCH.keys())
@pytest.mark.parametrize("verb", ["commit", "save", "import"])
def test_what_is_too_much_is_refused_and_nothing_changes(
    manifold: Manifold, project: ProjectId, tmp_path: Path, verb: str, files: dict[str, int]
) -> None:
    if verb == "import":
        work = tmp_path / "source"
        fill(work, {"a": 400, "b": 400})
    else:
        work = check_out(manifold, project)
    fill(work, files)
    before, expected = stored(manifold), look(work)
    do: dict[str, Callable[[], object]] = {
        "commit": lambda: manifold.commits.commit(LOCAL_PRINCIPAL, S1),
        "save": lambda: manifold.commits.save(LOCAL_PRINCIPAL, S1),
        "import": lambda: manifold.transfer.import_folder(LOCAL_PRINCIPAL, project, work),
    }
    with pytest.raises(QuotaExceeded) as caught:
        do[verb]()
    assert caught.value.details["limit"] in (1000, 5, 600)
    assert (stored(manifold), look(work)) == (before, expected)
    assert manifold.projects.get(LOCAL_PRINCIPAL, project).generation == 1
    # With room made again the same work is done.
    for name in files:
        (work / name).write_bytes(b"")
    for name in [*files][1:]:
        (work / name).unlink()
    assert do[verb]() is not None


@pytest.mark.parametrize("files", ENOUGH.values(), ids=ENOUGH.keys())
@pytest.mark.parametrize("verb", ["commit", "import"])
def test_a_quota_can_be_used_up(
    manifold: Manifold, project: ProjectId, tmp_path: Path, verb: str, files: dict[str, int]
) -> None:
    work = check_out(manifold, project)
    fill(work, files)
    if verb == "commit":
        assert manifold.commits.commit(LOCAL_PRINCIPAL, S1).generation == 2
    else:
        assert manifold.transfer.import_folder(LOCAL_PRINCIPAL, project, work).generation == 2
    assert paths(manifold, project) == look(work).keys()


def test_edits_are_held_to_the_quotas_too(manifold: Manifold, project: ProjectId) -> None:
    before = stored(manifold)
    work: list[Callable[[], object]] = [
        lambda: put(manifold, project, b"c", b"x" * 201),
        lambda: put(manifold, project, b"a", b"x" * 601),
        lambda: put(manifold, project, b"c/d/e/f", b""),
        lambda: manifold.edits.apply(LOCAL_PRINCIPAL, project, [Copy(b"a", b"c")]),
    ]
    for over in work:
        with pytest.raises(QuotaExceeded):
            over()
    assert stored(manifold) == before
    assert put(manifold, project, b"c", b"x" * 200).generation == 2


def test_a_restore_is_held_to_the_quotas_of_today(make_manifold: MakeManifold) -> None:
    manifold = make_manifold()
    project = new_project(manifold, a=b"a" * 900, b=b"b" * 900)
    remove(manifold, project, b"b")
    smaller = make_manifold(**LIMITS)
    before = stored(manifold)
    with pytest.raises(QuotaExceeded):
        smaller.edits.restore(LOCAL_PRINCIPAL, project, Generation(1))
    assert stored(manifold) == before
    assert (cat(smaller, project, b"a"), paths(smaller, project)) == (b"a" * 900, {b"a"})


def test_a_project_over_a_quota_that_came_later_can_be_read_and_made_smaller(make_manifold: MakeManifold) -> None:
    project = new_project(make_manifold(), "demo", **dict.fromkeys("abcdefgh", b"x" * 500))
    smaller = make_manifold(**LIMITS)
    work = check_out(smaller, project)
    for name in "abcdefg":
        (work / name).unlink()
    assert smaller.commits.commit(LOCAL_PRINCIPAL, S1).generation == 2


def test_commits_that_fit_alone_but_not_together_do_not_get_over_a_quota(
    manifold: Manifold, project: ProjectId
) -> None:
    """The second is rebased on the first, and counted again there."""
    one, two = check_out(manifold, project), check_out(manifold, project, S2)
    (one / "c").write_bytes(b"x" * 150)
    (two / "d").write_bytes(b"x" * 150)
    manifold.commits.commit(LOCAL_PRINCIPAL, S1)
    with pytest.raises(QuotaExceeded):
        manifold.commits.commit(LOCAL_PRINCIPAL, S2)
    assert paths(manifold, project) == {b"a", b"b", b"c"}
    assert (two / "d").read_bytes() == b"x" * 150
    (two / "d").write_bytes(b"x" * 50)
    assert manifold.commits.commit(LOCAL_PRINCIPAL, S2).generation == 3


@pytest.fixture
def narrow(make_manifold: MakeManifold) -> Manifold:
    """A node that gives a session 1000 bytes of RAM."""
    return make_manifold(PROJECTS_QUOTAS_MAX_SESSION_RAM_BYTES="1000")


def test_a_working_set_over_the_quota_of_a_session_is_not_begun(narrow: Manifold) -> None:
    project = new_project(narrow, a=b"a" * 600)
    put(narrow, project, b"d/b", b"b" * 600)
    requests = narrow.context.store.requests  # type: ignore[attr-defined]
    requests.clear()
    with pytest.raises(QuotaExceeded):
        check_out(narrow, project)
    assert not requests
    assert not list(Path(narrow.working_sets.folders.root).rglob("work"))
    with pytest.raises(NotFound):
        narrow.sessions.view(LOCAL_PRINCIPAL, S1)
    done = narrow.sessions.checkout(LOCAL_PRINCIPAL, S1, project, CheckoutRequest(paths=("/d/",)))
    assert look(Path(done.path)).keys() == {b"d", b"d/b"}


def test_a_draft_over_the_quota_of_a_session_waits_for_a_larger_node(
    make_manifold: MakeManifold, narrow: Manifold
) -> None:
    large = make_manifold(node="b")
    project = new_project(large, a=b"a" * 600)
    (check_out(large, project) / "b").write_bytes(b"b" * 600)
    large.commits.save(LOCAL_PRINCIPAL, S1)
    with pytest.raises(QuotaExceeded):
        check_out(narrow)
    assert not list(Path(narrow.working_sets.folders.root).rglob("work"))
    assert (check_out(make_manifold(node="c")) / "b").read_bytes() == b"b" * 600


def test_a_refresh_does_not_take_a_working_set_over_the_quota_of_a_session(
    make_manifold: MakeManifold, narrow: Manifold
) -> None:
    project = new_project(narrow, a=b"a" * 600)
    work = check_out(narrow, project)
    (work / "mine").write_bytes(b"mine")
    expected = look(work)
    put(narrow, project, b"b", b"b" * 600)
    for _ in range(2):
        with pytest.raises(QuotaExceeded):
            check_out(narrow)
        assert look(work) == expected
    remove(narrow, project, b"a")
    assert look(check_out(narrow)).keys() == {b"b", b"mine"}


def test_a_quota_of_ram_never_keeps_work_from_being_committed(make_manifold: MakeManifold, narrow: Manifold) -> None:
    """What others added comes in with the commit, and the session goes on."""
    project = new_project(narrow, a=b"a" * 600)
    work = check_out(narrow, project)
    (work / "mine").write_bytes(b"mine")
    put(narrow, project, b"b", b"b" * 600)
    assert narrow.commits.commit(LOCAL_PRINCIPAL, S1).generation == 3
    (work / "mine").write_bytes(b"again")
    assert narrow.commits.commit(LOCAL_PRINCIPAL, S1).generation == 4
    assert look(check_out(make_manifold())).keys() == paths(narrow, project) == {b"a", b"b", b"mine"}
