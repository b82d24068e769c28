"""Objects that nothing refers to."""

from __future__ import annotations

from manifold_common.bootstrap.chores.chore import UPKEEP, Chore

CHORES = (
    Chore(
        "remove_unused_uploads",
        "Removes what clients have uploaded and never committed, when its time is over.",
        UPKEEP,
        "maintenance",
        lambda manifold, stop: manifold.uploads.sweep(stop=stop),
    ),
    Chore(
        "remove_expired_uploads",
        "Removes resumable uploads that nobody went on with for `projects.resumableUploads.keptDays`, what was asked "
        "of jobs and came of it so long ago, and packs that they need no more.",
        UPKEEP,
        "maintenance",
        lambda manifold, stop: manifold.resumable_uploads.sweep(stop=stop),
    ),
    Chore(
        "remove_superseded_objects",
        "Removes objects that nothing has referred to for `projects.maintenance.garbageGraceSeconds`.",
        UPKEEP,
        "maintenance",
        lambda manifold, stop: manifold.superseded.sweep(stop=stop),
    ),
    Chore(
        "purge_deleted_projects",
        "Purges projects that were deleted `projects.retention.deletedProjectDays` ago; a collection removes what they "
        "have stored.",
        UPKEEP,
        "maintenance",
        lambda manifold, stop: manifold.purge.sweep(stop=stop),
    ),
    Chore(
        "collect_garbage",
        "Starts a collection of garbage when the last one was started `projects.maintenance.collectionHours` ago.",
        UPKEEP,
        "maintenance",
        lambda manifold, stop: 0 if stop() else manifold.collection_schedule.keep(),
    ),
    Chore(
        "remove_condemned_objects",
        "Removes objects that were condemned `projects.maintenance.garbageGraceSeconds` ago.",
        UPKEEP,
        "maintenance",
        lambda manifold, stop: manifold.condemned.sweep(stop=stop),
    ),
)
