"""One request, done by a job: its only item."""

from __future__ import annotations

from collections.abc import Sequence

from manifold_common.domain.job import ItemState
from manifold_common.ids import UploadId
from manifold_common.ports.catalog import JobRow
from manifold_common.services.deferred.deferred import Deferred
from manifold_common.services.jobs.kind import Plan, Work


class DeferredJob:
    """Implements JobKind."""

    at_once = 1
    is_open = False

    def __init__(self, deferred: Deferred, job: JobRow, request: UploadId) -> None:
        self._deferred = deferred
        self._job = job
        self._request = request

    def plan(self, cursor: str | None) -> Plan:  # noqa: ARG002 - there is one page
        return Plan([self._request], None)

    def begin(self, items: Sequence[str]) -> Work:  # noqa: ARG002 - there is one
        return self._do

    def _do(self, item: str) -> ItemState:  # noqa: ARG002 - the job names it
        return self._deferred.do(self._job)
