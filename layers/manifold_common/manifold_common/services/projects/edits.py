"""Changes to a project without a working set: files put, folders made, things moved and deleted, generations restored.

Each call is one commit. New content streams through in bounded memory; what exists already is never sent again.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import NamedTuple

from manifold_common.domain.access import Principal
from manifold_common.domain.arguments import checked_generation, listed_paths
from manifold_common.domain.history import Point, Seen, require_expected
from manifold_common.domain.named_request import NamedRequest
from manifold_common.domain.nearest_paths import path_hint
from manifold_common.domain.paths import ROOT, ancestors_of, check_path, to_display
from manifold_common.domain.tree import (
    DIRECTORY,
    Changes,
    Entry,
    Tree,
    between,
)
from manifold_common.engine.pack_writer import NewContent
from manifold_common.engine.tree_log import Snapshot
from manifold_common.errors import CommitConflict, NotFound
from manifold_common.format.places import Places
from manifold_common.ids import CommitId, Generation, ProjectId, SessionId
from manifold_common.services.commit_point import PendingCommit
from manifold_common.services.context import Context
from manifold_common.services.projects.projects import Projects
from manifold_common.services.projects.tree_editor import (
    Copy,
    Delete,
    Edit,
    MakeFolder,
    Move,
    PlaceFile,
    PutFile,
    PutLink,
    ReadInto,
    TreeEditor,
    reading,
)
from manifold_common.services.publish import NO_HOOKS, Hooks, Published, Publisher
from manifold_common.shapes.intent import NO_INTENT, Intent

__all__ = [
    "Edits",
    "Copy", "Delete", "Edit", "MakeFolder", "Move", "PlaceFile", "PutFile", "PutLink", "ReadInto", "reading",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Edited:
    project: ProjectId
    point: Point
    """Where the project is now."""
    commit: CommitId | None
    """``None`` when the edits changed nothing."""
    paths: list[bytes]
    """What changed, sorted; without the root folder, whose time changes with what is in it."""
    conflicts: list[bytes]
    """Paths on which the strategy decided, sorted."""
    kept: list[SessionId]
    """Sessions that keep, as their drafts, what it dropped of the edits."""
    entries: Mapping[bytes, Entry] = field(default_factory=dict, repr=False)
    """What stands at changed paths now; those that were deleted are left out."""
    made: Set[bytes] = field(default_factory=frozenset, repr=False)
    """Those of ``entries`` where nothing stood before."""
    repeated: bool = field(default=False, compare=False)
    """Done by an earlier request of the same name, and not again."""

    @property
    def generation(self) -> Generation:
        return self.point.generation


class Stored(NamedTuple):
    """Content that is stored, and that no commit refers to yet."""

    places: Places
    new_bytes: int
    """Raw bytes of it that were not stored before."""


NOTHING_STORED = Stored({}, 0)


class Edits:
    def __init__(self, context: Context, projects: Projects, publisher: Publisher) -> None:
        self._context = context
        self._projects = projects
        self._publisher = publisher

    def apply(
        self,
        principal: Principal,
        project: ProjectId,
        edits: Iterable[Edit],
        intent: Intent = NO_INTENT,
        *,
        stored: Stored = NOTHING_STORED,
        hooks: Hooks = NO_HOOKS,
    ) -> Edited:
        """Make the edits, in order, as one commit: all of them or none.

        Args:
            stored: what ``PlaceFile`` refers to.

        Raises:
            NotFound: no such project, or a path to delete or move is not there. AlreadyExists. InvalidInput.
            UnsafePath. QuotaExceeded. GenerationMismatch. CommitConflict.
        """
        done = self.earlier(principal, project, intent.request)
        if done is not None:
            return done
        base = self.base(principal, project, intent.expected)
        with self._context.pack_writer(base) as writer:
            draft = TreeEditor(self._context, base, writer)
            for edit in edits:
                draft.edit(edit)
            content = writer.finish()
        try:
            new_bytes = writer.new_bytes + stored.new_bytes
            return self.publish(
                principal, base, draft.changes(), content, intent, new_bytes, known=stored.places, hooks=hooks
            )
        except CommitConflict:
            draft.refuse_taken(self._context.log.load(principal.tenant, project).tree)
            raise

    def restore(
        self,
        principal: Principal,
        project: ProjectId,
        generation: Generation,
        paths: Sequence[bytes] = (),
        intent: Intent = NO_INTENT,
    ) -> Edited:
        """Make a new generation in which ``paths`` (none: everything) are as they were at ``generation``.

        Raises:
            NotFound: no such generation, or neither tree has one of ``paths``. InvalidInput. Others as ``apply``.
        """
        generation = checked_generation(generation, "generation")
        paths = listed_paths(paths, "paths")
        done = self.earlier(principal, project, intent.request)
        if done is not None:
            return done
        base = self.base(principal, project, intent.expected)
        old = self._context.log.load(principal.tenant, project, generation)
        changes = between(base.tree, old.tree)
        changes.deletes.discard(ROOT)  # generation 0 has none, but a project that had a commit keeps its root folder
        if paths:
            changes = _restrict(changes, [check_path(path) for path in paths], base.tree, old.tree)
        intent = intent.or_message(f"restore generation {generation}")
        nothing_new = NewContent({}, {}, [])
        return self.publish(principal, base, changes, nothing_new, intent, 0, known=old.places)

    def base(self, principal: Principal, project: ProjectId, expected: Seen | None) -> Snapshot:
        """Return the head to work on. Raises NotFound; GenerationMismatch: it is not ``expected``."""
        self._projects.get(principal, project)
        base = self._context.log.load(principal.tenant, project)
        require_expected(base.head.point, expected)
        return base

    def publish(
        self,
        principal: Principal,
        base: Snapshot,
        changes: Changes,
        content: NewContent,
        intent: Intent,
        new_bytes: int,
        *,
        known: Places | None = None,
        hooks: Hooks = NO_HOOKS,
    ) -> Edited:
        """Publish changes made to ``base``.

        Args:
            known: where content is that ``base`` does not know of.
        """
        if not changes:
            return Edited(base.project, base.head.point, None, [], [], [])
        known = {**known, **base.places} if known else base.places
        pending = PendingCommit(base, changes, content, known, principal.user, intent=intent, new_bytes=new_bytes)
        return _edited(self._publisher.publish(pending, hooks), base.tree)

    def earlier(self, principal: Principal, project: ProjectId, request: NamedRequest | None) -> Edited | None:
        """Return what this request was answered before. Raises NotFound: no such project; RequestNameReused."""
        if request is None:
            return None
        self._projects.get(principal, project)
        done = self._publisher.earlier(principal.tenant, project, request)
        if done is None:
            return None
        before = Generation(done.head.head.generation - 1)
        return _edited(done, self._context.log.load(principal.tenant, project, before).tree)


def _edited(published: Published, before: Tree) -> Edited:
    upserts = published.changes.upserts
    return Edited(
        published.head.project,
        published.head.head.point,
        published.commit.commit if published.commit else None,
        sorted(published.changes.paths() - {ROOT}),
        published.conflicts,
        published.kept,
        upserts,
        frozenset(path for path in upserts if path not in before),
        published.repeated,
    )


def _at_or_below(folders: list[bytes], paths: set[bytes]) -> set[bytes]:
    """Return those of ``paths`` that are one of ``folders`` or lie below one: in one pass, however many there are."""
    inside = sorted(path + b"/" for path in paths)
    found: set[bytes] = set()
    last = None
    for folder in sorted(folder + b"/" for folder in folders):
        if last is not None and folder.startswith(last):
            continue
        last = folder
        for at in range(bisect_left(inside, folder), len(inside)):
            if not inside[at].startswith(folder):
                break
            found.add(inside[at][:-1])
    return found


def _restrict(changes: Changes, paths: list[bytes], before: Tree, after: Tree) -> Changes:
    """Return those changes that concern ``paths`` and what is below them, with the folders they need."""
    for path in paths:
        if path not in before and path not in after:
            hint = path_hint(after, path) or path_hint(before, path)
            raise NotFound(f"neither generation has {to_display(path)!r}", hint=hint)
    chosen = _at_or_below(paths, changes.paths())
    upserts = {path: entry for path, entry in changes.upserts.items() if path in chosen}
    deletes = changes.deletes & chosen
    for path in list(upserts):
        for folder in ancestors_of(path):
            if folder in upserts:
                break
            standing = before.get(folder)
            if standing is None or standing.kind != DIRECTORY:
                upserts[folder] = after[folder]
    return Changes(upserts, deletes)
