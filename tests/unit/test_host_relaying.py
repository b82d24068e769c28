"""The host's threads for events."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import pytest
from manifold_common.adapters.memory.catalog import MemoryCatalog
from manifold_common.adapters.memory.event_publisher import MemoryPublisher
from manifold_common.adapters.system.clock import SystemClock, SystemRandomness
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.event import CloudEvent
from manifold_common.errors import CatalogUnavailable, DatabaseDenied
from manifold_common.ids import Generation
from manifold_common.ports.catalog import EventClaim
from manifold_common.ports.event_publisher import Delivery, Outcome
from manifold_common.services.context import Nudge
from manifold_common.services.events.relay import Relay
from manifold_common.services.projects.edits import MakeFolder
from manifold_common.shapes.intent import Intent
from manifold_local.host import relaying
from manifold_local.host.relaying import Relaying
from manifold_local.host.scheduler import Task, run_task

from tests.contract.catalog_fixtures import make_project
from tests.support.manifold import MakeManifold

TAKEN = Outcome(Delivery.TAKEN)
DEADLINE_SECONDS = 20.0


@pytest.fixture
def catalog() -> MemoryCatalog:
    return MemoryCatalog(clock=SystemClock())


def relay_to(publisher: MemoryPublisher, catalog: MemoryCatalog) -> Relay:
    return Relay(catalog, publisher, clock=SystemClock(), randomness=SystemRandomness())


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_sink_that_hangs_holds_up_no_other_and_no_stop(catalog: MemoryCatalog) -> None:
    entered, let_go = threading.Event(), threading.Event()

    def hang(event: CloudEvent) -> Outcome:
        entered.set()
        let_go.wait(DEADLINE_SECONDS)
        return TAKEN

    stuck, well = MemoryPublisher("stuck", hang), MemoryPublisher("well")
    threads = Relaying([relay_to(stuck, catalog), relay_to(well, catalog)], Nudge())
    threads.start()
    make_project(catalog)
    assert entered.wait(DEADLINE_SECONDS)
    wait_until(lambda: len(well.taken) == 1)
    assert not threads.stop(0.05)
    wait_until(lambda: well.is_closed)
    let_go.set()
    assert threads.stop(DEADLINE_SECONDS)
    assert len(stuck.taken) == 1
    assert stuck.is_closed


def test_a_nudge_wakes_every_sink_at_once(catalog: MemoryCatalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relaying, "_LOOK_SECONDS", 3600.0)
    nudge = Nudge()
    publishers = [MemoryPublisher(name) for name in ("one", "two")]
    looks = {"one": 0, "two": 0}
    claim = catalog.claim_events

    def counted(sink: str, lease: str, **limits: float) -> list[EventClaim]:
        looks[sink] += 1
        return claim(sink, lease, **limits)  # type: ignore[arg-type]

    monkeypatch.setattr(catalog, "claim_events", counted)
    threads = Relaying([relay_to(publisher, catalog) for publisher in publishers], nudge)
    threads.start()
    for number in range(1, 4):
        wait_until(lambda: min(looks.values()) > 0)
        make_project(catalog, str(number))
        nudge.give()
        wait_until(lambda count=number: all(len(publisher.taken) == count for publisher in publishers))
    assert threads.stop(DEADLINE_SECONDS)


def test_whatever_writes_an_event_gives_a_nudge(make_manifold: MakeManifold) -> None:
    manifold = make_manifold()
    projects, edits = manifold.projects, manifold.edits
    nudged = manifold.context.nudge.listen()
    project = projects.create(LOCAL_PRINCIPAL, "demo").id
    options = Intent()
    work: list[Callable[[], object]] = [
        lambda: projects.create(LOCAL_PRINCIPAL, "other"),
        lambda: edits.apply(LOCAL_PRINCIPAL, project, [MakeFolder(b"docs")]),
        lambda: edits.restore(LOCAL_PRINCIPAL, project, Generation(0), [], options),
        lambda: projects.rename(LOCAL_PRINCIPAL, project, "renamed"),
        lambda: manifold.forks.fork(LOCAL_PRINCIPAL, project, "fork"),
        lambda: projects.delete(LOCAL_PRINCIPAL, project),
    ]
    for number, change in enumerate(work):
        nudged.clear()
        before = len(manifold.events.recent(limit=100))
        change()
        assert len(manifold.events.recent(limit=100)) > before
        assert nudged.is_set(), number


@pytest.mark.parametrize("error", [CatalogUnavailable("the database is away"), RuntimeError("a bug")])
def test_trouble_ends_no_thread(
    catalog: MemoryCatalog, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    monkeypatch.setattr(relaying, "_TROUBLE_SECONDS", 0.01)
    publisher = MemoryPublisher()
    claim, left = catalog.claim_events, [error, error]

    def failing(sink: str, lease: str, **limits: float) -> list[EventClaim]:
        if left:
            raise left.pop()
        return claim(sink, lease, **limits)  # type: ignore[arg-type]

    monkeypatch.setattr(catalog, "claim_events", failing)
    make_project(catalog)
    threads = Relaying([relay_to(publisher, catalog)], Nudge())
    with caplog.at_level(logging.WARNING):
        threads.start()
        wait_until(lambda: publisher.taken)
    assert threads.stop(DEADLINE_SECONDS)
    assert len(caplog.records) == 2
    assert all("memory" in record.message for record in caplog.records)


def test_the_log_says_which_right_the_database_denies(
    catalog: MemoryCatalog, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    entered = threading.Event()

    def denied(sink: str, lease: str, **limits: float) -> list[EventClaim]:
        entered.set()
        raise DatabaseDenied("the database denies it: permission denied for table event_sinks")

    monkeypatch.setattr(catalog, "claim_events", denied)
    threads = Relaying([relay_to(MemoryPublisher(), catalog)], Nudge())
    with caplog.at_level(logging.WARNING):
        threads.start()
        assert entered.wait(DEADLINE_SECONDS)
        wait_until(lambda: caplog.records)
    assert threads.stop(DEADLINE_SECONDS)
    assert "table event_sinks" in caplog.text
    caplog.clear()
    run_task(Task("settle_events", 0, lambda _: denied("", "")))
    assert "table event_sinks" in caplog.text


def test_without_a_sink_there_is_nothing_to_start_or_stop() -> None:
    threads = Relaying([], Nudge())
    threads.start()
    assert threads.stop(0.0)
