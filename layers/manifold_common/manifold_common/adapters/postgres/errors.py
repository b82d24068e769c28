"""What psycopg raises, in Manifold's words. The only place that knows both."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import psycopg
from psycopg import errors as pg

from manifold_common.errors import (
    AlreadyExists,
    CatalogUnavailable,
    DatabaseDenied,
    InternalError,
    InvalidInput,
    ManifoldError,
    NoSpace,
    SchemaMismatch,
)
from manifold_common.ports.catalog import no_base

MIGRATE_HINT = "run 'manifold migrate-db'"
_GRANT_HINT = (
    "connect as the role that may: manifold_owner migrates, and a host and whatever goes across tenants need "
    "manifold_jobs; 'manifold migrate-db --roles', with a DATABASE_URL of the role that owns the tables, gives each "
    "role its grants"
)

_TAKEN = {
    "projects_living_name": "there is a project of that name already",
    "projects_pkey": "there is a project of that id already",
    "project_keys_pkey": "the project has a key of that id already",
    "project_keys_epoch": "the project has a key of that epoch already",
    "commits_id": "that commit is published already",
    "declared_backups_pkey": "there is a backup of that name already",
    "commits_request": "that request has made a commit already",
}
_STANDS_ON_COMMIT = (
    "sessions_base",
    "sessions_draft_base",
    "tags_generation",
    "checkpoints_tenant_id_project_id_generation_fkey",
)
"""Foreign keys of what stands on a commit, which may be removed at the same moment."""
_PERMANENT = (
    "authentication failed",
    "permission denied",
    "does not exist",
    "pg_hba.conf",
    "no password supplied",
    "SSL",
    "no such database",
    "no such user",
    "unsupported startup parameter",
)
"""Parts of connection errors that waiting will not cure (libpq gives no code for them)."""
_REFUSED = (
    "authentication failed",  # also where PAM, LDAP, SASL or a token is behind it
    "no password supplied",
    "pg_hba.conf",
    "is not permitted to log in",
    "permission denied for database",
    "no such user",  # a pooler's words
    "no credentials for the role",  # RDS Proxy's
    "password is expired",
)
"""Parts of connection errors that say: not you, or not with this password."""
_NO_SUCH_ROLE = re.compile(r'role ".*" does not exist')
_NO_ROOM = ("No space left on device", "Disk quota exceeded")
_NOT_SERVED: Final = ("query_wait_timeout", "Timed-out waiting to acquire database connection")
"""What poolers say to a client whose statement they could pass to no server."""
_STATEMENT_MODE: Final = "not allowed in statement pooling mode"
_SCARCE: Final = (
    (
        pg.TooManyConnections,
        ("too many clients", "remaining connection slots", "too many connections for"),
        (
            "the database server has no connection left (too many connections)",
            "raise max_connections on the server, lower DATABASE_POOL_MAX on the nodes or their number (on Lambda: the "
            "reserved concurrency), or put a pooler between them",
        ),
    ),
    (
        pg.TooManyConnections,
        ("no more connections allowed",),
        (
            "the pooler before the database has no place for a client left (too many connections)",
            "raise max_client_conn of PgBouncer, or lower DATABASE_POOL_MAX on the nodes or their number",
        ),
    ),
    (
        pg.TooManyConnections,
        _NOT_SERVED,
        (
            "the pooler before the database had no server connection free in time (too many connections)",
            "raise default_pool_size of PgBouncer (of RDS Proxy: MaxConnectionsPercent), and max_connections of the "
            "server to match",
        ),
    ),
    (
        pg.OutOfMemory,
        ("out of memory",),
        (
            "the database server has run out of memory",
            "look for what else takes it, or lower shared_buffers, work_mem or max_connections on the server",
        ),
    ),
)
"""What the server is short of: the error, what libpq says of it, and what to say."""


def is_lost(error: psycopg.Error) -> bool:
    """Tell whether the connection is of no more use, so that what was under way may or may not have happened."""
    state = error.sqlstate or ""
    return is_demoted(error) or (
        isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
        and (not state or state.startswith(("08", "57P0")))
    )


def is_undone(error: psycopg.Error) -> bool:
    """Tell whether the server itself gave the statement up, so that nothing happened and it may be sent again.

    A session that was idle for too long was ended before the statement came, however close that was.
    """
    return (
        is_demoted(error)
        or isinstance(error, pg.DeadlockDetected | pg.SerializationFailure | pg.IdleSessionTimeout)
        or (isinstance(error, psycopg.OperationalError) and _is_one_of(_NOT_SERVED, error))
    )


def _is_one_of(marks: tuple[str, ...], error: psycopg.Error) -> bool:
    # The details of an error may repeat a value, such as the name that is taken already.
    said = error.diag.message_primary or str(error)
    return any(mark in said for mark in marks)


def is_demoted(error: psycopg.Error) -> bool:
    """Tell whether the server has become a read-only standby; a new connection leads to its successor."""
    return isinstance(error, pg.ReadOnlySqlTransaction)


def is_permanent(error: psycopg.Error) -> bool:
    """Tell whether connecting fails for a reason that only an operator can remove."""
    text = str(error)
    return any(part in text for part in _PERMANENT) and "starting up" not in text


def is_refused(error: psycopg.Error) -> bool:
    """Tell whether a server has answered and lets nobody in with these credentials. Nothing was sent yet."""
    text = str(error)
    return any(part in text for part in _REFUSED) or _NO_SUCH_ROLE.search(text) is not None


def is_forbidden(error: psycopg.Error) -> bool:
    """Tell whether the server refuses a statement to this role, which may be gone: nothing happened."""
    role_is_gone = isinstance(error, pg.UndefinedObject) and "role" in (error.diag.message_primary or "")
    return isinstance(error, pg.InsufficientPrivilege | pg.InvalidAuthorizationSpecification) or role_is_gone


def is_full(error: psycopg.Error) -> bool:
    """Tell whether the server gave the statement up for want of room on its disk: nothing happened."""
    return isinstance(error, pg.DiskFull) or (isinstance(error, pg.IoError) and _is_one_of(_NO_ROOM, error))


def _is_one(error: psycopg.Error, kind: type[psycopg.Error], marks: tuple[str, ...]) -> bool:
    # libpq gives no code for what meets a connection while it is made, and PgBouncer that of a broken protocol.
    coded = bool(error.sqlstate) and not isinstance(error, pg.ProtocolViolation)
    return isinstance(error, kind) or (not coded and _is_one_of(marks, error))


def translate(error: psycopg.Error, without_secrets: Callable[[str], str] = str) -> ManifoldError:
    """Return the error to raise instead.

    Args:
        without_secrets: keeps what is secret in the connection string out of a message, wherever it may have got in.
    """
    constraint = error.diag.constraint_name or ""
    if isinstance(error, pg.UniqueViolation):
        return AlreadyExists(_TAKEN.get(constraint, f"{constraint} is taken"), hint="choose another")
    if isinstance(error, pg.ForeignKeyViolation) and constraint in _STANDS_ON_COMMIT:
        return no_base()
    if isinstance(error, psycopg.IntegrityError):
        return InternalError(f"the catalog refuses a row that makes no sense: {error.diag.message_primary}")
    if isinstance(error, psycopg.DataError):
        return InvalidInput(f"the catalog cannot hold a value: {error.diag.message_primary or error}")
    if isinstance(error, pg.UndefinedTable | pg.UndefinedColumn | pg.UndefinedObject):
        return SchemaMismatch(
            f"the database schema is not this program's: {error.diag.message_primary}", hint=MIGRATE_HINT
        )
    if isinstance(error, pg.InsufficientPrivilege):
        return DatabaseDenied(f"the database denies it: {error.diag.message_primary}", hint=_GRANT_HINT)
    if is_full(error):
        return NoSpace(
            f"the disk of the database server is full: {error.diag.message_primary}",
            hint="make room on the disk of PostgreSQL's data, or enlarge it; nothing was changed, and reading goes on",
            resource="database",
        )
    scarce = next((found for kinds, marks, found in _SCARCE if _is_one(error, kinds, marks)), None)
    if scarce is not None:
        return CatalogUnavailable(scarce[0], hint=scarce[1])
    if isinstance(error, pg.QueryCanceled):
        return CatalogUnavailable(
            f"the database stopped a statement that took too long, and changed nothing: {error.diag.message_primary}",
            hint="try again; if it lasts, look for what holds locks with: manifold database psql --command "
            "'SELECT pid, state, query FROM pg_stat_activity'",
        )
    if _STATEMENT_MODE in str(error):
        return CatalogUnavailable(
            "the pooler before the database is in statement mode, which refuses transactions",
            hint="set pool_mode = transaction in PgBouncer, or let DATABASE_URL name the server itself",
        )
    if isinstance(error, pg.UndefinedFile):
        return CatalogUnavailable(
            f"the database server misses a file of its own: {error.diag.message_primary}",
            hint="its folder was moved or removed while it runs: stop what still uses it there (a host stops by itself "
            "within seconds), then try again",
        )
    if isinstance(error, psycopg.ProgrammingError):
        return InternalError(f"the database does not understand a statement: {error.diag.message_primary or error}")
    reason = without_secrets(" ".join((error.diag.message_primary or str(error) or type(error).__name__).split()))
    return CatalogUnavailable(
        f"the database did not answer as it should: {reason}",
        hint="check DATABASE_URL, and that the server is up and reachable",
    )
