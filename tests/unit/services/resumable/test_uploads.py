"""Files that arrive in parts: what is stored of them, who may write, and what becomes of what is left."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any, cast

import pytest
from manifold_common.adapters.memory.catalog import MemoryCatalog
from manifold_common.adapters.memory.clock import ManualClock
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL, Principal
from manifold_common.errors import (
    BadUpload,
    CatalogUnavailable,
    CorruptObject,
    InvalidInput,
    KeyUnavailable,
    ManifoldError,
    NotFound,
    QuotaExceeded,
    StoreUnavailable,
    UploadLocked,
    UploadOffsetMismatch,
)
from manifold_common.ids import DEFAULT_TENANT, ProjectId, UserId
from manifold_common.ports.catalog import UploadPart
from manifold_common.services.projects.edits import reading
from manifold_common.services.resumable import intake
from manifold_common.services.resumable.records import Records
from manifold_common.services.resumable.uploads import UploadState

from tests.support.manifold import MakeManifold
from tests.support.resumable import begin, look, packs, packs_in_use, send, tidy
from tests.support.work import cat, new_project, put

CONTENT = os.urandom(6_000_000)
DAY = 86_400.0


@pytest.fixture
def project(manifold: Manifold) -> ProjectId:
    return new_project(manifold)


def generation(manifold: Manifold, project: ProjectId) -> int:
    return manifold.projects.get(LOCAL_PRINCIPAL, project).generation


def state_of(manifold: Manifold) -> Any:
    return cast(MemoryCatalog, manifold.context.catalog).state


def test_each_part_may_be_taken_by_another_process(make_manifold: MakeManifold, clock: ManualClock) -> None:
    nodes = [make_manifold(node=f"n{number}", clock=clock) for number in range(4)]
    project = new_project(nodes[0])
    at = begin(nodes[0], project, len(CONTENT))
    for number, start in enumerate(range(0, len(CONTENT), 1_500_001)):
        at = send(nodes[number], at, start, CONTENT[start : start + 1_500_001])
    assert at.outcome is not None
    assert look(nodes[0], at).outcome == at.outcome
    assert cat(nodes[1], project, b"big") == CONTENT


def test_content_that_repeats_itself_or_is_there_already_is_stored_once(
    manifold: Manifold, project: ProjectId, clock: ManualClock
) -> None:
    put(manifold, project, b"there", CONTENT)
    before = packs(manifold)
    twice = CONTENT + os.urandom(2_000_000)
    twice += twice
    at = begin(manifold, project, len(twice))
    for start in range(0, len(twice), 3_000_000):
        at = send(manifold, at, start, twice[start : start + 3_000_000])
    tidy(manifold, clock)
    assert cat(manifold, project, b"big") == twice
    places = manifold.history.snapshot(LOCAL_PRINCIPAL, project).places
    new = [place.length for place in places.values() if place.block.container.seal().key in packs(manifold) - before]
    stored = sum(one.size for one in manifold.context.store.list("t") if one.key in packs(manifold) - before)
    assert sum(new) <= stored < sum(new) + 10_000
    assert stored < len(twice) / 2


def test_when_it_is_complete_the_chore_removes_what_nothing_refers_to(
    manifold: Manifold, project: ProjectId, clock: ManualClock
) -> None:
    at = begin(manifold, project, len(CONTENT))
    for start in range(0, len(CONTENT), 700_000):
        at = send(manifold, at, start, CONTENT[start : start + 700_000])
    tidy(manifold, clock)
    assert look(manifold, at).outcome == at.outcome
    assert packs(manifold) == packs_in_use(manifold, project)


def test_a_long_part_is_noted_while_it_comes(
    manifold: Manifold, project: ProjectId, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "SEGMENT_BYTES", 1 << 20)
    seen = []
    long = CONTENT * 4
    rest = reading(long)

    def watched(into: memoryview) -> int:
        (row,) = state_of(manifold).resumable.values()
        seen.append(row.received_bytes)
        return rest(into)

    at = begin(manifold, project, len(long) + 1)
    assert send(manifold, at, 0, watched).offset == len(long)
    assert seen[0] == 0 < seen[-1]
    assert seen == sorted(seen)
    send(manifold, at, len(long), b"!")
    assert cat(manifold, project, b"big") == long + b"!"
    tidy(manifold, clock)
    assert packs(manifold) == packs_in_use(manifold, project)


def test_of_two_writers_the_second_is_told_and_nothing_is_mixed(manifold: Manifold, project: ProjectId) -> None:
    at = begin(manifold, project, len(CONTENT))
    rest = reading(CONTENT)
    refused: list[ManifoldError] = []

    def watched(into: memoryview) -> int:
        if not refused:
            with pytest.raises(UploadLocked) as caught:
                send(manifold, at, 0, b"x" * 100)
            refused.append(caught.value)
            with pytest.raises(UploadLocked):
                send(manifold, at, 0, CONTENT)
        return rest(into)

    assert send(manifold, at, 0, watched).outcome is not None
    assert refused
    assert cat(manifold, project, b"big") == CONTENT


def test_a_writer_that_was_taken_for_dead_notes_nothing_any_more(
    manifold: Manifold, project: ProjectId, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake.Intake, "renew", lambda self: None)
    at = begin(manifold, project, len(CONTENT))
    slow = reading(b"wrong" * 200_000)
    other: list[UploadState] = []

    def stalled(into: memoryview) -> int:
        if not other:
            clock.advance(intake.LEASE.total_seconds() + 1)
            other.append(send(manifold, at, 0, CONTENT[:2_000_000]))
        return slow(into)

    with pytest.raises(UploadLocked):
        send(manifold, at, 0, stalled)
    assert look(manifold, at).offset == 2_000_000
    send(manifold, at, 2_000_000, CONTENT[2_000_000:])
    assert cat(manifold, project, b"big") == CONTENT


def test_a_slow_part_keeps_the_upload_for_its_writer(
    manifold: Manifold, project: ProjectId, clock: ManualClock
) -> None:
    at = begin(manifold, project, len(CONTENT))
    rest = reading(CONTENT)

    def slow(into: memoryview) -> int:
        clock.advance(intake.LEASE.total_seconds() / 2)
        with pytest.raises(UploadLocked):
            send(manifold, at, 0, CONTENT)
        return rest(into)

    assert send(manifold, at, 0, slow).outcome is not None


def test_a_part_that_does_not_hold_what_it_should_leaves_nothing(
    manifold: Manifold, project: ProjectId, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "SEGMENT_BYTES", 1 << 20)

    def refuse() -> None:
        raise BadUpload("another")

    at = begin(manifold, project, len(CONTENT))
    send(manifold, at, 0, CONTENT[:100_000])
    with pytest.raises(BadUpload):
        send(manifold, at, 100_000, CONTENT[100_000:5_000_000], verify=refuse)
    assert look(manifold, at).offset == 100_000
    assert send(manifold, at, 100_000, CONTENT[100_000:], verify=lambda: None).outcome is not None
    assert cat(manifold, project, b"big") == CONTENT
    tidy(manifold, clock)
    assert packs(manifold) == packs_in_use(manifold, project)


def test_an_upload_that_nobody_goes_on_with_is_removed(
    manifold: Manifold, project: ProjectId, clock: ManualClock
) -> None:
    at = begin(manifold, project, len(CONTENT))
    send(manifold, at, 0, CONTENT[:3_000_000])
    clock.advance(6 * DAY)
    send(manifold, at, 3_000_000, CONTENT[3_000_000:5_000_000])
    clock.advance(6 * DAY)
    assert manifold.resumable_uploads.sweep() == 0
    assert look(manifold, at).offset == 5_000_000
    clock.advance(2 * DAY)
    with pytest.raises(NotFound):
        look(manifold, at)
    assert manifold.resumable_uploads.sweep(stop=lambda: True) == 0
    assert packs(manifold)
    assert manifold.resumable_uploads.sweep() == 1
    assert packs(manifold) == set()
    assert state_of(manifold).resumable == {}


def test_of_a_complete_one_only_the_record_is_removed(
    manifold: Manifold, project: ProjectId, clock: ManualClock
) -> None:
    at = begin(manifold, project, len(CONTENT))
    send(manifold, at, 0, CONTENT)
    clock.advance(8 * DAY)
    assert manifold.resumable_uploads.sweep() == 1
    assert state_of(manifold).resumable == {}
    assert cat(manifold, project, b"big") == CONTENT


def test_what_a_deleted_project_had_open_ends_and_leaves_its_objects_to_those_of_the_project(
    manifold: Manifold, project: ProjectId, clock: ManualClock
) -> None:
    at = begin(manifold, project, len(CONTENT))
    send(manifold, at, 0, CONTENT[:3_000_000])
    manifold.projects.delete(LOCAL_PRINCIPAL, project)
    with pytest.raises(NotFound):
        look(manifold, at)
    clock.advance(8 * DAY)
    assert manifold.resumable_uploads.sweep() == 1
    assert state_of(manifold).resumable == {}
    assert packs(manifold)


def test_ending_one_that_is_written_to_stops_the_writer_and_removes_what_it_stored(
    manifold: Manifold, project: ProjectId, clock: ManualClock
) -> None:
    at = begin(manifold, project, len(CONTENT))
    send(manifold, at, 0, CONTENT[:2_000_000])
    rest = reading(CONTENT[2_000_000:])

    def ended(into: memoryview) -> int:
        if state_of(manifold).resumable and look_or_none(manifold, at) is not None:
            manifold.resumable_uploads.end(LOCAL_PRINCIPAL, project, at.upload)
        return rest(into)

    with pytest.raises(ManifoldError):
        send(manifold, at, 2_000_000, ended)
    clock.advance(2 * 3600)
    assert manifold.resumable_uploads.sweep() == 1
    assert (packs(manifold), generation(manifold, project)) == (set(), 0)


def look_or_none(manifold: Manifold, at: UploadState) -> UploadState | None:
    try:
        return look(manifold, at)
    except NotFound:
        return None


class LostAnswer:
    """From the next commit on, which is made, the catalog gives no answer until ``is_lost`` is reset."""

    def __init__(self, catalog: MemoryCatalog) -> None:
        self.state = catalog.state
        self._catalog = catalog
        self.loses = self.is_lost = False

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._catalog, name)
        if not self.loses:
            return found

        def lose(*arguments: Any, **options: Any) -> Any:
            if self.is_lost:
                raise CatalogUnavailable("there is no answer")
            answer = found(*arguments, **options)
            if name == "publish_commit":
                self.is_lost = True
                raise CatalogUnavailable("the answer was lost")
            return answer

        return lose


@pytest.fixture
def doubtful(make_manifold: MakeManifold, clock: ManualClock) -> Manifold:
    return make_manifold(catalog=cast(Any, LostAnswer(MemoryCatalog(clock=clock))), clock=clock)


def leave_in_doubt(manifold: Manifold, project: ProjectId) -> UploadState:
    catalog = cast(LostAnswer, manifold.context.catalog)
    at = begin(manifold, project, len(CONTENT))
    send(manifold, at, 0, CONTENT[:4_000_000])
    catalog.loses = True
    with pytest.raises(CatalogUnavailable):
        send(manifold, at, 4_000_000, CONTENT[4_000_000:])
    catalog.loses = catalog.is_lost = False
    return at


def test_a_commit_whose_answer_was_lost_is_found_and_not_made_again(doubtful: Manifold, clock: ManualClock) -> None:
    project = new_project(doubtful)
    at = leave_in_doubt(doubtful, project)
    assert generation(doubtful, project) == 1
    found = look(doubtful, at)
    assert found.outcome is not None
    assert (found.offset, found.outcome.generation, found.repeated) == (len(CONTENT), 1, True)
    tidy(doubtful, clock)
    assert packs(doubtful) == packs_in_use(doubtful, project)
    again = send(doubtful, at, 4_000_000, CONTENT[4_000_000:])
    assert (again.outcome, again.repeated, generation(doubtful, project)) == (found.outcome, True, 1)
    assert cat(doubtful, project, b"big") == CONTENT


def test_what_a_commit_may_refer_to_is_never_removed(doubtful: Manifold, clock: ManualClock) -> None:
    project = new_project(doubtful)
    at = leave_in_doubt(doubtful, project)
    (row,) = state_of(doubtful).resumable.values()
    assert row.announced_at is not None
    clock.advance(8 * DAY)
    assert doubtful.resumable_uploads.sweep() == 1
    assert cat(doubtful, project, b"big") == CONTENT
    assert packs(doubtful) == packs_in_use(doubtful, project)
    assert look_or_none(doubtful, at) is None


def test_nobody_elses_upload_is_found(manifold: Manifold, project: ProjectId) -> None:
    at = begin(manifold, project, len(CONTENT))
    other = Principal(DEFAULT_TENANT, UserId("another"))
    for work in (manifold.resumable_uploads.look, manifold.resumable_uploads.end):
        with pytest.raises(NotFound):
            work(other, project, at.upload)


def test_a_row_that_was_tampered_with_is_found_out(manifold: Manifold, project: ProjectId) -> None:
    """Whoever can write rows makes no file of parts of others, nor one in another order, nor under another name."""
    content = CONTENT + CONTENT[:4_000_000]  # more than the largest chunk in each of two parts
    one, two = (begin(manifold, project, len(content), path) for path in (b"one", b"two"))
    for at in (one, two):
        send(manifold, at, 0, content[:4_500_000])
        send(manifold, at, 4_500_000, content[4_500_000:9_000_000])
    state = state_of(manifold)
    key, other = ((DEFAULT_TENANT, project, at.upload) for at in (one, two))
    row, parts = state.resumable[key], dict(state.resumable_parts[key])
    first, second = parts[0], parts[1]
    forged: list[tuple[Any, dict[int, Any]]] = [
        (replace(row, about=state.resumable[other].about), parts),
        (replace(row, progress=state.resumable[other].progress), parts),
        (replace(row, received_bytes=9_000_001), parts),
        (row, {0: first, 1: state.resumable_parts[other][1]}),
        (row, {0: replace(second, number=0), 1: replace(first, number=1)}),
        (row, {0: first}),
    ]
    for changed, left in forged:
        state.resumable[key], state.resumable_parts[key] = changed, left
        with pytest.raises((CorruptObject, UploadOffsetMismatch)):
            send(manifold, one, 9_000_000, content[9_000_000:])
        assert generation(manifold, project) == 0
    state.resumable[key], state.resumable_parts[key] = row, parts
    assert send(manifold, one, 9_000_000, content[9_000_000:]).outcome is not None


def test_one_that_was_begun_in_the_clear_does_not_go_on_once_the_project_is_encrypted(
    make_manifold: MakeManifold, clock: ManualClock
) -> None:
    plain = make_manifold(clock=clock, node="plain", PROJECTS_ENCRYPT="false")
    project = new_project(plain)
    at = begin(plain, project, len(CONTENT))
    send(plain, at, 0, CONTENT[:3_000_000])
    sealed = make_manifold(clock=clock, node="sealed")
    put(sealed, project, b"a", b"sealed")
    for node in (sealed, plain):
        with pytest.raises(ManifoldError) as refused:
            send(node, at, 3_000_000, CONTENT[3_000_000:])
        assert isinstance(refused.value, BadUpload | KeyUnavailable)
    with pytest.raises(BadUpload):
        look(sealed, at)
    sealed.resumable_uploads.end(LOCAL_PRINCIPAL, project, at.upload)
    clock.advance(2 * 3600)
    sealed.resumable_uploads.sweep()
    assert generation(sealed, project) == 1
    assert packs(sealed) == packs_in_use(sealed, project)


def test_a_project_without_encryption_takes_parts_too(make_manifold: MakeManifold) -> None:
    plain = make_manifold(PROJECTS_ENCRYPT="false")
    project = new_project(plain)
    at = begin(plain, project, len(CONTENT))
    send(plain, at, 0, CONTENT[:3_000_000])
    assert send(plain, at, 3_000_000, CONTENT[3_000_000:]).outcome is not None
    assert cat(plain, project, b"big") == CONTENT


def test_quotas_hold_for_what_is_open_and_for_what_comes(make_manifold: MakeManifold) -> None:
    manifold = make_manifold(
        PROJECTS_QUOTAS_MAX_FILE_BYTES="5000000",
        PROJECTS_QUOTAS_MAX_PROJECT_BYTES="9000000",
        PROJECTS_RESUMABLE_UPLOADS_MAX_PER_TENANT="2",
    )
    project, other = new_project(manifold), new_project(manifold, "other")
    with pytest.raises(QuotaExceeded):
        begin(manifold, project, 5_000_001)
    begin(manifold, project, 5_000_000)
    with pytest.raises(QuotaExceeded):
        begin(manifold, project, 4_000_001)
    at = begin(manifold, project, None)
    with pytest.raises(QuotaExceeded):
        send(manifold, at, 0, CONTENT)
    assert look(manifold, at).offset == 0
    with pytest.raises(QuotaExceeded):
        begin(manifold, other, 1)


def test_a_length_is_said_once(manifold: Manifold, project: ProjectId) -> None:
    at = begin(manifold, project, None)
    send(manifold, at, 0, b"hello", total_bytes=10)
    with pytest.raises(InvalidInput):
        send(manifold, at, 5, b"", total_bytes=9)
    with pytest.raises(InvalidInput):
        send(manifold, begin(manifold, project, None), 0, b"hello", total_bytes=4)
    assert send(manifold, at, 5, b"world").outcome is not None


def test_what_is_committed_or_ended_takes_no_room_where_the_store_refuses_removal(
    make_manifold: MakeManifold, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifold = make_manifold(clock=clock, PROJECTS_RESUMABLE_UPLOADS_MAX_PER_PROJECT="1")
    project = new_project(manifold)

    def refuse(*_: Any) -> None:
        raise StoreUnavailable("access denied")

    monkeypatch.setattr(manifold.context.store, "delete", refuse)
    at = begin(manifold, project, len(CONTENT))
    send(manifold, at, 0, CONTENT[:3_000_000])
    send(manifold, at, 3_000_000, CONTENT[3_000_000:])
    ended = begin(manifold, project, len(CONTENT), b"other")
    send(manifold, ended, 0, os.urandom(3_000_000))
    for one in (at, ended):
        manifold.resumable_uploads.end(LOCAL_PRINCIPAL, project, one.upload)
        assert look_or_none(manifold, one) is None
    begin(manifold, project, 1, b"third")
    clock.advance(2 * 3600)
    with pytest.raises(StoreUnavailable):
        manifold.resumable_uploads.sweep()
    monkeypatch.undo()
    assert packs(manifold) > packs_in_use(manifold, project)
    assert manifold.resumable_uploads.sweep() == 2
    assert packs(manifold) == packs_in_use(manifold, project)
    assert cat(manifold, project, b"big") == CONTENT


def test_what_many_small_parts_leave_is_removed_while_the_upload_goes_on(
    manifold: Manifold, project: ProjectId, clock: ManualClock
) -> None:
    at = begin(manifold, project, 20)
    for number in range(19):
        at = send(manifold, at, number, b"%d" % (number % 10))
    assert len(packs(manifold)) == 19
    tidy(manifold, clock)
    assert len(packs(manifold)) == 1
    assert send(manifold, at, 19, b"9").outcome is not None
    assert cat(manifold, project, b"big") == b"0123456789" * 2


@pytest.mark.parametrize("way", ["DELETE", "chore"])
@pytest.mark.parametrize("forged", ["spare", "parts", "its own, which is opened again"])
def test_no_row_has_a_committed_pack_removed(
    manifold: Manifold, project: ProjectId, clock: ManualClock, way: str, forged: str
) -> None:
    done = begin(manifold, project, len(CONTENT), b"done")
    send(manifold, done, 0, CONTENT)
    committed = tuple(key.rsplit("/", 1)[1] for key in packs_in_use(manifold, project))
    at = done if forged.startswith("its own") else begin(manifold, project, 100)
    state, key = state_of(manifold), (DEFAULT_TENANT, project, at.upload)
    if forged == "parts":
        send(manifold, at, 0, b"x")
        part = UploadPart(0, state.resumable[key].dek, cast(Any, committed), b"")
        state.resumable_parts[key] = {0: part}
    else:
        state.resumable[key] = replace(state.resumable[key], spare=committed, stage="open", announced_at=None)
    if way == "DELETE":
        manifold.resumable_uploads.end(LOCAL_PRINCIPAL, project, at.upload)
        clock.advance(2 * 3600)
    else:
        clock.advance(8 * DAY)
    assert manifold.resumable_uploads.sweep() >= 1
    assert key not in state.resumable
    assert cat(manifold, project, b"done") == CONTENT
    assert manifold.verify.run(LOCAL_PRINCIPAL, project, read_data=True).ok


def test_a_turn_that_fails_at_its_start_leaves_nobody_locked_out(
    manifold: Manifold, project: ProjectId, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = begin(manifold, project, len(CONTENT))
    for name in ("about", "progress"):
        for failures in (0, 1):  # before the upload is held, and after
            calls: list[int] = []
            real = getattr(Records, name)

            def fail(*arguments: Any, calls: list[int] = calls, real: Any = real, failures: int = failures) -> Any:
                calls.append(1)
                if len(calls) > failures:
                    raise KeyUnavailable("the keystore is away")
                return real(*arguments)

            monkeypatch.setattr(Records, name, fail)
            with pytest.raises(KeyUnavailable):
                send(manifold, at, 0, CONTENT)
            monkeypatch.undo()
            (row,) = state_of(manifold).resumable.values()
            assert row.writer is None
    assert send(manifold, at, 0, CONTENT).outcome is not None


def test_a_writer_that_has_lost_its_lease_and_is_complete_is_told_so(
    manifold: Manifold, project: ProjectId, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake.Intake, "renew", lambda self: None)
    at = begin(manifold, project, len(CONTENT))
    send(manifold, at, 0, CONTENT[:1_000])
    slow = reading(CONTENT[1_000:])
    other: list[UploadState] = []

    def stalled(into: memoryview) -> int:
        if not other:
            clock.advance(intake.LEASE.total_seconds() + 1)
            other.append(send(manifold, at, 1_000, CONTENT[1_000:5_000_000]))
        return slow(into)

    with pytest.raises(UploadLocked):
        send(manifold, at, 1_000, stalled)
    assert generation(manifold, project) == 0
    assert send(manifold, at, 5_000_000, CONTENT[5_000_000:]).outcome is not None
    assert cat(manifold, project, b"big") == CONTENT
