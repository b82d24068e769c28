"""The kinds of jobs, in one list: the API, the command line, the host, the functions and the documents read it.

A kind is added by a module here, and its name below (docs/extending.md).
"""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

import msgspec

from manifold_common.bootstrap.jobs.kind import Kind, Services
from manifold_common.shapes.decode import Reading

if TYPE_CHECKING:
    from manifold_common.ports.catalog import JobRow
    from manifold_common.services.jobs.kind import JobKind
    from manifold_common.services.jobs.worker import MakeKind

MODULES = (
    "manifold_common.bootstrap.jobs.rewrap",
    "manifold_common.bootstrap.jobs.collect",
    "manifold_common.bootstrap.jobs.verify",
    "manifold_common.bootstrap.jobs.restore",
    "manifold_common.bootstrap.jobs.import_archive",
    "manifold_common.bootstrap.jobs.archive",
)  # fmt: skip

KINDS: dict[str, Kind] = {kind.name: kind for kind in (import_module(module).KIND for module in MODULES)}
"""By name."""

_STORED = Reading("the job", "a newer release may have started it; 'manifold jobs cancel JOB' ends it")


def kinds_of(function: str) -> list[str]:
    """Return the names of the kinds that a function works on."""
    return [name for name, kind in KINDS.items() if kind.function == function]


def makers(services: Services) -> dict[str, MakeKind]:
    """Return what makes each kind of job, by name."""
    return {name: partial(_make, services, kind) for name, kind in KINDS.items()}


def _make(services: Services, kind: Kind, job: JobRow) -> JobKind:
    return kind.make(services, job, _STORED.value(kind.params, msgspec.json.decode(job.params)))
