"""Uploads: a client seals and stores new content by itself; the server publishes what it has checked.

A client is given *slots*: names for one draft and for packs of it, and the key of each of these objects. When it has
sealed one and knows its length, it asks for the *link*, which creates that object once, with that length. The draft is
a commit object (format v1) that says what has changed and where the content is. The server checks all of it
(``services/direct/inspection.py``) and then writes the commit itself, by the same way as any.

Order of effects: slots are noted before they are given out, lengths before their links; what was proven is noted before
anything may refer to it, and what is about to refer to it before that is published or saved; rows are forgotten after
that. What was left over by a failure is seen to when its time is over (``ports/catalog/uploads.py`` has a row's whole
life).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import NamedTuple

from manifold_common.domain.access import Principal
from manifold_common.domain.arguments import checked_count, checked_seen
from manifold_common.domain.history import Seen, point_of
from manifold_common.domain.listing import CommitFilter
from manifold_common.domain.object_key import ObjectKey
from manifold_common.domain.tree import is_significant
from manifold_common.domain.wording import plural
from manifold_common.engine.commit_writer import StoredCommit
from manifold_common.engine.data_keys import ProjectKeys
from manifold_common.engine.owned_names import is_owned, owned_name
from manifold_common.errors import BadUpload, InvalidInput, ManifoldError, NotFound, QuotaExceeded
from manifold_common.format.layout import project_prefix
from manifold_common.ids import (
    CommitId,
    Generation,
    ObjectId,
    SessionId,
    TenantProject,
    parse_commit_id,
    parse_object_id,
)
from manifold_common.ports.catalog import Upload
from manifold_common.services.commit_point import PendingCommit
from manifold_common.services.context import Context
from manifold_common.services.direct.inspection import (
    MAX_DRAFT_BYTES,
    MAX_PACK_BYTES,
    UPLOAD_KEPT,
    Inspector,
    UploadedDraft,
    container_of,
)
from manifold_common.services.direct.plans import Plans
from manifold_common.services.publish import Hooks, Publisher
from manifold_common.services.sessions.commit import Commits, committed, saved
from manifold_common.services.sessions.sessions import Sessions
from manifold_common.shapes.access import MAX_SLOTS, UploadLink, UploadReceipt, UploadSlot, UploadSlots
from manifold_common.shapes.intent import NO_INTENT, Intent
from manifold_common.shapes.sessions import Committed, Saved

_MARGIN = timedelta(hours=1)
_SWEPT_AT_ONCE = 100
_MAX_TRIES = 200
"""Of publishing one draft: its packs remember each."""


class Room(NamedTuple):
    """How much may be open at once, in a session and in all of a user's. What is asked for at the very same moment may
    go beyond it."""

    session_slots: int = 10_000
    session_bytes: int = 256 << 30
    user_slots: int = 50_000
    user_bytes: int = 1 << 40


class Uploads:
    def __init__(
        self,
        context: Context,
        sessions: Sessions,
        commits: Commits,
        publisher: Publisher,
        plans: Plans,
        room: Room = Room(),  # noqa: B008 - immutable
    ) -> None:
        self._context = context
        self._sessions = sessions
        self._commits = commits
        self._publisher = publisher
        self._plans = plans
        self._room = room
        self._inspector = Inspector(context)

    def open(
        self, principal: Principal, session: SessionId, base: Seen, packs: int, *, draft: CommitId | None = None
    ) -> UploadSlots:
        """Return room for a draft made on ``base``, and for ``packs`` packs of it.

        Args:
            draft: no new one, but more packs of this one.

        Raises:
            NotFound: no such session or generation. ConfigError: the store gives no links. InvalidInput: too many.
            QuotaExceeded: the session, or the user, has too many open. BadUpload: no such draft, or on another base.
            StaleStore: the generation has another commit than ``base``.
        """
        base = checked_seen(base, "base")
        if not 0 <= checked_count(packs, "packs") <= MAX_SLOTS:
            raise InvalidInput(
                f"so many packs cannot be had at once: {packs}", hint=f"ask for at most {MAX_SLOTS}, then again"
            )
        context = self._context
        view = self._sessions.view(principal, session)
        row, at = view.session, point_of(base)
        keys = context.keys.of(principal.tenant, row.project)
        plan = None
        now = context.clock.now()
        if draft is None:
            snapshot = context.log.load(principal.tenant, row.project, at.generation, commit=at.commit)
            plan = self._plans.of_tree(principal, snapshot, snapshot.head.generation, ())
            root = Upload(
                tenant=principal.tenant,
                project=row.project,
                user=principal.user,
                session=session,
                kind="draft",
                name="",
                object_id=parse_object_id(context.new_id()),
                draft=CommitId(""),
                generation=Generation(at.generation + 1),
                dek=keys.write_dek,
                created_at=view.now,
                expires_at=now + UPLOAD_KEPT,
            )
            name = parse_commit_id(self._new_name(keys, root))
            root = replace(root, name=name, draft=name)
        else:
            root = self._inspector.find_draft(principal, session, draft)
            if root.generation != at.generation + 1:
                raise BadUpload(f"draft {draft} is made on generation {root.generation - 1}, not on {base}")
        self._check_room(principal, session, slots=packs + (draft is None))
        slot = replace(
            root, kind="pack", generation=Generation(0), created_at=view.now, expires_at=now + UPLOAD_KEPT,
            stored_bytes=None,
        )  # fmt: skip
        names = [self._new_name(keys, slot) for _ in range(packs)]
        more = [replace(slot, name=name, object_id=name) for name in names]
        with context.keys.writing(principal.tenant, row.project):
            context.catalog.add_uploads(more if draft else [root, *more])
        return UploadSlots(
            plan=plan,
            write_dek=root.dek,
            id_key=bytes(keys.id_key),
            draft_commit=root.draft,
            draft=self._slot(root),
            packs=list(map(self._slot, more)),
        )

    def link(self, principal: Principal, session: SessionId, sizes: Mapping[str, int]) -> list[UploadLink]:
        """Return links that create uploads.

        Args:
            sizes: bytes of each object as it will be stored. Once told, it stays.

        Raises:
            NotFound: no such session. BadUpload: no such upload, it is too long, or another length was told before.
            InvalidInput: too many. QuotaExceeded: the session, or the user, has too much open. ConfigError.
        """
        if len(sizes) > MAX_SLOTS:
            raise InvalidInput(
                f"{len(sizes)} links cannot be had at once", hint=f"ask for at most {MAX_SLOTS}, then again"
            )
        self._sessions.view(principal, session)
        uploads = [
            replace(one, stored_bytes=sizes[one.name]) for one in self._inspector.find(principal, session, list(sizes))
        ]
        for one in uploads:
            most = MAX_DRAFT_BYTES if one.kind == "draft" else MAX_PACK_BYTES
            if not 0 < sizes[one.name] <= most:
                raise BadUpload(f"upload {one.name} of {sizes[one.name]} bytes: a {one.kind} has 1 to {most} bytes")
        links, seconds = self._plans.links, self._plans.link_seconds
        self._check_room(principal, session, size=sum(sizes.values()))
        if self._context.catalog.link_uploads(uploads) < len(uploads):
            raise BadUpload(
                "an upload was given a link for another length before", hint="ask for another slot, and use that"
            )
        found: list[UploadLink] = []
        for one in uploads:
            link = links.to_create(container_of(one).seal().key, sizes[one.name], seconds=seconds)
            found.append(UploadLink(name=parse_object_id(one.name), url=link.url, headers=dict(link.headers)))
        return found

    def check(
        self, principal: Principal, session: SessionId, draft: UploadReceipt, packs: Sequence[UploadReceipt]
    ) -> int:
        """Check packs before the draft is published, for a draft with more than one call checks.

        Returns how many were read. Raises BadUpload, NotFound.
        """
        self._sessions.view(principal, session)
        return self._inspector.check_packs(self._inspector.read(principal, session, draft), packs)

    def publish(
        self,
        principal: Principal,
        session: SessionId,
        draft: UploadReceipt,
        packs: Sequence[UploadReceipt],
        intent: Intent,
    ) -> Committed:
        """Publish a draft that was uploaded. Its packs that were not checked before are checked first.

        Raises:
            NotFound: no such session. BadUpload: what is stored cannot be used, and why. Others as
            ``Commits.commit``; after a conflict the work is the session's draft.
        """
        row = self._sessions.view(principal, session).session
        intent = intent.of_session(principal.user, session)
        earlier = self._publisher.earlier(principal.tenant, row.project, intent.request)
        if earlier is not None:
            return self._commits.answer_again(earlier)
        try:
            found, pending = self._prepare(principal, session, draft, packs, intent)
        except BadUpload:
            # The same request, at work elsewhere, may have published and finished since it was looked for.
            earlier = self._publisher.earlier(principal.tenant, row.project, intent.request)
            if earlier is None:
                raise
            return self._commits.answer_again(earlier)
        hooks = Hooks(
            announce=lambda stored: self._refer(found, stored),
            announce_kept=lambda stored: self._refer_kept(found, stored),
            keep_draft=lambda stored: self._keep(principal, session, found, stored),
        )
        published = self._publisher.publish(pending, hooks)
        if published.commit is None:  # others had committed all of it
            self._take_off(principal, session, found)
            base = published.head.head
            self._context.catalog.move_session(
                row.tenant, row.user, row.session, base_generation=base.generation, base_commit=base.commit
            )
        elif not published.repeated:  # else it was another call's to publish, and is that one's to finish
            self._finish(found, True)
        return committed(published, pending)

    def save(
        self, principal: Principal, session: SessionId, draft: UploadReceipt, packs: Sequence[UploadReceipt]
    ) -> Saved:
        """Make a draft that was uploaded the session's, without publishing it. One that changes nothing takes the draft
        before it off the session. Raises as ``publish``."""
        found, pending = self._prepare(principal, session, draft, packs, NO_INTENT)
        if not is_significant(pending.base.tree, pending.changes):
            self._take_off(principal, session, found)
            return saved(session, pending.base, None)
        stored = self._publisher.store(pending)
        self._keep(principal, session, found, stored)
        return saved(session, pending.base, stored.row.commit, pending.changes)

    def sweep(self, *, stop: Callable[[], bool] = lambda: False) -> int:
        """Remove uploads whose time is over and that nothing came to refer to. Returns how many rows went. ``stop`` is
        asked before each."""
        catalog, swept = self._context.catalog, 0
        in_commits = _PacksInCommits(self._context)
        while True:
            ended = catalog.ended_uploads(self._context.clock.now() - _MARGIN, limit=_SWEPT_AT_ONCE)
            for one in ended:
                if stop():
                    return swept
                swept += self._sweep(one, in_commits)
            if len(ended) < _SWEPT_AT_ONCE:
                return swept

    def _sweep(self, upload: Upload, in_commits: _PacksInCommits) -> bool:
        catalog = self._context.catalog
        if not self._is_referred_to(upload):
            if not catalog.remove_upload(upload):
                return False  # it came into use at this very moment
            if upload.kind == "draft" or not in_commits.have(upload):
                self._discard(upload)
        catalog.forget_uploads(upload.tenant, upload.project, [upload.name])
        return True

    def _discard(self, upload: Upload) -> None:
        """Remove the object of an upload, unless its row was changed to name one that is not its own."""
        try:
            keys = self._context.keys.of(upload.tenant, upload.project)
            self._context.catalog.get_project(upload.tenant, upload.project)
        except NotFound:
            return  # deleted: its objects are those of the project
        if upload.stored_bytes is not None and is_owned(keys, upload.name, _owner_of(upload)):
            self._context.objects.discard([container_of(upload).seal().key])

    def _new_name(self, keys: ProjectKeys, upload: Upload) -> ObjectId:
        return owned_name(keys, self._context.randomness, _owner_of(upload))

    def _is_referred_to(self, upload: Upload) -> bool:
        if not upload.commits:
            return False
        catalog = self._context.catalog
        try:
            drafts = catalog.project_drafts(upload.tenant, upload.project)
        except NotFound:
            return True  # deleted: a fork may refer to what it had
        if any(draft.commit in upload.commits for draft in drafts):  # also of sessions that keep what was dropped
            return True
        if any(catalog.find_commit(upload.tenant, upload.project, one) is not None for one in upload.commits):
            return True
        # A dump may have a draft that was given up since: its packs are then a collection's to remove, as any draft's.
        given_up = {commit for _, commit in catalog.holdings(upload.tenant, upload.project).superseded}
        return not given_up.isdisjoint(upload.commits)

    def _check_room(self, principal: Principal, session: SessionId, *, slots: int = 0, size: int = 0) -> None:
        held = self._context.catalog.held_uploads(principal.tenant, principal.user, session)
        after = Room(
            held.session_slots + slots, held.session_bytes + size, held.user_slots + slots, held.user_bytes + size
        )
        for what, wanted, most in zip(Room._fields, after, self._room, strict=True):
            if wanted > most and (slots if what.endswith("slots") else size):
                whose, unit = what.split("_")
                raise QuotaExceeded(
                    f"the {whose} would have {wanted} {unit} of uploads open, over the limit of {most}",
                    hint="publish or save what was uploaded, which makes room; what is not used makes room after a day",
                    limit=most,
                )

    def _slot(self, upload: Upload) -> UploadSlot:
        seal = container_of(upload).seal()
        object_key = self._context.keys.of(upload.tenant, upload.project).object_key(seal)
        return UploadSlot(key=ObjectKey(seal.key), object_id=seal.object_id, object_key=object_key)

    def _prepare(
        self,
        principal: Principal,
        session: SessionId,
        draft: UploadReceipt,
        packs: Sequence[UploadReceipt],
        intent: Intent,
    ) -> tuple[UploadedDraft, PendingCommit]:
        found = self._inspector.read(principal, session, draft)
        base, changes = found.base, found.commit.changes
        self._context.policy.limits.check_project(*base.totals_with(changes))
        if any(len(pack.commits) >= _MAX_TRIES for pack in found.packs.values()):
            raise BadUpload("the draft was tried too often", hint="upload it again")
        self._inspector.check_packs(found, packs)
        unchecked = found.unproven()
        if unchecked:
            raise BadUpload(
                f"the draft refers to {plural(len(unchecked), 'pack')} without a receipt, such as {unchecked[0]}",
                hint="send the receipt of every pack, or have packs checked before",
            )
        return found, PendingCommit(
            base, changes, found.content, found.known, principal.user, session, intent, found.new_bytes
        )

    def _refer(self, found: UploadedDraft, stored: StoredCommit) -> None:
        """Note, before ``stored`` becomes visible, which packs it refers to. Raises BadUpload: one is gone."""
        found.used = self._packs_of(found, stored)

    def _refer_kept(self, found: UploadedDraft, stored: StoredCommit) -> None:
        """Like ``_refer``, for the draft that keeps what a strategy drops, which may be all that refers to a pack."""
        found.kept = self._packs_of(found, stored)

    def _packs_of(self, found: UploadedDraft, stored: StoredCommit) -> list[str]:
        try:
            return self._inspector.refer(found, stored.places, stored.row.commit)
        except ManifoldError:
            upload = found.upload
            with suppress(ManifoldError):
                self._context.writer.discard(upload.tenant, upload.project, stored.row)
            raise

    def _keep(self, principal: Principal, session: SessionId, found: UploadedDraft, stored: StoredCommit) -> None:
        """Make ``stored`` the session's draft. Its packs live as long as that, like those of any draft."""
        self._refer(found, stored)
        self._commits.keep_draft(principal, session, stored)
        self._finish(found, True)

    def _take_off(self, principal: Principal, session: SessionId, found: UploadedDraft) -> None:
        """Take the session's draft off, unless it was saved since room for ``found`` was asked for: whoever found
        nothing to save had begun to look by then."""
        view = self._sessions.view(principal, session)
        self._sessions.prolong(view)
        row = view.session
        if row.draft is not None and row.draft.saved_at <= found.upload.created_at:
            self._context.catalog.drop_draft(row.tenant, row.user, row.session, row.draft.commit)
        self._finish(found, False)

    def _finish(self, found: UploadedDraft, in_use: bool) -> None:
        """Forget what is referred to now, and what is of no more use. Where this fails, the sweep does it later."""
        upload, catalog = found.upload, self._context.catalog
        used = found.kept + (found.used if in_use else [])
        with suppress(ManifoldError):
            catalog.forget_uploads(upload.tenant, upload.project, used, slots_of=upload.draft)
        with suppress(ManifoldError):
            self._discard(upload)
            catalog.forget_uploads(upload.tenant, upload.project, [upload.name])


def _owner_of(upload: Upload) -> str:
    """Return whose an upload's name is: all that tells since when, and from where, something may refer to it."""
    place = f"{project_prefix(upload.tenant, upload.project)}/uploads/{upload.user}/{upload.session}"
    begun = upload.created_at.timestamp()
    if upload.kind == "draft":
        return f"{place}/{begun}/draft/{upload.generation}"
    return f"{place}/{begun}/packs/{upload.draft}"


class _PacksInCommits:
    """Knows which packs the commits of a project refer to, from the catalog and the store alone: rows of uploads are
    changed by more than those who may remove objects."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._known: dict[TenantProject, tuple[datetime, set[str]]] = {}

    def have(self, upload: Upload) -> bool:
        """Whether a commit made since ``upload`` was begun refers to its object, or that cannot be told any more."""
        project, since = (upload.tenant, upload.project), upload.created_at - _MARGIN
        if self._context.catalog.was_removed(*project, since):
            return True  # the commit that referred to it may be among the removed ones, and a kept tree still does
        known = self._known.get(project)
        if known is None or known[0] > since:
            try:
                known = self._known[project] = since, self._read(project, since)
            except NotFound:
                return True
        return upload.name in known[1]

    def _read(self, project: TenantProject, since: datetime) -> set[str]:
        found: set[str] = set()
        wanted, before = CommitFilter(since=since), None
        while rows := self._context.catalog.list_commits(*project, wanted=wanted, before=before, limit=_SWEPT_AT_ONCE):
            for commit in self._context.log.read_commits(*project, rows):
                found.update(place.block.container.object_id for place in commit.places.values())
            before = rows[-1].generation
        return found
