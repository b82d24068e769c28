"""A kind of job whose work a test decides."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from manifold_common.adapters.memory.catalog import MemoryCatalog
from manifold_common.adapters.memory.clock import ManualClock
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.job import ItemState
from manifold_common.ids import JobId
from manifold_common.ports.catalog import JobItem, JobRow
from manifold_common.services.jobs.jobs import Jobs, Offer
from manifold_common.services.jobs.kind import Plan, Work
from manifold_common.services.jobs.worker import JobWorker
from manifold_common.shapes.jobs import Job, JobParams

from tests.support.manifold import MakeManifold

TENANT = LOCAL_PRINCIPAL.tenant


class Named(JobParams, frozen=True):
    """What a toy is called."""

    name: str = ""


@dataclass
class Toy:
    """Implements JobKind."""

    pages: list[list[str]]
    do: Callable[[str], ItemState | None] = lambda _: None
    """What comes of an item; ``None``: it is done."""
    prepare: Callable[[Sequence[str]], None] = lambda _: None
    """Before the items of a slice."""
    look: Callable[[str | None], None] = lambda _: None
    """Before a page is planned."""
    at_once: int = 10
    is_open: bool = False
    worked: Counter[str] = field(default_factory=Counter)
    slices: list[list[str]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def plan(self, cursor: str | None) -> Plan:
        self.look(cursor)
        number = 0 if cursor is None else int(cursor)
        return Plan(self.pages[number], str(number + 1) if number + 1 < len(self.pages) else None)

    def begin(self, items: Sequence[str]) -> Work:
        with self.lock:
            self.slices.append(list(items))
        self.prepare(items)
        return self._work

    def _work(self, item: str) -> ItemState:
        with self.lock:
            self.worked[item] += 1
        return self.do(item) or ItemState.DONE


class Workshop:
    """Jobs of toys, on a catalog in memory."""

    def __init__(self, make_manifold: MakeManifold) -> None:
        self.clock = ManualClock()
        self.manifold: Manifold = make_manifold(clock=self.clock, catalog=MemoryCatalog(clock=self.clock))
        self.catalog = self.manifold.context.catalog
        self.toys: dict[str, Toy] = {}
        offers = {"toy": Offer(Named, lambda _: None)}
        self.woken: list[str] = []
        """For which kinds workers were woken."""
        context, projects = self.manifold.context, self.manifold.projects
        self.jobs = Jobs(context, projects, offers, kept_days=30, wake=self.woken.append)
        self.worker = self.new_worker()

    def new_worker(self, lease_seconds: float = 60.0) -> JobWorker:
        def make(job: JobRow) -> Toy:
            return self.toys[str(self.jobs.get(LOCAL_PRINCIPAL, job.job).params.get("name", ""))]

        return JobWorker(self.manifold.context, {"toy": make}, lease_seconds=lease_seconds)

    def start(self, toy: Toy, name: str = "", rate: float | None = None) -> JobId:
        self.toys[name] = toy
        return self.jobs.start(LOCAL_PRINCIPAL, "toy", {"name": name}, rate=rate).job.id

    def run(self) -> int:
        return self.worker.run(["toy"])

    def now(self, job: JobId) -> Job:
        return self.jobs.get(LOCAL_PRINCIPAL, job)

    def items(self, job: JobId) -> list[JobItem]:
        return self.catalog.job_items(TENANT, job, limit=1000)
