"""Paths in JSON: as text, or as base64 where they are not UTF-8."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

from manifold_common.domain.paths import check_path, from_text
from manifold_common.errors import InvalidInput
from pydantic import BaseModel, Field, model_validator

from functions.invocation.bounds import listed
from functions.invocation.path_text import path_fields


class PathOut(BaseModel):
    path: str = Field(description="For people; bytes that are not UTF-8 read as `\\xNN`.", examples=["src/main.py"])
    path_base64: str | None = Field(
        None, description="The exact bytes, given only when they are not UTF-8.", exclude_if=lambda value: value is None
    )


class PathIn(BaseModel):
    """A path in a request: as text, or as base64 where it is not UTF-8."""

    path: str | None = Field(None, description="As text.", examples=["src/main.py"])
    path_base64: str | None = Field(None, description="The exact bytes.")

    @model_validator(mode="after")
    def _one(self) -> PathIn:
        if (self.path is None) == (self.path_base64 is None):
            raise ValueError("give either path or path_base64")
        return self

    def to_bytes(self) -> bytes:
        """Raises UnsafePath."""
        return path_of(self.path, self.path_base64)


def path_of(text: str | None, encoded: str | None) -> bytes:
    """Return the path given as text or as base64. Raises UnsafePath."""
    return from_text(text) if text is not None else check_path(bytes_of(encoded or ""))


def bytes_of(encoded: str, field: str = "path_base64") -> bytes:
    """Raises InvalidInput: not base64."""
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInput(
            f"{field} is not base64", hint="encode the bytes with the alphabet A-Z a-z 0-9 + /"
        ) from None


def path_out(path: bytes) -> PathOut:
    return PathOut(**path_fields(path))


def paths_out(paths: Sequence[bytes]) -> list[PathOut]:
    """Return the first of them: as many as are listed in an answer about something else."""
    return [path_out(path) for path in listed(paths)]
