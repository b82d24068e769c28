"""The working sets of one machine."""

from __future__ import annotations

from manifold_common.bootstrap.chores.chore import Chore, Every

CHORES = (
    Chore(
        "save_drafts",
        "Saves the changes in this machine's working sets as drafts, so that they survive it.",
        Every("`projects.workspace.draftSeconds`", lambda manifold: manifold.settings.projects.workspace.draft_seconds),
        None,
        lambda manifold, stop: manifold.maintenance.save_drafts(stop=stop),
    ),
    Chore(
        "remove_working_sets",
        "Removes this machine's working sets whose session is over, and sets aside those that nobody knows.",
        Every("60 seconds", lambda _: 60.0),
        None,
        lambda manifold, stop: manifold.maintenance.sweep_working_sets(stop=stop),
    ),
)
