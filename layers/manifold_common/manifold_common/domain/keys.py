"""What a key is bound to, and what is kept of a wrapped one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Final, NamedTuple, TypeAlias

from manifold_common.ids import PLAIN, DekId, ProjectId, TenantId

NO_PROVIDER: Final = "none"
"""Stands for the provider in the record of a project that is not encrypted."""

KeyCursor: TypeAlias = tuple[TenantId, ProjectId, DekId]
"""A place in the list of all keys, which goes by tenant, project and id."""


class KeyContext(NamedTuple):
    """What a wrapped key belongs to. A key opens only under the very context it was wrapped in."""

    tenant: TenantId
    project: ProjectId
    dek: DekId
    epoch: int = 0
    """Which of the project's keys it is, in the order in which they were made to write. Several may be 0."""

    @property
    def version(self) -> int:
        """Of the record: 1 has no place for an epoch, and stands for epoch 0."""
        return 2 if self.epoch else 1

    def binding(self, provider: str, key_name: str, key_version: int) -> bytes:
        """Return what a provider authenticates beside the material (AAD): this context and the KEK that was used.

        Each field stands behind its length in bytes (unsigned, 32 bits, big-endian), in this order: a label with the
        record's version, provider, key name, key version in decimal, epoch in decimal (not in version 1), tenant,
        project, DEK. So no two contexts have the same encoding.
        """
        epoch = (str(self.epoch),) if self.epoch else ()
        label = f"manifold wrapped key {self.version}"
        fields = (label, provider, key_name, str(key_version), *epoch, self.tenant, self.project, self.dek)
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

    Nothing in it is proven but by unwrapping it, which takes tenant, project, DEK id and epoch as they are here. The
    material is specified in ``format.key_record``.
    """

    tenant: TenantId
    project: ProjectId
    dek: DekId
    wrapped: WrappedKey
    created_at: datetime
    epoch: int = 0

    @property
    def context(self) -> KeyContext:
        return KeyContext(self.tenant, self.project, self.dek, self.epoch)


class Encryption(Enum):
    """Whether what a project has stored is encrypted, as its keys tell."""

    ALL = "encrypted"
    PARTLY = "partly"
    """What is new is sealed; what was stored before encryption was switched on (or by the project that this one was
    forked from) is not."""
    NONE = "plain"

    @classmethod
    def by_keys(cls, *, sealed: bool, plain: bool) -> Encryption:
        return cls.NONE if not sealed else cls.PARTLY if plain else cls.ALL

    @classmethod
    def of(cls, keys: Sequence[KeyRecord]) -> Encryption:
        deks = {key.dek for key in keys}
        return cls.by_keys(sealed=bool(deks - {PLAIN}), plain=PLAIN in deks)
