"""Identifiers, each a type of its own.

Random ids are 128 bits, written as 26 characters of lower-case base32 without padding (RFC 4648), so that they are
safe in a URL, a file name and an object key. Ids that people choose (tenant, user, session) are slugs.

A type carries its rule: whatever msgspec decodes into one is a valid id, whoever sent it, or is refused. So no decoder
can let through a text that leads somewhere else. Other text becomes an id by ``parse_*``.
"""

from __future__ import annotations

import base64
import re
from typing import Annotated, NewType, TypeAlias

from msgspec import Meta

from manifold_common.errors import InvalidInput

ID_BYTES = 16
CHUNK_ID_BYTES = 32
GENERATION_DIGITS = 12
MAX_GENERATION = 10**GENERATION_DIGITS - 1

# The last character stands for the last three bits alone, so that an id has one spelling.
_ENCODED = r"\A[a-z2-7]{25}[aeimquy4]\Z"
_REQUEST = r"\A[A-Za-z0-9._:@/+=-]{1,128}\Z"
TAG = r"\A(?![Hh][Ee][Aa][Dd]\Z)[A-Za-z][A-Za-z0-9._-]{0,63}\Z"
SLUG = r"\A(?!.*\.\.)[a-z0-9](?:[a-z0-9._@-]{0,62}[a-z0-9])?\Z"

TenantId = NewType("TenantId", Annotated[str, Meta(pattern=SLUG)])
UserId = NewType("UserId", Annotated[str, Meta(pattern=SLUG)])
SessionId = NewType("SessionId", Annotated[str, Meta(pattern=SLUG)])
ProjectId = NewType("ProjectId", Annotated[str, Meta(pattern=_ENCODED)])
CommitId = NewType("CommitId", Annotated[str, Meta(pattern=_ENCODED)])
DekId = NewType("DekId", Annotated[str, Meta(pattern=_ENCODED)])
"""A data key. ``PLAIN`` stands for "no key": the object is unsealed."""
ObjectId = NewType("ObjectId", Annotated[str, Meta(pattern=_ENCODED)])
"""Salt of one stored object's key. Never used twice for different bytes."""
UploadId = NewType("UploadId", Annotated[str, Meta(pattern=_ENCODED)])
"""A file that arrives in parts."""
JobId = NewType("JobId", Annotated[str, Meta(pattern=_ENCODED)])
WorkingSetId = NewType("WorkingSetId", Annotated[str, Meta(pattern=_ENCODED)])
"""One plaintext folder of a session, which may have left others behind on other machines."""
CatalogId = NewType("CatalogId", Annotated[str, Meta(pattern=_ENCODED)])
"""One line of catalogs: an original and its copies."""
IncarnationId = NewType("IncarnationId", Annotated[str, Meta(pattern=_ENCODED)])
"""One of them, which alone goes on under this id. Whatever lies outside a catalog and is its own says so by it."""
ChunkId = NewType("ChunkId", Annotated[bytes, Meta(min_length=CHUNK_ID_BYTES, max_length=CHUNK_ID_BYTES)])
"""Keyed BLAKE3-256 of a chunk's bytes: 32 bytes."""
RequestId = NewType("RequestId", Annotated[str, Meta(pattern=_REQUEST)])
"""A caller's own name for a request: a second one of that name is the first one again."""
TagName = NewType("TagName", Annotated[str, Meta(pattern=TAG)])
"""A name for a generation. It begins with a letter, as no number does; ``head`` would be the newest one."""
Generation = NewType("Generation", Annotated[int, Meta(ge=0, le=MAX_GENERATION)])
"""A project's commit number, 0 while it is empty."""
TenantProject: TypeAlias = tuple[TenantId, ProjectId]
"""Which project: its id names it within its tenant."""

DEFAULT_TENANT = TenantId("default")
DEFAULT_USER = UserId("local")
PLAIN = DekId("a" * 26)  # sixteen zero bytes


def encode_id(raw: bytes) -> str:
    """Return the text form of 16 random bytes."""
    if len(raw) != ID_BYTES:
        raise ValueError(f"an id has {ID_BYTES} bytes, not {len(raw)}")
    return base64.b32encode(raw).decode("ascii").rstrip("=").lower()


def decode_id(text: str) -> bytes:
    """Return the 16 bytes of an id's text form.

    Raises:
        InvalidInput: not 26 characters of lower-case base32, or not the one canonical spelling.
    """
    if re.match(_ENCODED, text):
        return base64.b32decode(text.upper() + "======")
    raise InvalidInput(f"{text[:64]!r} is not an id", hint="an id is 26 characters of a-z and 2-7")


def _slug(text: str, what: str) -> str:
    if not isinstance(text, str) or not re.match(SLUG, text):
        raise InvalidInput(
            f"{str(text)[:80]!r} is not a valid {what}",
            hint="use 1 to 64 lower-case letters, digits and . _ @ -, beginning and ending with a letter or digit",
        )
    return text


def parse_project_id(text: str) -> ProjectId:
    """Raises InvalidInput unless ``text`` is a random id."""
    decode_id(text)
    return ProjectId(text)


def parse_commit_id(text: str) -> CommitId:
    """Raises InvalidInput unless ``text`` is a random id."""
    decode_id(text)
    return CommitId(text)


def parse_dek_id(text: str) -> DekId:
    """Raises InvalidInput unless ``text`` is a random id."""
    decode_id(text)
    return DekId(text)


def parse_object_id(text: str) -> ObjectId:
    """Raises InvalidInput unless ``text`` is a random id."""
    decode_id(text)
    return ObjectId(text)


def parse_upload_id(text: str) -> UploadId:
    """Raises InvalidInput unless ``text`` is a random id."""
    decode_id(text)
    return UploadId(text)


def parse_job_id(text: str) -> JobId:
    """Raises InvalidInput unless ``text`` is a random id."""
    decode_id(text)
    return JobId(text)


def parse_working_set_id(text: str) -> WorkingSetId:
    """Raises InvalidInput unless ``text`` is a random id."""
    decode_id(text)
    return WorkingSetId(text)


def parse_catalog_id(text: str) -> CatalogId:
    """Raises InvalidInput unless ``text`` is a random id."""
    decode_id(text)
    return CatalogId(text)


def parse_incarnation_id(text: str) -> IncarnationId:
    """Raises InvalidInput unless ``text`` is a random id."""
    decode_id(text)
    return IncarnationId(text)


def parse_tenant_id(text: str) -> TenantId:
    """Raises InvalidInput unless ``text`` is a slug."""
    return TenantId(_slug(text, "tenant id"))


def parse_user_id(text: str) -> UserId:
    """Raises InvalidInput unless ``text`` is a slug."""
    return UserId(_slug(text, "user id"))


def parse_session_id(text: str) -> SessionId:
    """Raises InvalidInput unless ``text`` is a slug."""
    return SessionId(_slug(text, "session id"))


def parse_request_id(text: str) -> RequestId:
    """Raises InvalidInput unless ``text`` can name a request."""
    if not re.match(_REQUEST, text):
        raise InvalidInput(
            f"{text[:80]!r} is not a valid request id", hint="use 1 to 128 letters, digits and . _ : @ / + = -"
        )
    return RequestId(text)


def parse_tag_name(text: str) -> TagName:
    """Raises InvalidInput unless ``text`` can name a tag."""
    if not isinstance(text, str) or not re.match(TAG, text):
        raise InvalidInput(
            f"{str(text)[:80]!r} cannot be a tag's name",
            hint="use 1 to 64 letters, digits and . _ -, beginning with a letter; head is no name for a tag",
        )
    return TagName(text)
