"""What is said of an archive that is answered, made at once or by a job."""

from __future__ import annotations

from typing import Any

from manifold_common.services.archive import ArchiveFormat

MEDIA_TYPES = {
    ArchiveFormat.TAR_GZ: "application/gzip",
    ArchiveFormat.ZIP: "application/zip",
    ArchiveFormat.TAR: "application/x-tar",
}
BINARY = {"schema": {"type": "string", "format": "binary"}}
_CONTENT = dict.fromkeys(MEDIA_TYPES.values(), BINARY)
FOUND: dict[int | str, dict[str, Any]] = {
    200: {"description": "The archive.", "content": _CONTENT},
    206: {"description": "The part asked for.", "content": _CONTENT},
}
