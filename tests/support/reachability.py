"""What of the store is needed, found by reading what the catalog names, one object after another.

This is the plain rule that the collector has to agree with: no folding, no epochs, no lists of what is condemned.
"""

from __future__ import annotations

from manifold_common.bootstrap import Manifold
from manifold_common.format.layout import (
    checkpoint_key,
    checkpoint_name,
    commit_key,
    pack_key,
    wrapped_key_key,
)
from manifold_common.ids import ProjectId, TenantId
from manifold_common.ports.catalog import Standing
from manifold_common.services.resumable.records import Records


class Reachability:
    """Remembers what each object refers to: objects never change."""

    def __init__(self, manifold: Manifold) -> None:
        self._context = manifold.context
        self._refers: dict[str, set[str]] = {}

    def needed(self, tenant: TenantId, project: ProjectId, *, uploads: bool = True) -> set[str]:
        """Return the keys of all objects without which something of a project could not be read.

        Args:
            uploads: also what has arrived of files that come in parts.

        Fails where one of these cannot be read now.
        """
        held = self._context.catalog.holdings(tenant, project)
        if held.standing is Standing.PURGED:
            return set()
        log, keys = self._context.log, self._context.keys.of_records(held.keys)
        found = {wrapped_key_key(tenant, project, record.dek) for record in held.keys}
        for row in (*held.commits, *held.drafts):
            key = commit_key(tenant, project, row.generation, row.commit)
            if key not in self._refers:
                places = log.read_commit(tenant, project, row, keys).places
                self._refers[key] = {place.block.container.seal().key for place in places.values()}
            found |= {key, *self._refers[key]}
        for checkpoint in held.checkpoints:
            name = checkpoint_name(checkpoint.commit, checkpoint.object_id)
            key = checkpoint_key(tenant, project, checkpoint.generation, name)
            counts = keys.trusts(checkpoint.dek)
            if key not in self._refers and counts:
                places = log.read_checkpoint(tenant, project, checkpoint, keys).places
                self._refers[key] = {place.block.container.seal().key for place in places.values()}
            found |= {key, *(self._refers[key] if counts else ())}
        for resumable, parts in held.resumable if uploads else ():
            if resumable.stage == "open" and keys.trusts(resumable.dek):
                records = Records(self._context, tenant, project, resumable.upload, keys)
                tail = records.progress(resumable).tail
                placed = [*records.chunks(parts), *(records.placed(tail) if tail else ())]
                found |= {one.place.block.container.seal().key for one in placed}
        return found

    def reserved(self, tenant: TenantId, project: ProjectId) -> set[str]:
        """Return the keys that uploads have been given. Whether there are such objects depends on how far each is."""
        held = self._context.catalog.holdings(tenant, project)
        found = set()
        for upload in held.uploads:
            is_draft = upload.kind == "draft"
            found.add(
                commit_key(tenant, project, upload.generation, upload.draft)
                if is_draft
                else pack_key(tenant, project, upload.object_id)
            )
        for resumable, parts in held.resumable:
            packs = [*resumable.spare, *(pack for part in parts for pack in part.objects)]
            found |= {pack_key(tenant, project, pack) for pack in packs}
        return found
