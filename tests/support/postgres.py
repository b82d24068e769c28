"""A real PostgreSQL for tests: one server for the whole run, a fresh migrated database for each test.

``MANIFOLD_TEST_POSTGRES`` names the programs of another version to run; with ``MANIFOLD_TEST_POOLER=pgbouncer`` every
database is reached through a PgBouncer in transaction mode. What a test does to the server itself, it does by
``direct_dsn``.
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from urllib.parse import quote, urlsplit

import psycopg
import pytest
from manifold_common.adapters.postgres.migrations import migrate
from manifold_common.adapters.postgres.roles import JOBS
from manifold_common.bootstrap import set_up_roles
from manifold_local.embedded.filelock import FileLock
from manifold_local.embedded.postgres import EmbeddedPostgres, ensure_embedded

from tests.support.other_postgres import OtherPostgres, programs
from tests.support.pgbouncer import running_pgbouncer

IS_POOLED = os.environ.get("MANIFOLD_TEST_POOLER", "") == "pgbouncer"
_PREFIX = "manifold-test-"
_POOL_SIZE = 12
_behind: dict[str, str] = {}
"""By the address of a pooler, the connection string of the server behind it."""
_numbers = itertools.count(1)


def with_database(dsn: str, name: str) -> str:
    """Return the connection string of another database of the same server."""
    return urlsplit(dsn)._replace(path=f"/{name}").geturl()


def database_of(dsn: str) -> str:
    """Return the name of the database that a connection string leads to."""
    return urlsplit(dsn).path.lstrip("/")


def as_role(dsn: str, role: str) -> str:
    """Return the connection string of the same database, for another role: sessions begin as that one."""
    parts = urlsplit(direct_dsn(dsn))  # a pooler takes no options
    options = f"options={quote(f'-c role={role}')}"
    return parts._replace(query=f"{parts.query}&{options}" if parts.query else options).geturl()


def direct_dsn(dsn: str) -> str:
    """Return the connection string of the server itself, for a database that may be reached through a pooler."""
    address = urlsplit(dsn).netloc
    return with_database(_behind[address], database_of(dsn)) if address in _behind else dsn


@contextmanager
def running_postgres(folder: Path) -> Iterator[EmbeddedPostgres | OtherPostgres]:
    """Run a server of the version that the tests are run on, with its data in ``folder``."""
    other = programs()
    server = OtherPostgres(folder, other) if other else ensure_embedded(folder, linger_seconds=0.2)
    try:
        yield server
    finally:
        server.close(stop_now=True)


@contextmanager
def reached(server_dsn: str) -> Iterator[str]:
    """Yield how nodes reach a server: as the tests are run, by itself or through a pooler."""
    if not IS_POOLED:
        yield server_dsn
        return
    with running_pgbouncer(server_dsn, pool_size=_POOL_SIZE) as pooler:
        dsn = pooler.dsn(database_of(server_dsn))
        _behind[urlsplit(dsn).netloc] = server_dsn
        yield dsn


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[EmbeddedPostgres | OtherPostgres]:
    """A running server. Its ``dsn`` names an empty database, and leads to the server itself."""
    in_memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # a new database there costs a third
    if in_memory:
        _remove_leftovers(Path(in_memory))
    with (
        tempfile.TemporaryDirectory(dir=in_memory, prefix=_PREFIX) as folder,
        running_postgres(Path(folder) / "pg") as server,
    ):
        yield server


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
def _databases(postgres_server: EmbeddedPostgres | OtherPostgres) -> Iterator[Databases]:
    with ExitStack() as stack:
        connection = stack.enter_context(psycopg.connect(postgres_server.dsn, autocommit=True))
        dsn = stack.enter_context(reached(postgres_server.dsn))

        @contextmanager
        def database(template: str) -> Iterator[str]:
            name = f"test_{next(_numbers)}"
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
            try:
                yield with_database(dsn, name)
            finally:
                connection.execute(f"DROP DATABASE {name} WITH (FORCE)")

        yield database


@pytest.fixture(scope="session")
def _template(_databases: Databases) -> Iterator[str]:
    with _databases("template1") as dsn:
        migrate(direct_dsn(dsn))  # while anybody is connected to it, it cannot be copied
        set_up_roles(direct_dsn(dsn))
        yield database_of(dsn)


@pytest.fixture
def empty_postgres_dsn(_databases: Databases) -> Iterator[str]:
    """Connection string of a new database without any table."""
    with _databases("template1") as dsn:
        yield dsn


@pytest.fixture
def postgres_dsn(_databases: Databases, _template: str) -> Iterator[str]:
    """Connection string of a new database that has the current schema and no rows."""
    with _databases(_template) as dsn, psycopg.connect(direct_dsn(dsn), autocommit=True) as connection:
        # A copy of the template says of itself that it is one.
        connection.execute(
            "UPDATE installation SET database_oid = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        connection.close()
        yield dsn


class PasswordRole:
    """A role that signs in to the database of a test with a password, as long as the server lasts."""

    def __init__(self, owner_dsn: str, access: Path) -> None:
        """``access``: the server's file of who may connect how."""
        self._owner_dsn = owner_dsn
        self.name = f"role_{next(_numbers)}"
        with psycopg.connect(owner_dsn, autocommit=True) as connection:
            connection.execute(f"CREATE ROLE {self.name} LOGIN IN ROLE {JOBS}")
            access.write_text(f"local all {self.name} scram-sha-256\n{access.read_text()}")
            connection.execute("SELECT pg_reload_conf()")

    def rotate(self, password: str) -> str:
        """Give it another password, end its connections, and return its connection string."""
        with psycopg.connect(self._owner_dsn, autocommit=True) as connection:
            connection.execute(f"ALTER ROLE {self.name} PASSWORD '{password}'")
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", (self.name,)
            )
        parts = urlsplit(self._owner_dsn)
        return parts._replace(netloc=f"{self.name}:{password}@{parts.netloc.rpartition('@')[2]}").geturl()

    def forbid(self) -> None:
        """Take away what it may do. It may still connect."""
        with psycopg.connect(self._owner_dsn, autocommit=True) as connection:
            connection.execute(f"REVOKE {JOBS} FROM {self.name}")

    def sessions(self) -> int:
        """Return how many connections it has."""
        with psycopg.connect(self._owner_dsn) as connection:
            found = connection.execute("SELECT count(*) FROM pg_stat_activity WHERE usename = %s", (self.name,))
            return int(found.fetchall()[0][0])


@pytest.fixture
def password_role(postgres_dsn: str) -> Iterator[PasswordRole]:
    """A role of the test's database that has no password yet. It signs in to the server itself: a pooler would have to
    know its passwords."""
    dsn = direct_dsn(postgres_dsn)
    with psycopg.connect(dsn, autocommit=True) as connection:
        access = Path(connection.execute("SHOW hba_file").fetchall()[0][0])
        before = access.read_text()
        role = PasswordRole(dsn, access)
        yield role
        access.write_text(before)
        connection.execute("SELECT pg_reload_conf()")
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", (role.name,))
        connection.execute(f"DROP ROLE {role.name}")
