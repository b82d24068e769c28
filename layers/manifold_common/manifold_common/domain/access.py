"""Who asks."""

from __future__ import annotations

from typing import NamedTuple

from manifold_common.ids import DEFAULT_TENANT, DEFAULT_USER, TenantId, UserId


class Principal(NamedTuple):
    """The user on whose behalf work is done. Everything a principal sees lies inside its tenant."""

    tenant: TenantId
    user: UserId


LOCAL_PRINCIPAL = Principal(DEFAULT_TENANT, DEFAULT_USER)
"""Who works on a laptop, where there is no authentication."""
