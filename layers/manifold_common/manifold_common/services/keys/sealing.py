"""A project begins to be encrypted: the first time that something is written to it by a deployment that encrypts.

Order of effects: the head is read, which proves that the log and the chunk-id key belong together; the new key goes
into the bucket, then into the catalog, if the project and its drafts still are as they were read and nobody else has
done the same. From that statement on the catalog takes nothing unsealed of the project. Then a sealed checkpoint of the
head is written, so that no reader needs the unsealed ones. Cut off before the statement, nothing has happened; after
it, only reading is slower until the next checkpoint.

What was stored before stays as it is and can be read. The key vouches for it (``PlainPast``): for all commits by one
hash over their records' hashes, for each draft by its own.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress

from manifold_common.engine.commit_writer import Authorship, Note
from manifold_common.engine.data_keys import ProjectKeys
from manifold_common.engine.pack_writer import NewContent
from manifold_common.engine.tree_log import Snapshot
from manifold_common.errors import CatalogUnavailable, ManifoldError
from manifold_common.format.buffers import Buffer
from manifold_common.format.commit_object import ReadCommit
from manifold_common.format.key_record import MAX_PAST_DRAFTS, PlainPast, encode_key_record, hash_history
from manifold_common.format.layout import wrapped_key_key
from manifold_common.format.places import Block
from manifold_common.format.sealed import ObjectKind, Payload
from manifold_common.ids import PLAIN
from manifold_common.ports.catalog import DraftRef, Head, SessionRow
from manifold_common.services.context import Context

_log = logging.getLogger(__name__)

_TRIES = 20


class Sealing:
    def __init__(self, context: Context) -> None:
        self._context = context

    def begin(self, keys: ProjectKeys) -> None:
        """Begin a new key epoch, unless somebody else has.

        Raises:
            KeyUnavailable: nothing can be wrapped now. CorruptObject: the project does not hold together.
            CatalogUnavailable: others commit without pause.
        """
        context, tenant, project = self._context, keys.tenant, keys.project
        for _ in range(_TRIES):
            keys.reload()
            if len(keys.leaders()) == 1:
                return
            snapshot = context.log.load(tenant, project)
            drafts = [row for row in context.catalog.project_drafts(tenant, project) if row.dek == PLAIN]
            past = keys.past or self._past(keys, snapshot.head, drafts)
            record = context.keys.make_next(keys, project, past)
            name = wrapped_key_key(tenant, project, record.dek)
            context.store.put(name, encode_key_record(record))
            if not context.catalog.begin_epoch(record, snapshot.head, drafts=[draft.commit for draft in drafts]):
                with suppress(ManifoldError):  # it opens nothing
                    context.store.delete([name])
                continue
            _log.info("project %s: encrypted from generation %d on", project, snapshot.head.generation + 1)
            keys.reload()
            if snapshot.head.commit is not None:
                try:
                    context.catalog.add_checkpoint(tenant, project, context.writer.write_checkpoint(snapshot))
                except ManifoldError as error:
                    _log.warning("project %s: no sealed checkpoint could be written: %s", project, error.code)
            return
        raise CatalogUnavailable(
            f"project {project} had {_TRIES} other commits or drafts as its encryption was to begin", hint="try again"
        )

    def seal_draft(
        self, row: SessionRow, draft: DraftRef, base: Snapshot, found: ReadCommit
    ) -> tuple[DraftRef, ReadCommit]:
        """Store a draft from before the encryption anew, sealed, and make it the session's.

        Args:
            draft: as the session has it, and ``found`` as it was read.
            base: the generation it was made on.
        """
        context, own = self._context, {}
        for chunk, place in found.places.items():
            container = place.block.container
            if (container.kind, container.name) == (ObjectKind.COMMIT, draft.commit):
                own[chunk] = place
        blocks = sorted({place.block for place in own.values()}, key=lambda block: block.frame)
        raw: dict[Block, Buffer] = {}
        context.block_reader(row.tenant, row.project).read_all(blocks, raw.__setitem__, own)
        numbers = {block: number for number, block in enumerate(blocks)}
        content = NewContent(
            {chunk: (numbers[place.block], place.offset, place.length) for chunk, place in own.items()},
            {},
            [Payload.of(raw[block]) for block in blocks],
        )
        known = {**base.places, **{chunk: place for chunk, place in found.places.items() if chunk not in own}}
        meta = found.meta
        by = Authorship(row.user, row.session, meta.message, meta.provenance)
        stored = context.writer.write(base, found.changes, content, known, by, Note("", {}, 0, 0, 0, 0))
        made = stored.draft(draft.saved_at)
        context.catalog.save_draft(row.tenant, row.user, row.session, made, ttl=context.policy.session_ttl)
        return made, context.log.read_commit(row.tenant, row.project, made)

    def _past(self, keys: ProjectKeys, head: Head, rows: Sequence[DraftRef]) -> PlainPast:
        """Return what the project has stored so far, none of which is sealed. Args: ``rows``: its drafts."""
        log = self._context.log
        drafts = []
        for row in rows:
            try:
                drafts.append(log.read_commit(keys.tenant, keys.project, row).record_hash)
            except ManifoldError as error:
                _log.warning("project %s: draft %s cannot be read and is left out: %s", keys.project, row.commit, error)
        if len(drafts) > MAX_PAST_DRAFTS:
            _log.warning(
                "project %s has %d drafts from before its encryption; the oldest %d can no longer be read",
                keys.project, len(drafts), len(drafts) - MAX_PAST_DRAFTS,
            )  # fmt: skip
        history = hash_history(log.record_hashes(keys.tenant, keys.project, head.generation))
        return PlainPast(head.generation, history, tuple(drafts[:MAX_PAST_DRAFTS]))
