"""What every chore promises, held against each of the list: a new one is found by itself."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest
from manifold_common.adapters.memory.catalog import MemoryCatalog
from manifold_common.adapters.memory.clock import ManualClock
from manifold_common.adapters.memory.object_store import MemoryObjectStore
from manifold_common.bootstrap import Manifold
from manifold_common.bootstrap.chores import CHORES, MODULES, Chore, chores
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.ids import ProjectId
from manifold_common.ports.catalog import Catalog
from manifold_local.host.tasks import chores as of_host

from tests.support.faulty_store import Crash, CutOff, Fault, FaultyStore
from tests.support.manifold import MakeManifold
from tests.support.work import S1, S2, check_out, committed, lose_ram, new_project, put

ROOT = Path(__file__).resolve().parents[2]
DAYS = 24 * 3600

pytestmark = pytest.mark.in_memory("moves the clock, and cuts off what is asked of the catalog")


@pytest.fixture(params=CHORES.values(), ids=list(CHORES))
def chore(request: pytest.FixtureRequest) -> Chore:
    return cast(Chore, request.param)


def never() -> bool:
    return False


def at_once() -> bool:
    return True


@dataclass
class Full:
    """An installation in which every chore that has to do with content has something to do."""

    manifold: Manifold
    store: FaultyStore
    project: ProjectId

    @classmethod
    def make(cls, make_manifold: MakeManifold, node: str = "a") -> Full:
        clock = ManualClock()
        store = FaultyStore(MemoryObjectStore(clock))
        catalog = cast(Catalog, CutOff(MemoryCatalog(clock=clock), store))
        made = make_manifold(
            catalog=catalog, store=store, clock=clock, node=node, PROJECTS_MAINTENANCE_CHECKPOINT_COMMITS="2"
        )
        project = new_project(made, a=b"one", b=b"two")
        put(made, project, b"a", b"three")
        put(made, project, b"c", b"four")
        work = check_out(made, project)
        for content in (b"saved and superseded", b"saved"):
            (work / "mine").write_bytes(content)
            made.commits.save(LOCAL_PRINCIPAL, S1)
        (work / "mine").write_bytes(b"not even saved")
        lose_ram(check_out(made, project, S2))
        clock.advance(10 * DAYS)
        return cls(made, store, project)

    def content(self) -> list[object]:
        """What is committed, and what a session has that was never saved."""
        generations = [committed(self.manifold, self.project, number) for number in (1, 2, 3)]
        return [*generations, (check_out(self.manifold, self.project) / "mine").read_bytes()]

    def sessions(self) -> list[str]:
        return [row.session for row in self.manifold.sessions.all(LOCAL_PRINCIPAL)]


MakeFull = Callable[..., Full]


@pytest.fixture
def make_full(make_manifold: MakeManifold) -> MakeFull:
    return lambda node="a": Full.make(make_manifold, node)


def test_the_full_installation_gives_chores_work(make_full: MakeFull) -> None:
    busy = {name for name, chore in CHORES.items() if chore.run(make_full(name).manifold, never)}
    assert busy >= {"save_drafts", "remove_working_sets", "close_sessions", "write_checkpoints", "settle_events"}
    assert "remove_superseded_objects" in busy


def test_a_chore_has_a_name_that_says_what_it_does_and_a_sentence_that_says_more(chore: Chore) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)+", chore.name)
    assert re.fullmatch(r"[A-Z][^.]*(\.[a-z]\w*[^.]*)*\.", chore.does), "one sentence"


def test_no_name_is_given_twice() -> None:
    assert sum(len(chores(module)) for module in MODULES) == len(CHORES)


def test_a_chore_stands_in_the_table_of_the_documents(chore: Chore) -> None:
    where = f"`{chore.function}`" if chore.function else "-"
    row = f"| `{chore.name}` | {chore.does} | {chore.every.said} | {where} |"
    assert row in (ROOT / "docs" / "operations.md").read_text().splitlines(), row


def test_the_sample_of_the_maintenance_function_names_chores_of_it() -> None:
    named = json.loads((ROOT / "events" / "maintenance-direct.json").read_text())["chores"]
    assert named and {CHORES[name].function for name in named} == {"maintenance"}


def test_a_host_does_a_chore_as_often_as_its_settings_say(chore: Chore, make_manifold: MakeManifold) -> None:
    manifold = make_manifold()
    (task,) = [task for task in of_host(manifold) if task.name == chore.name]
    assert task.period_seconds == chore.every.seconds(manifold) >= 1
    assert task.run(never) == 0


def test_a_chore_finds_nothing_to_do_in_an_empty_installation(chore: Chore, make_manifold: MakeManifold) -> None:
    assert chore.run(make_manifold(), never) == 0


def test_a_chore_in_a_full_installation_keeps_what_is_committed_and_what_a_session_has(
    chore: Chore, make_full: MakeFull
) -> None:
    full = make_full()
    before = make_full("other").content()
    assert chore.run(full.manifold, never) >= 0
    assert full.content() == before
    assert chore.run(full.manifold, never) >= 0
    assert full.content() == before


def test_a_chore_that_is_stopped_does_nothing_and_the_next_run_does_what_it_would_have_done(
    chore: Chore, make_full: MakeFull
) -> None:
    full = make_full()
    assert chore.run(full.manifold, at_once) == 0
    twin = make_full("twin")
    assert chore.run(full.manifold, never) == chore.run(twin.manifold, never)
    assert full.sessions() == twin.sessions()


def test_a_chore_that_is_cut_off_at_any_step_goes_on_in_the_next_run(chore: Chore, make_full: MakeFull) -> None:
    whole = make_full("whole")
    chore.run(whole.manifold, never)
    sessions, content = whole.sessions(), whole.content()
    for step in range(1, 200):
        full = make_full(f"cut-{step}")
        full.store.plan(Fault("crash", at=step))
        try:
            chore.run(full.manifold, never)
            break
        except Crash:
            full.store.revive()
        assert chore.run(full.manifold, never) >= 0, step
        assert (full.sessions(), full.content()) == (sessions, content), step
    assert step < 199
