"""New content on its way into the store by the server's slots, and the draft that says what it is for."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

import msgspec
from blake3 import blake3

from manifold_common.domain.history import Seen, point_of
from manifold_common.domain.named_request import NamedRequest
from manifold_common.domain.tree import Changes
from manifold_common.engine.objects import SealedObjects
from manifold_common.engine.pack_writer import NewContent, PackWriter
from manifold_common.errors import BadAnswer, NotFound, Unavailable
from manifold_common.format.commit_object import CommitMeta, build_commit
from manifold_common.format.places import Container, Places
from manifold_common.format.sealed import ObjectKind
from manifold_common.ids import (
    PLAIN,
    CommitId,
    Generation,
    ObjectId,
    ProjectId,
    SessionId,
    parse_object_id,
    parse_request_id,
)
from manifold_common.ports.object_store import Buffer
from manifold_common.services.remote.context import RemoteContext
from manifold_common.services.remote.generation_source import PlannedGenerationSource
from manifold_common.shapes.access import Published, UploadReceipt, UploadSlot
from manifold_common.shapes.answer_checks import check_expected
from manifold_common.shapes.intent import Intent

_FIRST_SLOTS = 1
"""Most commits need none: their content travels inside the draft."""
_MORE_SLOTS = 16
_CHECKED_AT_ONCE_BYTES = 128 << 20
"""Packs in one request to check: well within the half minute that a gateway waits."""


class _Receipted(SealedObjects):
    """Stores objects, each by a link that is asked for when its length is known, and keeps their receipts."""

    def __init__(self, context: RemoteContext, session: SessionId) -> None:
        super().__init__(context.links, context.cache)
        self._context = context
        self._session = session
        self.receipts: dict[str, UploadReceipt] = {}

    def write(self, key: str, data: Buffer) -> None:
        name = parse_object_id(key.rpartition("/")[2].rpartition("-")[2])
        links = self._context.server.link_uploads(self._session, {name: len(data)})
        self._context.links.offer(key, links[0])
        self.receipts[key] = UploadReceipt(name, len(data), blake3(data).digest())
        super().write(key, data)


class DraftUpload:
    """One draft of a session. Not for several threads."""

    def __init__(
        self,
        context: RemoteContext,
        generations: PlannedGenerationSource,
        session: SessionId,
        base: Seen,
        project: ProjectId | None = None,
    ) -> None:
        """Raises as ``RemoteServer.open_uploads``; BadAnswer: the room is for something else."""
        self._context = context
        self._session = session
        self._objects = _Receipted(context, session)
        slots = context.server.open_uploads(session, base, _FIRST_SLOTS)
        plan = slots.plan
        if plan is None:
            raise BadAnswer("the server gives room for a draft without saying what it is made on")
        generations.check(plan, project, point_of(base).generation)
        self.base = generations.take(plan)
        if slots.write_dek == PLAIN and plan.tree is not None and plan.tree.grant.dek != PLAIN:
            raise BadAnswer("the server wants new content of an encrypted project to be stored without encryption")
        self._user = plan.user
        self.keys = generations.keyring(plan.project)
        self.keys.name_chunks_with(slots.id_key)
        self.keys.write_dek = slots.write_dek
        self._draft, self._commit = slots.draft, slots.draft_commit
        self._own = Container(
            self.base.tenant,
            self.base.project,
            ObjectKind.COMMIT,
            Generation(self.base.head.generation + 1),
            self._commit,
            self._draft.object_id,
            slots.write_dek,
        )
        self._free: deque[ObjectId] = deque()
        self.keys.grant(slots.draft.object_id, slots.draft.object_key)
        self._take_packs(slots.packs)

    def writer(self, known: Places | None = None) -> PackWriter:
        """Return a writer of new content. Use it as a context manager."""
        context, base = self._context, self.base
        return PackWriter(
            base.tenant,
            base.project,
            self.keys,
            self._objects,
            context.workers,
            context.randomness,
            base.places if known is None else known,
            self._next_pack,
        )

    def store(self, changes: Changes, content: NewContent) -> None:
        """Store the draft: one PUT."""
        base, own = self.base, self._own
        meta = CommitMeta(
            tenant=base.tenant,
            project=base.project,
            generation=own.generation,
            commit=self._commit,
            parent=base.head.commit or "",
            parent_hash=base.head.record_hash,
            author=self._user,
            session=self._session,
            time_ns=int(self._context.clock.now().timestamp() * 1_000_000) * 1000,
            message="",
            provenance={},
        )
        places = {**base.places, **content.places(own)}
        built = build_commit(meta, changes, places, content.inline, own, self.keys.sealer(own.seal()), self.keys.id_key)
        self._objects.write(own.seal().key, built.data)

    def publish(self, intent: Intent) -> Published:
        """Have the server check and publish what was stored. A repeat of this call publishes nothing a second time."""
        draft, packs = self._receipts()
        left = self._check_ahead(draft, packs)
        base = self.base
        named = intent
        if intent.request is None:
            named = msgspec.structs.replace(intent, request=NamedRequest(parse_request_id(self._commit)))
        done = self._context.server.publish(self._session, draft, left, named, known=base.head.point)
        first = base.head.generation
        if intent.request is None:  # else it may have been done before, and the base be what came of it
            first = Generation(first + (2 if done.rebased and done.commit is not None else 1))
        if done.project != base.project or done.generation < first:
            raise BadAnswer("the server answers about another commit than the one that it was asked to publish")
        check_expected(done, intent)
        if done.plan is None:
            self._check_made(done)
        return done

    def _check_made(self, done: Published) -> None:
        """Raises BadAnswer: the server has no such generation, whatever it has said."""
        try:
            head = self._context.server.project(done.project).point
        except (NotFound, Unavailable):
            return  # it was made all the same
        if head.generation < done.generation:
            raise BadAnswer(
                f"the server says that it has made generation {done.generation}, and that the project is at {head}"
            )

    def keep(self) -> CommitId | None:
        """Have the server check what was stored, and keep it as the session's saved work."""
        draft, packs = self._receipts()
        return self._context.server.keep(self._session, draft, self._check_ahead(draft, packs))

    def _check_ahead(self, draft: UploadReceipt, packs: Sequence[UploadReceipt]) -> list[UploadReceipt]:
        """Have packs checked, several requests at once; return the rest, which one more request can check."""
        batches = list(_batches(packs))
        ahead = batches[:-1]
        server, session = self._context.server, self._session
        list(self._context.workers.requests.map(lambda batch: server.verify(session, draft, batch), ahead))
        return batches[-1] if batches else []

    def _receipts(self) -> tuple[UploadReceipt, list[UploadReceipt]]:
        receipts = dict(self._objects.receipts)
        draft = receipts.pop(self._own.seal().key)
        return draft, list(receipts.values())

    def _next_pack(self) -> ObjectId:
        if not self._free:
            base = self.base.head.point
            more = self._context.server.open_uploads(self._session, base, _MORE_SLOTS, draft=self._commit)
            if more.write_dek != self.keys.write_dek or not more.packs:
                raise BadAnswer("the server gives no room for more of the draft")
            self._take_packs(more.packs)
        return self._free.popleft()

    def _take_packs(self, slots: Sequence[UploadSlot]) -> None:
        for slot in slots:
            self.keys.grant(slot.object_id, slot.object_key)
            self._free.append(slot.object_id)


def _batches(packs: Sequence[UploadReceipt]) -> Iterator[list[UploadReceipt]]:
    batch: list[UploadReceipt] = []
    size = 0
    for pack in packs:
        if batch and size + pack.size > _CHECKED_AT_ONCE_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(pack)
        size += pack.size
    if batch:
        yield batch
