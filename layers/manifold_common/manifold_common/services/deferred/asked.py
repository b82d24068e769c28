"""What a job was asked to do, as it is kept: sealed, since it names paths and says why."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import msgspec

from manifold_common.domain.conflict import Strategy
from manifold_common.domain.history import Point, point_of
from manifold_common.domain.named_request import NamedRequest
from manifold_common.ids import CommitId, Generation, RequestId, UploadId, parse_request_id
from manifold_common.services.archive import ArchiveFormat
from manifold_common.shapes.intent import Intent

RESTORE: Final = "restore"
IMPORT: Final = "import"
ARCHIVE: Final = "archive"
_FINGERPRINT = b"deferred request"


class _Asked(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    name: RequestId | None = None
    """That the caller gave the request."""
    fingerprint: bytes = b""
    """What tells it from another one of that name."""


class _Point(msgspec.Struct, frozen=True, array_like=True):
    generation: Generation
    commit: CommitId | None


class _AskedCommit(_Asked, frozen=True, kw_only=True):
    message: str = ""
    provenance: dict[str, Any] = {}
    expected: _Point | None = None
    strategy: Strategy = Strategy.FAIL

    def intent(self, request: UploadId) -> Intent:
        """Return what is meant. However often the commit is tried, it is made under the one name: the caller's, so that
        the same request without a job is the same one too, or else one of its own."""
        name, fingerprint = self.name, self.fingerprint
        if name is None:
            name, fingerprint = parse_request_id(f"deferred:{request}"), _FINGERPRINT
        return Intent(
            self.message,
            self.provenance,
            None if self.expected is None else Point(self.expected.generation, self.expected.commit),
            self.strategy,
            NamedRequest(name, lambda: fingerprint),
        )


class AskedRestore(_AskedCommit, frozen=True, kw_only=True, tag=RESTORE):
    generation: Generation
    paths: list[bytes] = []


class AskedImport(_AskedCommit, frozen=True, kw_only=True, tag=IMPORT):
    folder: bytes = b""
    replace: bool = False
    is_whole: bool = False
    """The archive has arrived, to its end."""


class AskedArchive(_Asked, frozen=True, kw_only=True, tag=ARCHIVE):
    generation: Generation
    archive_format: ArchiveFormat
    version: str
    """Of the bytes: what one try has begun, another goes on with."""


Asked: TypeAlias = AskedRestore | AskedImport | AskedArchive
DECODER = msgspec.msgpack.Decoder(Asked)


def kind_of(asked: Asked) -> str:
    """Return the kind of job that does it."""
    return str(asked.__struct_config__.tag)


def said(intent: Intent) -> dict[str, Any]:
    """Return the fields of what is kept of an intent, but for its request."""
    return {
        "message": intent.message,
        "provenance": dict(intent.provenance),
        "expected": None if intent.expected is None else _Point(*point_of(intent.expected)),
        "strategy": intent.strategy,
    }


def named(request: NamedRequest | None) -> dict[str, Any]:
    """Return the fields of what is kept of a request's name. Its content was read."""
    return {} if request is None else {"name": request.name, "fingerprint": request.fingerprint()}
