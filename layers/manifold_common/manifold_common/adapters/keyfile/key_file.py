"""One master key as bytes of a file, format 1. Integers are unsigned and big-endian.

| bytes | what |
|---|---|
| 8 | ``MANIFKEK`` |
| 1 | format version, 1 |
| 1 | length of the key's name, n |
| n | the key's name, ASCII |
| 4 | the key's version, from 1 |
| 8 | when it was made, seconds since 1970 UTC |
| 32 | the AES-256 key |
| 32 | SHA-256 of all bytes before |

Name and version stand inside so that a file that was renamed or copied over another is refused, not used.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from datetime import UTC, datetime
from typing import NoReturn

KEY_BYTES = 32
MAX_FILE_BYTES = 256
_MAGIC = b"MANIFKEK"
_FORMAT = 1
_HASH_BYTES = 32


class DamagedKeyFile(Exception):
    """The bytes are not a whole key file of a known format, or of another key than expected."""


class MasterKey:
    """A KEK in memory. Holds its bytes where they can be overwritten; ``wipe`` does. Never shown, never pickled."""

    __slots__ = ("created_at", "material", "name", "version")

    def __init__(self, name: str, version: int, created_at: datetime, material: bytearray) -> None:
        self.name = name
        self.version = version
        self.created_at = created_at
        self.material = material

    def __repr__(self) -> str:
        return f"MasterKey({self.name!r}, version {self.version})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a master key is never pickled or copied")

    def __enter__(self) -> MasterKey:
        return self

    def __exit__(self, *_: object) -> None:
        self.wipe()

    @property
    def fingerprint(self) -> bytes:
        """Eight bytes that tell this key from others and say nothing about it."""
        return hashlib.sha256(b"manifold master key fingerprint\0" + self.material).digest()[:8]

    def wipe(self) -> None:
        """Overwrite the key with zeros; it can no longer be used."""
        self.material[:] = bytes(len(self.material))


def encode_key_file(key: MasterKey) -> bytearray:
    """Return the file's bytes; the caller overwrites them after use."""
    name = key.name.encode("ascii")
    data = bytearray(_MAGIC)
    data += struct.pack(f">BB{len(name)}sIQ", _FORMAT, len(name), name, key.version, int(key.created_at.timestamp()))
    data += key.material
    data += hashlib.sha256(data).digest()
    return data


def decode_key_file(data: bytearray, name: str, version: int) -> MasterKey:
    """Return the key of a file that should hold ``version`` of the key ``name``.

    Raises:
        DamagedKeyFile: it does not.
    """
    if not data:
        raise DamagedKeyFile("it is empty")
    if data[:8] != _MAGIC:
        raise DamagedKeyFile("it is not a key file")
    if len(data) < 10 or data[8] != _FORMAT:
        raise DamagedKeyFile("it is of a format that this version of Manifold does not know, or cut short")
    length = data[9]
    if len(data) != 22 + length + KEY_BYTES + _HASH_BYTES:
        raise DamagedKeyFile("it is cut short or too long")
    if not hmac.compare_digest(hashlib.sha256(data[:-_HASH_BYTES]).digest(), data[-_HASH_BYTES:]):
        raise DamagedKeyFile("its bytes were changed")
    found_name, found_version, seconds = struct.unpack_from(f">{length}sIQ", data, 10)
    if (found_name, found_version) != (name.encode("ascii"), version):
        raise DamagedKeyFile(f"it holds version {found_version} of the key {found_name.decode('ascii', 'replace')!r}")
    material = data[22 + length : 22 + length + KEY_BYTES]
    return MasterKey(name, version, datetime.fromtimestamp(seconds, UTC), material)
