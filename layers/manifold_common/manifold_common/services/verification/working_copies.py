"""Content that the working sets of this machine still hold: files that are as they were checked out.

Whoever works in such a folder may have put anything there. So nothing of it is trusted: a chunk counts when its id is
the one that is looked for, which only the very bytes have. Nothing is locked or changed, and no link is followed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from manifold_common.domain.patience import check_wanted
from manifold_common.domain.tree import Tree, chunk_ids
from manifold_common.engine.working_set.content import chunks_of
from manifold_common.engine.working_set.folders import Folders, open_root
from manifold_common.engine.working_set.location import WorkingSetFolders
from manifold_common.engine.working_set.state import load_state
from manifold_common.errors import CorruptObject, NotFound, Unavailable, UnsafePath
from manifold_common.format.chunker import Chunker
from manifold_common.ids import ChunkId, Generation, ProjectId, TenantId


class WorkingCopies:
    def __init__(self, folders: WorkingSetFolders) -> None:
        self._folders = folders

    def find(
        self,
        tenant: TenantId,
        project: ProjectId,
        wanted: set[ChunkId],
        chunker: Chunker,
        tree_of: Callable[[Generation], Tree],
    ) -> Iterator[tuple[ChunkId, bytes]]:
        """Yield wanted chunks, which are wanted no more then, from the working sets of a project.

        Args:
            tree_of: returns the tree of a generation, which says where in a folder to look. Raises CorruptObject.
        """
        for owner in self._folders.found():
            if not wanted:
                return
            if (owner.tenant, owner.project) != (tenant, project):
                continue
            location = self._folders.locate(owner)
            state = load_state(location.state, tenant, project)
            if state is None:
                continue
            try:
                tree = tree_of(state.base.generation)
            except (CorruptObject, NotFound):
                continue
            yield from _in_folder(location.work, tree, wanted, chunker)


def _in_folder(work: str, tree: Tree, wanted: set[ChunkId], chunker: Chunker) -> Iterator[tuple[ChunkId, bytes]]:
    try:
        root = open_root(work)
    except (UnsafePath, Unavailable):
        return
    try:
        with Folders(root) as opened:
            for path, entry in tree.items():
                if wanted.isdisjoint(chunk_ids(entry)):
                    continue
                check_wanted()
                try:
                    for data in chunks_of(opened, path, entry.size, chunker):
                        chunk = chunker.chunk_id(data)
                        if chunk in wanted:
                            wanted.discard(chunk)
                            yield chunk, bytes(data)
                except OSError:
                    continue  # it was changed, moved or removed
    finally:
        os.close(root)
