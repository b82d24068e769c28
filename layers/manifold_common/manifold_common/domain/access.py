"""Who asks."""

from __future__ import annotations

from typing import NamedTuple

from manifold_common.ids import DEFAULT_TENANT, DEFAULT_USER, TenantId, UserId, parse_tenant_id, parse_user_id


class _Principal(NamedTuple):
    tenant: TenantId
    user: UserId


class Principal(_Principal):
    """The user on whose behalf work is done. Everything a principal sees lies inside its tenant.

    Both ids become parts of paths and of object names, so a principal can be made of parsed ids only.
    """

    __slots__ = ()

    def __new__(cls, tenant: TenantId, user: UserId) -> Principal:
        """Raises InvalidInput: one of them is no such id."""
        return super().__new__(cls, parse_tenant_id(tenant), parse_user_id(user))


LOCAL_PRINCIPAL = Principal(DEFAULT_TENANT, DEFAULT_USER)
"""Who works on a laptop, where there is no authentication."""
