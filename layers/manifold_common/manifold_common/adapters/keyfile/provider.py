"""Wraps data keys with AES-256-GCM under master keys kept in files.

A wrapped key, format 1:

| bytes | what |
|---|---|
| 1 | format version, 1 |
| 8 | fingerprint of the master key |
| 12 | nonce, random |
| n + 16 | the material, sealed; AAD is ``KeyContext.binding`` |
| 4 | CRC-32, big-endian, of the record's provider, key name and version (each ended by a zero byte), then all before |

Fingerprint and CRC are not what protects a key; they tell an operator what is wrong: a damaged record (CRC), a keystore
that holds another key under the same name (fingerprint), or a record of another project (neither).
"""

from __future__ import annotations

import os
import threading
import zlib
from datetime import datetime
from typing import NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from manifold_common.adapters.keyfile.key_file import MasterKey
from manifold_common.adapters.keyfile.keystore import Keystore, is_key_name
from manifold_common.domain.keys import KeyContext, WrappedKey
from manifold_common.errors import ConfigError, CorruptObject, InvalidInput, KeyUnavailable
from manifold_common.ports.clock import Clock, Randomness
from manifold_common.ports.key_provider import MAX_MATERIAL_BYTES, KeyHealth, Requests

_FORMAT = 1
_FINGERPRINT = slice(1, 9)
_NONCE = slice(9, 21)
_SEALED = slice(21, -4)
_SHORTEST = 21 + 1 + 16 + 4


class FileKeyProvider:
    """The provider ``file``. Thread-safe; several processes may share a keystore.

    No master key stays in memory between calls: reading its file costs a few microseconds, and a key rotated by
    another process is used at once.
    """

    name = "file"
    requests = Requests(0, 0, 0)

    def __init__(
        self,
        keystore: str | os.PathLike[str],
        *,
        key_name: str = "default",
        clock: Clock,
        randomness: Randomness,
        makes: bool = True,
    ) -> None:
        """Use the master key ``key_name`` of the directory ``keystore``; both are made when first wrapped under.

        Args:
            makes: false: nothing is made, and nothing wrapped under a key that is not there.

        Raises:
            ConfigError: no key can be called ``key_name``.
        """
        if not is_key_name(key_name):
            raise ConfigError(
                f"{key_name[:80]!r} cannot be the name of a key",
                hint="use 1 to 64 letters, digits and . _ -, beginning and ending with a letter or digit",
            )
        self._key_name = key_name
        self._makes = makes
        self._clock = clock
        self._randomness = randomness
        self._keystore = Keystore(keystore, clock=clock, randomness=randomness)
        self._lock = threading.Lock()
        self._settled_version = 0
        self._missed: KeyUnavailable | None = None
        """Tells that something is wrapped with a key that is not there: then an empty keystore is a lost one."""

    def __repr__(self) -> str:
        return f"FileKeyProvider({self._keystore.path!r}, key_name={self._key_name!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key provider is never pickled or copied")

    def wrap(self, material: bytes, context: KeyContext) -> WrappedKey:
        return self._wrap(material, context, self._current_version())

    def unwrap(self, wrapped: WrappedKey, context: KeyContext) -> bytes:
        material = self._unwrap(wrapped, context)
        try:
            return bytes(material)
        finally:
            material[:] = bytes(len(material))

    def rewrap(self, wrapped: WrappedKey, context: KeyContext) -> WrappedKey:
        """As the port says. A record that is under the current key already is checked and returned as it is."""
        material = self._unwrap(wrapped, context)
        try:
            version = self._current_version()  # not before: where the keystore is lost, it would make another key
            if (wrapped.key_name, wrapped.key_version) == (self._key_name, version):
                return wrapped
            return self._wrap(material, context, version)
        finally:
            material[:] = bytes(len(material))

    def stays_inside(self, wrapped: WrappedKey) -> bool:  # noqa: ARG002 - the port's shape
        return False

    def with_key(self, key_name: str, *, create: bool = False) -> FileKeyProvider:
        path, clock, randomness = self._keystore.path, self._clock, self._randomness
        return FileKeyProvider(path, key_name=key_name, clock=clock, randomness=randomness, makes=create)

    def own_keys(self) -> list[str]:
        return self._keystore.names()

    def rotate(self) -> int:
        versions = self._keystore.versions(self._key_name)
        return self._keystore.create(self._key_name, after=versions[-1] if versions else 0)

    def made_at(self) -> datetime | None:
        versions = self._keystore.versions(self._key_name)
        if not versions:
            return None
        with self._keystore.load(self._key_name, versions[-1]) as key:
            return key.created_at

    def describe(self) -> dict[str, str]:
        facts = {"provider": self.name, "keystore": self._keystore.path, "key_name": self._key_name}
        versions = self._keystore.versions(self._key_name)
        if not versions:
            return facts | {"key_version": "none yet"}
        with self._keystore.load(self._key_name, versions[-1]) as key:
            return facts | {
                "key_version": str(key.version),
                "created_at": key.created_at.isoformat(),
                "fingerprint": key.fingerprint.hex(),
            }

    def health(self) -> KeyHealth:
        begun = self._clock.monotonic()
        try:
            version = self.describe()["key_version"]
            if version == "none yet":
                if self._missed is not None:
                    raise self._missed.with_traceback(None)
                self._keystore.probe()
                detail = f"key {self._key_name!r} of {self._keystore.path} will be made when it is first used"
            else:
                detail = f"key {self._key_name!r} version {version} of {self._keystore.path}"
        except KeyUnavailable as error:
            return KeyHealth(False, str(error), self._clock.monotonic() - begun)
        return KeyHealth(True, detail, self._clock.monotonic() - begun)

    def _load_needed(self, wrapped: WrappedKey) -> MasterKey:
        try:
            return self._keystore.load(wrapped.key_name, wrapped.key_version)
        except KeyUnavailable as error:
            self._missed = error
            raise

    def _current_version(self) -> int:
        versions = self._keystore.versions(self._key_name)
        if not versions and self._missed is not None:
            raise self._missed.with_traceback(None)
        if not versions and not self._makes:
            raise KeyUnavailable(
                f"the keystore {self._keystore.path} has no key {self._key_name!r}",
                hint="restore the keystore from its backup, or point file.keystorePath at the one with this key",
            )
        version = versions[-1] if versions else self._keystore.create(self._key_name, after=0)
        with self._lock:
            if version != self._settled_version:
                self._keystore.settle(self._key_name)
                self._settled_version = version
        return version

    def _wrap(self, material: bytes | bytearray, context: KeyContext, version: int) -> WrappedKey:
        if not 0 < len(material) <= MAX_MATERIAL_BYTES:
            raise InvalidInput(f"{len(material)} bytes cannot be wrapped", hint=f"wrap 1 to {MAX_MATERIAL_BYTES} bytes")
        nonce = self._randomness.token(12)
        with self._keystore.load(self._key_name, version) as key:
            aad = context.binding(self.name, self._key_name, version)
            sealed = AESGCM(key.material).encrypt(nonce, material, aad)
            body = bytes([_FORMAT]) + key.fingerprint + nonce + sealed
        record = WrappedKey(self.name, self._key_name, version, body)
        return record._replace(ciphertext=body + _checksum(record, body))

    def _unwrap(self, wrapped: WrappedKey, context: KeyContext) -> bytearray:
        where = f"wrapped key {context.dek} of project {context.tenant}/{context.project}"
        if wrapped.provider != self.name:
            raise KeyUnavailable(
                f"{where} was wrapped by the provider {wrapped.provider!r}, not {self.name!r}",
                hint="set encryption.provider to it, or migrate the keys with it configured",
            )
        data = wrapped.ciphertext
        if len(data) < _SHORTEST or data[-4:] != _checksum(wrapped, data[:-4]):
            raise CorruptObject(where, "its bytes were changed or cut short")
        if data[0] != _FORMAT:
            raise CorruptObject(where, f"it is of format {data[0]}, which this version of Manifold does not know")
        with self._load_needed(wrapped) as key:
            if key.fingerprint != data[_FINGERPRINT]:
                raise KeyUnavailable(
                    f"{where} was wrapped under another key called {wrapped.key_name!r} version {wrapped.key_version} "
                    f"(fingerprint {data[_FINGERPRINT].hex()}) than the one in {self._keystore.path} "
                    f"({key.fingerprint.hex()})",
                    hint="restore the keystore that was in use when the project was made",
                )
            aad = context.binding(wrapped.provider, wrapped.key_name, wrapped.key_version)
            sealed = data[_SEALED]
            material = bytearray(len(sealed) - 16)
            try:
                AESGCM(key.material).decrypt_into(data[_NONCE], sealed, aad, material)
            except InvalidTag as error:
                raise CorruptObject(where, "its bytes were changed, or it belongs to another project or key") from error
            return material


def _checksum(record: WrappedKey, body: bytes) -> bytes:
    named = f"{record.provider}\0{record.key_name}\0{record.key_version}\0".encode(errors="surrogatepass")
    return zlib.crc32(body, zlib.crc32(named)).to_bytes(4, "big")
