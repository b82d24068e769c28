"""The catalog on PostgreSQL.

Each method is one statement, and so one transaction and one round trip. Statements run in autocommit, so no BEGIN or
COMMIT is added, and each is planned for its own values: a plan that is kept would be kept in a session of the server,
which poolers share (``own_session``: where none does). In the life of the data: ``publish_commit`` is the commit point;
everything before it may be lost, nothing after it is.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

from manifold_common.adapters.postgres.catalog.backups import Backups
from manifold_common.adapters.postgres.catalog.checkpoints import Checkpoints
from manifold_common.adapters.postgres.catalog.collection import Collection
from manifold_common.adapters.postgres.catalog.commit_leases import CommitLeases
from manifold_common.adapters.postgres.catalog.commits import Commits
from manifold_common.adapters.postgres.catalog.damage import Damages
from manifold_common.adapters.postgres.catalog.deleted_projects import DeletedProjects
from manifold_common.adapters.postgres.catalog.drafts import Drafts
from manifold_common.adapters.postgres.catalog.event_feed import EventFeed
from manifold_common.adapters.postgres.catalog.installation import Installation
from manifold_common.adapters.postgres.catalog.jobs import Jobs
from manifold_common.adapters.postgres.catalog.keys import Keys
from manifold_common.adapters.postgres.catalog.outbox import Outbox
from manifold_common.adapters.postgres.catalog.projects import Projects
from manifold_common.adapters.postgres.catalog.resumable_uploads import ResumableUploads
from manifold_common.adapters.postgres.catalog.sessions import Sessions
from manifold_common.adapters.postgres.catalog.sinks import Sinks
from manifold_common.adapters.postgres.catalog.superseded import Superseded
from manifold_common.adapters.postgres.catalog.tags import Tags
from manifold_common.adapters.postgres.catalog.uploads import Uploads
from manifold_common.adapters.postgres.catalog.usage import Usage
from manifold_common.adapters.postgres.database import Database
from manifold_common.adapters.postgres.dsn import Dsn
from manifold_common.adapters.postgres.event_horizon import EventHorizon
from manifold_common.adapters.postgres.migrations import known_migrations, refuse_other_version
from manifold_common.adapters.postgres.pool import Limits
from manifold_common.adapters.postgres.room import Room
from manifold_common.adapters.postgres.wholeness import require_whole
from manifold_common.errors import ManifoldError, SchemaMismatch
from manifold_common.ids import ProjectId, TenantId
from manifold_common.ports.catalog import CatalogHealth
from manifold_common.ports.clock import Clock
from manifold_common.ports.credentials import Credentials

_HEALTH_SECONDS = 3.0

_VERSION = "SELECT coalesce(max(version), 0) FROM schema_migrations"
_HEALTH = "SELECT current_setting('server_version')"


class PostgresCatalog(
    Projects,
    DeletedProjects,
    Keys,
    Commits,
    Checkpoints,
    Sessions,
    Drafts,
    Uploads,
    ResumableUploads,
    Outbox,
    EventFeed,
    Sinks,
    Superseded,
    Collection,
    Backups,
    Usage,
    Tags,
    Damages,
    Jobs,
    Installation,
):
    """Implements the Catalog port. Safe for threads; connects at the first use."""

    def __init__(
        self,
        dsn: str | Credentials[str],
        *,
        clock: Clock,
        limits: Limits | None = None,
        is_direct: bool = False,
    ) -> None:
        """``is_direct``: no pooler stands between, and statements that are sent often are prepared.

        Raises:
            ConfigError: ``dsn`` is not a connection string.
        """
        self._clock = clock
        self._db = Database(Dsn(dsn, is_direct=is_direct), limits or Limits())
        self._leases = CommitLeases(self._db)
        self._room = Room(self._db)
        self._horizon = EventHorizon(self._db, clock)

    def check_schema(self) -> None:
        """Raises SchemaMismatch: the database is older or newer than this program; the hint says what to run.
        DumpNotLoaded: a dump was loaded the wrong way."""
        try:
            found = int(self._db.read(_VERSION, ())[0][0])
        except SchemaMismatch:
            found = 0
        refuse_other_version(found)
        require_whole(self._db.read, [migration.sql for migration in known_migrations()])

    def commit_lease(
        self, tenant: TenantId, project: ProjectId, *, timeout_seconds: float
    ) -> AbstractContextManager[bool]:
        return self._leases.hold(tenant, project, timeout_seconds)

    def health(self) -> CatalogHealth:
        started = self._clock.monotonic()
        try:
            version = self._db.read(_HEALTH, (), patience_seconds=_HEALTH_SECONDS)[0][0]
        except ManifoldError as error:
            return CatalogHealth(False, error.message, self._clock.monotonic() - started)
        seconds = self._clock.monotonic() - started
        return CatalogHealth(True, f"PostgreSQL {version}", seconds, self._room.trouble(within_seconds=_HEALTH_SECONDS))

    def rest(self) -> None:
        self._db.rest()

    def close(self) -> None:
        self._db.close()
