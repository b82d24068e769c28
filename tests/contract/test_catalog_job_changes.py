"""One look tells which of many jobs have changed since somebody saw them, in each catalog."""

from __future__ import annotations

from manifold_common.domain.job import ItemState, JobState, SeenJob
from manifold_common.ids import JobId, TenantId
from manifold_common.ports.catalog import Catalog, ItemReport, NewJob

from tests.contract.catalog_fixtures import OTHER_TENANT, TENANT, USER, new_id

LEASE = "c" * 26


def add(catalog: Catalog, tenant: TenantId = TENANT, params: str = "{}") -> SeenJob:
    row, _ = catalog.add_job(NewJob(tenant, JobId(new_id()), "rewrap", params, USER, None, None))
    return SeenJob(row.tenant, row.job, row.revision)


def test_one_look_tells_which_jobs_have_changed(catalog: Catalog) -> None:
    one, two, other = add(catalog), add(catalog, params="[]"), add(catalog, OTHER_TENANT)
    gone = SeenJob(TENANT, JobId(new_id()), 1)
    foreign = SeenJob(OTHER_TENANT, one.job, one.revision)
    seen = [one, two, other, gone, foreign, one]
    assert catalog.changed_jobs(seen) == [3, 4]
    assert catalog.changed_jobs([]) == []
    catalog.move_job(TENANT, one.job, JobState.PAUSED)
    assert catalog.changed_jobs(seen) == [0, 3, 4, 5]
    catalog.move_job(OTHER_TENANT, other.job, JobState.CANCELLED)
    assert catalog.changed_jobs(seen) == [0, 2, 3, 4, 5]
    catalog.forget_jobs(0)
    assert catalog.changed_jobs([other]) == [0]


def test_everything_that_is_told_of_a_job_changes_its_revision(catalog: Catalog) -> None:
    seen = add(catalog)

    def changes() -> bool:
        """Tell whether the job has changed since this was asked before."""
        nonlocal seen
        before, found = seen, catalog.find_job(seen.tenant, seen.job)
        assert found is not None
        seen = seen._replace(revision=found.revision)
        assert (catalog.changed_jobs([before]) == [0]) == (seen != before)
        return found.revision > before.revision

    assert not changes()
    catalog.plan_items(TENANT, seen.job, None, ["one", "two"], None)
    assert changes()
    catalog.claim_items(TENANT, seen.job, LEASE, seconds=60, limit=2)
    changes()  # nothing that is told of the job itself
    catalog.report_items(TENANT, seen.job, LEASE, [ItemReport(1, ItemState.FAILED, "corrupt_object")])
    assert changes()
    catalog.rest_job(TENANT, seen.job, seconds=60, code="key_unavailable", text=None)
    assert changes()
    for state in (JobState.PAUSED, JobState.RUNNING):
        catalog.move_job(TENANT, seen.job, state)
        assert changes()
    catalog.move_job(TENANT, seen.job, JobState.RUNNING)
    assert not changes(), "it was that already"
    catalog.report_items(TENANT, seen.job, LEASE, [ItemReport(2, ItemState.DONE)])
    assert changes()
    catalog.retry_job(TENANT, seen.job)
    assert changes()
    catalog.move_job(TENANT, seen.job, JobState.CANCELLED)
    assert changes()
