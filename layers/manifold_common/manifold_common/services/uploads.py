"""Uploads: a client seals and stores new content by itself; the server publishes what it has checked.

A client is given *slots*: names for packs and for one draft, each with a link that creates that object once, and with
the key of just that object. The draft is a commit object (format v1) that says what has changed and where the content
is. The server checks all of it (``services/uploaded.py``) and then writes the commit itself, by the same way as any.

Order of effects: slots are noted before their links are given out; they are claimed when they were checked, before
anything refers to them, and forgotten after the commit point. What nobody claims is removed when its time is over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, NamedTuple

from manifold_common.domain.access import Principal
from manifold_common.domain.arguments import checked_count, checked_generation
from manifold_common.engine.commit_writer import Authorship
from manifold_common.errors import BadUpload, InvalidInput, ManifoldError
from manifold_common.format.sealed import Seal
from manifold_common.ids import CommitId, DekId, Generation, ObjectId, SessionId
from manifold_common.ports.object_links import Link
from manifold_common.ports.uploads import Upload
from manifold_common.services.commit import CommitRequest, Commits, Committed, Saved, committed
from manifold_common.services.context import Context
from manifold_common.services.plans import Plan, Plans
from manifold_common.services.publish import Publisher, Work
from manifold_common.services.sessions import Sessions
from manifold_common.services.uploaded import Inspector, Receipt, UploadedDraft, container_of

MAX_SLOTS = 64
"""In one answer."""
_KEPT = timedelta(hours=24)
"""How long an import may take from its first slot to its commit."""
_MARGIN = timedelta(hours=1)
_SWEPT_AT_ONCE = 100


class Slot(NamedTuple):
    """One object that a client may store."""

    seal: Seal
    object_key: bytes
    link: Link


@dataclass(frozen=True, slots=True)
class Slots:
    plan: Plan
    """Of the generation that the draft has to be made on: its tree alone."""
    write_dek: DekId
    id_key: bytes
    """Names chunks. It opens nothing."""
    draft_commit: CommitId
    draft: Slot
    packs: list[Slot]


class Uploads:
    def __init__(
        self, context: Context, sessions: Sessions, commits: Commits, publisher: Publisher, plans: Plans
    ) -> None:
        self._context = context
        self._sessions = sessions
        self._commits = commits
        self._publisher = publisher
        self._plans = plans
        self._inspector = Inspector(context)

    def open(self, principal: Principal, session: SessionId, base: Generation, packs: int) -> Slots:
        """Return room for a draft made on ``base``, and for ``packs`` packs.

        Raises:
            NotFound: no such session or generation. ConfigError: the store gives no links. InvalidInput: too many.
        """
        base = checked_generation(base, "base")
        if not 0 <= checked_count(packs, "packs") <= MAX_SLOTS:
            raise InvalidInput(f"{packs} packs cannot be had at once", hint=f"ask for at most {MAX_SLOTS}, then again")
        context = self._context
        row = self._sessions.view(principal, session).session
        snapshot = context.log.load(principal.tenant, row.project, base)
        keys = context.keys.of(principal.tenant, row.project)
        plan = self._plans.of_tree(principal, snapshot, snapshot.head.generation, ())
        now = context.clock.now()

        def upload(kind: Literal["pack", "draft"], name: str, object_id: str, generation: int) -> Upload:
            return Upload(
                tenant=principal.tenant,
                project=row.project,
                user=principal.user,
                session=session,
                kind=kind,
                name=name,
                object_id=ObjectId(object_id),
                generation=Generation(generation),
                dek=keys.write_dek,
                created_at=now,
                expires_at=now + _KEPT,
            )

        names = [context.new_id() for _ in range(packs)]
        uploads = [upload("draft", context.new_id(), context.new_id(), base + 1)]
        uploads += [upload("pack", name, name, 0) for name in names]
        context.catalog.add_uploads(uploads)
        draft, *others = [self._slot(one) for one in uploads]
        return Slots(plan, keys.write_dek, bytes(keys.id_key), CommitId(uploads[0].name), draft, others)

    def check(self, principal: Principal, session: SessionId, draft: Receipt, packs: Sequence[Receipt]) -> int:
        """Check packs before the draft is published, for a draft with more than one call checks.

        Returns how many were read. Raises BadUpload, NotFound.
        """
        self._sessions.view(principal, session)
        return self._inspector.check_packs(self._inspector.read(principal, session, draft), packs)

    def publish(
        self, principal: Principal, session: SessionId, draft: Receipt, packs: Sequence[Receipt], request: CommitRequest
    ) -> Committed:
        """Publish a draft that was uploaded. Its packs that were not checked before are checked first.

        Raises:
            NotFound: no such session. BadUpload: what is stored cannot be used, and why. Others as
            ``Commits.commit``; after a conflict the work is the session's draft.
        """
        row = self._sessions.view(principal, session).session
        earlier = self._publisher.earlier(principal.tenant, row.project, request.request)
        if earlier is not None:
            return self._commits.answer_again(earlier)
        found, work = self._prepare(principal, session, draft, packs, request)
        published = self._publisher.publish(
            work,
            strategy=request.strategy,
            expected=request.expected,
            session_user=principal.user,
            keep_draft=lambda stored: self._commits.keep_draft(principal, session, stored),
        )
        self._finish(found)
        return committed(published, work)

    def save(self, principal: Principal, session: SessionId, draft: Receipt, packs: Sequence[Receipt]) -> Saved:
        """Make a draft that was uploaded the session's, without publishing it. Raises as ``publish``."""
        found, work = self._prepare(principal, session, draft, packs, CommitRequest())
        stored = self._publisher.store(work)
        self._commits.keep_draft(principal, session, stored)
        self._finish(found)
        changed = len(work.changes.upserts) + len(work.changes.deletes)
        return Saved(session, work.base.project, work.base.head.generation, stored.row.commit, changed)

    def sweep(self, *, stop: Callable[[], bool] = lambda: False) -> int:
        """Remove uploads that nobody claimed in time. Returns how many. ``stop`` is asked before each."""
        catalog, swept = self._context.catalog, 0
        while True:
            ended = catalog.ended_uploads(self._context.clock.now() - _MARGIN, limit=_SWEPT_AT_ONCE)
            for one in ended:
                if stop():
                    return swept
                self._context.objects.discard([container_of(one).seal().key])
                catalog.forget_uploads(one.tenant, one.project, [one.name])
                swept += 1
            if len(ended) < _SWEPT_AT_ONCE:
                return swept

    def _slot(self, upload: Upload) -> Slot:
        seal = container_of(upload).seal()
        keys = self._context.keys.of(upload.tenant, upload.project)
        link = self._plans.links.to_create(seal.key, seconds=self._plans.link_seconds)
        return Slot(seal, keys.object_key(seal), link)

    def _prepare(
        self, principal: Principal, session: SessionId, draft: Receipt, packs: Sequence[Receipt], request: CommitRequest
    ) -> tuple[UploadedDraft, Work]:
        found = self._inspector.read(principal, session, draft)
        self._inspector.check_packs(found, packs)
        unchecked = [name for name, upload in found.packs.items() if not upload.claimed]
        if unchecked:
            raise BadUpload(
                f"the draft refers to {len(unchecked)} pack(s) without a receipt, such as {unchecked[0]}",
                hint="send the receipt of every pack, or have packs checked before",
            )
        self._inspector.claim(found, [found.upload.name])
        by = Authorship(principal.user, session, request.message, request.provenance, request.request)
        return found, Work(found.base, found.commit.changes, found.content, found.known, by, found.new_bytes)

    def _finish(self, found: UploadedDraft) -> None:
        """What was uploaded is in use, or of no more use. Where this fails, rows stay that refer to nothing."""
        upload = found.upload
        with suppress(ManifoldError):
            self._context.catalog.forget_uploads(upload.tenant, upload.project, [upload.name, *found.packs])
            self._context.objects.discard([container_of(upload).seal().key])
