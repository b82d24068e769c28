"""How two sets of changes made from one base become one.

Changes to different paths go together; changes to one path conflict, unless both sides did the same. Folders conflict
less: a folder's time changes whenever a name in it does, so it never counts. What one side deletes or replaces cannot
hold what the other side puts below it: that is a conflict of the lower path.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from enum import Enum
from typing import NamedTuple, assert_never

from manifold_common.domain.arguments import member_of
from manifold_common.domain.paths import ROOT, ancestors_of, to_display, to_text
from manifold_common.domain.tree import DIRECTORY, Changes, Entry, Tree, apply, between, significant
from manifold_common.domain.wording import plural
from manifold_common.errors import CommitConflict
from manifold_common.ids import Generation, ProjectId, SessionId

_NAMED = 5
"""Paths in a message; all are in the error's ``paths``."""


class Strategy(Enum):
    """Whose version of a conflicting path is kept."""

    FAIL = "fail"
    OURS = "ours"
    THEIRS = "theirs"

    @classmethod
    def of(cls, value: Strategy | str) -> Strategy:
        """Return the strategy that ``value`` is or names. Raises InvalidInput: there is none of that name."""
        return member_of(cls, value, "strategy")


class Merge(NamedTuple):
    changes: Changes
    """Ours, made to fit on top of theirs."""
    conflicts: list[bytes]
    """Paths on which the two sides disagree, sorted."""


def commit_conflict(
    paths: Sequence[bytes],
    *,
    of: str = "",
    how: str,
    base: Generation,
    head: Generation,
    project: ProjectId,
    session: SessionId | None,
) -> CommitConflict:
    """Return the error that says which paths both sides have changed.

    Args:
        of: of what they are, such as ``of the working set``.
        how: by whom else, or since when, they were changed.
    """
    what = f"{plural(len(paths), 'path')} {of}".rstrip()
    return CommitConflict(
        f"{what} {'was' if len(paths) == 1 else 'were'} also changed {how}: "
        + ", ".join(map(to_display, paths[:_NAMED])),
        paths=[to_text(path) for path in paths],
        base_generation=base,
        head_generation=head,
        project=project,
        session=session,
    )


def rebase(base: Mapping[bytes, Entry], ours: Changes, theirs: Changes, strategy: Strategy = Strategy.FAIL) -> Merge:
    """Return ``ours`` as changes to the tree that ``theirs`` made of ``base``, and where the two disagree.

    With ``OURS`` or ``THEIRS`` the returned changes already hold that side's answer for each conflicting path; with
    ``FAIL`` they hold what did not conflict.
    """
    our_real = significant(base, ours)
    their_real = significant(base, theirs)
    conflicts = _direct(ours, their_real, our_real) | _nested(our_real, their_real) | _nested(their_real, our_real)
    if ROOT not in base:
        conflicts.discard(ROOT)  # two first commits, whose root folders came with different modes

    upserts: dict[bytes, Entry] = {}
    for path, entry in ours.upserts.items():
        if path in conflicts:
            continue
        fitted = _fit(path, entry, our_real, their_real, theirs)
        if fitted is not None:
            upserts[path] = fitted
    deletes = {path for path in ours.deletes if path not in conflicts and path not in theirs.deletes}
    merged = Changes(upserts, deletes)
    match strategy:
        case Strategy.FAIL:
            pass
        case Strategy.OURS:
            _prefer_ours(merged, base, ours, theirs, conflicts)
        case Strategy.THEIRS:
            _prefer_theirs(merged, conflicts)
        case _:
            assert_never(strategy)
    return Merge(merged, sorted(conflicts))


def dropped(base: Mapping[bytes, Entry], ours: Changes, theirs: Changes, head: Tree) -> Changes:
    """Return what ``rebase`` leaves out of ``ours`` with the strategy ``THEIRS``, as changes to ``head``.

    ``head`` is the tree that ``theirs`` made of ``base``. The changes fit it by themselves: they are our versions of
    what the strategy decided, and nothing else.
    """
    without, mine = dict(head), dict(head)
    apply(without, rebase(base, ours, theirs, Strategy.THEIRS).changes)
    apply(mine, rebase(base, ours, theirs, Strategy.OURS).changes)
    return only(significant(without, between(without, mine)).paths(), head, mine)


def only(paths: Set[bytes], before: Mapping[bytes, Entry], after: Mapping[bytes, Entry]) -> Changes:
    """Return the changes that make ``paths`` in ``before`` as they are in ``after``, and what that takes: folders to
    stand in, and the removal of what stands in the way."""
    changes = between(before, after)
    walls = {path for path in paths if path not in after or after[path].kind != DIRECTORY}
    upserts = {path: entry for path, entry in changes.upserts.items() if path in paths}
    deletes = {
        path for path in changes.deletes if path in paths or any(folder in walls for folder in ancestors_of(path))
    }
    for path in list(upserts):
        for folder in ancestors_of(path):
            standing = before.get(folder)
            if folder not in upserts and (standing is None or standing.kind != DIRECTORY):
                upserts[folder] = after[folder]
    return Changes(upserts, deletes)


def _direct(ours: Changes, their_real: Changes, our_real: Changes) -> set[bytes]:
    """Paths that both sides changed, differently."""
    both = our_real.paths() & their_real.paths()
    found = set()
    for path in both:
        mine, other = ours.upserts.get(path), their_real.upserts.get(path)
        agree = mine is None and other is None
        if mine is not None and other is not None:
            agree = mine.same_but_time(other)
        if not agree:
            found.add(path)
    return found


def _nested(lower: Changes, upper: Changes) -> set[bytes]:
    """Paths that ``lower`` puts where ``upper`` no longer has a folder."""
    walls = upper.deletes | {path for path, entry in upper.upserts.items() if entry.kind != DIRECTORY}
    if not walls:
        return set()
    return {path for path in lower.upserts if any(folder in walls for folder in ancestors_of(path))}


def _fit(path: bytes, entry: Entry, our_real: Changes, their_real: Changes, theirs: Changes) -> Entry | None:
    """Return the entry to keep on top of ``theirs``, or ``None`` when theirs stands. The two sides agree here."""
    other = theirs.upserts.get(path)
    if other is None:
        # Ours is only a folder's new time, and they removed the folder: it stays removed.
        only_time = path not in our_real.upserts
        return None if only_time and path in theirs.deletes else entry
    if entry.kind == other.kind == DIRECTORY:
        mode = entry.mode if path in our_real.upserts else other.mode
        fitted = Entry(DIRECTORY, mode, max(entry.mtime_ns, other.mtime_ns), 0, b"")
        return None if fitted == other else fitted
    return None if path in their_real.upserts else entry


def _prefer_ours(
    merged: Changes, base: Mapping[bytes, Entry], ours: Changes, theirs: Changes, conflicts: set[bytes]
) -> None:
    for path in conflicts:
        entry = ours.upserts.get(path)
        if entry is None:
            # Ours deleted it, or put something else above it.
            if path in theirs.upserts:
                merged.deletes.add(path)
            continue
        merged.upserts[path] = entry
        for folder in ancestors_of(path):
            theirs_here = theirs.upserts.get(folder)
            removed = folder in theirs.deletes or (theirs_here is not None and theirs_here.kind != DIRECTORY)
            if removed and folder not in merged.upserts:
                source = ours.upserts.get(folder) or base[folder]
                merged.upserts[folder] = source


def _prefer_theirs(merged: Changes, conflicts: set[bytes]) -> None:
    for path in conflicts:
        # Where ours removed or replaced a folder that theirs still fills, the folder stays.
        for folder in ancestors_of(path):
            merged.deletes.discard(folder)
            if folder in merged.upserts and merged.upserts[folder].kind != DIRECTORY:
                del merged.upserts[folder]
