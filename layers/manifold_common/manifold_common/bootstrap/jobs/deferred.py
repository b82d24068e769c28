"""What the kinds have in common of which a job does one request."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from manifold_common.bootstrap.jobs.kind import Services
    from manifold_common.ports.catalog import JobRow
    from manifold_common.services.jobs.kind import JobKind
    from manifold_common.shapes.jobs import DeferredParams


def make(services: Services, job: JobRow, params: DeferredParams) -> JobKind:
    from manifold_common.services.deferred.deferred_job import DeferredJob

    return DeferredJob(services.deferred, job, params.request)
