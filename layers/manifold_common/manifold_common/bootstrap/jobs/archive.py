"""Archives that are downloaded later."""

from __future__ import annotations

from manifold_common.bootstrap.jobs.deferred import make
from manifold_common.bootstrap.jobs.kind import Kind
from manifold_common.shapes.jobs import DeferredParams

KIND = Kind(
    "archive", "Makes an archive of a generation, which can be downloaded then.", "maintenance", DeferredParams, make
)
