"""Catalogs on a real server, and processes beside this one that use it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from manifold_common.adapters.postgres.catalog import PostgresCatalog
from manifold_common.adapters.postgres.pool import Limits
from manifold_common.ids import ProjectId

from tests.contract.catalog_fixtures import TENANT, SettableClock

IMPATIENT = Limits(connections=4, statement_seconds=1.0, patience_seconds=3.0)


@contextmanager
def connected(dsn: str, limits: Limits = IMPATIENT, *, is_direct: bool = False) -> Iterator[PostgresCatalog]:
    catalog = PostgresCatalog(dsn, clock=SettableClock(), limits=limits, is_direct=is_direct)
    try:
        yield catalog
    finally:
        catalog.close()


_HOLDER = """
import sys, time
from manifold_common.adapters.postgres.catalog import PostgresCatalog
from tests.contract.catalog_fixtures import SettableClock
catalog = PostgresCatalog(sys.argv[1], clock=SettableClock())
with catalog.commit_lease(sys.argv[2], sys.argv[3], timeout_seconds=5) as had:
    print(had, flush=True)
    time.sleep(60)
"""


@contextmanager
def turn_of_another_process(dsn: str, project: ProjectId) -> Iterator[None]:
    """Let another process have the turn of a project; at the end it is killed."""
    holder = subprocess.Popen([sys.executable, "-c", _HOLDER, dsn, TENANT, project], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        yield
    finally:
        holder.kill()
        holder.communicate()
