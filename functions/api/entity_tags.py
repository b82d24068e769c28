"""Entity tags (RFC 9110, 8.8.3), the lists of them that headers hold, and the forms in which one names a generation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from manifold_common.domain.history import Point, Version, parse_point
from manifold_common.errors import InvalidInput

_LIST = re.compile(r'[ \t]*(?:(W/)?"([\x21\x23-\x7e\x80-\xff]*)"[ \t]*)?(?:,|\Z)')
_VERSION = re.compile(r"([0-9]{1,15}(?:-[a-z2-7]{26})?)(?:\.([0-9]{1,15}))?\Z")
_SHOWN = 80


class Tag(NamedTuple):
    opaque: str
    is_weak: bool

    def names_generation(self) -> Point | None:
        """Return the generation, where it names nothing else: ``"7"``, or ``"7-<commit id>"``."""
        state = self._state()
        return None if self.is_weak or state is None or state.revision is not None else state.point

    def names(self, version: Version) -> bool:
        """Tell whether it is the project's tag, or one of its forms that leave out the commit, the revision or both."""
        state = self._state()
        return state is not None and state.is_at(version)

    def _state(self) -> Version | None:
        found = _VERSION.match(self.opaque)
        if found is None:
            return None
        try:
            return Version(parse_point(found[1]), None if found[2] is None else int(found[2]))
        except InvalidInput:
            return None


class Tags(NamedTuple):
    """What If-Match or If-None-Match hold: ``*``, or a list of tags."""

    header: str
    is_any: bool
    tags: Sequence[Tag] = ()

    @classmethod
    def of(cls, header: str, lines: Sequence[str]) -> Tags | None:
        """Return what the lines of a header say together; ``None``: there are none.

        Raises:
            InvalidInput: neither ``*`` nor a list of tags, or nothing at all.
        """
        if not lines:
            return None
        text = ", ".join(lines).strip(" \t")
        if text == "*":
            return cls(header, is_any=True)
        tags, at = [], 0
        while at < len(text):
            found = _LIST.match(text, at)
            if found is None:
                raise InvalidInput(
                    f"{header} has {text[at : at + _SHOWN].strip()!r} where a tag in quotes belongs",
                    hint=f'write tags as ETag headers give them, or a generation in quotes: {header}: "7"',
                )
            if found[2] is not None:
                tags.append(Tag(found[2], bool(found[1])))
            at = found.end()
        if not tags:
            raise InvalidInput(
                f"{header} names nothing", hint=f'write a tag in quotes, such as {header}: "7"; or leave it out'
            )
        return cls(header, is_any=False, tags=tags)

    def match(self, etag: str | None, version: Version | None, *, strong: bool) -> bool:
        """Tell whether one of the tags is of a representation that is there.

        Args:
            etag: of the representation; ``None``: it has none, or there is none.
            version: of the project that it belongs to, where tags may name that.
            strong: only strong tags count, for changes and parts; else weak ones too.
        """
        held = None if etag is None else Tag(etag.removeprefix("W/").strip('"'), etag.startswith("W/"))
        for tag in self.tags:
            if strong and tag.is_weak:
                continue
            if version is not None and tag.names(version):
                return True
            if held is not None and held.opaque == tag.opaque and not (strong and held.is_weak):
                return True
        return False
