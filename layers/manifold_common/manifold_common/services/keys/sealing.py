"""A project begins to be encrypted: the first time that something is written to it by a deployment that encrypts.

Order of effects: the head is read, which proves that the log and the chunk-id key belong together; the new key goes
into the bucket, then into the catalog, with a sealed checkpoint of each generation whose predecessor was removed, if
the project and its drafts still are as they were read and nobody else has done the same. From that statement on the
catalog takes nothing unsealed of the project. Then a sealed checkpoint of the head is written, so that no reader needs
the unsealed ones. Cut off before the statement, nothing has happened; after it, only reading is slower until the next
checkpoint.

What was stored before stays as it is and can be read. The key vouches for it (``PlainPast``): for all commits by one
hash over their records' hashes, for each draft by its own.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress

from manifold_common.engine.data_keys import ProjectKeys
from manifold_common.errors import CatalogUnavailable, ManifoldError
from manifold_common.format.key_record import MAX_PAST_DRAFTS, PlainPast, encode_key_record, hash_history
from manifold_common.format.layout import wrapped_key_key
from manifold_common.ids import PLAIN
from manifold_common.ports.catalog import DraftRef, Head
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
            removals, starts = context.catalog.history_starts(tenant, project)
            snapshot = context.log.load(tenant, project)
            drafts = [row for row in context.catalog.project_drafts(tenant, project) if row.dek == PLAIN]
            past = keys.past or self._past(keys, snapshot.head, drafts)
            record = context.keys.make_next(keys, project, past)
            name = wrapped_key_key(tenant, project, record.dek)
            context.store.put(name, encode_key_record(record))
            later = context.keys.of_records([*context.keys.records(tenant, project), record])
            checkpoints = [
                context.writer.write_checkpoint(context.log.load(tenant, project, start), later) for start in starts
            ]
            begun = context.catalog.begin_epoch(
                record,
                snapshot.head,
                drafts=[draft.commit for draft in drafts],
                removals=removals,
                checkpoints=checkpoints,
            )
            if not begun:
                with suppress(ManifoldError):  # it opens nothing
                    context.store.delete([name])
                continue
            _log.info("project %s: encrypted from generation %d on", project, snapshot.head.generation + 1)
            keys.reload()
            if snapshot.head.commit is not None:
                try:
                    row = context.writer.write_checkpoint(snapshot)
                    context.catalog.add_checkpoint(tenant, project, row, gc_epoch=snapshot.head.gc_epoch)
                except ManifoldError as error:
                    _log.warning("project %s: no sealed checkpoint could be written: %s", project, error.code)
            return
        raise CatalogUnavailable(
            f"project {project} had {_TRIES} other commits or drafts as its encryption was to begin", hint="try again"
        )

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
