"""A key provider whose master keys end with the process, for tests."""

from __future__ import annotations

import threading
from datetime import datetime

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from manifold_common.domain.keys import KeyContext, WrappedKey
from manifold_common.errors import CorruptObject, InvalidInput, KeyUnavailable
from manifold_common.ports.clock import Randomness
from manifold_common.ports.key_provider import MAX_MATERIAL_BYTES, KeyHealth, Requests


class MemoryKeyProvider:
    """Thread-safe.

    Attributes:
        key_name: the current master key; may be changed at any time, as an operator changes a setting.
        available: while it is false, every method but ``health`` raises KeyUnavailable.
        calls: how often a key was wrapped, unwrapped or re-wrapped.
    """

    name = "memory"
    requests = Requests(1, 1, 1)

    def __init__(self, randomness: Randomness, *, key_name: str = "default", makes: bool = True) -> None:
        self._randomness = randomness
        self._lock = threading.Lock()
        self._keys: dict[str, list[bytes]] = {}
        self.key_name = key_name
        self._makes = makes
        self.available = True
        self.calls = 0

    def __repr__(self) -> str:
        return f"MemoryKeyProvider(key_name={self.key_name!r})"

    def wrap(self, material: bytes, context: KeyContext) -> WrappedKey:
        self._count()
        return self._wrap(material, context)

    def unwrap(self, wrapped: WrappedKey, context: KeyContext) -> bytes:
        self._count()
        return self._unwrap(wrapped, context)

    def rewrap(self, wrapped: WrappedKey, context: KeyContext) -> WrappedKey:
        self._count()
        return self._wrap(self._unwrap(wrapped, context), context)

    def stays_inside(self, wrapped: WrappedKey) -> bool:
        return wrapped.provider == self.name

    def with_key(self, key_name: str, *, create: bool = False) -> MemoryKeyProvider:
        other = MemoryKeyProvider(self._randomness, key_name=key_name, makes=create)
        other._keys, other._lock = self._keys, self._lock
        return other

    def own_keys(self) -> list[str]:
        self._check()
        with self._lock:
            return sorted(name for name, versions in self._keys.items() if versions)

    def rotate(self) -> int:
        with self._lock:
            versions = self._keys.setdefault(self.key_name, [])
            versions.append(self._randomness.token(32))
            return len(versions)

    def made_at(self) -> datetime | None:
        return None

    def describe(self) -> dict[str, str]:
        self._check()
        version = len(self._keys.get(self.key_name, ()))
        return {
            "provider": self.name,
            "key_name": self.key_name,
            "key_version": str(version) if version else "none yet",
        }

    def health(self) -> KeyHealth:
        return KeyHealth(self.available, "in memory" if self.available else "switched off", 0.0)

    def _wrap(self, material: bytes, context: KeyContext) -> WrappedKey:
        if not 0 < len(material) <= MAX_MATERIAL_BYTES:
            raise InvalidInput(f"{len(material)} bytes cannot be wrapped", hint=f"wrap 1 to {MAX_MATERIAL_BYTES} bytes")
        with self._lock:
            name = self.key_name
            versions = self._keys.setdefault(name, [])
            if not versions:
                if not self._makes:
                    raise KeyUnavailable(f"there is no memory key {name!r}", hint="name one that there is")
                versions.append(self._randomness.token(32))
            version, key = len(versions), versions[-1]
        nonce = self._randomness.token(12)
        sealed = AESGCM(key).encrypt(nonce, material, context.binding(self.name, name, version))
        return WrappedKey(self.name, name, version, nonce + sealed)

    def _unwrap(self, wrapped: WrappedKey, context: KeyContext) -> bytes:
        where = f"wrapped key {context.dek} of project {context.tenant}/{context.project}"
        with self._lock:
            versions = self._keys.get(wrapped.key_name, [])
        if wrapped.provider != self.name or not 0 < wrapped.key_version <= len(versions):
            raise KeyUnavailable(
                f"there is no {wrapped.provider} key {wrapped.key_name!r} version {wrapped.key_version} here",
                hint="keys in memory end with the process that made them",
                key_name=wrapped.key_name,
                key_version=wrapped.key_version,
            )
        aad = context.binding(wrapped.provider, wrapped.key_name, wrapped.key_version)
        nonce, sealed = wrapped.ciphertext[:12], wrapped.ciphertext[12:]
        if len(sealed) < 17:
            raise CorruptObject(where, "it is cut short")
        try:
            return AESGCM(versions[wrapped.key_version - 1]).decrypt(nonce, sealed, aad)
        except InvalidTag as error:
            raise CorruptObject(where, "its bytes were changed, or it belongs to another project or key") from error

    def _check(self) -> None:
        if not self.available:
            raise KeyUnavailable("the keys in memory are switched off", hint="set available to True")

    def _count(self) -> None:
        self._check()
        with self._lock:
            self.calls += 1
