"""A draft from before its project was encrypted, sealed for a client that reads it from the store itself.

Such a client has no way to tell an unsealed draft from one that somebody else put there. Order of effects: the sealed
copy is stored; uploads that it refers to note that; then it becomes the session's draft, if that is still the one that
was copied.
"""

from __future__ import annotations

from contextlib import suppress

from manifold_common.engine.commit_writer import Authorship, Note
from manifold_common.engine.pack_writer import NewContent
from manifold_common.engine.tree_log import Snapshot
from manifold_common.errors import ManifoldError
from manifold_common.format.buffers import Buffer
from manifold_common.format.commit_object import ReadCommit
from manifold_common.format.places import Block
from manifold_common.format.sealed import ObjectKind, Payload
from manifold_common.ports.catalog import DraftRef, SessionRow
from manifold_common.services.context import Context
from manifold_common.services.direct.inspection import UPLOAD_KEPT


def seal_draft(
    context: Context, row: SessionRow, draft: DraftRef, base: Snapshot, found: ReadCommit
) -> tuple[DraftRef, ReadCommit] | None:
    """Store an unsealed draft anew, sealed, and make it the session's.

    Returns it; ``None``: the session has other saved work by now, or none.

    Args:
        draft: as the session has it, and ``found`` as it was read.
        base: the generation it was made on.
    """
    own = {}
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
    containers = {place.block.container for place in stored.places.values()}
    packs = {one.name for one in containers if one.kind is ObjectKind.PACK}
    until = context.clock.now() + UPLOAD_KEPT
    context.catalog.refer_uploads(row.tenant, row.project, sorted(packs), made.commit, until)
    is_saved = context.catalog.save_draft(
        row.tenant,
        row.user,
        row.session,
        made,
        ttl=context.policy.session_ttl,
        gc_epoch=stored.gc_epoch,
        replaces=draft.commit,
    )
    if not is_saved:
        with suppress(ManifoldError):
            context.writer.discard(row.tenant, row.project, stored.row)
        return None
    return made, context.log.read_commit(row.tenant, row.project, made)
