"""Which names an object may bear, one rule for every store, so that no store accepts what another refuses."""

from __future__ import annotations

import re
from typing import Annotated, NewType

from msgspec import Meta

from manifold_common.errors import InvalidInput

MAX_KEY_BYTES = 800
"""S3 allows 1,024 with its prefix, which a deployment chooses."""
MAX_SEGMENT_BYTES = 250
"""Common file systems allow 255."""

# No "~": stores that keep objects as files use it for names of their own, which therefore never meet a key.
_CHARACTER = r"[A-Za-z0-9._@=+-]"
_SEGMENT = rf"(?!\.{{1,2}}(?!{_CHARACTER})){_CHARACTER}{{1,{MAX_SEGMENT_BYTES}}}"
KEY = rf"{_SEGMENT}(?:/{_SEGMENT})*"
"""As a regular expression, but for its length."""
_WHOLE = rf"\A{KEY}\Z"
_PATTERN = re.compile(_WHOLE)

ObjectKey = NewType("ObjectKey", Annotated[str, Meta(pattern=_WHOLE, max_length=MAX_KEY_BYTES)])
"""A key that somebody else has said: decoded, it is one, or it is refused."""


def is_object_key(key: str) -> bool:
    """Say whether ``key`` may name an object."""
    return len(key) <= MAX_KEY_BYTES and _PATTERN.match(key) is not None


def check_object_key(key: str) -> str:
    """Return ``key``.

    Raises:
        InvalidInput: it is absolute, leaves its folder, has an empty segment, is too long, or has a character other
            than letters, digits and ``. _ @ = + - /``.
    """
    if not is_object_key(key):
        raise InvalidInput(
            f"{key[:120]!r} is not an object key",
            hint="a key is relative, of letters, digits and . _ @ = + -, with non-empty segments other than . and ..",
        )
    return key


def check_folder(prefix: str) -> str:
    """Return the folder ``prefix`` without a trailing slash; the empty prefix stands for the whole store.

    Raises:
        InvalidInput: as for ``check_object_key``.
    """
    folder = prefix[:-1] if prefix.endswith("/") and prefix != "/" else prefix
    return check_object_key(folder) if folder else ""
