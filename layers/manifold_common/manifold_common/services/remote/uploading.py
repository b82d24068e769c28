"""New content on its way into the store by the server's slots, and the draft that says what it is for."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from blake3 import blake3

from manifold_common.domain.tree import Changes
from manifold_common.engine.objects import SealedObjects
from manifold_common.engine.pack_writer import NewContent, PackWriter
from manifold_common.format.commit_object import CommitMeta, build_commit
from manifold_common.format.places import Container, Places
from manifold_common.format.sealed import ObjectKind
from manifold_common.ids import CommitId, Generation, ObjectId, RequestId, SessionId
from manifold_common.ports.object_store import Buffer
from manifold_common.ports.remote import RemoteCommitted, UploadReceipt, UploadSlot
from manifold_common.services.commit import CommitRequest
from manifold_common.services.remote.context import RemoteContext
from manifold_common.services.remote.generations import PlannedGenerations

_FIRST_SLOTS = 1
"""Most commits need none: their content travels inside the draft."""
_MORE_SLOTS = 16
_CHECKED_AT_ONCE_BYTES = 128 << 20
"""Packs in one request to check: well within the half minute that a gateway waits."""


class _Receipted(SealedObjects):
    """Stores objects and keeps what is to be said of them."""

    def __init__(self, context: RemoteContext) -> None:
        super().__init__(context.links, context.cache)
        self.receipts: dict[str, UploadReceipt] = {}

    def write(self, key: str, data: Buffer) -> None:
        name = key.rpartition("/")[2].rpartition("-")[2]
        self.receipts[key] = UploadReceipt(name, len(data), blake3(data).digest())
        super().write(key, data)


class Upload:
    """One draft of a session. Not for several threads."""

    def __init__(
        self, context: RemoteContext, generations: PlannedGenerations, session: SessionId, base: Generation
    ) -> None:
        """Raises as ``RemoteServer.open_uploads``."""
        self._context = context
        self._session = session
        self._objects = _Receipted(context)
        slots = context.server.open_uploads(session, base, _FIRST_SLOTS)
        self.base = generations.take(slots.plan)
        self._user = slots.plan.user
        self.keys = generations.keyring(slots.plan.project)
        self.keys.name_chunks_with(slots.id_key)
        self.keys.write_dek = slots.write_dek
        self._draft, self._commit = slots.draft, slots.draft_commit
        self._free: deque[UploadSlot] = deque()
        self._take([slots.draft])
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
        base = self.base
        own = Container(
            base.tenant,
            base.project,
            ObjectKind.COMMIT,
            Generation(base.head.generation + 1),
            self._commit,
            self._draft.object_id,
            self.keys.write_dek,
        )
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
        self._objects.write(self._draft.key, built.data)

    def publish(self, request: CommitRequest) -> RemoteCommitted:
        """Have the server check and publish what was stored. A repeat of this call publishes nothing a second time."""
        draft, packs = self._receipts()
        left = self._check_ahead(draft, packs)
        return self._context.server.publish(
            self._session,
            draft,
            left,
            message=request.message,
            provenance=request.provenance,
            strategy=request.strategy.value,
            expected=request.expected,
            request=request.request or RequestId(self._commit),
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
        draft = receipts.pop(self._draft.key)
        return draft, list(receipts.values())

    def _next_pack(self) -> ObjectId:
        if not self._free:
            more = self._context.server.open_uploads(self._session, self.base.head.generation, _MORE_SLOTS)
            self._take_packs(more.packs)
        return self._free.popleft().object_id

    def _take_packs(self, slots: Sequence[UploadSlot]) -> None:
        self._take(slots)
        self._free.extend(slots)

    def _take(self, slots: Sequence[UploadSlot]) -> None:
        for slot in slots:
            self.keys.grant(slot.object_id, slot.object_key)
        self._context.links.offer(slots)


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
