"""History that is not kept, and objects that nothing refers to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from manifold_common.bootstrap.jobs.kind import Kind, Services
from manifold_common.shapes.jobs import JobParams

if TYPE_CHECKING:
    from manifold_common.ports.catalog import JobRow
    from manifold_common.services.jobs.kind import JobKind


def _make(services: Services, job: JobRow, params: JobParams) -> JobKind:  # noqa: ARG001
    from manifold_common.services.collection.collect_job import CollectJob

    only = None if job.project is None else (job.tenant, job.project)
    return CollectJob(services.context.catalog, services.collector, only)


KIND = Kind(
    "collect",
    "Removes the history that is not kept, and condemns stored objects that nothing refers to.",
    "maintenance",
    JobParams,
    _make,
)
