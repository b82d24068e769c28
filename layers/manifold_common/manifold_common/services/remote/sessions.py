"""Sessions of a server, with their working sets on this machine.

Order of effects of a checkout: the session's row on the server first, then the working set here. Of a commit: packs and
draft in the store, then the server's commit point, then the state beside the working set. A crash in between leaves a
working set on its old base; its next checkout finds that files and new generation are alike.

What a server answers never costs what was not committed: files that a refresh would change are merged or a conflict, a
working set that the server says is another session's is not removed while it holds changes, and where the server's tree
lacks what was just committed, the files stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from msgspec import structs

from manifold_common.domain.arguments import checked_flag, checked_session
from manifold_common.domain.conflict import Strategy
from manifold_common.domain.history import Point, Seen, history_replaced, require_expected
from manifold_common.domain.tree import DIRECTORY, Changes, Tree
from manifold_common.domain.unknown import not_here
from manifold_common.engine.pack_writer import NewContent
from manifold_common.engine.tree_log import Snapshot
from manifold_common.engine.working_set.materialise import Progress
from manifold_common.engine.working_set.owner import Owner
from manifold_common.engine.working_set.state import NO_TRUST, DurableChanges, WorkingState, load_durable
from manifold_common.engine.working_set.working_sets import OpenWorkingSet
from manifold_common.errors import BadAnswer, ManifoldError, NotFound, SessionMoved
from manifold_common.ids import Generation, ProjectId, SessionId
from manifold_common.services.remote.context import RemoteContext
from manifold_common.services.remote.draft_upload import DraftUpload
from manifold_common.services.remote.generation_source import PlannedGenerationSource
from manifold_common.services.remote.kept_work import RemoteKeptWork
from manifold_common.services.sessions.commit import nothing_committed, of_working_set, saved
from manifold_common.services.sessions.lost_drafts import blaming_draft, own_blocks
from manifold_common.services.sessions.session_files import SessionFiles, Survey, standing_on, working_conflict
from manifold_common.services.sessions.sessions import WorkingSetStatus, checked_out, status_of
from manifold_common.shapes.access import Published, SessionPlan
from manifold_common.shapes.intent import NO_INTENT, Intent
from manifold_common.shapes.requests import NEWEST, CheckoutRequest
from manifold_common.shapes.sessions import CheckedOut, CheckoutKind, Closed, Committed, Saved, Session


class RemoteSessions:
    def __init__(self, context: RemoteContext) -> None:
        self._context = context
        self._working_sets = context.working_sets
        self._generations = PlannedGenerationSource(context)
        keeper = RemoteKeptWork(context, self._generations)
        self._files = SessionFiles(self._generations, context.working_sets, keeper)

    def all(self, project: ProjectId | None = None) -> list[Session]:
        return self._context.server.sessions(project)

    def here(self) -> list[Owner]:
        """Return whose working sets are on this machine."""
        return self._working_sets.folders.found()

    def folder_of(self, owner: Owner) -> str:
        return self._working_sets.folders.locate(owner).work

    # --- checkout -------------------------------------------------------------------------------------------------

    def checkout(
        self,
        session: SessionId,
        project: ProjectId | None = None,
        request: CheckoutRequest = NEWEST,
        *,
        progress: Progress | None = None,
    ) -> CheckedOut:
        """Bring the session's working set on this machine to where the request says, making both if need be.

        Raises as ``Sessions.checkout``; ConfigError: the server's store gives no links. StaleStore also where the
        working set stands on what the server's history does not have.
        """
        session = checked_session(session)
        generations, strategy = self._generations, request.strategy
        local = self._find(session)
        known = None if local is None else self._base_of(local)

        def plan(known: Point | None, restore: bool, project: ProjectId | None = project) -> SessionPlan:
            return generations.plan_session(session, project, request, known=known, restore=restore)

        if local is not None:
            try:
                found = plan(known, False, None)  # which opens none
                if project not in (None, found.plan.project):
                    found = plan(known, False)
            except NotFound:
                if not self._is_closed(session):
                    raise
                self._refuse_if_changed(local, None)
                local = known = None
        if local is None:
            found = plan(None, True)
        owner, dropped = _owner(found), found.dropped_draft
        if local is not None and local != owner:
            # An earlier session of that name, which was closed elsewhere, or so the server says.
            self._refuse_if_changed(local, found)
            known, found = None, plan(None, True)
            dropped = dropped or found.dropped_draft
        elif known is not None and known.commit is not None and found.plan.known != str(known):
            raise history_replaced(known, found.plan.head_generation)
        generations.complete(found, known)
        with self._working_sets.open(owner) as opened:
            kind = self._bring(opened, found, strategy, progress)
            wanted = found.plan.head_generation if request.generation is None else request.generation
            if found.draft is not None and found.plan.generation != wanted:
                built = Point(found.plan.generation, found.plan.commit)
                found = plan(built, False)
                generations.complete(found, built)
                self._bring(opened, found, strategy, progress)
            return structs.replace(
                checked_out(opened, kind, found.plan.head_generation, found.expires_at), dropped_draft=dropped
            )

    def _bring(
        self, opened: OpenWorkingSet, found: SessionPlan, strategy: Strategy, progress: Progress | None
    ) -> CheckoutKind:
        """Make the working set be at the plan's generation. Its lock is held."""
        target = self._generations.take(found.plan)
        if not opened.location.exists():
            return self._build(opened, found, target, progress)
        state = self._files.state_of(opened, strategy)
        if state.base.head.commit == target.head.commit:
            return CheckoutKind.WARM
        self._files.check_growth(state, target)
        conflicts = self._files.move_to(opened, target, strategy)
        if conflicts and strategy is Strategy.FAIL:
            raise working_conflict(opened.owner, conflicts, state.base.head.generation, target.head.generation)
        return CheckoutKind.REFRESHED

    def _build(
        self, opened: OpenWorkingSet, found: SessionPlan, base: Snapshot, progress: Progress | None
    ) -> CheckoutKind:
        patterns = tuple(found.paths)
        if found.draft is None:
            self._files.build(opened, base, patterns, progress=progress)
            return CheckoutKind.NEW
        next_generation, commit = Generation(base.head.generation + 1), found.draft.commit
        with blaming_draft(found.session, base.project, next_generation, commit):
            draft = self._generations.read_draft(found.plan, found.draft, base)
        changed = base.with_changes(draft.changes, draft.places)
        own = {block.container.seal().key for block in own_blocks(draft.places, base.places)}
        with blaming_draft(found.session, base.project, next_generation, commit, own.__contains__):
            self._files.build(opened, base, patterns, changed, progress)
        self._working_sets.note_durable(opened, DurableChanges.of(base.head.point, draft.changes))
        return CheckoutKind.RESTORED

    def _refuse_if_changed(self, local: Owner, found: SessionPlan | None) -> None:
        """Look before what is here of an earlier session is replaced.

        Args: ``found``: the session that is open now, if one is.

        Raises SessionMoved: it was changed since its base, as far as can be told.
        """
        changed = found is not None and (local.principal, local.project) != (
            _owner(found).principal,
            found.plan.project,
        )
        with self._working_sets.open(local) as opened:
            if not opened.location.exists():
                return
            try:
                changed = changed or bool(self._survey(opened, checksum=True).differences())
            except ManifoldError:
                changed = True
            if changed:
                raise _left_here(local.session, opened.location.work, found is not None)

    # --- commit ---------------------------------------------------------------------------------------------------

    def commit(
        self,
        session: SessionId,
        intent: Intent = NO_INTENT,
        *,
        checksum: bool = False,
        progress: Progress | None = None,
    ) -> Committed:
        """Publish what the working set has changed. With nothing changed, nothing happens.

        Raises:
            NotFound: no such session, or no working set here. BadUpload: what the server found in the store is not what
                was sent. Others as ``Commits.commit``; after a conflict the work is the session's saved work, too.
        """
        checked_flag(checksum, "checksum")
        owner = self._owner(session)
        with self._working_sets.open(owner) as opened, self._saying_if_closed(opened):
            self._finish_step(opened, intent.strategy)
            upload, seen, content = self._prepare(opened, checksum, progress)
            state, found = seen.state, seen.found
            if not seen.is_significant:
                if intent.expected is not None:
                    self._check_expected(owner.project, intent.expected)
                self._take_off_draft(opened, upload, seen, content)
                self._working_sets.keep(opened, WorkingState(state.base, seen.trust, state.scope))
                return nothing_committed(opened, state.base.head.point, found)
            upload.store(seen.changes, content)
            self._note_draft(opened, seen)  # where it cannot be published
            done = upload.publish(intent)
            self._working_sets.note_durable(opened, None)
            behind = None
            try:
                self._advance(opened, seen, done, intent.strategy)
            except ManifoldError as error:
                if isinstance(error, BadAnswer) and intent.request is None:
                    raise  # of a server that contradicts itself, nobody knows what it has made
                # The commit is made and stays made. The working set finds its place again at the next checkout.
                behind = error.code
            return of_working_set(done.without_plan(), opened, found, behind)

    def _check_expected(self, project: ProjectId, expected: Seen) -> None:
        """For work that there is nothing of. Raises GenerationMismatch: the head is not ``expected``."""
        require_expected(self._context.server.project(project).point, expected)

    def save(self, session: SessionId, *, checksum: bool = False) -> Saved:
        """Store what the working set has changed on the server, without publishing it. Raises as ``commit``."""
        checked_flag(checksum, "checksum")
        owner = self._owner(session)
        with self._working_sets.open(owner) as opened, self._saying_if_closed(opened):
            upload, seen, content = self._prepare(opened, checksum, None)
            if not seen.is_significant:
                self._take_off_draft(opened, upload, seen, content)
                return saved(session, seen.state.base, None)
            upload.store(seen.changes, content)
            self._note_draft(opened, seen)
            return saved(session, seen.state.base, upload.keep(), seen.changes)

    def _note_draft(self, opened: OpenWorkingSet, seen: Survey) -> None:
        """Note that what was found may become the session's draft, before that is asked for."""
        self._working_sets.note_durable(opened, DurableChanges.of(seen.state.base.head.point, seen.changes))

    def _take_off_draft(self, opened: OpenWorkingSet, upload: DraftUpload, seen: Survey, content: NewContent) -> None:
        """Have the session's draft end, where it is of this working set, in which nothing is changed any more."""
        if load_durable(opened.location.durable) is None:
            return
        if self._context.server.session(opened.owner.session).draft_saved_at is not None:
            upload.store(seen.changes, content)
            upload.keep()
        self._working_sets.note_durable(opened, None)

    def _finish_step(self, opened: OpenWorkingSet, strategy: Strategy) -> None:
        """Bring to its end what a crash cut off, before anything is said of the base. Raises CommitConflict."""
        if opened.step is None or not opened.location.exists():
            return
        known = opened.base
        at = CheckoutRequest(opened.step.generation)
        found = self._generations.plan_session(opened.owner.session, request=at, known=known)
        self._generations.complete(found, known)
        self._generations.take(found.plan)
        self._files.state_of(opened, strategy)

    def _prepare(
        self, opened: OpenWorkingSet, checksum: bool, progress: Progress | None
    ) -> tuple[DraftUpload, Survey, NewContent]:
        """Scan the working set and store its new content."""
        if not opened.location.exists():
            raise _not_here(opened.owner.session)
        base = opened.base or self._generations.standing(opened.owner).base
        upload = DraftUpload(self._context, self._generations, opened.owner.session, base, opened.owner.project)
        state = self._files.standing_state(opened)
        with upload.writer(state.base.places) as writer:
            seen = self._files.survey(opened, state, checksum=checksum, writer=writer, progress=progress)
            return upload, seen, writer.finish()

    def _advance(self, opened: OpenWorkingSet, seen: Survey, done: Published, strategy: Strategy) -> None:
        """Make the working set stand on the new generation, and bring in what others had committed."""
        state, generations, session = seen.state, self._generations, opened.owner.session
        base = state.base.head.point
        # A repeat is answered without a word of what the first try was rebased on: the number tells.
        moved = done.rebased or done.commit is None or done.generation != base.generation + 1
        known = base if moved else Point(done.generation, done.commit)
        if done.plan is not None:
            found = generations.enter(done.plan, session, opened.owner.project, done.generation)
        else:
            at = CheckoutRequest(done.generation)
            found = generations.plan_session(session, opened.owner.project, at, known=known, content=moved)
        generations.complete(found, known)
        head = generations.take(found.plan)
        if strategy is not Strategy.THEIRS and not _has(head.tree, state.base.tree, seen.changes):
            raise BadAnswer("the generation that the server has made of the commit lacks some of it")
        if not moved:
            self._working_sets.keep(opened, WorkingState(head, seen.trust, state.scope))
            return
        opened.state = standing_on(state, seen.changes, seen.trust)
        if self._files.move_to(opened, head, Strategy.FAIL):
            self._working_sets.keep(opened, WorkingState(state.base, NO_TRUST, state.scope))

    # --- status and close -----------------------------------------------------------------------------------------

    def status(self, session: SessionId, *, checksum: bool = False) -> WorkingSetStatus:
        """Say what the working set has changed. Stores nothing. Raises NotFound, SessionBusy."""
        checked_flag(checksum, "checksum")
        owner = self._owner(session)
        with self._working_sets.open(owner) as opened:
            if not opened.location.exists():
                raise _not_here(session)
            with self._saying_if_closed(opened):
                plan = self._generations.plan_session(session, content=False).plan  # by its project, it may be opened
            if plan.project != owner.project:
                raise _left_here(session, opened.location.work, True)
            seen = self._survey(opened, checksum=checksum)
            return status_of(opened, seen, plan.head_generation)

    def _survey(self, opened: OpenWorkingSet, *, checksum: bool) -> Survey:
        return self._files.survey(opened, self._files.standing_state(opened), checksum=checksum)

    def close(self, session: SessionId) -> Closed:
        """Drop the session, on the server and here. Closing one that is closed already is no error.

        Where the server has another one of that name by now, opened since, that one stays, and the answer says so. What
        is left here nobody goes on to remove but the next command.
        """
        session = checked_session(session)
        local = self._find(session)
        if local is None:
            self._context.server.close_session(session)
            return Closed(session=session)
        with self._working_sets.open(local) as opened:
            has_newer = self._is_anothers(local)
            if not has_newer:
                self._context.server.close_session(session)
            return Closed(session=session, left=self._working_sets.wipe(opened) or "", has_newer=has_newer)

    def _is_closed(self, session: SessionId) -> bool:
        try:
            self._generations.session(session)
        except NotFound:
            return True
        return False

    @contextmanager
    def _saying_if_closed(self, opened: OpenWorkingSet) -> Iterator[None]:
        """Raises NotFound, with where its files are, when what was not found is the session."""
        try:
            yield
        except NotFound:
            if self._is_closed(opened.owner.session):
                raise _closed_there(opened.owner.session, opened.location.work) from None
            raise

    def _is_anothers(self, local: Owner) -> bool:
        try:
            row = self._generations.session(local.session)
        except NotFound:
            return False
        return (row.project, row.created_at) != (local.project, local.opened_at)

    def _find(self, session: SessionId) -> Owner | None:
        return next((owner for owner in self.here() if owner.session == session), None)

    def _owner(self, session: SessionId) -> Owner:
        found = self._find(session)
        if found is None:
            raise _not_here(session)
        return found

    def _base_of(self, owner: Owner) -> Point | None:
        with self._working_sets.open(owner) as opened:
            return opened.base if opened.location.exists() else None


def _owner(found: SessionPlan) -> Owner:
    plan = found.plan
    return Owner(plan.tenant, plan.user, found.session, plan.project, found.opened_at)


def _has(tree: Tree, base: Tree, changes: Changes) -> bool:
    """Tell whether ``changes`` to ``base`` were made in ``tree``. Folders may have been kept, or changed, by others."""
    return all(
        entry.kind == DIRECTORY or (path in tree and tree[path].same_but_time(entry))
        for path, entry in changes.upserts.items()
    ) and not any(path in tree for path in changes.deletes if path in base and base[path].kind != DIRECTORY)


def _left_here(session: SessionId, folder: str, is_anew: bool) -> SessionMoved:
    error, what = SessionMoved(session), "opened anew" if is_anew else "closed"
    holds = "holds" if is_anew else "may hold"
    error.message = (
        f"the server says that session '{session}' was {what} since it was checked out here, where {folder} "
        f"{holds} changes of the earlier one"
    )
    error.hint = (
        f"copy what is needed from there; then {_removal(session)}, and a checkout with the project's name brings a "
        "new one"
    )
    return error


def _closed_there(session: SessionId, folder: str) -> NotFound:
    return NotFound(
        f"there is no session '{session}' any more on the server, and its working set is still here, in {folder}",
        hint=f"copy what is needed from there; then {_removal(session)}",
    )


def _removal(session: SessionId) -> str:
    return f"'manifold --remote URL close {session} --discard' removes what is here"


def _not_here(session: SessionId) -> NotFound:
    return not_here(session, f"'manifold --remote URL checkout PROJECT --session {session}' brings it here")
