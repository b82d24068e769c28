"""A catalog in this process's memory: the same promises as PostgreSQL, except that it is gone with the process.

For tests and for trying things out. Values are immutable or copied on the way in and out, so a caller never shares
state with the catalog.
"""

from __future__ import annotations

from manifold_common.adapters.memory.catalog.backups import Backups
from manifold_common.adapters.memory.catalog.checkpoints import Checkpoints
from manifold_common.adapters.memory.catalog.collection import Collection
from manifold_common.adapters.memory.catalog.commit_leases import CommitLeases
from manifold_common.adapters.memory.catalog.commits import Commits
from manifold_common.adapters.memory.catalog.damage import Damages
from manifold_common.adapters.memory.catalog.deleted_projects import DeletedProjects
from manifold_common.adapters.memory.catalog.drafts import Drafts
from manifold_common.adapters.memory.catalog.event_feed import EventFeed
from manifold_common.adapters.memory.catalog.installation import Installation
from manifold_common.adapters.memory.catalog.jobs import Jobs
from manifold_common.adapters.memory.catalog.keys import Keys
from manifold_common.adapters.memory.catalog.outbox import Outbox
from manifold_common.adapters.memory.catalog.projects import Projects
from manifold_common.adapters.memory.catalog.resumable_uploads import ResumableUploads
from manifold_common.adapters.memory.catalog.sessions import Sessions
from manifold_common.adapters.memory.catalog.sinks import Sinks
from manifold_common.adapters.memory.catalog.state import State
from manifold_common.adapters.memory.catalog.superseded import Superseded
from manifold_common.adapters.memory.catalog.tags import Tags
from manifold_common.adapters.memory.catalog.uploads import Uploads
from manifold_common.adapters.memory.catalog.usage import Usage
from manifold_common.ports.catalog import CatalogHealth
from manifold_common.ports.clock import Clock


class MemoryCatalog(
    Projects,
    DeletedProjects,
    Keys,
    Commits,
    CommitLeases,
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
    """Implements the Catalog port. Safe for threads."""

    def __init__(self, *, clock: Clock) -> None:
        self.state = State(clock)
        """Open to tests, which put into it what no caller could."""

    def health(self) -> CatalogHealth:
        return CatalogHealth(True, "in memory", 0.0)

    def rest(self) -> None:
        """Nothing is held."""

    def close(self) -> None:
        """Nothing is held."""
