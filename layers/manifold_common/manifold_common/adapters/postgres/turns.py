"""Turns among contending writers, as advisory locks that end with their connection, so that a crash ends them too.

Within a process the threads queue here first, so that a project takes at most one connection however many wait.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from manifold_common.adapters.postgres.pool import Connection, Dsn, Limits, Pool
from manifold_common.errors import CatalogUnavailable
from manifold_common.ids import ProjectId, TenantId

_CONNECTIONS = 4
_MARGIN_SECONDS = 2.0

_LOCK = "SELECT set_config('lock_timeout', %s, false), pg_advisory_lock(%s)"
_UNLOCK = "SELECT pg_advisory_unlock(%s)"


class Turns:
    def __init__(self, dsn: Dsn, limits: Limits) -> None:
        # Connections of their own: those who wait must not take the one that the writer whose turn it is needs.
        self._pool = Pool(dsn, Limits(_CONNECTIONS, 0.0, limits.patience_seconds))
        self._guard = threading.Lock()
        self._queues: dict[int, tuple[threading.Lock, int]] = {}

    @contextmanager
    def hold(self, tenant: TenantId, project: ProjectId, timeout_seconds: float) -> Iterator[bool]:
        """Yield whether the turn was had. Trouble with the database means no turn; it is never raised from here."""
        key = _key(tenant, project)
        deadline = time.monotonic() + timeout_seconds
        with self._local(key, timeout_seconds) as first:
            if not first:
                yield False
                return
            with self._remote(key, deadline) as had:
                yield had

    def close(self) -> None:
        self._pool.close()

    @contextmanager
    def _local(self, key: int, timeout_seconds: float) -> Iterator[bool]:
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
    def _remote(self, key: int, deadline: float) -> Iterator[bool]:
        lent = self._pool.connection(patience_seconds=max(0.0, deadline - time.monotonic()))
        try:
            connection = lent.__enter__()
        except CatalogUnavailable:
            yield False
            return
        try:
            had = _lock(connection, key, deadline - time.monotonic())
            try:
                yield had
            finally:
                if had:
                    _unlock(connection, key)
        finally:
            lent.__exit__(None, None, None)


def _key(tenant: TenantId, project: ProjectId) -> int:
    digest = hashlib.blake2b(f"{tenant}\0{project}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def _lock(connection: Connection, key: int, wait_seconds: float) -> bool:
    wait_seconds = max(0.001, wait_seconds)  # to PostgreSQL, 0 means for ever
    connection.answer_seconds = wait_seconds + _MARGIN_SECONDS
    try:
        connection.execute(_LOCK, (f"{wait_seconds * 1000:.0f}ms", key))
    except psycopg.errors.LockNotAvailable:
        return False
    except psycopg.Error:
        connection.close()
        return False
    return True


def _unlock(connection: Connection, key: int) -> None:
    connection.answer_seconds = _MARGIN_SECONDS
    try:
        connection.execute(_UNLOCK, (key,))
    except psycopg.Error:
        connection.close()  # which gives the lock back as well
