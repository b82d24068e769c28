"""A catalog and an object store that can be read and not changed: each method that is not known to read is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, cast

from manifold_common.ports.catalog import Catalog
from manifold_common.ports.object_store import ObjectStore

CATALOG_READS = frozenset(
    {
        "all_projects",
        "changed_jobs",
        "close",
        "cluttered_resumable",
        "condemned_among",
        "condemned_objects",
        "commit_at",
        "count_damaged",
        "count_plain_projects",
        "damaged_objects",
        "declared_backups",
        "deleted_projects",
        "deleted_sessions",
        "drafted_sessions",
        "ended_resumable",
        "ended_uploads",
        "event_streams",
        "events_end",
        "events_page",
        "expired_sessions",
        "family_of",
        "find_commit",
        "find_deleted",
        "find_job",
        "find_keys",
        "find_project",
        "find_request",
        "find_resumable",
        "find_tag",
        "find_uploads",
        "fork_families",
        "fork_family",
        "forks_of",
        "garbage_of",
        "garbage_waiting",
        "get_project",
        "head",
        "health",
        "held_resumable",
        "held_uploads",
        "history_starts",
        "holdings",
        "installation",
        "is_under_way",
        "job_items",
        "jobs_at_work",
        "keys_not_under",
        "list_events",
        "list_checkpoints",
        "list_commits",
        "list_jobs",
        "list_projects",
        "list_sessions",
        "list_tags",
        "newest_event",
        "plain_objects",
        "project_drafts",
        "project_keys",
        "read_plan",
        "recent_events",
        "record_hashes",
        "resumable_parts",
        "rest",
        "settle_installation",
        "sink_states",
        "superseded_objects",
        "usage_of",
        "usage_sum",
        "view_session",
        "was_ended",
        "was_removed",
        "with_news",
    }
)
STORE_READS = frozenset({"get", "get_ranges", "head", "health", "list"})


class _ReadOnly:
    def __init__(self, inner: object, reads: frozenset[str], refuse: Callable[[], None]) -> None:
        self._inner = inner
        self._reads = reads
        self._refuse = refuse

    def __getattr__(self, name: str) -> Any:
        if name in self._reads:
            return getattr(self._inner, name)
        if not callable(getattr(self._inner, name)):
            raise AttributeError(name)

        def refused(*_: object, **__: object) -> NoReturn:
            self._refuse()
            raise AssertionError("whoever refuses raises")

        return refused


def read_only_catalog(inner: Catalog, refuse: Callable[[], None]) -> Catalog:
    """Return a catalog on which every change raises what ``refuse`` raises. Only settling what it is can be done."""
    return cast(Catalog, _ReadOnly(inner, CATALOG_READS, refuse))


def read_only_store(inner: ObjectStore, refuse: Callable[[], None]) -> ObjectStore:
    """Return a store on which every change raises what ``refuse`` raises."""
    return cast(ObjectStore, _ReadOnly(inner, STORE_READS, refuse))
