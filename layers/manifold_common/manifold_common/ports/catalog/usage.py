"""What projects take in the store: noted when it was measured, and read by whoever wants to know.

What is condemned is not noted: the list of it says how much that is at any moment.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from manifold_common.domain.garbage import StoredUsage
from manifold_common.ids import Generation, ProjectId, TenantId, UserId


class UsageRow(NamedTuple):
    project: ProjectId
    generation: Generation
    """Its newest one when it was measured."""
    stored: StoredUsage
    measured_at: datetime
    """By the catalog's clock."""


class UsageSum(NamedTuple):
    """Of many projects together, deleted ones too."""

    projects: int
    """Those that are not deleted."""
    deleted: int
    """Deleted ones that have something stored, as far as that was measured."""
    unmeasured: int
    """Those that are not deleted, and were never measured."""
    stored: StoredUsage
    condemned_objects: int
    condemned_bytes: int
    oldest_at: datetime | None
    """When the one was measured whose measurement is the oldest. ``None``: none was."""


class Waiting(NamedTuple):
    """What is condemned and not removed yet."""

    objects: int
    bytes: int


class Usage(Protocol):
    def note_usage(
        self, tenant: TenantId, measured: Sequence[tuple[ProjectId, Generation, StoredUsage]]
    ) -> datetime | None:
        """Note what was measured just now, in place of what was noted before. Returns that moment; ``None``: nothing
        was measured. Projects that there never were are left out."""

    def usage_of(self, tenant: TenantId, projects: Sequence[ProjectId]) -> list[UsageRow]:
        """Return what is noted of projects, by id; nothing of those that were never measured."""

    def usage_sum(self, tenant: TenantId, owner: UserId | None = None) -> UsageSum:
        """Return what all projects of a tenant take together, or those of one owner."""

    def garbage_waiting(self) -> Waiting:
        """Return what is condemned and not removed yet, of all tenants."""
