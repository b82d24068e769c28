"""Bytes change in the store: exactly what is hit is named, with what it touches, until it is whole again."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import pytest
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.patience import wanted_while
from manifold_common.errors import Abandoned, InvalidInput, StoreUnavailable
from manifold_common.format.layout import project_prefix
from manifold_common.ids import Generation
from manifold_common.services.verification import findings, verify_job
from manifold_common.services.verification import look as looks
from manifold_common.shapes.jobs import Job
from manifold_common.shapes.verification import VerifyReport

from tests.support.damage import PACKED_BYTES, Place, make_place, packed, touches
from tests.support.manifold import MakeManifold
from tests.support.work import new_project, put

TENANT = LOCAL_PRINCIPAL.tenant


@pytest.fixture
def place(make_manifold: MakeManifold) -> Place:
    return make_place(make_manifold())


WHAT_IT_TOUCHES: Mapping[str, tuple[int | None, int | None, Sequence[str], Sequence[str], Sequence[str]]] = {
    "a1": (1, 2, ("old",), (), ("a",)),
    "b": (2, 4, ("middle", "old"), (), ("b",)),
    "a2": (3, 6, ("middle", "new"), (), ("a",)),
    "c": (4, 6, ("middle", "new"), (), ("sub/c",)),
    "commit 5": (5, 6, ("new",), (), ()),
    "commit 6": (6, 6, ("new",), (), ()),
    "draft": (None, None, (), ("s1",), ()),
}


@pytest.mark.parametrize("whats", [[what] for what in WHAT_IT_TOUCHES] + [["a1", "c", "draft"], ["b", "a2"]])
def test_exactly_what_is_hit_is_named_with_what_it_touches(place: Place, whats: list[str]) -> None:
    good = {what: place.get(what) for what in whats}
    assert place.named(place.verify()) == {}
    place.flip(*whats)
    found = place.named(place.verify())
    assert {what: touches(problem) for what, problem in found.items()} == {
        what: WHAT_IT_TOUCHES[what] for what in whats
    }
    assert place.known() == set(whats)
    for what in whats:
        place.store.put(place.objects[what], good[what])
    assert place.named(place.verify(sample=None)) == {}, "what is known to be damaged is read without a sample"
    assert place.known() == set()


def test_a_damaged_commit_object_touches_generations_up_to_the_next_checkpoint(place: Place) -> None:
    catalog, project = place.manifold.context.catalog, place.project
    snapshot = place.manifold.context.log.load(TENANT, project, Generation(6))
    row = place.manifold.context.writer.write_checkpoint(snapshot)
    catalog.add_checkpoint(TENANT, project, row)
    place.flip("commit 5")
    assert touches(place.named(place.verify())["commit 5"]) == (5, 5, (), (), ())
    (checkpoint,) = [key for key in place.stored() if f"{project}/checkpoints/" in key]
    place.flip(checkpoint)
    put(place.manifold, project, b"e", b"seven")
    assert touches(place.named(place.verify())[checkpoint]) == (6, 7, ("new",), (), ())


def test_what_a_fork_shares_is_damaged_there_too(place: Place) -> None:
    fork = place.manifold.forks.fork(LOCAL_PRINCIPAL, place.project, "fork", Generation(4)).id
    place.name("e", "packs", lambda: put(place.manifold, fork, b"e", packed()))
    place.flip("a1", "a2", "e")
    assert place.named(place.verify()).keys() == {"a1", "a2"}
    found = place.named(place.verify(fork))
    assert {what: touches(problem) for what, problem in found.items()} == {
        "a2": (1, 2, (), (), ("a",)),
        "e": (2, 2, (), (), ("e",)),
    }
    assert (place.known(), place.known(fork)) == ({"a1", "a2"}, {"a2", "e"})


def test_a_tag_that_names_another_commit_is_damage(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = place.manifold.context.catalog
    rows = catalog.list_tags(TENANT, place.project)
    moved = [row if row.name != "old" else type(row)(**{**_fields(row), "commit": rows[0].commit}) for row in rows]
    monkeypatch.setattr(catalog, "list_tags", lambda *_, **__: moved)
    report = place.verify()
    (problem,) = report.problems
    assert (report.tags, problem.first_generation, problem.tags) == (3, 2, ("old",))
    assert problem.object == f"{project_prefix(TENANT, place.project)} at generation 2"
    monkeypatch.undo()
    assert place.verify().ok and place.known() == set()


def _fields(row: object) -> dict[str, object]:
    return {name: getattr(row, name) for name in row.__dataclass_fields__}  # type: ignore[attr-defined]


def test_so_much_is_read_as_was_asked_for_and_each_time_something_else(make_manifold: MakeManifold) -> None:
    manifold = make_manifold()
    place = Place(manifold, new_project(manifold, a=b"0"))
    for number in range(39):
        put(manifold, place.project, b"%d" % number, os.urandom(3000))
    whole = place.verify()
    assert (whole.objects, whole.objects_read, whole.stored_bytes_read) == (40, 40, whole.stored_bytes)
    runs = [place.verify(sample=25) for _ in range(3)]
    assert {run.objects_read for run in runs} == {10}
    assert all(0 < run.stored_bytes_read < whole.stored_bytes for run in runs)
    few = [place.verify(sample=1).objects_read for _ in range(60)]
    assert set(few) == {0, 1} and 8 <= sum(few) <= 45, "four in ten, on the average"
    assert place.verify(sample=None).objects_read == 0


@pytest.mark.parametrize("sample", [0, -1, 100.5, float("nan"), float("inf")])
def test_what_is_no_percentage_is_refused(place: Place, sample: float) -> None:
    with pytest.raises(InvalidInput, match="percent"):
        place.verify(sample=sample)
    with pytest.raises(InvalidInput, match="one of them"):
        place.manifold.verify.run(LOCAL_PRINCIPAL, place.project, read_data=True, sample=5)


@pytest.mark.parametrize("error", [Abandoned("over"), StoreUnavailable("away")])
def test_a_verification_that_is_cut_off_has_found_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    place.flip("a1")
    head, calls = place.store.list, []

    def cut(prefix: str) -> object:
        calls.append(prefix)
        raise error

    monkeypatch.setattr(place.store, "list", cut)
    with pytest.raises(type(error)):
        place.verify()
    monkeypatch.setattr(place.store, "list", head)
    assert calls and place.known() == set()
    with wanted_while(lambda: False), pytest.raises(Abandoned):
        place.verify()
    assert place.known() == set()
    place.verify()
    assert place.known() == {"a1"}


def test_of_more_damage_than_is_kept_all_is_counted(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings, "MAX_DAMAGED", 2)
    place.flip("a1", "a2", "b", "c")
    report = place.verify()
    assert (report.ok, report.damaged, len(report.problems)) == (False, 4, 2)
    assert len(place.known()) == 2


# --- by a job ---------------------------------------------------------------------------------------------------------


def work(place: Place, **params: object) -> Job:
    begun = place.manifold.jobs.start(LOCAL_PRINCIPAL, "verify", {"project": place.project, **params}).job
    place.manifold.job_worker.run(["verify"])
    return place.manifold.jobs.get(LOCAL_PRINCIPAL, begun.id)


@pytest.mark.parametrize("stretch", [1, 2, 3, 5, 6, 100])
@pytest.mark.parametrize("piece", [1 << 40, 1 << 20])
def test_the_parts_of_a_project_are_all_of_it(
    place: Place, monkeypatch: pytest.MonkeyPatch, stretch: int, piece: int
) -> None:
    monkeypatch.setattr(looks, "STRETCH_GENERATIONS", stretch)
    monkeypatch.setattr(verify_job, "PIECE_BYTES", piece)
    whole = place.verify()
    reads: list[VerifyReport] = []
    look = place.manifold.verify.look
    monkeypatch.setattr(place.manifold.verify, "look", lambda *of: reads.append(look(*of)) or reads[-1])
    job = work(place, read_data=True)
    pieces = 1 if piece > 1 << 30 else 1 + (2 * PACKED_BYTES + 5) // piece
    assert (job.state.value, job.done) == ("done", -(-6 // stretch) * pieces)
    assert sum(one.objects_read for one in reads) == whole.objects, "each object is read, and once"
    assert sum(one.stored_bytes_read for one in reads) == whole.stored_bytes
    assert sum(one.commits for one in reads) == 6 * pieces
    assert (sum(one.tags for one in reads), sum(one.drafts for one in reads)) == (3 * pieces, pieces)
    whats = ("a1", "b", "a2", "c", "draft")
    place.flip(*whats)
    failed = work(place, read_data=True)
    assert failed.state.value == "failed" and failed.failed >= 1
    rows = {row.object: row.first_generation for row in place.manifold.verify.damage(LOCAL_PRINCIPAL, place.project)}
    assert rows == {place.objects[what]: WHAT_IT_TOUCHES[what][0] for what in whats}


def test_a_stretch_after_one_that_cannot_be_read_is_looked_at_all_the_same(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looks, "STRETCH_GENERATIONS", 3)
    (commit,) = [key for key in place.stored() if f"{place.project}/commits/{2:012d}-" in key]
    place.flip(commit, "commit 6")
    job = work(place)
    assert (job.done, job.failed) == (0, 2)
    assert place.known() == {commit, "commit 6"}


def test_an_item_says_what_is_damaged_and_names_no_path(place: Place) -> None:
    place.flip("a1", "b", "commit 6")
    (trouble,) = work(place, read_data=True).troubles
    assert (trouble.error, trouble.item) == ("corrupt_object", f"{TENANT}/{place.project}/1")
    assert trouble.message is not None and "so are 2 more" in trouble.message
    assert all(place.objects[what] in trouble.message for what in ("a1", "b", "commit 6"))
    assert "sub/c" not in trouble.message and "manifold damage" in trouble.message


def test_a_job_about_a_project_that_is_gone_has_nothing_to_do(place: Place) -> None:
    begun = place.manifold.jobs.start(LOCAL_PRINCIPAL, "verify", {"project": place.project}).job
    step = place.manifold.job_worker.step(place.manifold.jobs.row(TENANT, begun.id))
    assert step.job is not None and step.job.is_planned
    place.manifold.projects.delete(LOCAL_PRINCIPAL, place.project)
    place.manifold.job_worker.run(["verify"])
    job = place.manifold.jobs.get(LOCAL_PRINCIPAL, begun.id)
    assert (job.state.value, job.skipped) == ("done", 1)
    assert work(place, sample=5).done == 0


def test_a_worker_whose_time_is_over_leaves_its_item_to_others(place: Place) -> None:
    begun = place.manifold.jobs.start(LOCAL_PRINCIPAL, "verify", {"project": place.project}).job
    stops = iter([False] * 4)
    with wanted_while(lambda: False):
        place.manifold.job_worker.run(["verify"], stop=lambda: next(stops, True))
    job = place.manifold.jobs.get(LOCAL_PRINCIPAL, begun.id)
    assert (job.state.value, job.pending, job.troubles, job.trouble) == ("running", 1, [], None)
    place.manifold.job_worker.run(["verify"])
    assert place.manifold.jobs.get(LOCAL_PRINCIPAL, begun.id).state.value == "done"
