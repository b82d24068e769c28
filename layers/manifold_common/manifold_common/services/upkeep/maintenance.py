"""Background work: safety drafts, the end of sessions, what dead processes left, checkpoints.

Each method is one task, safe to run at any time, on any number of nodes, and to be cut off: the next run goes on. What
fails for one session or project holds up no other; once all others are done, it is raised as ``PartlyDone``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from manifold_common.engine.working_set.location import Location, WorkspaceMode
from manifold_common.engine.working_set.owner import Owner
from manifold_common.engine.working_set.working_sets import (
    OpenWorkingSet,
    WorkingSets,
    ended_elsewhere,
    went_on_elsewhere,
)
from manifold_common.errors import ContentCollected, ManifoldError, NotFound, PartlyDone, SessionBusy, SessionMoved
from manifold_common.ids import ProjectId, TenantId, TenantProject
from manifold_common.ports.catalog import ProjectRow, ReadPlan, SessionView
from manifold_common.services.context import Context
from manifold_common.services.sessions.commit import Commits
from manifold_common.services.sessions.relocation import Relocation
from manifold_common.services.sessions.session_files import owner_of

_log = logging.getLogger(__name__)

DRAFT_KEPT = timedelta(days=30)
"""How long a draft is kept, at least, when nobody comes back to its session."""
ENDED_KNOWN = timedelta(days=90)
"""How long it is known that a session has ended: a machine that was away for longer has lost its RAM."""
_PAGE = 100
_NAMED_FAILURES = 20

Stop = Callable[[], bool]
"""Tells whether to end early: there is no time left."""


def never() -> bool:
    return False


class Failures:
    """What failed of work on many things."""

    def __init__(self, doing: str) -> None:
        self._doing = doing
        self._codes: dict[str, str] = {}

    def note(self, thing: str, error: ManifoldError) -> None:
        self._codes[thing] = error.code

    def end(self, done: int) -> None:
        """Raises PartlyDone: something failed."""
        if not self._codes:
            return
        thing, code = next(iter(self._codes.items()))
        others = f", and {len(self._codes) - 1} more" if len(self._codes) > 1 else ""
        raise PartlyDone(
            f"could not {self._doing} {thing} ({code}){others}",
            hint="the next run tries again; the log has a line for each",
            done=done,
            failed=dict(list(self._codes.items())[:_NAMED_FAILURES]),
        )


@dataclass(frozen=True, slots=True)
class CheckpointRule:
    """When a checkpoint is due: after ``commits`` commits at the latest; earlier when reading the commits since the
    last one, or since the first, costs more than writing and reading a whole tree would."""

    commits: int = 64
    at_least_bytes: int = 1 << 20
    """Less is read in one go anyhow."""
    bytes_per_entry: int = 64
    """What a tree takes in a checkpoint, at a guess where there is none of its size yet. Measured on trees of 100 to
    20,000 source files: 37 to 45."""


class Maintenance:
    def __init__(
        self,
        context: Context,
        working_sets: WorkingSets,
        commits: Commits,
        relocation: Relocation,
        rule: CheckpointRule,
    ) -> None:
        self._context = context
        self._relocation = relocation
        self._working_sets = working_sets
        self._commits = commits
        self._rule = rule
        self._checkpointed: TenantProject | None = None
        """The last project that was looked at, when ``write_checkpoints`` was stopped."""

    def save_drafts(self, *, stop: Stop = never) -> int:
        """Save the changes of every working set on this machine. Returns how many drafts there are now.

        ``stop`` is asked before each.
        """
        if self._working_sets.folders.mode is WorkspaceMode.LEGACY:
            return 0  # the plaintext folder itself is durable
        saved, failed = 0, Failures("save changes of")
        for owner in self._working_sets.folders.found():
            if stop():
                break
            try:
                with self._working_sets.open(owner, timeout_seconds=0) as opened:
                    if opened.location.exists():
                        saved += self._commits.save_open(opened).draft is not None
            except (NotFound, SessionBusy, SessionMoved):
                continue  # over: the sweep sees to it; being worked on: the next round; or not here any more
            except ManifoldError as error:
                _log.warning("session %s: its changes could not be saved: %s", owner.session, error.code)
                failed.note(f"session {owner.session}", error)
        failed.end(saved)
        return saved

    def sweep_working_sets(self, *, stop: Stop = never) -> int:
        """Remove the working sets on this machine whose session is closed or over. Changes are saved first.

        One whose session the catalog does not know is set aside. So is what a session has left behind here, or had here
        when it was closed elsewhere, if that holds changes of its own. What could not be removed before is tried again.
        ``stop`` is asked before each.

        Returns how many are gone from their place.
        """
        sets = self._working_sets.folders
        if sets.mode is WorkspaceMode.LEGACY:
            return 0  # the plaintext folders are the users'
        removed, failed = self._sweep_ownerless(stop), Failures("remove the working set of")
        for left in sets.retired.remove_rest():
            _log.warning("plaintext of a working set that has ended is still there: %s", left)
        for owner in sets.found():
            if stop():
                break
            try:
                with self._working_sets.open(owner, timeout_seconds=0) as opened:
                    removed += self._sweep(owner, opened)
            except (SessionBusy, SessionMoved):
                continue
            except ManifoldError as error:
                _log.warning("session %s: its working set could not be removed: %s", owner.session, error.code)
                failed.note(f"session {owner.session}", error)
        failed.end(removed)
        return removed

    def _sweep(self, owner: Owner, opened: OpenWorkingSet) -> bool:
        catalog = self._context.catalog
        view = catalog.view_session(owner.tenant, owner.user, owner.session)
        if view is None or owner_of(view.session) != owner:
            if not self._was_ended(owner):
                self._set_aside(opened, f"the catalog does not know of session '{owner.session}'")
            elif self._relocation.has_own_changes(opened):
                self._set_aside(opened, ended_elsewhere(owner.session))
            else:
                self._wipe(opened)
            return True
        if view.left > timedelta(0):
            return False
        if not view.session.is_at(opened.id):
            if self._relocation.has_own_changes(opened, view.session):
                self._set_aside(opened, went_on_elsewhere(owner.session))
            else:
                self._wipe(opened)  # the session has ended elsewhere, with all that was saved since
            return True
        draft = None
        if opened.location.exists():
            draft = self._commits.save_open(opened, checksum=True).draft
        if draft is None and view.session.draft is None:
            self._wipe(opened)
            catalog.end_session(view.session)
        else:
            self._relocation.depart(opened)
            self._wipe(opened)
            catalog.prolong_session(owner.tenant, owner.user, owner.session, DRAFT_KEPT)
        return True

    def _wipe(self, opened: OpenWorkingSet) -> None:
        left = self._working_sets.wipe(opened)
        if left is not None:
            _log.warning(
                "session %s has ended, and some of its plaintext is still there: %s", opened.owner.session, left
            )

    def _set_aside(self, opened: OpenWorkingSet, reason: str) -> None:
        done = self._working_sets.set_aside(opened, reason)
        _log.warning("a working set was set aside as %s ('manifold leftovers list' shows it): %s", done.name, reason)

    def _was_ended(self, owner: Owner) -> bool:
        return self._context.catalog.was_ended(owner.tenant, owner.user, owner.session, owner.opened_at)

    def _sweep_ownerless(self, stop: Stop) -> int:
        """Remove the places that hold no files, and set the others aside: without the record, nobody can tell what of
        them is saved."""
        sets, removed = self._working_sets.folders, 0
        for location in sets.ownerless():
            if stop():
                break
            with sets.held(location) as ours:
                if not ours or self._is_alive(location):
                    continue
                if location.is_empty():
                    sets.wipe(location)
                else:
                    done = sets.set_aside(location, "its owner's record is lost")
                    _log.warning("%s has lost its owner's record and was set aside as %s", location.work, done.name)
                removed += 1
        return removed

    def _is_alive(self, location: Location) -> bool:
        session = location.session
        return session is not None and self._context.catalog.view_session(*session) is not None

    def sweep_sessions(self, *, stop: Stop = never) -> int:
        """Close sessions that are over and whose machine did not do it: it has been gone for a whole time to live.

        One that has a draft stays for as long as drafts are kept. ``stop`` is asked before each.
        Returns how many were closed.
        """
        context = self._context
        context.catalog.forget_ended(ENDED_KNOWN)
        closed = 0
        while True:
            views = context.catalog.expired_sessions(context.policy.session_ttl, limit=_PAGE)
            for view in views:
                if stop():
                    return closed
                closed += self._end(view)
            if len(views) < _PAGE:
                return closed

    def _end(self, view: SessionView) -> bool:
        context, row = self._context, view.session
        if row.draft is not None:
            left = row.draft.saved_at + DRAFT_KEPT - view.now
            if left > timedelta(0):
                with suppress(NotFound):  # closed at this very moment
                    context.catalog.prolong_session(row.tenant, row.user, row.session, left)
                return False
        return context.catalog.end_session(row)  # not if somebody has come back to it

    def write_checkpoints(self, *, stop: Stop = never) -> int:
        """Write a checkpoint for every project that is due. Returns how many were written.

        ``stop`` is asked before each. The next call then goes on where this one stopped.
        """
        written, failed = 0, Failures("write a checkpoint for")
        for row in self._all_projects(self._checkpointed):
            if stop():
                break
            self._checkpointed = (row.tenant, row.project)
            try:
                written += self.checkpoint_if_due(row.tenant, row.project)
            except (NotFound, ContentCollected):
                continue  # deleted, or collected, meanwhile: if it is still due, the next round sees to it
            except ManifoldError as error:
                _log.warning("project %s: no checkpoint could be written: %s", row.project, error.code)
                failed.note(f"project {row.project}", error)
        else:
            self._checkpointed = None
        failed.end(written)
        return written

    def checkpoint_if_due(self, tenant: TenantId, project: ProjectId) -> bool:
        """Write a checkpoint of the head if reading the log since the last one has become dear."""
        context = self._context
        plan = context.catalog.read_plan(tenant, project)
        size = sum(row.object_bytes for row in plan.commits)
        # The first commit holds a whole tree, so a log of one commit is as good as a checkpoint.
        since = len(plan.commits) - (plan.checkpoint is None)
        dear = len(plan.commits) > 1 and size > self._rule.at_least_bytes
        if since < self._rule.commits and not (dear and size > 2 * self._whole_bytes(plan, tenant, project)):
            return False
        snapshot = context.log.load(tenant, project, plan.generation)
        row = context.writer.write_checkpoint(snapshot)
        context.catalog.add_checkpoint(tenant, project, row, gc_epoch=snapshot.head.gc_epoch)
        return True

    def _whole_bytes(self, plan: ReadPlan, tenant: TenantId, project: ProjectId) -> int:
        """Return about how many bytes a checkpoint of the head would have."""
        entries = self._context.catalog.get_project(tenant, project).tree_files
        last = plan.checkpoint.object_bytes if plan.checkpoint else 0
        return max(last, entries * self._rule.bytes_per_entry)

    def _all_projects(self, after: TenantProject | None) -> Iterator[ProjectRow]:
        while True:
            rows = self._context.catalog.all_projects(after=after, limit=_PAGE)
            yield from rows
            if len(rows) < _PAGE:
                return
            after = (rows[-1].tenant, rows[-1].project)
