"""What the services say of changes to a project, as the world hears it."""

from __future__ import annotations

from manifold_common.services.projects.edits import Edited
from manifold_common.shapes import changes as shapes
from manifold_common.shapes.path import listed


def edited_shown(done: Edited) -> shapes.Edited:
    return shapes.Edited(
        project=done.project,
        generation=done.generation,
        commit=done.commit,
        paths=listed(done.paths),
        paths_total=len(done.paths),
        conflicts=listed(done.conflicts),
        kept=done.kept,
    )
