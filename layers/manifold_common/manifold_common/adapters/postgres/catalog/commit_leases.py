"""Leases among contending writers: rows that end by themselves, so that a crash ends them too.

A holder prolongs its lease while it works. One that was stopped for longer loses it without knowing, and another one
works meanwhile; but what it publishes names the head it started from, which is not the head any more. Within a process
the threads queue here first, so that a project has one waiter in a process however many want the lease. Nothing is
held on a connection, and nothing waits on one.
"""

from __future__ import annotations

import random
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from manifold_common.adapters.postgres.database import Database
from manifold_common.domain.patience import hurried
from manifold_common.errors import ManifoldError
from manifold_common.ids import ProjectId, TenantId, TenantProject

_LEASE_SECONDS: Final = 3.0
_FIRST_PAUSE_SECONDS: Final = 0.005
_LAST_PAUSE_SECONDS: Final = 0.05
_MARGIN_SECONDS: Final = 2.0

_TAKE = """
INSERT INTO commit_turns AS t (tenant_id, project_id, holder, leased_until)
VALUES (%(tenant)s, %(project)s, %(holder)s, clock_timestamp() + make_interval(secs => %(seconds)s::double precision))
ON CONFLICT (tenant_id, project_id) DO UPDATE SET holder = EXCLUDED.holder, leased_until = EXCLUDED.leased_until
WHERE t.leased_until <= clock_timestamp()
RETURNING 1
"""

_PROLONG = """
UPDATE commit_turns SET leased_until = clock_timestamp() + make_interval(secs => %(seconds)s::double precision)
WHERE tenant_id = %(tenant)s AND project_id = %(project)s AND holder = %(holder)s
RETURNING 1
"""

_END = """
DELETE FROM commit_turns WHERE tenant_id = %(tenant)s AND project_id = %(project)s AND holder = %(holder)s
RETURNING 1
"""


class CommitLeases:
    def __init__(self, db: Database) -> None:
        self._db = db
        self._guard = threading.Lock()
        self._queues: dict[TenantProject, tuple[threading.Lock, int]] = {}

    @contextmanager
    def hold(self, tenant: TenantId, project: ProjectId, timeout_seconds: float) -> Iterator[bool]:
        """Yield whether the lease was had. Trouble with the database means none; it is never raised from here."""
        deadline = time.monotonic() + timeout_seconds
        with self._local((tenant, project), timeout_seconds) as first:
            if not first:
                yield False
                return
            with self._remote(tenant, project, deadline) as had:
                yield had

    @contextmanager
    def _local(self, key: TenantProject, timeout_seconds: float) -> Iterator[bool]:
        with self._guard:
            lock, waiters = self._queues.get(key, (threading.Lock(), 0))
            self._queues[key] = lock, waiters + 1
        had = lock.acquire(timeout=max(0.0, timeout_seconds))
        try:
            yield had
        finally:
            if had:
                lock.release()
            with self._guard:
                _, waiters = self._queues[key]
                if waiters == 1:
                    del self._queues[key]
                else:
                    self._queues[key] = lock, waiters - 1

    @contextmanager
    def _remote(self, tenant: TenantId, project: ProjectId, deadline: float) -> Iterator[bool]:
        lease = {"tenant": tenant, "project": project, "holder": secrets.token_hex(8), "seconds": _LEASE_SECONDS}
        if not self._take(lease, deadline):
            yield False
            return
        done = threading.Event()
        prolonging = threading.Thread(target=self._prolong, args=(lease, done), name="manifold-lease", daemon=True)
        prolonging.start()
        try:
            yield True
        finally:
            done.set()
            prolonging.join(_MARGIN_SECONDS)
            self._end(lease)

    def _take(self, lease: dict[str, Any], deadline: float) -> bool:
        pause = _FIRST_PAUSE_SECONDS
        while True:
            left = deadline - time.monotonic()
            try:
                with hurried(max(left, _FIRST_PAUSE_SECONDS)):
                    if self._db.write(_TAKE, lease):
                        return True
            except ManifoldError:
                return False  # it may have been had after all: then it ends by itself
            wait = pause * (0.5 + random.random() / 2)  # noqa: S311 - so that waiters do not ask in step
            if time.monotonic() + wait >= deadline:
                return False
            time.sleep(wait)
            pause = min(pause * 2, _LAST_PAUSE_SECONDS)

    def _end(self, lease: dict[str, Any]) -> None:
        with suppress(ManifoldError), hurried(_MARGIN_SECONDS):
            self._db.write(_END, lease)

    def _prolong(self, lease: dict[str, Any], done: threading.Event) -> None:
        while not done.wait(_LEASE_SECONDS / 3):
            with suppress(ManifoldError), hurried(_MARGIN_SECONDS):
                if not self._db.write(_PROLONG, lease):
                    return
