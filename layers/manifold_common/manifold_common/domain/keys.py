"""What a key is bound to, and what is kept of a wrapped one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from manifold_common.ids import DekId, ProjectId, TenantId

NO_PROVIDER: Final = "none"
"""Stands for the provider in the record of a project that is not encrypted."""


class KeyContext(NamedTuple):
    """What a wrapped key belongs to. A key opens only under the very context it was wrapped in."""

    tenant: TenantId
    project: ProjectId
    dek: DekId

    def binding(self, provider: str, key_name: str, key_version: int) -> bytes:
        """Return what a provider authenticates beside the material (AAD): this context and the KEK that was used.

        Each field stands behind its length in bytes (unsigned, 32 bits, big-endian), in this order: a label, provider,
        key name, key version in decimal, tenant, project, DEK. So no two contexts have the same encoding.
        """
        fields = ("manifold wrapped key 1", provider, key_name, str(key_version), *self)
        encoded = [field.encode() for field in fields]
        return b"".join(len(field).to_bytes(4, "big") + field for field in encoded)


class Kek(NamedTuple):
    """A master key, in one of its versions."""

    provider: str
    key_name: str
    key_version: int


class WrappedKey(NamedTuple):
    """Key material under a KEK. Names the KEK, so that a change of settings never strands it."""

    provider: str
    """``file``, ``vault``, ``awskms``, or ``none`` for a project that is not encrypted."""
    key_name: str
    key_version: int
    ciphertext: bytes

    @property
    def kek(self) -> Kek:
        return Kek(self.provider, self.key_name, self.key_version)


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """One data key of a project, as the catalog and the bucket keep it.

    The wrapped material is the project's 32-byte chunk-id key, followed by the 32-byte DEK unless ``dek`` is PLAIN.
    """

    tenant: TenantId
    project: ProjectId
    dek: DekId
    wrapped: WrappedKey
    created_at: datetime

    @property
    def context(self) -> KeyContext:
        return KeyContext(self.tenant, self.project, self.dek)
