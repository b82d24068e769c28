"""Resumable uploads of files: the tus protocol 1.0.0 (https://tus.io/protocols/resumable-upload)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from contextlib import suppress
from email.utils import format_datetime
from typing import Annotated, Any, Protocol

import msgspec
from fastapi import Path, Request, Response
from manifold_common.domain.api_address import API
from manifold_common.domain.arguments import checked_text, json_facts
from manifold_common.domain.history import Seen
from manifold_common.domain.paths import check_path
from manifold_common.domain.unknown import unknown_metadata
from manifold_common.errors import InvalidInput, ManifoldError, Overloaded, PreconditionFailed
from manifold_common.ids import ProjectId, UploadId, parse_upload_id
from manifold_common.services.resumable.records import About
from manifold_common.services.resumable.uploads import Incoming, UploadState
from manifold_common.shapes.decode import Reading
from manifold_common.shapes.files import BegunUpload
from starlette.datastructures import Headers

from functions.api.caller import Call, Caller, ProjectRef
from functions.api.conditions import Conditions, creates_only, expected_by
from functions.api.guard import TUS
from functions.api.problem import responses
from functions.api.request_body import Body, length_of
from functions.api.shaped import Router
from functions.api.validators import address_of
from functions.invocation.content import check_media_type, combined
from functions.invocation.problems import ChecksumMismatch, IncompleteBody, status_of

router = Router(prefix=f"{API}/projects/{{project}}", tags=["resumable uploads"])

CONTENT = "application/offset+octet-stream"
EXTENSIONS = "creation,creation-with-upload,creation-defer-length,expiration,checksum,termination"
_ALGORITHMS = ("sha1", "sha256", "sha512")
_METADATA = ("path", "mode", "message", "provenance")
_INFORMATION = ("filename", "filetype")
"""What clients of tus say by themselves. It is given back by HEAD, and means nothing here."""
_OF_CREATION = ("upload-length", "upload-defer-length", "upload-metadata", "upload-checksum")
_OF_A_PART = ("upload-offset", "upload-length", "upload-metadata", "upload-checksum")
_CONDITIONS = ("if-match", "if-none-match", "if-unmodified-since")
_INTEGER = re.compile(r"(?:0|[1-9][0-9]{0,15})\Z")
_MODE = re.compile(r"0?[0-7]{3}\Z")
_KEPT = "what has arrived is kept: ask with HEAD how far the upload is, and go on from there"

_CONTENT_HINT = f"add -H 'Content-Type: {CONTENT}'"
_METADATA_HINT = (
    "write it as 'path <base64>,mode <base64>,message <base64>,provenance <base64 of JSON>'; path is needed"
)
_PROVENANCE = Reading("the provenance in Upload-Metadata", _METADATA_HINT)
_FACTS = msgspec.json.Decoder(Mapping[str, Any])

UploadRef = Annotated[str, Path(description="Id of an upload.", examples=["a" * 26])]


class _Hash(Protocol):
    @property
    def digest_size(self) -> int: ...
    def update(self, data: memoryview, /) -> None: ...
    def digest(self) -> bytes: ...


def _header(name: str, description: str, *, required: bool = False, kind: str = "string") -> dict[str, Any]:
    schema = {"type": kind, "minimum": 0} if kind == "integer" else {"type": kind}
    return {"name": name, "in": "header", "required": required, "description": description, "schema": schema}


_VERSION = _header("Tus-Resumable", "`1.0.0`.", required=True)
_LENGTH = _header("Upload-Length", "Bytes of the whole file.", kind="integer")
_CHECKSUM = _header("Upload-Checksum", f"Of the part: an algorithm ({', '.join(_ALGORITHMS)}) and a digest in base64.")
_ABOUT = _header(
    "Upload-Metadata",
    f"Of {', '.join(_METADATA)}: a name and a value in base64 each, with commas between. "
    f"{' and '.join(_INFORMATION)} are kept, and given back by HEAD.",
)
_BODY = {"requestBody": {"content": {CONTENT: {"schema": {"type": "string", "format": "binary"}}}}}
_CREATION = {
    "parameters": [
        _VERSION,
        _LENGTH,
        _header("Upload-Defer-Length", "`1`: a later part says how long the file is."),
        {**_ABOUT, "required": True},
        _CHECKSUM,
    ],
    **_BODY,
}
_PART = {
    "parameters": [
        _VERSION,
        _header("Upload-Offset", "Where the part begins in the file.", required=True, kind="integer"),
        _LENGTH,
        _ABOUT,
        _CHECKSUM,
    ],
    "requestBody": {**_BODY["requestBody"], "required": True},
}
_OF_PARTS = (404, 408, 409, 412, 423, 460)


@router.options("/resumable-uploads", status_code=204, response_class=Response, responses=responses())
def resumable_options(caller: Caller, project: ProjectRef) -> Response:  # noqa: ARG001 - a part of the address
    """Say what of the tus protocol there is."""
    most = caller.manifold.context.policy.limits.max_file_bytes
    headers = {
        "Allow": "OPTIONS, POST",
        "Tus-Extension": EXTENSIONS,
        "Tus-Checksum-Algorithm": ",".join(_ALGORITHMS),
        **({"Tus-Max-Size": str(most)} if most else {}),
    }
    return Response(status_code=204, headers=headers)


@router.post(
    "/resumable-uploads",
    status_code=201,
    openapi_extra=_CREATION,
    responses=responses(*_OF_PARTS),
)
async def create_resumable(request: Request, response: Response, caller: Caller, project: ProjectRef) -> BegunUpload:
    """Begin an upload; the body may be its first part. One that is complete is committed at once."""
    headers = _headers_of(request, _OF_CREATION)
    total, defers = _integer(headers, "upload-length"), headers.get("upload-defer-length")
    if (total is None) == (defers is None) or defers not in (None, "1"):
        raise InvalidInput(
            "the request has to say how long the file is, or that it will be said later",
            hint="send Upload-Length: <bytes>, or Upload-Defer-Length: 1",
        )
    about = _about_of(request)
    if about is None:
        raise _malformed("it does not say what the file is to be called")
    has_body = bool(length_of(request.headers)) or "transfer-encoding" in headers
    if has_body:
        check_media_type(headers, (CONTENT,), _CONTENT_HINT)

    def work(body: Body) -> BegunUpload:
        in_project = caller.project(project)
        expected_by(caller, request.headers, in_project, path=about.path)
        found, uploads = in_project.id, caller.manifold.resumable_uploads
        state = uploads.create(caller.principal, found, about, total)
        if total == 0 or has_body:
            try:
                state = _append(request, caller, found, state.upload, body, 0, is_all=True)
            except ManifoldError as error:
                with suppress(ManifoldError):  # else it ends by itself: nobody was told of it
                    uploads.end(caller.principal, found, state.upload)
                error.details.pop("offset", None)
                error.hint = "; ".join(filter(None, (error.hint, "nothing of the upload is kept: begin another")))
                raise
        response.headers.update(_said_of(state))
        response.headers["Location"] = f"{address_of(state.project)}/resumable-uploads/{state.upload}"
        return BegunUpload(
            upload=state.upload,
            offset=state.offset,
            total_bytes=state.total_bytes,
            expires_at=state.expires_at,
            generation=None if state.outcome is None else state.outcome.generation,
        )

    return await caller.api.bodies.run(request, work, takes_parts=True)


@router.head(
    "/resumable-uploads/{upload}",
    response_class=Response,
    openapi_extra={"parameters": [_VERSION]},
    responses={200: {"description": "How far it is."}, **responses(404, 412)},
)
def look_at_resumable(request: Request, caller: Caller, project: ProjectRef, upload: UploadRef) -> Response:
    """Say how far an upload is. It has all its bytes once it is committed, and not before."""
    _headers_of(request)
    found = caller.project_id(project)
    state = caller.manifold.resumable_uploads.look(caller.principal, found, parse_upload_id(upload))
    headers = {**_said_of(state), "Upload-Metadata": state.about.metadata}
    if state.total_bytes is None:
        headers["Upload-Defer-Length"] = "1"
    return Response(headers=headers)


@router.patch(
    "/resumable-uploads/{upload}",
    status_code=204,
    response_class=Response,
    openapi_extra=_PART,
    responses=responses(*_OF_PARTS),
)
async def append_to_resumable(request: Request, caller: Caller, project: ProjectRef, upload: UploadRef) -> Response:
    """Send a part, from `Upload-Offset` on. With the last byte the file is committed.

    Where the commit is refused, all but that byte is kept. Conditions and `Upload-Metadata` count in place of those
    that were given before.
    """
    headers = _headers_of(request, _OF_A_PART)
    check_media_type(headers, (CONTENT,), _CONTENT_HINT)
    offset = _integer(headers, "upload-offset")
    if offset is None:
        raise InvalidInput("the request has no Upload-Offset", hint="say where the part begins in the file")

    def work(body: Body) -> Response:
        found = caller.project_id(project)
        state = _append(request, caller, found, parse_upload_id(upload), body, offset)
        return Response(status_code=204, headers=_said_of(state))

    return await caller.api.bodies.run(request, work, takes_parts=True)


@router.delete(
    "/resumable-uploads/{upload}",
    status_code=204,
    response_class=Response,
    openapi_extra={"parameters": [_VERSION]},
    responses=responses(404, 412, 423),
)
def end_resumable(request: Request, caller: Caller, project: ProjectRef, upload: UploadRef) -> Response:
    """End an upload and remove what has arrived. A file that is committed stays."""
    _headers_of(request)
    caller.manifold.resumable_uploads.end(caller.principal, caller.project_id(project), parse_upload_id(upload))
    return Response(status_code=204)


def _append(
    request: Request,
    caller: Call,
    project: ProjectId,
    upload: UploadId,
    body: Body,
    offset: int,
    *,
    is_all: bool = False,
) -> UploadState:
    """Args: ``is_all``: the request has begun the upload, and nobody goes on with it where this is refused."""
    headers = combined(request.scope["headers"])
    conditions = _conditions_of(headers)
    Conditions(Headers(conditions))
    part = _Part(body, headers.get("upload-checksum"))
    agreed = Headers()

    def settle(about: About) -> tuple[Seen | None, bool]:
        nonlocal agreed
        agreed = Headers(about.conditions)
        creates = creates_only(agreed)
        expected = expected_by(caller, agreed, caller.project(project), path=about.path, creates=creates)
        return expected, creates

    incoming = Incoming(
        offset,
        part,
        settle,
        length=length_of(request.headers),
        total_bytes=_integer(headers, "upload-length"),
        about=None if is_all else _about_of(request),
        conditions=conditions or None,
        verify=part.verify if part.is_checked else None,
        is_all=is_all,
    )
    try:
        state = caller.manifold.resumable_uploads.append(caller.principal, project, upload, incoming)
    except ManifoldError as error:
        if status_of(error, agreed) == 412 != status_of(error, request.headers):  # a request before has given it
            raise PreconditionFailed(error.message, hint=error.hint, **error.details) from None
        raise
    if part.broken is not None:
        raise type(part.broken)(part.broken.message, hint=_KEPT, offset=state.offset)
    return state


class _Part:
    """The body of a request as far as it comes. One that breaks off has ended, unless it is checked as a whole."""

    def __init__(self, body: Body, checksum: str | None) -> None:
        """Raises InvalidInput: the checksum is malformed, or of another kind than is known."""
        self._body = body
        self._hash: _Hash | None = None
        self._wanted = b""
        if checksum is not None:
            name, _, digest = checksum.strip().partition(" ")
            if name not in _ALGORITHMS:
                raise InvalidInput(
                    f"Upload-Checksum has the algorithm {name[:40]!r}", hint=f"use one of {', '.join(_ALGORITHMS)}"
                )
            self._hash = hashlib.new(name, usedforsecurity=False)
            self._wanted = _decoded(digest, "Upload-Checksum")
            if len(self._wanted) != self._hash.digest_size:
                raise InvalidInput(
                    f"Upload-Checksum has no digest of {name}", hint=f"write it as Upload-Checksum: {name} <base64>"
                )
        self.is_checked = self._hash is not None or body.has_digest
        self.broken: ManifoldError | None = None

    def __call__(self, into: memoryview) -> int:
        if self.broken is not None:
            return 0
        try:
            count = self._body(into)
        except (IncompleteBody, Overloaded) as error:
            if self.is_checked:
                raise
            self.broken = error
            return 0
        if self._hash is not None:
            self._hash.update(into[:count])
        return count

    def verify(self) -> None:
        """Raises ChecksumMismatch. (What other headers say of the body, it sees to itself at its end.)"""
        if self._hash is not None and self._hash.digest() != self._wanted:
            raise ChecksumMismatch(
                "the part that has arrived is not the one that Upload-Checksum names",
                hint="nothing of it was kept: send it again, or correct the header",
            )


def _headers_of(request: Request, known: tuple[str, ...] = ()) -> dict[str, str]:
    """Return the headers of a request that speaks the right version. Args: ``known``: those that may say something of
    the upload. Raises PreconditionFailed; InvalidInput: another one does."""
    headers = combined(request.scope["headers"])
    if headers.get("tus-resumable", "").strip() != TUS["Tus-Resumable"]:
        raise PreconditionFailed(
            "the request is not of the protocol that is spoken here",
            hint=f"add -H 'Tus-Resumable: {TUS['Tus-Resumable']}'",
        )
    for name in headers:
        if name.startswith("upload-") and name not in known:
            taken = ", ".join(one.title() for one in known)
            raise InvalidInput(
                f"{name[:40].title()} is not taken here",
                hint=f"send the request without it; of an upload it may say {taken}" if known else "leave it out",
            )
    return headers


def _said_of(state: UploadState) -> dict[str, str]:
    headers = {
        "Upload-Offset": str(state.offset),
        "Upload-Expires": format_datetime(state.expires_at, usegmt=True),
        "Cache-Control": "no-store",
    }
    if state.total_bytes is not None:
        headers["Upload-Length"] = str(state.total_bytes)
    outcome = state.outcome
    if outcome is not None:
        headers["Manifold-Generation"] = str(outcome.generation)
        if outcome.etag is not None:
            headers["ETag"] = outcome.etag
    if state.repeated:
        headers["Idempotency-Replayed"] = "true"
    return headers


def _integer(headers: Mapping[str, str], name: str) -> int | None:
    """Raises InvalidInput."""
    value = headers.get(name)
    if value is None:
        return None
    if not _INTEGER.match(value.strip()):
        raise InvalidInput(f"{name.title()} is not a number of bytes", hint=f"write it in digits, such as {name}: 7")
    return int(value)


def _conditions_of(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: headers[name] for name in _CONDITIONS if name in headers}


def _about_of(request: Request) -> About | None:
    """Return what Upload-Metadata and conditions say of the file. Raises InvalidInput, UnsafePath."""
    headers = combined(request.scope["headers"])
    text = headers.get("upload-metadata")
    if text is None:
        return None
    said: dict[str, bytes] = {}
    for pair in text.split(","):
        name, _, value = pair.strip().partition(" ")
        if name not in (*_METADATA, *_INFORMATION):
            raise unknown_metadata(name, (*_METADATA, *_INFORMATION))
        if name in said:
            raise _malformed(f"it says {name!r} twice")
        said[name] = _decoded(value, "Upload-Metadata")
    if not said.get("path"):
        raise _malformed("it does not say what the file is to be called")
    mode = _text(said.get("mode", b""))
    if mode and not _MODE.match(mode):
        raise _malformed("the mode is none")
    return About(
        path=check_path(said["path"]),
        mode=int(mode, 8) if mode else None,
        message=checked_text(_text(said.get("message", b"")), "message"),
        provenance=json_facts(_PROVENANCE.json(_FACTS, said.get("provenance", b"{}")), "provenance"),
        conditions=_conditions_of(headers),
        metadata=text,
    )


def _text(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        raise _malformed("a value is not UTF-8") from None


def _decoded(text: str, name: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInput(f"{name} holds what is not base64", hint="encode each value as base64") from None


def _malformed(what: str) -> InvalidInput:
    return InvalidInput(
        f"Upload-Metadata cannot be used: {what}",
        hint=_METADATA_HINT,
    )
