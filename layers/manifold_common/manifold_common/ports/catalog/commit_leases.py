"""Leases by which writers that contend for a project queue instead of racing. Correctness never depends on one."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from manifold_common.ids import ProjectId, TenantId


class CommitLeases(Protocol):
    def commit_lease(
        self, tenant: TenantId, project: ProjectId, *, timeout_seconds: float
    ) -> AbstractContextManager[bool]:
        """Wait for this project's lease among contending writers of all processes; yields whether it was had."""
