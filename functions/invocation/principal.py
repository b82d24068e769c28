"""Who asks, and about which project, as direct events say it. Whoever may invoke a function is trusted to say so."""

from __future__ import annotations

from typing import Literal

from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import Principal
from manifold_common.ids import (
    DEFAULT_TENANT,
    DEFAULT_USER,
    ProjectId,
    parse_tenant_id,
    parse_user_id,
)
from manifold_common.shapes.base import Request

from functions.invocation.decode import CorrelationId


class OnBehalf(Request, frozen=True, kw_only=True):
    """Base of events that are on somebody's behalf."""

    tenant: str = DEFAULT_TENANT
    user: str = DEFAULT_USER
    correlation_id: CorrelationId | None = None
    errors: Literal["raise", "return"] = "raise"
    """How a refusal comes back: as a failed invocation, or as ``{"error": ...}`` in the answer, with all details."""

    def principal(self) -> Principal:
        """Raises InvalidInput."""
        return Principal(parse_tenant_id(self.tenant), parse_user_id(self.user))


def project_of(manifold: Manifold, principal: Principal, name_or_id: str) -> ProjectId:
    """Return the principal's project of that id, or else of that name. Raises NotFound."""
    return manifold.projects.resolve(principal, name_or_id).id
