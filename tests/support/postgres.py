"""A real PostgreSQL for tests: one server for the whole run, a fresh migrated database for each test."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from urllib.parse import quote, urlsplit

import psycopg
import pytest
from manifold_common.adapters.postgres.migrations import migrate
from manifold_common.bootstrap import set_up_roles
from manifold_local.embedded.filelock import FileLock
from manifold_local.embedded.postgres import EmbeddedPostgres, ensure_embedded

_PREFIX = "manifold-test-"
_numbers = itertools.count(1)


def with_database(dsn: str, name: str) -> str:
    """Return the connection string of another database of the same server."""
    return urlsplit(dsn)._replace(path=f"/{name}").geturl()


def as_role(dsn: str, role: str) -> str:
    """Return the connection string of the same database, for another role: sessions begin as that one."""
    parts = urlsplit(dsn)
    options = f"options={quote(f'-c role={role}')}"
    return parts._replace(query=f"{parts.query}&{options}" if parts.query else options).geturl()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[EmbeddedPostgres]:
    """A running server. Its ``dsn`` names an empty database."""
    in_memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # a new database there costs a third
    if in_memory:
        _remove_leftovers(Path(in_memory))
    with tempfile.TemporaryDirectory(dir=in_memory, prefix=_PREFIX) as folder:
        server = ensure_embedded(Path(folder) / "pg", linger_seconds=0.2)
        try:
            yield server
        finally:
            server.close(stop_now=True)


def _remove_leftovers(place: Path) -> None:
    """Give back the memory of test runs that were killed. A run that goes on holds the lock of its server's users."""
    for folder in place.glob(f"{_PREFIX}*"):
        if folder.stat().st_uid != os.geteuid() or not (folder / "pg/server.lock").exists():
            continue
        users, server = FileLock(folder / "pg/users.lock"), FileLock(folder / "pg/server.lock")
        if users.try_exclusive() and server.try_exclusive():
            shutil.rmtree(folder, ignore_errors=True)
        users.close()
        server.close()


Databases = Callable[[str], AbstractContextManager[str]]


@pytest.fixture(scope="session")
def _databases(postgres_server: EmbeddedPostgres) -> Iterator[Databases]:
    with psycopg.connect(postgres_server.dsn, autocommit=True) as connection:

        @contextmanager
        def database(template: str) -> Iterator[str]:
            name = f"test_{next(_numbers)}"
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
            try:
                yield with_database(postgres_server.dsn, name)
            finally:
                connection.execute(f"DROP DATABASE {name} WITH (FORCE)")

        yield database


@pytest.fixture(scope="session")
def _template(_databases: Databases) -> Iterator[str]:
    with _databases("template1") as dsn:
        migrate(dsn)
        set_up_roles(dsn)
        yield urlsplit(dsn).path.lstrip("/")


@pytest.fixture
def empty_postgres_dsn(_databases: Databases) -> Iterator[str]:
    """Connection string of a new database without any table."""
    with _databases("template1") as dsn:
        yield dsn


@pytest.fixture
def postgres_dsn(_databases: Databases, _template: str) -> Iterator[str]:
    """Connection string of a new database that has the current schema and no rows."""
    with _databases(_template) as dsn, psycopg.connect(dsn, autocommit=True) as connection:
        # A copy of the template says of itself that it is one.
        connection.execute(
            "UPDATE installation SET database_oid = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        connection.close()
        yield dsn
