"""Saved work that is not in the store any more, or is damaged there: told apart from damage of the project itself.

It comes of a store that was rolled back, or restored without what the catalog names. Nothing is given up unless it is
asked for: until then the object may still be put back from a backup.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from manifold_common.errors import CorruptObject, DraftLost
from manifold_common.format.places import Block, Places
from manifold_common.ids import CommitId, Generation, ProjectId, SessionId
from manifold_common.ports.catalog import SessionRow
from manifold_common.services.context import Context


@contextmanager
def blaming_draft(
    session: SessionId,
    project: ProjectId,
    generation: Generation,
    commit: CommitId,
    is_its_own: Callable[[str], bool] = lambda _: True,
) -> Iterator[None]:
    """Damage that is met meanwhile in an object of the draft's own is the draft's. Raises DraftLost in its place.

    Args:
        generation: that the draft would have become.
    """
    try:
        yield
    except CorruptObject as error:
        if not is_its_own(error.object_name):
            raise
        raise DraftLost(
            f"the saved work of session '{session}' (draft {commit}, on generation {generation - 1}) cannot be read: "
            f"object {error.object_name}: {error.reason}",
            hint="put that object back from a backup of the store; or give the draft up and start from the session's "
            f"base with 'manifold checkout {project} --session {session} --drop-lost-draft'",
            session=session,
            draft=commit,
            base_generation=generation - 1,
            object=error.object_name,
        ) from error


def own_blocks(draft: Places, base: Places) -> set[Block]:
    """Return the blocks of the objects that a draft refers to and its base does not."""
    known = {place.block.container for place in base.values()}
    return {place.block for place in draft.values() if place.block.container not in known}


def drop_if_lost(context: Context, row: SessionRow) -> CommitId | None:
    """Take the draft off a session if any of it cannot be read; return its id, or ``None`` if all is well.

    Raises CorruptObject: its base cannot be read either.
    """
    draft = row.draft
    if draft is None:
        return None
    base = context.log.load(row.tenant, row.project, draft.base.generation, commit=draft.base.commit)
    try:
        found = context.log.read_commit(row.tenant, row.project, draft)
        own = own_blocks(found.places, base.places)
        context.block_reader(row.tenant, row.project).read_all(own, lambda _block, _raw: None, found.places)
    except CorruptObject:
        dropped = context.catalog.drop_draft(row.tenant, row.user, row.session, draft.commit, given_up=True)
        return draft.commit if dropped else None
    return None
