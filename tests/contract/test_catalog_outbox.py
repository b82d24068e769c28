"""Every promise of the Outbox port, kept by each catalog."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from manifold_common.ids import ProjectId
from manifold_common.ports.catalog import (
    Catalog,
    EventClaim,
    EventReport,
    OutboxEvent,
)

from tests.contract.catalog_fixtures import (
    EVENT,
    LATER,
    NOW,
    OTHER_TENANT,
    TENANT,
    Made,
    SettableClock,
    all_events,
    make_project,
)

KAFKA, HOOK = "kafka", "webhook:1"
LEASE_SECONDS = 30.0


def claim(catalog: Catalog, sink: str = KAFKA, lease: str = "a", **limits: int) -> list[EventClaim]:
    return catalog.claim_events(sink, lease, seconds=LEASE_SECONDS, **limits)


def report_of(claimed: EventClaim, taken: int | None = None, **changes: object) -> EventReport:
    """Return the report that the first ``taken`` rows (default: all) were delivered."""
    rows = claimed.rows[:taken]
    delivered = rows[-1].sequence if rows else None
    return EventReport(claimed.tenant, claimed.project, delivered, **changes)  # type: ignore[arg-type]


def deliver(catalog: Catalog, sink: str = KAFKA, taken: int | None = None, **changes: object) -> list[EventClaim]:
    """Claim everything, and report it delivered."""
    claimed = claim(catalog, sink)
    assert catalog.report_events(sink, "a", [report_of(one, taken, **changes) for one in claimed]) == len(claimed)
    return claimed


def generations(claims: list[EventClaim], made: Made) -> list[int]:
    return [row.generation for one in claims if one.project == made.id for row in one.rows]


def park_everything(catalog: Catalog, sink: str = KAFKA) -> None:
    deliver(catalog, sink, taken=0, error="no", refused=True, park=True)


def test_every_change_of_a_project_leaves_its_event_in_order(catalog: Catalog, clock: SettableClock) -> None:
    made = make_project(catalog)
    made.publish(2)
    clock.time = LATER
    catalog.rename_project(TENANT, made.id, "thesis", OutboxEvent("renamed", {}))
    catalog.delete_project(TENANT, made.id, OutboxEvent("deleted", {"nested": {"x": [1, None, True, "é"]}}))
    events = all_events(catalog)
    assert [(e.type, e.generation) for e in events] == [
        (EVENT.type, 0),
        (EVENT.type, 1),
        (EVENT.type, 2),
        ("renamed", 2),
        ("deleted", 2),
    ]
    assert [e.sequence for e in events] == sorted({e.sequence for e in events})
    assert {(e.tenant, e.project) for e in events} == {(TENANT, made.id)}
    assert events[0].data == EVENT.data
    assert events[-1].data == {"nested": {"x": [1, None, True, "é"]}}
    assert events[-1].created_at == LATER


def test_changing_an_events_data_afterwards_does_not_change_what_was_written(catalog: Catalog) -> None:
    paths = ["a"]
    made = make_project(catalog)
    made.publish(event=OutboxEvent("commit", {"paths": paths}))
    paths.append("b")
    assert all_events(catalog)[-1].data == {"paths": ["a"]}


def test_a_claim_has_each_projects_events_in_order(catalog: Catalog) -> None:
    one, two = make_project(catalog), make_project(catalog, "two", tenant=OTHER_TENANT)
    one.publish()
    two.publish()
    one.publish(2)
    claimed = claim(catalog)
    assert generations(claimed, one) == [0, 1, 2, 3]
    assert generations(claimed, two) == [0, 1]
    assert [(c.tenant, c.project, c.refusals) for c in claimed] == [(TENANT, one.id, 0), (OTHER_TENANT, two.id, 0)]
    assert [row for c in claimed for row in c.rows if row.project == one.id] == [
        row for row in catalog.list_events() if row.project == one.id
    ]


def test_a_claim_is_limited_in_streams_and_in_events_and_takes_the_oldest_first(catalog: Catalog) -> None:
    made = [make_project(catalog, str(number)) for number in range(3)]
    for project in made:
        project.publish(2)
    claimed = claim(catalog, streams=2, events=2)
    assert {c.project for c in claimed} == {made[0].id, made[1].id}
    assert [len(c.rows) for c in claimed] == [2, 2]


def test_a_claimed_stream_is_nobody_elses_until_it_is_reported(catalog: Catalog) -> None:
    made = make_project(catalog)
    first = claim(catalog, lease="a")
    made.publish()
    assert claim(catalog, lease="b") == []
    assert catalog.report_events(KAFKA, "a", [report_of(first[0])]) == 1
    assert generations(claim(catalog, lease="b"), made) == [1]


def test_a_lease_that_ran_out_can_be_taken_over_and_its_late_report_changes_nothing(
    catalog: Catalog, clock: SettableClock
) -> None:
    make_project(catalog).publish()
    late = claim(catalog, lease="dead")
    clock.time = NOW + timedelta(seconds=LEASE_SECONDS - 0.1)
    assert claim(catalog, lease="b") == []
    clock.time = NOW + timedelta(seconds=LEASE_SECONDS)
    taken = claim(catalog, lease="b")
    assert taken == late
    assert catalog.report_events(KAFKA, "dead", [report_of(late[0])]) == 0
    assert catalog.report_events(KAFKA, "b", [report_of(taken[0], 1)]) == 1
    assert [row.generation for row in claim(catalog, lease="c")[0].rows] == [1]


def test_a_lease_that_ran_out_but_was_not_taken_over_still_counts(catalog: Catalog, clock: SettableClock) -> None:
    make_project(catalog)
    claimed = claim(catalog)
    clock.time = NOW + timedelta(days=1)
    assert catalog.report_events(KAFKA, "a", [report_of(claimed[0])]) == 1
    assert claim(catalog) == []


def test_what_was_delivered_is_not_claimed_again_by_that_sink_alone(catalog: Catalog) -> None:
    made = make_project(catalog)
    made.publish(3)
    deliver(catalog, KAFKA, taken=2)
    assert generations(claim(catalog, KAFKA), made) == [2, 3]
    assert generations(claim(catalog, HOOK), made) == [0, 1, 2, 3]


def test_a_claim_that_delivered_nothing_goes_back_as_it_was(catalog: Catalog) -> None:
    made = make_project(catalog)
    deliver(catalog, taken=0, error="not well")
    deliver(catalog, taken=0)
    assert generations(claim(catalog), made) == [0]
    assert [s.error for s in catalog.event_streams([KAFKA])] == ["not well"]


def test_a_stream_at_rest_is_left_alone_until_its_time_and_others_go_on(catalog: Catalog, clock: SettableClock) -> None:
    resting = make_project(catalog)
    retry_at = NOW + timedelta(seconds=5)
    deliver(catalog, taken=0, error="no", refused=True, retry_at=retry_at)
    other = make_project(catalog, "other")
    assert [c.project for c in deliver(catalog)] == [other.id]
    (stream,) = catalog.event_streams([KAFKA])
    assert (stream.project, stream.refusals, stream.retry_at, stream.error) == (resting.id, 1, retry_at, "no")
    clock.time = retry_at
    (again,) = claim(catalog)
    assert (again.project, again.refusals) == (resting.id, 1)


def test_refusals_count_up_and_from_nought_after_progress(catalog: Catalog) -> None:
    make_project(catalog).publish(2)
    seen = []
    for taken in (0, 0, 1, 0):
        deliver(catalog, taken=taken, error="no", refused=True)
        seen.append(catalog.event_streams([KAFKA])[0].refusals)
    assert seen == [1, 2, 1, 2]


def test_a_parked_event_holds_back_its_project_at_its_sink_and_nothing_else(
    catalog: Catalog, clock: SettableClock
) -> None:
    made, other = make_project(catalog), make_project(catalog, "other")
    for claimed in claim(catalog, KAFKA):
        bad = claimed.project == made.id
        changes = {"error": "too large", "refused": True, "park": True} if bad else {}
        catalog.report_events(KAFKA, "a", [report_of(claimed, 0 if bad else None, **changes)])
    made.publish()
    other.publish()
    clock.time = NOW + timedelta(days=30)
    assert [(c.project, len(c.rows)) for c in deliver(catalog, KAFKA)] == [(other.id, 1)]
    assert generations(claim(catalog, HOOK), made) == [0, 1]
    (stream,) = catalog.event_streams([KAFKA])
    assert (stream.project, stream.waiting, stream.parked_at, stream.oldest_at) == (made.id, 2, NOW, NOW)
    assert stream.next_sequence == catalog.list_events(project=(TENANT, made.id))[0].sequence


def test_a_redriven_stream_goes_on_with_the_event_that_was_parked(catalog: Catalog) -> None:
    made = make_project(catalog)
    park_everything(catalog)
    made.publish()
    assert claim(catalog) == []
    assert catalog.redrive_events() == 1
    (claimed,) = claim(catalog)
    assert generations([claimed], made) == [0, 1]
    assert claimed.refusals == 0
    assert catalog.redrive_events() == 0


def test_a_redrive_that_skips_leaves_out_the_parked_event_alone(catalog: Catalog) -> None:
    made = make_project(catalog)
    park_everything(catalog)
    made.publish(2)
    assert catalog.redrive_events(skip=True) == 1
    assert generations(claim(catalog), made) == [1, 2]


def test_a_redrive_touches_only_what_it_names(catalog: Catalog) -> None:
    one, two = make_project(catalog), make_project(catalog, "two")
    park_everything(catalog, KAFKA)
    park_everything(catalog, HOOK)
    assert catalog.redrive_events(sink=HOOK, project=(TENANT, one.id)) == 1
    assert catalog.redrive_events(sink="other") == 0
    assert catalog.redrive_events(project=(OTHER_TENANT, two.id)) == 0
    assert claim(catalog, KAFKA) == []
    assert [c.project for c in claim(catalog, HOOK)] == [one.id]


def test_a_redrive_ends_a_rest_but_never_skips_what_is_not_parked(catalog: Catalog) -> None:
    made = make_project(catalog)
    deliver(catalog, taken=0, error="no", refused=True, retry_at=NOW + timedelta(hours=1))
    assert catalog.redrive_events(skip=True) == 0
    assert claim(catalog) == []
    assert catalog.redrive_events() == 1
    assert generations(claim(catalog), made) == [0]


def test_an_event_is_settled_when_every_sink_has_it(catalog: Catalog) -> None:
    made = make_project(catalog)
    made.publish(2)
    deliver(catalog, KAFKA)
    assert catalog.settle_events([KAFKA, HOOK]) == 0
    deliver(catalog, HOOK, taken=1)
    assert catalog.settle_events([KAFKA, HOOK]) == 1
    assert generations(claim(catalog, "new"), made) == [1, 2]
    deliver(catalog, HOOK)
    assert catalog.settle_events([KAFKA, HOOK]) == 2
    assert catalog.event_streams([KAFKA, HOOK, "newer"]) == []


def test_without_sinks_everything_is_settled_and_a_new_sink_starts_with_what_comes_then(catalog: Catalog) -> None:
    made = make_project(catalog)
    assert catalog.settle_events([]) == 1
    made.publish()
    assert generations(claim(catalog), made) == [1]


def test_only_settled_events_of_that_age_are_pruned_and_streams_go_on(catalog: Catalog, clock: SettableClock) -> None:
    made = make_project(catalog)
    deliver(catalog)
    catalog.settle_events([KAFKA])
    made.publish()
    assert catalog.prune_events(NOW) == 0
    clock.time = NOW + timedelta(days=1)
    assert [row.generation for row in catalog.list_events()] == [0, 1]
    assert catalog.prune_events(NOW + timedelta(hours=1)) == 1
    assert [row.generation for row in catalog.list_events()] == [1]
    deliver(catalog)
    catalog.settle_events([KAFKA])
    clock.time = NOW + timedelta(days=2)
    assert catalog.prune_events(NOW + timedelta(days=2)) == 1
    made.publish()
    assert generations(claim(catalog), made) == [2]


def test_events_are_listed_by_project_and_from_a_sequence_on(catalog: Catalog) -> None:
    one, two = make_project(catalog), make_project(catalog, "two")
    one.publish(2)
    two.publish()
    listed = catalog.list_events(project=(TENANT, one.id))
    assert [row.generation for row in listed] == [0, 1, 2]
    assert catalog.list_events(after=listed[0].sequence, project=(TENANT, one.id), limit=1) == [listed[1]]
    assert catalog.recent_events(project=(TENANT, one.id), limit=2) == listed[1:]
    assert [row.project for row in catalog.recent_events(limit=3)] == [one.id, one.id, two.id]
    assert catalog.list_events(project=(OTHER_TENANT, one.id)) == []
    assert catalog.list_events(project=(TENANT, ProjectId("x" * 26))) == []


def test_an_empty_outbox_says_so(catalog: Catalog) -> None:
    assert catalog.list_events() == catalog.recent_events() == []
    assert claim(catalog) == []
    assert catalog.report_events(KAFKA, "a", []) == 0
    assert catalog.settle_events([KAFKA]) == catalog.prune_events(NOW) == catalog.redrive_events() == 0


@pytest.mark.parametrize("relays", [4])
def test_relays_that_work_at_once_deliver_each_event_once_and_in_order(catalog: Catalog, relays: int) -> None:
    made = [make_project(catalog, str(number)) for number in range(6)]
    for number in range(1, 11):
        for project in made:
            project.publish(event=OutboxEvent("n", {"n": number}))
    taken: list[tuple[ProjectId, int]] = []

    def relay(name: int) -> None:
        turn = 0
        while catalog.event_streams([KAFKA]):
            turn += 1
            lease = f"{name}.{turn}"
            claimed = claim(catalog, lease=lease, streams=2, events=3)
            for one in claimed:
                taken.extend((one.project, row.generation) for row in one.rows)
            assert catalog.report_events(KAFKA, lease, [report_of(one) for one in claimed]) == len(claimed)

    with ThreadPoolExecutor(relays) as pool:
        list(pool.map(relay, range(relays)))
    for project in made:
        assert [generation for owner, generation in taken if owner == project.id] == list(range(11))
