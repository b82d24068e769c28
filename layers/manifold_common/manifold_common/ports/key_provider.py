"""What a key provider promises: it wraps small keys under master keys (KEKs) that it alone holds."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple, Protocol

from manifold_common.domain.keys import KeyContext, WrappedKey

MAX_MATERIAL_BYTES = 4096


class KeyHealth(NamedTuple):
    ok: bool
    detail: str
    latency_seconds: float


class Requests(NamedTuple):
    """How many requests to its service a provider makes, where none has to be repeated."""

    wrap: int
    unwrap: int
    rewrap: int
    """Where the material stays in the service; else it costs the other two."""


class KeyProvider(Protocol):
    """Every method may raise ``KeyUnavailable`` (the provider cannot be reached, or lacks the named key)."""

    name: str
    """As written in ``WrappedKey.provider``."""
    requests: Requests
    """What its methods cost."""

    def wrap(self, material: bytes, context: KeyContext) -> WrappedKey:
        """Wrap up to 4 KiB of key material under the current KEK, bound to ``context``.

        Raises:
            InvalidInput: nothing, or more than ``MAX_MATERIAL_BYTES``.
        """

    def unwrap(self, wrapped: WrappedKey, context: KeyContext) -> bytes:
        """Return the material, under whichever KEK name and version the record names.

        Raises:
            CorruptObject: the record is damaged, or ``context`` is not the one it was wrapped in.
        """

    def rewrap(self, wrapped: WrappedKey, context: KeyContext) -> WrappedKey:
        """Return the same material under the current KEK, without the plaintext leaving the provider if it can.

        Raises:
            CorruptObject: as for ``unwrap``.
        """

    def stays_inside(self, wrapped: WrappedKey) -> bool:
        """Tell whether ``rewrap`` of this record leaves the material where it is."""

    def with_key(self, key_name: str, *, create: bool = False) -> KeyProvider:
        """Return the same provider, over the same connections, whose current KEK is another one.

        Args:
            create: where there is none of that name yet, and the provider makes KEKs itself, it is made when first
                wrapped under. Else nothing is wrapped under one that is not there.

        Raises:
            ConfigError: no key can be called so.
        """

    def own_keys(self) -> list[str] | None:
        """Return the names of all KEKs there are, where the provider makes them itself; ``None``: it does not."""

    def rotate(self) -> int:
        """Make a new version of the current KEK, which wraps from now on, and return it; 0 where the service keeps
        versions to itself. Older ones still open."""

    def made_at(self) -> datetime | None:
        """Return when the version that wraps now was made; ``None``: there is none yet, or the service changes its
        versions by itself."""

    def describe(self) -> dict[str, str]:
        """Return what an operator may see: current key name, version, where it is kept. No secrets."""

    def health(self) -> KeyHealth:
        """Say whether a key could be wrapped now. Never raises."""
