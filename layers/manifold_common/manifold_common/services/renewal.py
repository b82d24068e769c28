"""Work that was begun before objects were condemned is brought to the present: it refers to none of them.

A place of content counts for the ``gc_epoch`` that it was read at (ports/catalog/collection.py). Where that has passed,
each object that the work refers to is looked for again: in the tree that is now the head, which counts; and else among
what is condemned, and in the store, since what was removed from there is on no list any more.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Final, TypeVar

from manifold_common.domain.tree import chunk_ids
from manifold_common.engine.tree_log import Snapshot
from manifold_common.errors import ContentCollected, NotFound
from manifold_common.format.layout import below_project
from manifold_common.format.places import Container, Places
from manifold_common.services.commit_point import PendingCommit
from manifold_common.services.context import Context

Answer = TypeVar("Answer")
_ATTEMPTS: Final = 3


def redone(work: Callable[[], Answer]) -> Answer:
    """Do work that reads all it needs by itself; from its beginning again where some of that was collected meanwhile.

    Raises ContentCollected: so it was each time.
    """
    for _ in range(_ATTEMPTS - 1):
        with suppress(ContentCollected):
            return work()
    return work()


def renewed(context: Context, pending: PendingCommit, head: Snapshot) -> PendingCommit:
    """Return the same work, its places as they are at the ``gc_epoch`` of ``head``.

    Raises:
        ContentCollected: some of its content is gone, or about to go, and has to be stored anew; or objects have been
            condemned once more.
    """
    base, epoch = pending.base, head.head.gc_epoch
    standing = {**_base_places(context, base, epoch), **head.places}
    own = pending.content.packed_places
    known: Places = {}
    doubtful: Places = {}
    for entry in pending.changes.upserts.values():
        for chunk in chunk_ids(entry):
            if chunk in own:
                doubtful[chunk] = own[chunk]
            elif chunk in standing:
                known[chunk] = standing[chunk]
            elif chunk in pending.known and chunk not in pending.content.chunks:
                known[chunk] = doubtful[chunk] = pending.known[chunk]
    _require_standing(context, base, {place.block.container for place in doubtful.values()}, epoch)
    base = replace(base, head=base.head._replace(gc_epoch=epoch))
    return replace(pending, base=base, known=known)


def still_standing(context: Context, base: Snapshot, places: Places) -> Places:
    """Return those places that count at the ``gc_epoch`` of ``base``, of some that were read at another.

    Args:
        places: of content that something refers to at this moment. It may not for much longer.
    """
    keys = {place.block.container.seal().key: place.block.container.project for place in places.values()}
    named = [(project, below_project(key)) for key, project in keys.items()]
    now, condemned = context.catalog.condemned_among(base.tenant, base.project, named)
    if now != base.head.gc_epoch:
        return {}
    gone = {key for key, name in zip(keys, named, strict=True) if name in condemned}
    return {chunk: place for chunk, place in places.items() if place.block.container.seal().key not in gone}


def _base_places(context: Context, base: Snapshot, epoch: int) -> Places:
    """Return the places of what the work was done on, as they are now, if that is still to be read."""
    if base.head.commit is None:
        return {}
    try:
        found = context.log.load(base.tenant, base.project, base.head.generation, commit=base.head.commit)
    except NotFound:
        return {}
    return found.places if found.head.gc_epoch == epoch else {}


def _require_standing(context: Context, base: Snapshot, containers: set[Container], epoch: int) -> None:
    keys = {one.seal().key: one.project for one in containers}
    named = [(project, below_project(key)) for key, project in keys.items()]
    now, condemned = context.catalog.condemned_among(base.tenant, base.project, named)
    if now != epoch or condemned or None in context.workers.requests.map(context.store.head, keys):
        raise ContentCollected(base.project)
