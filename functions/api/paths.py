"""Paths in URLs. A name may hold any bytes; a URL writes them with percent signs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from manifold_common.domain.paths import check_path
from manifold_common.errors import UnsafePath
from starlette.convertors import Convertor, register_url_convertor

_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


class _Rest(Convertor[str]):
    """Whatever is left of a path, line breaks included."""

    regex = r"[\s\S]+"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("rest", _Rest())


def raw_path_of(scope: Mapping[str, Any]) -> bytes:
    """Return a request's path as it was sent, without the query."""
    raw = scope.get("raw_path")
    return raw.partition(b"?")[0] if raw else quote(scope["path"], safe="/").encode("ascii")


def check_raw_path(raw: bytes) -> None:
    """Refuse paths that could be read in two ways. The one reading left: split at ``/``, then decode each name once.

    Raises:
        UnsafePath: an encoded slash or NUL, a segment ``.`` or ``..`` however written, or a broken percent sign.
    """
    reason = None
    lower = raw.lower()
    if b"%2f" in lower:
        reason = "it has an encoded slash, which no name can hold"
    elif b"%00" in lower:
        reason = "it has a NUL byte"
    elif _ESCAPE.search(raw):
        reason = "it has a percent sign without two hexadecimal digits"
    elif any(unquote_to_bytes(segment) in (b".", b"..") for segment in raw.split(b"/")):
        reason = "it has the segment '.' or '..'"
    if reason:
        raise UnsafePath(
            f"the address cannot be used: {reason}", hint="write '/' between names, and other bytes as %NN"
        )


def trailing_path(scope: Mapping[str, Any], segments: int) -> bytes:
    """Return the project path that stands behind the first ``segments`` segments of a request's path.

    Raises:
        UnsafePath: see ``check_path``.
    """
    return check_path(unquote_to_bytes(raw_path_of(scope).split(b"/", segments + 1)[-1]))
