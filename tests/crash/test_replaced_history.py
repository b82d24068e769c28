"""The catalog was restored from a backup under nodes that go on running, and history went on from there: the same
numbers stand for other commits. Nobody gets the old content for a new number, and nothing is called damaged.

Work that stands on what is no more is refused and left as it is. Everything else is as if nothing had happened.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.history import Point
from manifold_common.engine.working_set.state import Step
from manifold_common.errors import GenerationMismatch, PartlyDone, StaleStore
from manifold_common.ids import DEFAULT_TENANT, CommitId, Generation, ProjectId
from manifold_common.services.archive import ArchiveFormat
from manifold_common.services.projects.edits import PutFile, reading
from manifold_common.services.sessions.session_files import owner_of
from manifold_common.shapes.intent import Intent
from manifold_common.shapes.requests import CheckoutRequest

from tests.support.catalog_backup import BackedUp
from tests.support.manifold import MakeManifold
from tests.support.work import S1, S2, cat, check_out, new_project, paths, put

OLD = {1: b"one", 2: b"old two", 3: b"old three"}
NEW = {1: b"one", 2: b"new two!", 3: b"new three!", 4: b"new four!"}


class Scene:
    """``node`` has seen all of the old history, of which the catalog has nothing after generation 1."""

    def __init__(self, make: MakeManifold, backed_up: BackedUp) -> None:
        self._make = lambda node: make(node=node, catalog=backed_up.catalog)
        self.node: Manifold = self._make("a")
        self.project: ProjectId = new_project(self.node, a=b"one", kept=b"kept")
        self.work: Path = check_out(self.node, self.project)
        self.restore = backed_up.back_up()
        for data in (OLD[2], OLD[3]):
            put(self.node, self.project, b"a", data)
        check_out(self.node)
        self.seen = self.node.context.catalog.head(DEFAULT_TENANT, self.project).point
        assert self.seen.generation == 3

    def replace(self, until: int = 4) -> None:
        """Restore the catalog, and let another node go on from there."""
        self.restore()
        other = self.fresh()
        for generation in range(2, until + 1):
            put(other, self.project, b"a", NEW[generation])

    def fresh(self, node: str = "b") -> Manifold:
        """Return a node that has seen nothing."""
        return self._make(node)

    def again(self) -> Manifold:
        """Return the first node in a new process."""
        return self._make("a")


@pytest.fixture
def scene(make_manifold: MakeManifold, backed_up: BackedUp) -> Scene:
    return Scene(make_manifold, backed_up)


@pytest.mark.parametrize("generation", [1, 2, 3, 4, None])
def test_a_generation_is_read_as_the_catalog_has_it_now(scene: Scene, generation: int | None) -> None:
    scene.replace()
    expected = NEW[generation or 4]
    assert cat(scene.node, scene.project, b"a", generation) == expected
    snapshot = scene.node.history.snapshot(
        LOCAL_PRINCIPAL, scene.project, None if generation is None else Generation(generation)
    )
    row = scene.node.context.catalog.commit_at(DEFAULT_TENANT, scene.project, Generation(generation or 4))
    assert snapshot.head.point == row.point
    for number, data in NEW.items():
        assert cat(scene.node, scene.project, b"a", number) == data


@pytest.mark.parametrize("until", [1, 2, 3, 4])
def test_the_head_is_the_catalogs_however_far_it_has_come(scene: Scene, until: int) -> None:
    scene.replace(until)
    assert cat(scene.node, scene.project, b"a") == NEW[until]
    assert put(scene.node, scene.project, b"b", b"goes on").generation == until + 1
    assert cat(scene.fresh("c"), scene.project, b"b") == b"goes on"
    assert cat(scene.fresh("c"), scene.project, b"a") == NEW[until]


def test_a_fork_an_archive_a_difference_and_a_restore_are_of_the_present_history(scene: Scene) -> None:
    scene.replace()
    fork = scene.node.forks.fork(LOCAL_PRINCIPAL, scene.project, "fork", Generation(3)).id
    for node in (scene.node, scene.fresh("c")):
        assert cat(node, fork, b"a") == NEW[3]
    found = scene.node.history.diff(LOCAL_PRINCIPAL, scene.project, Generation(2), Generation(3))
    sizes = [(difference.before.size, difference.after.size) for difference in found if difference.path == b"a"]  # type: ignore[union-attr]
    assert sizes == [(len(NEW[2]), len(NEW[3]))]
    archive = scene.node.archives.export(LOCAL_PRINCIPAL, scene.project, ArchiveFormat.ZIP, Generation(2))
    assert len(b"".join(map(bytes, archive.read()))) > 0
    done = scene.node.edits.restore(LOCAL_PRINCIPAL, scene.project, Generation(3))
    assert done.generation == 5
    assert cat(scene.fresh("c"), scene.project, b"a") == NEW[3]


def test_a_checkpoint_is_of_the_present_history(scene: Scene) -> None:
    scene.replace()
    head = scene.node.context.log.load(DEFAULT_TENANT, scene.project)
    scene.node.context.catalog.add_checkpoint(
        DEFAULT_TENANT, scene.project, scene.node.context.writer.write_checkpoint(head)
    )
    assert cat(scene.fresh("c"), scene.project, b"a") == NEW[4]


def test_a_write_that_expects_a_commit_is_refused_where_another_one_has_its_number(scene: Scene) -> None:
    scene.replace(until=3)
    head = scene.node.context.catalog.head(DEFAULT_TENANT, scene.project).point
    assert head.generation == scene.seen.generation
    edit = [PutFile(b"b", reading(b"mine"))]
    with pytest.raises(GenerationMismatch, match="another commit"):
        scene.node.edits.apply(LOCAL_PRINCIPAL, scene.project, edit, Intent(expected=scene.seen))
    assert paths(scene.fresh("c"), scene.project) == {b"a", b"kept"}
    for expected, data in ((head, b"b"), (Generation(4), b"bb")):
        edit = [PutFile(b"b", reading(data))]
        scene.node.edits.apply(LOCAL_PRINCIPAL, scene.project, edit, Intent(expected=expected))


# --- working sets that stand on what is no more ---------------------------------------------------------------------

Act = Callable[[Manifold], object]
ACTS: dict[str, Act] = {
    "checkout": lambda node: check_out(node),
    "checkout of the same number": lambda node: node.sessions.checkout(
        LOCAL_PRINCIPAL, S1, request=CheckoutRequest(Generation(3))
    ),
    "checkout of an older one": lambda node: node.sessions.checkout(
        LOCAL_PRINCIPAL, S1, request=CheckoutRequest(Generation(1))
    ),
    "checkout of a newer one": lambda node: node.sessions.checkout(
        LOCAL_PRINCIPAL, S1, request=CheckoutRequest(Generation(4))
    ),
    "commit": lambda node: node.commits.commit(LOCAL_PRINCIPAL, S1),
    "commit that expects it": lambda node: node.commits.commit(LOCAL_PRINCIPAL, S1, Intent(expected=Generation(3))),
    "save": lambda node: node.commits.save(LOCAL_PRINCIPAL, S1),
}


@pytest.mark.parametrize("process", ["same", "new"])
@pytest.mark.parametrize("act", ACTS)
def test_a_working_set_of_the_replaced_history_is_refused_and_left_alone(scene: Scene, act: str, process: str) -> None:
    (scene.work / "mine").write_bytes(b"not committed")
    scene.replace()
    node = scene.node if process == "same" else scene.again()
    with pytest.raises(StaleStore, match="generation 3 was seen before") as refused:
        ACTS[act](node)
    assert refused.value.hint
    assert refused.value.details["seen_commit"] == scene.seen.commit
    held = {path.name: path.read_bytes() for path in scene.work.iterdir()}
    assert held == {"a": OLD[3], "kept": b"kept", "mine": b"not committed"}
    view = node.sessions.view(LOCAL_PRINCIPAL, S1)
    assert view.session.draft is None  # one that nobody could bring back would be worse than none
    assert cat(scene.fresh("c"), scene.project, b"a") == NEW[4]


def test_the_background_saves_no_draft_of_a_replaced_history_and_wipes_nothing(scene: Scene) -> None:
    (scene.work / "mine").write_bytes(b"not committed")
    scene.replace()
    with pytest.raises(PartlyDone, match="stale_store"):
        scene.node.maintenance.save_drafts()
    scene.node.maintenance.sweep_working_sets()
    assert (scene.work / "mine").read_bytes() == b"not committed"
    assert scene.node.sessions.view(LOCAL_PRINCIPAL, S1).session.draft is None


def test_when_it_is_closed_the_session_goes_on_with_the_present_history(scene: Scene) -> None:
    scene.replace()
    scene.node.sessions.close(LOCAL_PRINCIPAL, S1)
    assert (check_out(scene.node, scene.project) / "a").read_bytes() == NEW[4]


def test_a_working_set_on_a_generation_that_both_histories_have_goes_on(scene: Scene) -> None:
    behind = scene.node.sessions.checkout(LOCAL_PRINCIPAL, S2, scene.project, CheckoutRequest(Generation(1)))
    scene.restore()
    scene.replace()
    scene.node.sessions.close(LOCAL_PRINCIPAL, S2)
    scene.node.sessions.checkout(LOCAL_PRINCIPAL, S2, scene.project, CheckoutRequest(Generation(1)))
    work = Path(behind.path)
    (work / "mine").write_bytes(b"not committed")
    assert check_out(scene.node, session=S2) == work
    held = {path.name: path.read_bytes() for path in work.iterdir()}
    assert held == {"a": NEW[4], "kept": b"kept", "mine": b"not committed"}


def test_a_move_that_was_cut_off_is_not_finished_with_another_commit_of_that_number(scene: Scene) -> None:
    """Its files may be of the old one already: taken for edits on the base, they would be merged into the new one."""
    scene.node.sessions.checkout(LOCAL_PRINCIPAL, S1, request=CheckoutRequest(Generation(1)))
    (scene.work / "a").write_bytes(OLD[3])
    owner = owner_of(scene.node.sessions.view(LOCAL_PRINCIPAL, S1).session)
    with scene.node.working_sets.open(owner) as work:
        scene.node.working_sets.begin(work, Step("move", scene.seen.generation, scene.seen.commit, "fail"))
    scene.replace()
    with pytest.raises(StaleStore):
        check_out(scene.node)
    assert (scene.work / "a").read_bytes() == OLD[3]


# --- what a client says that it has seen ----------------------------------------------------------------------------


@pytest.mark.parametrize("session", [S1, S2])
def test_what_was_seen_is_a_commit_and_not_a_number(scene: Scene, session: str) -> None:
    scene.node.sessions.close(LOCAL_PRINCIPAL, S1)
    scene.replace()
    if session == S2:
        scene.node.sessions.checkout(LOCAL_PRINCIPAL, S2, scene.project)
    rows = scene.node.context.catalog.list_commits(DEFAULT_TENANT, scene.project)

    def checkout(seen: Generation | Point) -> None:
        scene.node.sessions.checkout(LOCAL_PRINCIPAL, S2, scene.project, CheckoutRequest(seen_generation=seen))

    strange = Point(Generation(4), CommitId("a" * 26))
    for seen in (scene.seen, strange, Point(Generation(2), rows[0].commit), Generation(5)):
        with pytest.raises(StaleStore):
            checkout(seen)
    for seen in (*(row.point for row in rows), Generation(3), Generation(4), Point(Generation(0))):
        checkout(seen)


def test_a_plan_leaves_nothing_out_for_what_the_history_does_not_have(scene: Scene) -> None:
    log = scene.node.context.log
    scene.replace()
    assert log.load(DEFAULT_TENANT, scene.project).tree.keys() == {b"", b"a", b"kept"}
    with pytest.raises(StaleStore):
        log.load(DEFAULT_TENANT, scene.project, scene.seen.generation, commit=scene.seen.commit)
