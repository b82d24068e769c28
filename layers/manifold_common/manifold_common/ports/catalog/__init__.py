"""What the catalog promises: the one place where commits become order.

The catalog (PostgreSQL) is the only serialisation point. Each method is one transaction: it happens wholly or not
at all. Every row belongs to a tenant, and a method never answers with another tenant's rows: what is not the
tenant's is ``NotFound``, exactly like what does not exist.

Every method may raise ``CatalogUnavailable``. Reads have then been retried already. After a write the caller cannot
know whether it happened: ids are made before the attempt, so the caller looks the id up (``find_commit``).

Each module here is one feature: its records, and a Protocol of what can be done with them. Each adapter has a module of
the same name. Records are imported from here; who needs one feature only takes its Protocol from its module.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from manifold_common.ports.catalog.backups import Backups, DeclaredBackup
from manifold_common.ports.catalog.checkpoints import CheckpointRow, Checkpoints, ReadPlan
from manifold_common.ports.catalog.collection import (
    Collection,
    Condemned,
    GarbageTotal,
    Holdings,
    Member,
    Moment,
    Retention,
    Standing,
)
from manifold_common.ports.catalog.commit_leases import CommitLeases
from manifold_common.ports.catalog.commits import CommitRow, Commits, Head, Publication, removed_generation
from manifold_common.ports.catalog.damage import MAX_DAMAGED, DamageRow, Damages, FoundDamage
from manifold_common.ports.catalog.deleted_projects import DeletedPlace, DeletedProject, DeletedProjects
from manifold_common.ports.catalog.drafts import DraftRef, Drafts
from manifold_common.ports.catalog.event_feed import EventFeed, EventsPage
from manifold_common.ports.catalog.installation import DatabaseIdentity, Installation, InstallationRow
from manifold_common.ports.catalog.jobs import (
    ClaimedItem,
    ItemReport,
    JobItem,
    JobRow,
    Jobs,
    NewJob,
)
from manifold_common.ports.catalog.keys import Keys, PlainObjects, encrypted_meanwhile
from manifold_common.ports.catalog.outbox import EventClaim, EventReport, EventStream, Outbox, OutboxEvent, OutboxRow
from manifold_common.ports.catalog.projects import ProjectRow, Projects, name_taken
from manifold_common.ports.catalog.resumable_uploads import (
    SPARE_KEPT,
    HeldResumable,
    Purpose,
    ResumableUpload,
    ResumableUploads,
    UploadPart,
)
from manifold_common.ports.catalog.sessions import SessionRow, Sessions, SessionView, no_base
from manifold_common.ports.catalog.sinks import SinkReport, Sinks, SinkState
from manifold_common.ports.catalog.superseded import Superseded, SupersededObject
from manifold_common.ports.catalog.tags import TagRow, Tags, TagSet, too_many_tags
from manifold_common.ports.catalog.uploads import Held, Upload, Uploads
from manifold_common.ports.catalog.usage import Usage, UsageRow, UsageSum, Waiting

__all__ = [
    "MAX_DAMAGED",
    "SPARE_KEPT",
    "Catalog",
    "CatalogHealth",
    "CheckpointRow",
    "ClaimedItem",
    "CommitRow",
    "Condemned",
    "DamageRow",
    "DatabaseIdentity",
    "DeclaredBackup",
    "DeletedPlace",
    "DeletedProject",
    "DraftRef",
    "EventClaim",
    "EventReport",
    "EventStream",
    "EventsPage",
    "GarbageTotal",
    "FoundDamage",
    "Head",
    "Held",
    "HeldResumable",
    "Holdings",
    "InstallationRow",
    "ItemReport",
    "JobItem",
    "JobRow",
    "Member",
    "Moment",
    "NewJob",
    "OutboxEvent",
    "OutboxRow",
    "PlainObjects",
    "ProjectRow",
    "Publication",
    "Purpose",
    "ReadPlan",
    "ResumableUpload",
    "Retention",
    "SessionRow",
    "SessionView",
    "SinkReport",
    "SinkState",
    "Standing",
    "SupersededObject",
    "TagRow",
    "TagSet",
    "Upload",
    "UploadPart",
    "UsageRow",
    "UsageSum",
    "Waiting",
    "encrypted_meanwhile",
    "name_taken",
    "no_base",
    "removed_generation",
    "too_many_tags",
]


class CatalogHealth(NamedTuple):
    ok: bool
    detail: str
    latency_seconds: float
    trouble: str = ""
    """Why writes fail, or are about to, although it answers; ``""``: no reason is known."""


class Catalog(
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
    Protocol,
):
    """All features, over one database."""

    def health(self) -> CatalogHealth:
        """Return how one cheap query went, and what is known of writes. Never raises."""

    def rest(self) -> None:
        """Give back the connections that are idle, but perhaps for one: this process may not run for a while."""

    def close(self) -> None:
        """Give connections back. The catalog is not used afterwards."""
