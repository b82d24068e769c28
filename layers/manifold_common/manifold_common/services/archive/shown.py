"""What the services say of an archive that was put into a project, as the world hears it."""

from __future__ import annotations

from msgspec import structs

from manifold_common.services.archive.archives import ImportedArchive
from manifold_common.services.projects.shown import edited_shown
from manifold_common.shapes import changes as shapes
from manifold_common.shapes.losses import not_kept
from manifold_common.shapes.path import listed


def imported_shown(done: ImportedArchive) -> shapes.ImportedArchive:
    return shapes.ImportedArchive(
        **structs.asdict(edited_shown(done.edited)),
        entries=done.entries,
        total_bytes=done.total_bytes,
        skipped=listed(done.skipped),
        not_kept=not_kept(done.losses),
    )
