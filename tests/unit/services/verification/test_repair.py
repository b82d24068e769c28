"""Damage is undone by what caches and the catalog still have; what is replaced is kept aside, and the rest is named."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.errors import ContentCollected, CorruptObject, StoreUnavailable
from manifold_common.format.layout import commit_key
from manifold_common.format.sealed import HEADER_BYTES, ObjectKind, Opener, Payload, Sealer, unpack_header
from manifold_common.ids import Generation
from manifold_common.shapes.verification import RepairReport

from tests.support.damage import Place, empty_cache, make_place
from tests.support.faulty_store import Crash, Fault, FaultyStore, Kind
from tests.support.garbage import collect
from tests.support.manifold import MakeManifold
from tests.support.work import cat, paths, put

TENANT = LOCAL_PRINCIPAL.tenant
WHATS = ["a1", "b", "a2", "c", "commit 5", "commit 6", "draft"]


@pytest.fixture
def manifold(make_on_either: MakeManifold) -> Manifold:
    return make_on_either()


@pytest.fixture
def place(manifold: Manifold) -> Place:
    return make_place(manifold)


def repair(place: Place, manifold: Manifold | None = None) -> RepairReport:
    return (manifold or place.manifold).repair.run(LOCAL_PRINCIPAL, place.project, read_data=True)


def repaired(place: Place, report: RepairReport) -> dict[str, str]:
    names = {key: what for what, key in place.objects.items()}
    return {names.get(one.object, one.object): one.by.value for one in report.repaired}


def flipped(data: bytes, at: int) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


DAMAGE: dict[str, Callable[[bytes], bytes | None]] = {
    "a bit of the header": lambda data: flipped(data, 20),
    "a bit of the first frame": lambda data: flipped(data, HEADER_BYTES + 30),
    "the last bit": lambda data: flipped(data, len(data) - 1),
    "cut off": lambda data: data[: len(data) // 2],
    "longer": lambda data: data + b"more",
    "empty": lambda data: b"",
    "missing": lambda data: None,
}


@pytest.mark.parametrize("how", DAMAGE)
def test_what_the_cache_has_comes_back_byte_for_byte_and_what_was_there_is_kept(place: Place, how: str) -> None:
    good = {what: place.get(what) for what in WHATS}
    bad = {what: DAMAGE[how](data) for what, data in good.items()}
    for what, data in bad.items():
        place.store.delete([place.objects[what]])
        if data is not None:
            place.store.put(place.objects[what], data)
    report = repair(place)
    assert (report.ok, report.found, report.damaged, report.left) == (True, len(WHATS), 0, [])
    assert repaired(place, report) == dict.fromkeys(WHATS, "cache")
    assert {what: place.get(what) for what in WHATS} == good
    kept = {key: place.get(key) for key in report.quarantined}
    assert sorted(kept.values()) == sorted(data for data in bad.values() if data is not None)
    assert all(key.startswith("t/") and "/quarantine/p/" in key for key in kept)
    assert place.known() == set() and place.verify().ok
    again = repair(place)
    assert (again.ok, again.found, again.repaired, again.quarantined) == (True, 0, [], [])


def test_without_a_cache_they_stay_where_they_are_and_are_named(place: Place) -> None:
    place.flip("a1", "commit 6")
    bad = {what: place.get(what) for what in ("a1", "commit 6")}
    empty_cache(place.manifold)
    report = repair(place)
    assert (report.ok, report.found, report.damaged, report.repaired) == (False, 2, 2, [])
    assert {one.object for one in report.left} == {place.objects[what] for what in bad}
    assert {what: place.get(what) for what in bad} == bad
    assert place.known() == set(bad)


def test_a_copy_with_holes_and_a_damaged_object_make_a_whole_one(place: Place) -> None:
    good, key = place.get("a1"), place.objects["a1"]
    cache = place.manifold.context.objects._cache
    cache.drop(key)
    half = len(good) // 2
    cache.put_ranges(key, [(half, len(good) - half)], [good[half:]])
    place.store.put(key, flipped(good, len(good) - 5))
    assert repair(place).ok and place.get("a1") == good
    cache.drop(key)
    cache.put_ranges(key, [(half, len(good) - half)], [good[half:]])
    place.store.put(key, flipped(good, 100))
    assert not repair(place).ok, "the only frame that is damaged is a hole in the cache"


def test_a_planted_copy_is_not_taken(place: Place) -> None:
    cache = place.manifold.context.objects._cache
    good = {what: place.get(what) for what in ("a1", "b", "commit 6")}
    place.flip(*good)
    cache.put(place.objects["a1"], good["b"])
    cache.put(place.objects["b"], flipped(place.get("b"), HEADER_BYTES + 50))  # what is damaged is so in both
    cache.put(place.objects["commit 6"], place.get("commit 5"))
    assert repaired(place, repair(place)) == {}


def test_a_key_record_is_written_as_the_catalog_has_it(place: Place) -> None:
    (key,) = [key for key in place.stored() if f"{place.project}/keys/" in key]
    good = place.get(key)
    for bad in (None, b"", flipped(good, len(good) - 20), flipped(good, 3)):
        place.store.delete([key])
        if bad is not None:
            place.store.put(key, bad)
        report = repair(place)
        assert (report.ok, repaired(place, report)) == (True, {key: "catalog"})
        assert place.get(key) == good
        assert [place.get(kept) for kept in report.quarantined] == ([] if bad is None else [bad])


def test_what_a_commit_object_names_is_repaired_after_it(place: Place) -> None:
    (commit,) = [key for key in place.stored() if f"{place.project}/commits/{1:012d}-" in key]
    place.flip("a1", commit)
    report = repair(place)
    assert (report.ok, report.found) == (True, 2)
    assert repaired(place, report) == {"a1": "cache", commit: "cache"}


def test_what_a_fork_shares_is_repaired_from_either_side(place: Place) -> None:
    fork = place.manifold.forks.fork(LOCAL_PRINCIPAL, place.project, "fork").id
    good = place.get("c")
    place.flip("c")
    assert not place.verify().ok
    assert place.manifold.repair.run(LOCAL_PRINCIPAL, fork, read_data=True).ok
    assert place.get("c") == good
    assert place.known() == {"c"}, "until that project is looked at"
    assert place.verify(sample=None).ok and place.known() == set()


# --- what is not encrypted --------------------------------------------------------------------------------------------


@pytest.fixture
def plain(make_on_either: MakeManifold) -> Place:
    return make_place(make_on_either(PROJECTS_ENCRYPT="false"))


def test_what_is_not_encrypted_comes_back_where_hashes_vouch_for_it(plain: Place) -> None:
    whats = [what for what in WHATS if what != "draft"]
    good = {what: plain.get(what) for what in whats}
    plain.flip(*whats)
    report = repair(plain)
    assert (report.ok, repaired(plain, report)) == (True, dict.fromkeys(whats, "cache"))
    assert {what: plain.get(what) for what in whats} == good


def test_a_plain_copy_with_right_checksums_and_other_content_is_not_taken(plain: Place) -> None:
    good, key = plain.get("a1"), plain.objects["a1"]
    seal = unpack_header(good, key, ObjectKind.PACK)
    opener = Opener(seal)
    raw = [bytes(opener.open_frame(number, frame)) for number, (_, frame) in enumerate(opener.split(good))]
    forged = bytes(Sealer(seal).seal_object([Payload.of(flipped(one, 9)) for one in raw]))
    assert len(forged) == len(good) and len(Opener(seal).split(forged)) == len(raw)
    plain.store.delete([key])
    plain.manifold.context.objects._cache.put(key, forged)
    assert not repair(plain).ok and key not in plain.stored()
    plain.manifold.context.objects._cache.put(key, good)
    assert repair(plain).ok and plain.get("a1") == good


def test_saved_work_that_is_not_encrypted_is_not_taken(plain: Place) -> None:
    (draft,) = [row.draft for row in plain.manifold.context.catalog.drafted_sessions(TENANT, plain.project)]
    assert draft is not None
    key = commit_key(TENANT, plain.project, draft.generation, draft.commit)
    plain.flip(key)
    report = repair(plain)
    assert [one.object for one in report.left] == [key]


# --- cut off, and at once ---------------------------------------------------------------------------------------------


FILES_OF_ALL = 13
"""Of the generations of a place."""


@dataclass
class Ruin:
    """A project with damage of every kind that a repair knows what to do about."""

    place: Place
    damaged: dict[str, bytes]
    """What stood there, and was damaged; nothing where it is missing."""

    @classmethod
    def make(cls, manifold: Manifold) -> Ruin:
        place = make_place(manifold)
        project, context = place.project, manifold.context
        fork = manifold.forks.fork(LOCAL_PRINCIPAL, project, "fork", Generation(1)).id
        put(manifold, fork, b"as b", cat(manifold, project, b"b", 2))
        snapshot = context.log.load(TENANT, project, Generation(5))
        context.catalog.add_checkpoint(TENANT, project, context.writer.write_checkpoint(snapshot))
        (checkpoint,) = [key for key in place.stored() if f"{project}/checkpoints/{5:012d}-" in key]
        (record,) = [key for key in place.stored() if f"{project}/keys/" in key]
        for key in (place.objects["b"], checkpoint):
            context.objects._cache.drop(key)
        place.flip("a1", "b", "commit 6", checkpoint, record)
        names = [place.objects[what] for what in ("a1", "b", "commit 6")] + [checkpoint, record]
        return cls(place, {name: place.get(name) for name in names})

    def readable(self, manifold: Manifold) -> dict[tuple[int, bytes], bytes]:
        """Return what can be read of each generation, straight from the store."""
        found = {}
        for generation in range(1, 7):
            try:
                names = paths(manifold, self.place.project, generation)
            except CorruptObject:
                continue
            for path in names - {b"", b"sub"}:
                with suppress(CorruptObject):
                    found[generation, path] = cat(manifold, self.place.project, path, generation)
        return found

    def is_kept(self, name: str) -> bool:
        """Tell whether damaged bytes are where they were, or put aside."""
        held = {bytes(self.place.get(key)) for key in self.place.stored() if key == name or "/quarantine/" in key}
        return self.damaged[name] in held


def test_a_repair_that_is_cut_off_after_any_of_its_writes_leaves_nothing_worse(
    manifold: Manifold, make_on_either: MakeManifold
) -> None:
    ruin = Ruin.make(manifold)
    before = ruin.readable(make_on_either(node="reader"))
    assert len(before) < FILES_OF_ALL
    kinds: list[Kind] = ["crash", "crash_after", "lost_acknowledgement"]
    for run in range(60):  # each begins with the copies that the ones before it made already
        store = FaultyStore(manifold.context.store)
        store.plan(Fault(kinds[run % 3], at=1 + run // 3, method="put"))
        try:
            report = make_on_either(store=store).repair.run(LOCAL_PRINCIPAL, ruin.place.project, read_data=True)
        except (Crash, StoreUnavailable):
            pass
        else:
            break
        now = ruin.readable(make_on_either(node=f"reader{run}"))
        assert before.keys() <= now.keys() and all(now[at] == data for at, data in before.items())
        assert all(map(ruin.is_kept, ruin.damaged))
        before = now
    assert report.ok and run > 5
    assert len(ruin.readable(make_on_either(node="last"))) == FILES_OF_ALL
    assert ruin.place.known() == set()


def test_two_repairs_at_once_do_what_one_does(manifold: Manifold, make_on_either: MakeManifold) -> None:
    ruin = Ruin.make(manifold)
    nodes = [manifold, make_on_either(node="other")]
    with ThreadPoolExecutor(len(nodes)) as pool:
        reports = list(pool.map(lambda node: repair(ruin.place, node), nodes))
    assert any(report.ok for report in reports)
    assert ruin.place.verify().ok and all(map(ruin.is_kept, ruin.damaged))
    assert len(ruin.readable(make_on_either(node="last"))) == FILES_OF_ALL


def test_what_another_one_has_repaired_since_it_was_looked_at_is_not_said_to_be_left(
    place: Place, make_on_either: MakeManifold, monkeypatch: pytest.MonkeyPatch
) -> None:
    cold, reports = make_on_either(node="cold"), list[RepairReport]()
    place.flip("commit 5", "commit 6")
    examine = cold.verify.examine

    def slow(*of: Any, **how: Any) -> Any:
        found = examine(*of, **how)
        if not reports:
            reports.append(repair(place))
        return found

    monkeypatch.setattr(cold.verify, "examine", slow)
    late = repair(place, cold)
    assert (reports[0].ok, late.ok, late.left, late.found) == (True, True, [], 2)


def test_a_repair_beside_commits_and_collections_loses_nothing_and_comes_to_its_end(
    manifold: Manifold, make_on_either: MakeManifold
) -> None:
    ruin = Ruin.make(manifold)
    project, written = ruin.place.project, dict[bytes, bytes]()
    writer, collector = make_on_either(node="writer"), make_on_either(node="collector")

    def write() -> None:
        for number in range(8):
            path, data = b"new %d" % number, os.urandom(1000)
            with suppress(CorruptObject):  # it is damaged yet
                put(writer, project, path, data)
                written[path] = data

    def collect_often() -> None:
        for _ in range(8):
            with suppress(CorruptObject, ContentCollected):  # or another object is in its place by now
                collect(collector, project)

    def repair_until_whole() -> None:
        assert any(repair(ruin.place).ok for _ in range(5))

    with ThreadPoolExecutor(3) as pool:
        ended = [pool.submit(one) for one in (repair_until_whole, write, collect_often)]
        for one in ended:
            one.result()
    new = make_on_either(node="last")
    assert new.verify.run(LOCAL_PRINCIPAL, project, read_data=True).ok
    assert len(ruin.readable(new)) == FILES_OF_ALL
    assert {path: cat(new, project, path) for path in written} == written
