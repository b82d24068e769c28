"""Paths in URLs. A name may hold any bytes; a URL writes them with percent signs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from manifold_common.domain.paths import check_path
from manifold_common.errors import UnsafePath
from starlette.convertors import Convertor, register_url_convertor


def _however_written(text: str) -> bytes:
    """Return a pattern for text whose letters may be encoded: that makes no other address (RFC 3986, 6.2.2.2)."""
    return b"".join(b"(?:%c|%%(?i:%02x))" % (ord(one), ord(one)) for one in text)


_OF_A_PROJECT = re.compile(
    b"/%s/%s/%s/[^/]+/(?:%s|%s)/" % tuple(_however_written(name) for name in ("api", "v1", "projects", "files", "tree"))
)
_SLASH = re.compile(rb"%2[Ff]")
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

    Behind ``files/`` and ``tree/`` stands a path of a project, and there ``%2F`` is a ``/`` too: no name can hold one,
    and clients made from the description of the API write it so. All else there is text.

    Raises:
        UnsafePath: an encoded slash anywhere else, a NUL, a segment ``.`` or ``..`` however written, a broken percent
            sign; or, but in a path of a project, bytes that are not UTF-8.
    """
    before, path = _parted(raw)
    reason = None
    if b"%2f" in before.lower():
        reason = "it has an encoded slash, which no name can hold"
    elif b"%00" in raw:
        reason = "it has a NUL byte"
    elif _ESCAPE.search(raw):
        reason = "it has a percent sign without two hexadecimal digits"
    elif not raw.isascii():
        reason = "it has bytes that no address holds"
    elif any(unquote_to_bytes(segment) in (b".", b"..") for segment in [*before.split(b"/"), *path.split(b"/")]):
        reason = "it has the segment '.' or '..'"
    elif not _is_text(unquote_to_bytes(before)):
        reason = "it has bytes that are not UTF-8"
    if reason:
        raise UnsafePath(
            f"the address cannot be used: {reason}", hint="write '/' between names, and other bytes as %NN"
        )


def trailing_path(scope: Mapping[str, Any]) -> bytes:
    """Return the path of the project that a request's path ends with, behind ``files/`` or ``tree/``.

    Raises:
        UnsafePath: see ``check_path``.
    """
    return check_path(unquote_to_bytes(_parted(raw_path_of(scope))[1]))


def _parted(raw: bytes) -> tuple[bytes, bytes]:
    """Return what comes before the path of a project, and that path, in which only ``/`` is between names."""
    match = _OF_A_PROJECT.match(raw)
    return (raw, b"") if match is None else (match[0], _SLASH.sub(b"/", raw[match.end() :]))


def _is_text(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
