"""Stands for a key provider in a process that must not hold what would open keys."""

from __future__ import annotations

from datetime import datetime

from manifold_common.domain.keys import KeyContext, WrappedKey
from manifold_common.errors import KeyUnavailable
from manifold_common.ports.key_provider import KeyHealth, Requests


class KeylessProvider:
    """Implements the KeyProvider port: refuses.

    Args:
        name: of the provider that it stands for.
        holder: the process, for messages.
    """

    requests = Requests(0, 0, 0)

    def __init__(self, name: str, holder: str) -> None:
        self.name = name
        self._holder = holder

    def wrap(self, material: bytes, context: KeyContext) -> WrappedKey:  # noqa: ARG002 - the port's shape
        raise self._refusal()

    def unwrap(self, wrapped: WrappedKey, context: KeyContext) -> bytes:  # noqa: ARG002
        raise self._refusal()

    def rewrap(self, wrapped: WrappedKey, context: KeyContext) -> WrappedKey:  # noqa: ARG002
        raise self._refusal()

    def stays_inside(self, wrapped: WrappedKey) -> bool:  # noqa: ARG002
        raise self._refusal()

    def with_key(self, key_name: str, *, create: bool = False) -> KeylessProvider:  # noqa: ARG002
        raise self._refusal()

    def own_keys(self) -> None:
        raise self._refusal()

    def rotate(self) -> int:
        raise self._refusal()

    def made_at(self) -> datetime | None:
        raise self._refusal()

    def describe(self) -> dict[str, str]:
        raise self._refusal()

    def health(self) -> KeyHealth:
        return KeyHealth(False, self._refusal().message, 0.0)

    def _refusal(self) -> KeyUnavailable:
        return KeyUnavailable(
            f"the {self._holder} function holds nothing that opens keys",
            hint="docs/functions-aws.md says which function's secret holds what",
        )
