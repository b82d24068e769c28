"""Data keys that are not under the current master key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from manifold_common.bootstrap.jobs.kind import Kind, Services
from manifold_common.shapes.jobs import RewrapParams

if TYPE_CHECKING:
    from manifold_common.ports.catalog import JobRow
    from manifold_common.services.jobs.kind import JobKind
    from manifold_common.services.keys.rewrap import Rewrap


def _make(services: Services, job: JobRow, params: RewrapParams) -> JobKind:
    from manifold_common.services.keys.rewrap_job import RewrapJob

    only = None if job.project is None else (job.tenant, job.project)
    return RewrapJob(services.context.catalog, _rewrap(services, params), only)


def _check(services: Services, params: RewrapParams) -> None:
    _rewrap(services, params).require_target()


def _rewrap(services: Services, params: RewrapParams) -> Rewrap:
    return services.rewrap if params.to is None else services.rewrap.to(params.to)


KIND = Kind(
    "rewrap",
    "Wraps data keys anew that are not under the current master key, or another one, in its newest version.",
    "reencrypt",
    RewrapParams,
    _make,
    _check,
)
