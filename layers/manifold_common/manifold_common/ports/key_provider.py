"""What a key provider promises: it wraps small keys under master keys (KEKs) that it alone holds."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from manifold_common.domain.keys import KeyContext, WrappedKey

MAX_MATERIAL_BYTES = 4096


class KeyHealth(NamedTuple):
    ok: bool
    detail: str
    latency_seconds: float


class KeyProvider(Protocol):
    """Every method may raise ``KeyUnavailable`` (the provider cannot be reached, or lacks the named key)."""

    name: str
    """As written in ``WrappedKey.provider``."""

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

    def describe(self) -> dict[str, str]:
        """Return what an operator may see: current key name, version, where it is kept. No secrets."""

    def health(self) -> KeyHealth:
        """Say whether a key could be wrapped now. Never raises."""
