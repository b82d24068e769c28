"""A draft from before its project was encrypted, sealed for a client that reads it from the store itself.

Such a client has no way to tell an unsealed draft from one that somebody else put there. Order of effects: the sealed
copy is stored, then becomes the session's draft.
"""

from __future__ import annotations

from manifold_common.engine.commit_writer import Authorship, Note
from manifold_common.engine.pack_writer import NewContent
from manifold_common.engine.tree_log import Snapshot
from manifold_common.format.buffers import Buffer
from manifold_common.format.commit_object import ReadCommit
from manifold_common.format.places import Block
from manifold_common.format.sealed import ObjectKind, Payload
from manifold_common.ports.catalog import DraftRef, SessionRow
from manifold_common.services.context import Context


def seal_draft(
    context: Context, row: SessionRow, draft: DraftRef, base: Snapshot, found: ReadCommit
) -> tuple[DraftRef, ReadCommit]:
    """Store an unsealed draft anew, sealed, and make it the session's.

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
    context.catalog.save_draft(
        row.tenant, row.user, row.session, made, ttl=context.policy.session_ttl, gc_epoch=stored.gc_epoch
    )
    return made, context.log.read_commit(row.tenant, row.project, made)
