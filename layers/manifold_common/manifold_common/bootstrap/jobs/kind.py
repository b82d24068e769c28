"""What a kind of job is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from manifold_common.ports.catalog import JobRow
    from manifold_common.services.collection.collector import Collector
    from manifold_common.services.context import Context
    from manifold_common.services.deferred.deferred import Deferred
    from manifold_common.services.jobs.kind import JobKind
    from manifold_common.services.keys.rewrap import Rewrap
    from manifold_common.services.verification.repair import Repair
    from manifold_common.services.verification.verify import Verify
    from manifold_common.shapes.jobs import JobParams


class Services(Protocol):
    """What kinds are made of: those that they need of ``bootstrap.services.Manifold``."""

    context: Context

    @property
    def rewrap(self) -> Rewrap: ...
    @property
    def verify(self) -> Verify: ...
    @property
    def repair(self) -> Repair: ...

    @property
    def collector(self) -> Collector: ...

    @property
    def deferred(self) -> Deferred: ...


@dataclass(frozen=True, slots=True)
class Kind:
    name: str
    """In requests, events and lists: small letters and ``-``."""
    does: str
    """What one does, in one sentence, for people."""
    function: Literal["reencrypt", "maintenance"]
    """Which function works on it on Lambda."""
    params: type[JobParams]
    """What one is asked for with. What changes nothing for others may be added; what is there stays, since jobs that an
    older release has started go on."""
    make: Callable[[Services, JobRow, Any], JobKind]
    """Makes the work of one job, with its parameters."""
    check: Callable[[Services, Any], None] = lambda services, params: None  # noqa: ARG005
    """Raises ManifoldError: a job with these parameters could never do anything here, and is not begun."""
