"""Whether projects are whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from manifold_common.bootstrap.jobs.kind import Kind, Services
from manifold_common.shapes.jobs import VerifyParams

if TYPE_CHECKING:
    from manifold_common.ports.catalog import JobRow
    from manifold_common.services.jobs.kind import JobKind


def _make(services: Services, job: JobRow, params: VerifyParams) -> JobKind:
    from manifold_common.services.verification.verify import percentage
    from manifold_common.services.verification.verify_job import VerifyJob

    only = None if job.project is None else (job.tenant, job.project)
    sample = percentage(read_data=params.read_data, sample=params.sample)
    repair = services.repair if params.repair else None
    return VerifyJob(services.context.catalog, services.verify, sample, only, repair)


def _check(_: Services, params: VerifyParams) -> None:
    from manifold_common.services.verification.verify import percentage

    percentage(read_data=params.read_data, sample=params.sample, field="params.sample")


KIND = Kind(
    "verify",
    "Looks whether projects are whole, reads the content of a sample of their objects, or of all, and may repair them.",
    "maintenance",
    VerifyParams,
    _make,
    _check,
)
