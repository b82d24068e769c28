"""Places in a project's history. A generation's number alone is none: a catalog that was restored from a backup gives
the same number again, to another commit."""

from __future__ import annotations

import re
from typing import NamedTuple, TypeAlias

from manifold_common.errors import GenerationMismatch, InvalidInput, PreconditionFailed, StaleStore
from manifold_common.ids import CommitId, Generation, parse_commit_id

_POINT = re.compile(r"([0-9]{1,15})(?:-([a-z2-7]{26}))?\Z")


class Point(NamedTuple):
    """A generation, and the commit that made it."""

    generation: Generation
    commit: CommitId | None = None
    """``None`` at generation 0; elsewhere: not known, so that it may be any."""

    def is_at(self, other: Point) -> bool:
        """Tell whether ``other``, of which both are known, is this point as far as it is known."""
        return self.generation == other.generation and self.commit in (None, other.commit)

    def __str__(self) -> str:
        """The spelling everywhere: in entity tags, on the command line, in JSON, in the names of stored objects."""
        return f"{self.generation}" if self.commit is None else f"{self.generation}-{self.commit}"


class Version(NamedTuple):
    """A state of a project. Every commit makes another generation; what else changes it, such as another name, counts
    its revision up."""

    point: Point
    revision: int | None
    """``None``: not known, so that it may be any."""

    def is_at(self, other: Version) -> bool:
        """Tell whether ``other``, of which all is known, is this version as far as it is known."""
        return self.point.is_at(other.point) and self.revision in (None, other.revision)

    def __str__(self) -> str:
        return f"{self.point}.{self.revision}"


Seen: TypeAlias = Generation | Point
"""What a caller says of the past: a generation's number, or better a point."""


def point_of(seen: Seen) -> Point:
    return seen if isinstance(seen, Point) else Point(seen)


def parse_point(text: str) -> Point:
    """Return what ``7`` or ``7-<commit id>`` stands for. Raises InvalidInput."""
    found = _POINT.match(text)
    if found is None:
        raise InvalidInput(
            f"{text[:60]!r} is not a generation", hint="write its number, or number and commit id: 7-<commit id>"
        )
    return Point(Generation(int(found[1])), parse_commit_id(found[2]) if found[2] else None)


def require_expected(head: Point, expected: Seen | None) -> None:
    """Raises GenerationMismatch: the project, at ``head``, is not where a conditional write wants it."""
    if expected is None or point_of(expected).is_at(head):
        return
    point = point_of(expected)
    other = ", by another commit" if head.generation == point.generation else ""
    raise GenerationMismatch(
        f"the project is at generation {head.generation}{other}, not at {point.generation} as expected",
        hint=f"look at what has changed since, then do it again with generation {head}",
        expected=point.generation,
        head_generation=head.generation,
    )


def require_version(found: Version, expected: Version | None) -> None:
    """Raises GenerationMismatch, PreconditionFailed: a project is not (any more) what a change of it depends on."""
    if expected is None:
        return
    require_expected(found.point, expected.point)
    if not expected.is_at(found):
        raise PreconditionFailed(
            f"the project was changed, at generation {found.point.generation}, since its conditions were looked at",
            hint="read it again, and decide anew",
        )


def history_replaced(seen: Point, head: Generation) -> StaleStore:
    """Return the error for a history, now at ``head``, in which ``seen`` is not."""
    text = f"the project is at generation {head}, but generation {seen.generation} was seen before"
    return StaleStore(
        text if head < seen.generation else f"{text}, with another commit than it has now",
        hint="the database may have been restored from an old backup: find that out before writing anything. What was "
        "committed since may be in working sets only: 'manifold leftovers set-aside SESSION' keeps one as it is, so "
        "that its session begins anew",
        head_generation=head,
        seen_generation=seen.generation,
        seen_commit=seen.commit,
    )
