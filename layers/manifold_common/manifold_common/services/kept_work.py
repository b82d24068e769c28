"""What a strategy drops is kept: as the draft of a session of its own, into which nobody else saves.

Such a session stands on the generation whose version was preferred, and its draft holds the other versions, just
those. So a checkout of it shows them as uncommitted changes, a commit of it brings them back, and closing it removes
them. Until then it goes on as any session with a draft does.

Order of effects: the content and the draft's object first, then the session's row with the draft on it, in one
statement; only then may the caller drop anything.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace
from typing import Protocol

from manifold_common.domain.access import Principal
from manifold_common.domain.conflict import only
from manifold_common.domain.tree import DIRECTORY, Changes, tally
from manifold_common.engine.commit_writer import Authorship, Note, UseStored
from manifold_common.engine.pack_writer import NewContent
from manifold_common.engine.tree_log import Snapshot
from manifold_common.engine.working_set.scan import AddChunk, probe
from manifold_common.engine.working_set.scope import Scope, within_scope
from manifold_common.engine.working_set.state import WorkingState
from manifold_common.engine.working_set.working_sets import OpenWorkingSet
from manifold_common.errors import CatalogUnavailable, ManifoldError
from manifold_common.format.chunker import Chunker
from manifold_common.format.places import Places
from manifold_common.ids import SessionId, WorkingSetId, parse_session_id
from manifold_common.services.context import Context

_RANDOM_CHARACTERS = 8
_SUFFIX = re.compile(rf"-kept-[a-z2-7]{{{_RANDOM_CHARACTERS}}}\Z")
_MAX_CHARACTERS = 64
_UNNAMED = "edits"
"""Stands for the session where there is none: edits are made without one."""


class Keeper(Protocol):
    """Keeps what is about to be dropped of a working set."""

    def keep(
        self, opened: OpenWorkingSet, state: WorkingState, target: Snapshot, lost: Changes, root: int
    ) -> SessionId:
        """Return the session that keeps it from now on.

        Args:
            target: what it goes on to.
            lost: changes to ``target`` that the folder ``root`` has the content of.
        """


def kept_id(session: SessionId | None, token: str) -> SessionId:
    """Return a name for the session that keeps what was dropped of another one. Args: ``token``: random, base32."""
    end = f"-kept-{token[:_RANDOM_CHARACTERS]}"
    name = _SUFFIX.sub("", session or _UNNAMED)[: _MAX_CHARACTERS - len(end)]
    return parse_session_id(name.rstrip(".") + end)


def in_scope(lost: Changes, target: Snapshot, patterns: tuple[str, ...]) -> Changes:
    """Return what a working set with these patterns can say of itself. Folders keep what it never had."""
    return within_scope(lost, Scope(patterns).select(target.tree), target.tree)


def on_top_of(base: Snapshot, standing: Snapshot, lost: Changes) -> Changes:
    """Return ``lost``, which are changes to ``standing``, as changes to ``base``, a generation that there is."""
    return only(lost.paths(), base.tree, standing.with_changes(lost).tree)


def read_content(root: int, lost: Changes, chunker: Chunker, add: AddChunk) -> Changes:
    """Hand the content of what is about to be dropped to ``add``; return the changes as they were read."""
    files = [path for path, entry in lost.upserts.items() if entry.kind != DIRECTORY]
    found = probe(root, {}, files, (), chunker=chunker, add=add).changes.upserts
    upserts = {path: entry for path, entry in lost.upserts.items() if entry.kind == DIRECTORY}
    return Changes(upserts | {path: found[path] for path in files if path in found}, lost.deletes)


class KeptWork:
    """Implements ``Keeper``. For processes that have the catalog."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def keep(
        self, opened: OpenWorkingSet, state: WorkingState, target: Snapshot, lost: Changes, root: int
    ) -> SessionId:
        context, owner = self._context, opened.owner
        # What the base knows of another epoch may be gone. All of it is at hand, and is stored anew where it is needed.
        is_as_new = state.base.head.gc_epoch == target.head.gc_epoch
        known = {**state.base.places, **target.places} if is_as_new else target.places
        chunker = context.keys.of(owner.tenant, owner.project).chunker
        with context.pack_writer(target, known) as writer:
            changes = read_content(root, in_scope(lost, target, state.scope), chunker, writer.add)
            content = writer.finish()
        return self.open(owner.principal, owner.session, target, changes, content, known, state.scope)

    def open(
        self,
        principal: Principal,
        session: SessionId | None,
        base: Snapshot,
        changes: Changes,
        content: NewContent,
        known: Places,
        patterns: tuple[str, ...] = (),
        announce: UseStored | None = None,
    ) -> SessionId:
        """Keep ``changes`` to ``base``, whose content is stored, as the draft of a new session.

        Args:
            session: whose work it was.
            known: places of the chunks that ``content`` does not have.
            patterns: what the new session is restricted to.
            announce: called with the draft before anything names it.
        """
        context = self._context
        kept = kept_id(session, context.new_id())
        counted = tally(base.tree, changes)
        note = Note("", {}, counted.added, counted.modified, counted.deleted, 0)
        stored = context.writer.write(base, changes, content, known, Authorship(principal.user, kept), note)
        if announce is not None:
            announce(stored)
        row = context.session_row(principal, kept, base, patterns)
        nowhere = WorkingSetId(context.new_id())  # also a shared folder has to be taken there
        row = replace(row, draft=stored.draft(row.created_at), working_set=nowhere)
        try:
            context.catalog.open_session(row, ttl=context.policy.session_ttl, gc_epoch=stored.gc_epoch)
        except CatalogUnavailable:
            raise  # it may be there now
        except ManifoldError:
            with suppress(ManifoldError):
                context.writer.discard(principal.tenant, base.project, stored.row)
            raise
        return kept

    def close(self, principal: Principal, kept: SessionId) -> None:
        """Remove what was kept for nothing: it was not dropped after all. Never raises; what stays can be closed."""
        with suppress(ManifoldError):
            self._context.catalog.close_session(principal.tenant, principal.user, kept)
