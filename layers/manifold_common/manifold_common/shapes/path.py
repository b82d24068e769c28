"""A path in JSON: as text, and as exact bytes where these are not UTF-8."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

from msgspec import UNSET, Meta, UnsetType

from manifold_common.domain.fitting import as_many_as_fit
from manifold_common.domain.paths import MAX_NAME_BYTES, ROOT, check_path, from_text, to_display
from manifold_common.errors import InvalidInput
from manifold_common.shapes.base import Answer, Request

T = TypeVar("T")

LISTED_PATHS = 1000
"""So many paths at most are listed in an answer that is about something else."""
_LISTED_BYTES = 128 << 10
_SURELY_SHORT = MAX_NAME_BYTES // 4
"""So many characters are a name of no more than the bytes that one may have."""
_SUSPECT = re.compile(r"(?:\A|/)\.{0,2}(?:/|\Z)|\0|[\ud800-\udfff]")
"""What is, or may be, no path: an empty, ``.`` or ``..`` segment, a NUL, half a character. The root, too."""

_Shown = Annotated[
    str, Meta(description="For people; bytes that are not UTF-8 read as `\\xNN`.", examples=["src/main.py"])
]
_Exact = Annotated[bytes, Meta(description="The exact bytes, given only when they are not UTF-8.")]


class TreePath(Answer, frozen=True, gc=False):
    """A path that is told. The project's root is ``""``."""

    path: _Shown
    path_base64: _Exact | UnsetType = UNSET

    def __post_init__(self) -> None:
        # Of a listing's 10,000 entries, most pass here: none of their names can be too long.
        if self.path_base64 is UNSET and len(self.path) <= _SURELY_SHORT and not _SUSPECT.search(self.path):
            return
        try:
            _ = self.exact
        except InvalidInput as error:
            raise ValueError(error.message) from None

    @property
    def exact(self) -> bytes:
        if self.path_base64 is not UNSET:
            return check_path(self.path_base64) if self.path_base64 else ROOT
        return from_text(self.path) if self.path else ROOT

    @classmethod
    def of(cls, path: bytes) -> TreePath:
        return cls(*text_of(path))


class Place(Request, frozen=True):
    """A path in a request: as text, or as base64 where it is not UTF-8. One that was answered may be sent as it is."""

    path: Annotated[str | None, Meta(description="As text.", examples=["src/main.py"])] = None
    path_base64: Annotated[bytes | None, Meta(description="The exact bytes.")] = None

    def __post_init__(self) -> None:
        if self.path is None and self.path_base64 is None:
            raise ValueError("give path or path_base64")
        if self.path is not None and self.path_base64 is not None and to_display(self.path_base64) != self.path:
            raise ValueError("path and path_base64 are not the same path; give one of them")

    @property
    def exact(self) -> bytes:
        """The path. Raises UnsafePath."""
        return check_path(self.path_base64) if self.path_base64 is not None else from_text(self.path or "")

    @classmethod
    def of(cls, path: bytes) -> Place:
        shown, exact = text_of(path)
        return cls(shown) if exact is UNSET else cls(path_base64=exact)


def text_of(path: bytes) -> tuple[str, bytes | UnsetType]:
    """Return a path, or the target of a link, as text, and its bytes where the text does not say them all."""
    try:
        return path.decode(), UNSET
    except UnicodeDecodeError:
        return to_display(path), path


def listed(paths: Sequence[bytes]) -> list[TreePath]:
    """Return the first paths of a list, as ``first_of``."""
    return list(map(TreePath.of, first_of(paths)))


def first_of(items: Sequence[T], length: Callable[[Any], int] = len) -> Sequence[T]:
    """Return the first items of a list: within an answer about what is done, which a long list must not keep back.

    Args:
        length: bytes of an item's names.
    """
    return as_many_as_fit(items[:LISTED_PATHS], _LISTED_BYTES, length)
