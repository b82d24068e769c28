"""A year of one project: what its history takes in the store, what a collection costs, and what compaction is for.

Run it: ``python -m tests.bench.year``. The embedded PostgreSQL, encrypted, a store in a folder in RAM. Each day some
files are edited, in commits of one to four; each night what is not kept is collected. Sizes and times are printed.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import tempfile
import time
from datetime import timedelta
from pathlib import Path

from manifold_common.adapters.system.clock import SystemClock, SystemRandomness
from manifold_common.adapters.wrappers.counting import CountingStore
from manifold_common.bootstrap import (
    Manifold,
    assemble,
    build_catalog,
    build_key_providers,
    build_store,
    migrate_catalog,
)
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.garbage import Rules
from manifold_common.format.layout import project_prefix
from manifold_common.ids import ProjectId
from manifold_common.services.collection.collector import Collector
from manifold_common.services.collection.compaction import Compaction
from manifold_common.services.collection.condemned import Condemned
from manifold_common.services.collection.retention import Retention
from manifold_common.services.projects.edits import PutFile, reading
from manifold_common.settings import load_settings
from manifold_local.embedded.postgres import ensure_embedded

TENANT = LOCAL_PRINCIPAL.tenant
DAYS = 365
FILES = 2000
OLD_SECONDS = -60.0
"""A grace by which everything is old: the year takes minutes."""


def node(folder: Path, dsn: str, name: str) -> tuple[Manifold, CountingStore]:
    """Return a node with an empty cache."""
    clock, randomness = SystemClock(), SystemRandomness()
    environ = {
        "WORKDIR": str(folder),
        "PROJECTS_ENCRYPT": "true",
        "PROJECTS_WORKSPACE_MODE": "ephemeral",
        "PROJECTS_WORKSPACE_TMPFS_DIR": str(folder / f"ram-{name}"),
        "PROJECTS_WORKSPACE_CACHE_DIR": str(folder / f"cache-{name}"),
    }
    settings = load_settings(environ=environ, cwd=folder)
    store = CountingStore(build_store(settings, clock, randomness))
    made = assemble(
        settings,
        catalog=build_catalog(settings, dsn, clock),
        store=store,
        providers=build_key_providers(settings, clock, randomness),
        clock=clock,
        randomness=randomness,
    )
    return made, store


def stored(manifold: Manifold, project: ProjectId) -> tuple[int, int]:
    """Return how many objects there are, and their bytes."""
    sizes = [one.size for one in manifold.context.store.list(project_prefix(TENANT, project))]
    return len(sizes), sum(sizes)


def cold(folder: Path, dsn: str, project: ProjectId) -> tuple[float, int]:
    """Return the seconds and the requests to the store of a checkout on a node that has nothing."""
    name = f"cold-{time.monotonic_ns()}"
    manifold, store = node(folder, dsn, name)
    try:
        target = folder / name
        before, begun = store.total_requests, time.monotonic()
        manifold.transfer.export(LOCAL_PRINCIPAL, project, target)
        return time.monotonic() - begun, store.total_requests - before
    finally:
        manifold.close()
        for one in (f"ram-{name}", f"cache-{name}", name):
            shutil.rmtree(folder / one, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--generations", type=int, default=20_000)
    parser.add_argument("--retention", type=int, default=500)
    parser.add_argument("--percent", type=int, default=50, help="compaction below; 0: none")
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="manifold-year-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
    server = ensure_embedded(folder / "pg")
    try:
        migrate_catalog(server.dsn)
        run(folder, server.dsn, chosen)
    finally:
        server.close(stop_now=True)
        shutil.rmtree(folder, ignore_errors=True)


def run(folder: Path, dsn: str, chosen: argparse.Namespace) -> None:
    manifold, store = node(folder, dsn, "main")
    dice = random.Random(1)
    project = manifold.projects.create(LOCAL_PRINCIPAL, "year").id
    paths = [f"src/{number % 40:02}/file-{number:04}.txt".encode() for number in range(FILES)]
    words = [bytes(dice.randrange(97, 123) for _ in range(dice.randrange(3, 9))) for _ in range(3000)]

    def text() -> bytes:
        return b" ".join(dice.choice(words) for _ in range(dice.randrange(200, 1500)))

    manifold.edits.apply(LOCAL_PRINCIPAL, project, [PutFile(path, reading(text())) for path in paths])
    context = manifold.context
    rules = Rules(chosen.retention, 0, timedelta(seconds=OLD_SECONDS))
    collector = Collector(context, Retention(context, rules), Compaction(context, chosen.percent), OLD_SECONDS)
    sweep, written, commit_seconds = Condemned(context, OLD_SECONDS), 0, 0.0
    generation, costs = 1, []
    for day in range(1, DAYS + 1):
        while generation < chosen.generations * day // DAYS:
            puts = [PutFile(dice.choice(paths[: FILES // 2]), reading(text())) for _ in range(dice.randrange(1, 5))]
            begun = time.monotonic()
            manifold.edits.apply(LOCAL_PRINCIPAL, project, {one.path: one for one in puts}.values())
            commit_seconds += time.monotonic() - begun
            generation += 1
        manifold.maintenance.checkpoint_if_due(TENANT, project)
        if day == DAYS:
            print(f"before the last collection: {stored(manifold, project)}, cold {cold(folder, dsn, project)}")
        before, begun = store.total_requests, time.monotonic()
        collector.collect(TENANT, project)
        seconds, requests = time.monotonic() - begun, store.total_requests - before
        while sweep.sweep():
            pass
        costs.append(seconds)
        if day % 30 == 0 or day == DAYS:
            objects, size = stored(manifold, project)
            written = max(written, size)
            print(
                f"day {day:3} generation {generation:5}: {objects:6} objects {size / 1e6:7.1f} MB; "
                f"collection {seconds:5.2f} s, {requests:5} requests; cold checkout "
                "{:.2f} s, {} requests".format(*cold(folder, dsn, project)),
                flush=True,
            )
    report = manifold.verify.run(LOCAL_PRINCIPAL, project, read_data=True)
    print(f"collections: median {sorted(costs)[len(costs) // 2]:.2f} s, longest {max(costs):.2f} s")
    print(
        f"a commit: {commit_seconds / generation * 1000:.1f} ms; verification: {'ok' if report.ok else report.problems}"
    )
    manifold.close()


if __name__ == "__main__":
    main()
