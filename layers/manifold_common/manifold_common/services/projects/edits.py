"""Changes to a project without a working set: files put, folders made, things moved and deleted, generations restored.

Each call is one commit. New content streams through in bounded memory; what exists already is never sent again.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from manifold_common.domain.access import Principal
from manifold_common.domain.arguments import listed_paths
from manifold_common.domain.history import Seen, require_expected
from manifold_common.domain.named_request import NamedRequest
from manifold_common.domain.nearest_paths import path_hint
from manifold_common.domain.paths import ROOT, ancestors_of, check_path, to_display
from manifold_common.domain.tag import Named, checked_named
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
from manifold_common.ids import Generation, ProjectId
from manifold_common.services.commit_point import PendingCommit
from manifold_common.services.context import Context
from manifold_common.services.projects.projects import Projects
from manifold_common.services.projects.tags import Tags
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
from manifold_common.services.renewal import redone
from manifold_common.shapes.changes import Edited
from manifold_common.shapes.intent import NO_INTENT, Intent
from manifold_common.shapes.path import listed

__all__ = [
    "Edits",
    "Copy", "Delete", "Edit", "MakeFolder", "Move", "PlaceFile", "PutFile", "PutLink", "ReadInto", "reading",
]  # fmt: skip


class Written(NamedTuple):
    """A file or folder that was written, with what response headers need."""

    answer: Edited
    entry: Entry
    """What stands at its path now."""
    is_new: bool
    """Nothing stood there before."""


class Stored(NamedTuple):
    """Content that is stored, and that no commit refers to yet."""

    places: Places
    new_bytes: int
    """Raw bytes of it that were not stored before."""
    gc_epoch: int | None = None
    """At which the places of what others had stored before were read; ``None``: none of these is among them."""


NOTHING_STORED = Stored({}, 0)


class Edits:
    def __init__(self, context: Context, projects: Projects, publisher: Publisher, tags: Tags) -> None:
        self._context = context
        self._projects = projects
        self._publisher = publisher
        self._tags = tags

    def apply(
        self,
        principal: Principal,
        project: ProjectId,
        edits: Iterable[Edit],
        intent: Intent = NO_INTENT,
    ) -> Edited:
        """Make the edits, in order, as one commit: all of them or none.

        Raises:
            NotFound: no such project, or a path to delete or move is not there. AlreadyExists. InvalidInput.
            UnsafePath. QuotaExceeded. GenerationMismatch. CommitConflict.
        """
        listed_edits = edits if isinstance(edits, Sequence) else None
        if listed_edits is None or any(isinstance(edit, PutFile) for edit in listed_edits):  # read, it cannot be again
            return _answer(self._apply(principal, project, edits, intent))
        return _answer(redone(lambda: self._apply(principal, project, listed_edits, intent)))

    def write(
        self,
        principal: Principal,
        project: ProjectId,
        edit: PutFile | PlaceFile | MakeFolder,
        intent: Intent = NO_INTENT,
        *,
        stored: Stored = NOTHING_STORED,
        hooks: Hooks = NO_HOOKS,
    ) -> Written:
        """Write one file, or make one folder, as a commit. Raises as ``apply``.

        Args:
            stored: what ``PlaceFile`` refers to.
        """
        done = self._apply(principal, project, [edit], intent, stored, hooks)
        return Written(_answer(done), done.after.tree[edit.path], edit.path not in done.before)

    def _apply(
        self,
        principal: Principal,
        project: ProjectId,
        edits: Iterable[Edit],
        intent: Intent,
        stored: Stored = NOTHING_STORED,
        hooks: Hooks = NO_HOOKS,
    ) -> _Made:
        done = self._earlier(principal, project, intent.request)
        if done is not None:
            return done
        base = self.base(principal, project, intent.expected)
        if stored.gc_epoch is not None:  # what was read before it may be gone by now: the commit point is to find out
            base = replace(base, head=base.head._replace(gc_epoch=stored.gc_epoch))
        with self._context.pack_writer(base) as writer:
            draft = TreeEditor(self._context, base, writer)
            for edit in edits:
                draft.edit(edit)
            content = writer.finish()
        changes = base.with_stored_anew(draft.changes(), content.chunks.keys())
        try:
            new_bytes = writer.new_bytes + stored.new_bytes
            return self._publish(principal, base, changes, content, intent, new_bytes, stored.places, hooks)
        except CommitConflict:
            draft.refuse_taken(self._context.log.load(principal.tenant, project).tree)
            raise

    def restore(
        self,
        principal: Principal,
        project: ProjectId,
        generation: Named,
        paths: Sequence[bytes] = (),
        intent: Intent = NO_INTENT,
    ) -> Edited:
        """Make a new generation in which ``paths`` (none: everything) are as they were at ``generation``.

        Raises:
            NotFound: no such generation or tag, or neither tree has one of ``paths``. InvalidInput. Others as
            ``apply``.
        """
        named = checked_named(generation, "generation")
        chosen = [check_path(path) for path in listed_paths(paths, "paths")]
        return redone(lambda: self._restore(principal, project, named, chosen, intent))

    def _restore(
        self, principal: Principal, project: ProjectId, named: Named, paths: list[bytes], intent: Intent
    ) -> Edited:
        done = self.earlier(principal, project, intent.request)
        if done is not None:
            return done
        base, old, changes = self._to_restore(principal, project, named, paths, intent.expected)
        intent = intent.or_message(f"restore generation {old.head.generation}")
        nothing_new = NewContent({}, {}, [])
        return self.publish(principal, base, changes, nothing_new, intent, 0, known=old.places)

    def check_restore(
        self,
        principal: Principal,
        project: ProjectId,
        generation: Named,
        paths: Sequence[bytes] = (),
        expected: Seen | None = None,
    ) -> Generation:
        """Return which generation a restore would bring back by now, if it is none that could not be. Raises as
        ``restore``."""
        named = checked_named(generation, "generation")
        chosen = [check_path(path) for path in listed_paths(paths, "paths")]
        return self._to_restore(principal, project, named, chosen, expected)[1].head.generation

    def _to_restore(
        self, principal: Principal, project: ProjectId, named: Named, paths: list[bytes], expected: Seen | None
    ) -> tuple[Snapshot, Snapshot, Changes]:
        """Return the head, the generation that is to come back, and what differs between them, in ``paths``."""
        generation = self._tags.resolve(principal, project, named)
        base = self.base(principal, project, expected)
        old = self._context.log.load(principal.tenant, project, generation)
        changes = between(base.tree, old.tree)
        changes.deletes.discard(ROOT)  # generation 0 has none, but a project that had a commit keeps its root folder
        if paths:
            changes = _restrict(changes, paths, base.tree, old.tree)
        return base, old, changes

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
    ) -> Edited:
        """Publish changes made to ``base``.

        Args:
            known: where content is that ``base`` does not know of.
        """
        return _answer(self._publish(principal, base, changes, content, intent, new_bytes, known))

    def _publish(
        self,
        principal: Principal,
        base: Snapshot,
        changes: Changes,
        content: NewContent,
        intent: Intent,
        new_bytes: int,
        known: Places | None = None,
        hooks: Hooks = NO_HOOKS,
    ) -> _Made:
        if not changes:
            return _Made(base.tree, base, None)
        known = {**known, **base.places} if known else base.places
        pending = PendingCommit(base, changes, content, known, principal.user, intent=intent, new_bytes=new_bytes)
        published = self._publisher.publish(pending, hooks)
        return _Made(base.tree, published.head, published)

    def earlier(self, principal: Principal, project: ProjectId, request: NamedRequest | None) -> Edited | None:
        """Return what this request was answered before. Raises NotFound: no such project; RequestNameReused."""
        done = self._earlier(principal, project, request)
        return None if done is None else _answer(done)

    def _earlier(self, principal: Principal, project: ProjectId, request: NamedRequest | None) -> _Made | None:
        if request is None:
            return None
        self._projects.get(principal, project)
        done = self._publisher.earlier(principal.tenant, project, request)
        if done is None:
            return None
        before = Generation(done.head.head.generation - 1)
        return _Made(self._context.log.load(principal.tenant, project, before).tree, done.head, done)


class _Made(NamedTuple):
    """What came of edits."""

    before: Tree
    after: Snapshot
    published: Published | None
    """``None``: they changed nothing."""


def _answer(made: _Made) -> Edited:
    head, published = made.after.head, made.published
    paths = sorted(published.changes.paths() - {ROOT}) if published else []
    return Edited(
        project=made.after.project,
        generation=head.generation,
        commit=published.commit.commit if published and published.commit else None,
        paths=listed(paths),
        paths_total=len(paths),
        conflicts=listed(published.conflicts) if published else [],
        kept=published.kept if published else [],
        generation_commit=head.commit,
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
