"""What was collected, and what is damaged, as metrics."""

from __future__ import annotations

from manifold_common.bootstrap import Manifold

from functions.invocation import metrics


def measure(manifold: Manifold) -> None:
    """Measure what this invocation has collected, what is still to be removed, and what is known to be damaged.

    Raises CatalogUnavailable.
    """
    done = manifold.collection_tally.take()
    if done.removed_generations:
        metrics.count("history.removed", done.removed_generations)
    if done.condemned_objects:
        metrics.count("garbage.condemned", done.condemned_objects)
        metrics.count("garbage.condemned.bytes", done.condemned_bytes)
    if done.removed_objects:
        metrics.count("garbage.removed", done.removed_objects)
        metrics.count("garbage.removed.bytes", done.removed_bytes)
    waiting = manifold.context.catalog.garbage_waiting()
    metrics.count("garbage.waiting", waiting.objects)
    metrics.count("garbage.waiting.bytes", waiting.bytes)
    metrics.count("objects.damaged", manifold.context.catalog.count_damaged())
