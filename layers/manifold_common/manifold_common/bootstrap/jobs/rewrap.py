"""Data keys that are not under the current master key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from manifold_common.bootstrap.jobs.kind import Kind, Services
from manifold_common.errors import InvalidInput
from manifold_common.services.jobs.kind import NotForHere
from manifold_common.shapes.jobs import RewrapParams

if TYPE_CHECKING:
    from manifold_common.ports.catalog import JobRow
    from manifold_common.services.jobs.kind import JobKind
    from manifold_common.services.keys.rewrap import Rewrap


def _make(services: Services, job: JobRow, params: RewrapParams) -> JobKind:
    from manifold_common.services.keys.rewrap_job import RewrapJob

    only = None if job.project is None else (job.tenant, job.project)
    try:
        return RewrapJob(services.context.catalog, _rewrap(services, params), only)
    except InvalidInput as error:
        raise NotForHere(error) from None


def _rewrap(services: Services, params: RewrapParams) -> Rewrap:
    """Raises InvalidInput: there is no such key here, or, without a name, none that new projects are encrypted with."""
    rewrap = services.rewrap.to(params.to, create=params.create)
    if params.to is None:
        try:
            rewrap.require_target()
        except InvalidInput as error:
            raise InvalidInput(error.message, hint=f"{error.hint}, or name a key", field="params.to") from None
    return rewrap


def _check(services: Services, params: RewrapParams) -> None:
    _rewrap(services, params).require_target_key()


KIND = Kind(
    "rewrap",
    "Wraps data keys anew that are not under the current master key, or another one, in its newest version.",
    "reencrypt",
    RewrapParams,
    _make,
    _check,
)
