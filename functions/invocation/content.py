"""What headers say about a request's content: honoured, or the request is refused before anything is done.

A header that is not looked at is a promise broken in silence: content that is only a part of a file replaces the file,
damaged content is stored as if it were whole. So whoever takes content calls ``check_content`` first, and has what it
returns look at every byte; ``Digests.verify`` comes before the commit. The table of both is in docs/http-api.md.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Protocol

from manifold_common.domain.api_address import API
from manifold_common.errors import InvalidInput

from functions.invocation.problems import BadDigest, ExpectationFailed, UnsupportedMediaType

JSON = ("application/json",)
JSON_HINT = "add -H 'Content-Type: application/json'"

_OF_A_PART = (
    "content-range",
    "x-update-range",
    "upload-offset",
    "upload-complete",
    "upload-incomplete",
    "tus-resumable",
    "x-upload-content-length",
)
"""Headers that say that the content is only a part of what it is about, or that more will come."""
_OF_TUS = frozenset({"upload-offset", "tus-resumable"})
_IN_PLACE_OF_THE_METHOD = ("x-http-method-override", "x-http-method", "x-method-override")
_AS_IT_IS = ("", "7bit", "8bit", "binary", "identity")
_DIGESTS = ("content-digest", "repr-digest", "digest", "content-md5")
_BEFORE_THE_CONTENT = frozenset(
    {
        *_DIGESTS,
        *_OF_A_PART,
        *_IN_PLACE_OF_THE_METHOD,
        *("content-encoding", "content-transfer-encoding", "content-type", "content-length", "transfer-encoding"),
        *("expect", "host", "idempotency-key", "range"),
        *("if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range"),
    }
)
"""What says how the content, or the whole request, is to be taken: nobody looks for it behind the content."""
_ALGORITHMS = {"sha-256": ("sha256", 32), "sha-512": ("sha512", 64)}
_MD5_BYTES = 16
_KEY = r"[a-z*][a-z0-9_.*-]*"
_BYTES = r":[A-Za-z0-9+/=]*:"
_VALUE = (
    rf'(?:{_BYTES}|"(?:[ !#-\[\]-~]|\\["\\])*"|\?[01]|@?-?[0-9]{{1,15}}(?:\.[0-9]{{1,3}})?'
    r"|[A-Za-z*][A-Za-z0-9!#$%&'*+.^_`|~:/-]*)"
)
"""What a parameter may be (RFC 8941, 3.3): bytes, text, a truth value, a number or a word."""
_MEMBER = re.compile(rf"[ \t]*({_KEY})=({_BYTES})(?:; *{_KEY}(?:={_VALUE})?)*[ \t]*")
_OLD_MEMBER = re.compile(r"[ \t]*([A-Za-z0-9-]+)=([A-Za-z0-9+/=]+)[ \t]*")
_MOST_DIGESTS = 16


class _Hash(Protocol):
    def update(self, data: bytes | memoryview, /) -> None: ...
    def digest(self) -> bytes: ...


class Digests:
    """The digests that a request names, taken of its content as it comes. Of no use to two threads at once."""

    def __init__(self) -> None:
        self._hashes: dict[str, _Hash] = {}
        self._wanted: list[tuple[str, str, bytes]] = []

    def add(self, header: str, algorithm: str, digest: bytes) -> None:
        if algorithm not in self._hashes:
            self._hashes[algorithm] = hashlib.new(algorithm, usedforsecurity=False)
        self._wanted.append((header, algorithm, digest))

    def update(self, data: bytes | memoryview) -> None:
        for one in self._hashes.values():
            one.update(data)

    def __bool__(self) -> bool:
        return bool(self._wanted)

    def verify(self) -> None:
        """Raises BadDigest: the content that was seen is another than a header says."""
        for header, algorithm, digest in self._wanted:
            if self._hashes[algorithm].digest() != digest:
                raise BadDigest(
                    f"the content that has arrived is not the one that {header} names ({algorithm})",
                    hint="nothing was changed: send it again, or correct the header",
                    header=header,
                )


def combined(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return headers by their names in lower case, those that came in several lines as one."""
    found: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def check_message(headers: Mapping[str, str]) -> None:
    """Refuse what would make another request of this one, and is not done here.

    Raises:
        ExpectationFailed: ``Expect`` is anything but ``100-continue``. InvalidInput: a header names another method.
    """
    expect = headers.get("expect", "100-continue").strip().lower()
    if expect != "100-continue":
        raise ExpectationFailed(
            "the request expects what this server does not do", hint="leave Expect out, or send 100-continue"
        )
    for name in _IN_PLACE_OF_THE_METHOD:
        if name in headers:
            raise InvalidInput(f"{_shown(name)} is not taken", hint="send the request with the method that is meant")


def check_trailer(names: Iterable[str]) -> None:
    """Refuse what would count before the content, and comes after it. Raises InvalidInput."""
    for name in names:
        if name in _BEFORE_THE_CONTENT:
            raise InvalidInput(
                f"{_shown(name)} after the content is not looked at", hint="send it as a header, before the content"
            )


def check_content(headers: Mapping[str, str], *, takes_parts: bool = False) -> Digests:
    """Return the digests that the content has to have.

    Args:
        takes_parts: the content is a part of a resumable upload, and its headers say which.

    Raises:
        UnsupportedMediaType: the content is encoded. InvalidInput: it is only a part, a digest is malformed, or what
            ``check_trailer`` refuses is announced. (That it does not come is for the server to see.)
    """
    for name in set(_OF_A_PART) - (_OF_TUS if takes_parts else frozenset()):
        if name in headers and not (name == "upload-complete" and headers[name].strip() == "?1"):
            raise InvalidInput(
                f"{_shown(name)} says that the content is a part, and only a whole is taken",
                hint="send the whole again, without that header; or in parts, by POST to "
                f"{API}/projects/<project>/resumable-uploads",
            )
    if "range" in headers:
        raise InvalidInput("Range is for reading", hint="send the whole content, without Range")
    if headers.get("content-encoding", "identity").strip().lower() not in _AS_IT_IS:
        raise UnsupportedMediaType(
            "encoded content is not taken",
            hint="send the bytes as they are, without Content-Encoding",
            accept_encoding="identity",
        )
    if headers.get("content-transfer-encoding", "").strip().lower() not in _AS_IT_IS:
        raise InvalidInput(
            "encoded content is not taken", hint="send the bytes as they are, without Content-Transfer-Encoding"
        )
    check_trailer(re.split(r"[\s,]+", headers.get("trailer", "").lower()))
    return _digests_of(headers)


def check_media_type(headers: Mapping[str, str], taken: tuple[str, ...], hint: str) -> None:
    """Refuse content of another type than ``taken``.

    Raises:
        UnsupportedMediaType: also if it says none; ``hint`` is what to do. It says in which encoding text is, and that
            is not UTF-8.
    """
    media_type, *parameters = (part.strip().lower() for part in headers.get("content-type", "").split(";"))
    wrong_text = any(part.startswith("charset=") and part[8:].strip('"') != "utf-8" for part in parameters)
    if media_type in taken and not wrong_text:
        return
    what = f"{media_type[:80]!r}{' in another encoding than UTF-8' if wrong_text else ''}" if media_type else "no type"
    raise UnsupportedMediaType(
        f"the content has {what}, and {' or '.join(taken[:3])} is taken here", hint=hint, accept=", ".join(taken)
    )


def _digests_of(headers: Mapping[str, str]) -> Digests:
    found = Digests()
    for name in ("content-digest", "repr-digest"):
        for algorithm, digest in _members(headers.get(name, ""), name, _MEMBER):
            _add(found, name, algorithm, digest.strip(":"))
    for algorithm, digest in _members(headers.get("digest", ""), "digest", _OLD_MEMBER):
        _add(found, "digest", algorithm.lower(), digest)
    if "content-md5" in headers:
        found.add("Content-MD5", "md5", _decoded(headers["content-md5"].strip(), "content-md5", _MD5_BYTES))
    return found


def _members(value: str, name: str, form: re.Pattern[str]) -> list[tuple[str, str]]:
    """Return algorithms and digests. Parameters, which RFC 9530 gives no meaning, are left out."""
    found: list[tuple[str, str]] = []
    at = 0 if value.strip() else len(value)
    while at < len(value):
        match = form.match(value, at)
        if match is None or len(found) == _MOST_DIGESTS:
            raise _malformed(name)
        found.append((match[1], match[2]))
        at = match.end() + 1
        if match.end() < len(value) and (value[match.end()] != "," or at == len(value)):
            raise _malformed(name)
    return found


def _add(found: Digests, name: str, algorithm: str, digest: str) -> None:
    known = _ALGORITHMS.get(algorithm)
    if known is not None:  # others are left aside, as RFC 9530 has it
        found.add(_shown(name), known[0], _decoded(digest, name, known[1]))


def _decoded(text: str, name: str, size: int) -> bytes:
    try:
        digest = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise _malformed(name) from None
    if len(digest) != size:
        raise _malformed(name)
    return digest


def _malformed(name: str) -> InvalidInput:
    examples = {"content-md5": "Content-MD5: <base64>", "digest": "Digest: sha-256=<base64>"}
    return InvalidInput(
        f"{_shown(name)} is malformed",
        hint=f"write it as {examples.get(name, f'{_shown(name)}: sha-256=:<base64>:')}, or leave it out",
    )


def _shown(name: str) -> str:
    return "-".join({"md5": "MD5", "http": "HTTP"}.get(part, part.capitalize()) for part in name.split("-"))
