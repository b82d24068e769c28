"""Keys wrapped anew: every copy goes along, whatever is in the way, and nothing is stranded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from manifold_common.adapters.keyfile.provider import FileKeyProvider
from manifold_common.adapters.memory.key_provider import MemoryKeyProvider
from manifold_common.adapters.system.clock import SystemRandomness
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.job import JobState
from manifold_common.domain.keys import Kek, WrappedKey
from manifold_common.engine.data_keys import DataKeys
from manifold_common.errors import CatalogUnavailable, InvalidInput, KeyUnavailable, StoreUnavailable
from manifold_common.format.key_record import decode_key_record
from manifold_common.format.layout import wrapped_key_key
from manifold_common.ids import JobId, ProjectId
from manifold_common.ports.catalog import NewJob
from manifold_common.ports.key_provider import KeyProvider
from manifold_common.services.jobs.worker import JobWorker
from manifold_common.services.keys.rewrap import Rewrap
from manifold_common.services.keys.rewrap_job import RewrapJob
from manifold_common.services.projects.edits import MakeFolder
from manifold_common.shapes.jobs import Job

from tests.support.manifold import MakeManifold

TENANT = LOCAL_PRINCIPAL.tenant
pytestmark = pytest.mark.in_memory("master keys are rotated and providers taken away as no server would")


@pytest.fixture
def manifold(make_manifold: MakeManifold) -> Manifold:
    return make_manifold()


def provider_of(manifold: Manifold) -> FileKeyProvider:
    provider = manifold.providers["file"]
    assert isinstance(provider, FileKeyProvider)
    return provider


def make_projects(manifold: Manifold, count: int = 2) -> list[ProjectId]:
    found = [manifold.projects.create(LOCAL_PRINCIPAL, f"project {number}").id for number in range(count)]
    return sorted(found)


def keks(manifold: Manifold, project: ProjectId) -> tuple[Kek, Kek]:
    """Return the KEK that the catalog names, and the one that the store names."""
    (record,) = manifold.context.catalog.project_keys(TENANT, project)
    data = manifold.context.store.get(wrapped_key_key(TENANT, project, record.dek), max_bytes=1 << 16)
    return record.wrapped.kek, decode_key_record(data, TENANT, project, record.dek).wrapped.kek


def rewrap_all(manifold: Manifold, rewrap: Rewrap | None = None) -> Job:
    """Work on a job that rewraps all keys until nothing of it can be done for now. What rested is tried at once."""
    used = rewrap or manifold.rewrap
    worker = JobWorker(manifold.context, {"rewrap": lambda _: RewrapJob(manifold.context.catalog, used, None)})
    begun = manifold.jobs.start(LOCAL_PRINCIPAL, "rewrap", {})
    worker.see_through(manifold.jobs.row(TENANT, begun.job.id))
    return manifold.jobs.get(LOCAL_PRINCIPAL, begun.job.id)


def errors_of(job: Job) -> list[str | None]:
    return [item.error for item in job.troubles]


def test_after_a_rotation_every_key_goes_on_to_the_new_version(manifold: Manifold, make_manifold: MakeManifold) -> None:
    projects = make_projects(manifold)
    assert rewrap_all(manifold).done == 0
    assert provider_of(manifold).rotate() == 2
    done = rewrap_all(manifold)
    assert (done.state, done.done, done.troubles) == (JobState.DONE, 2, [])
    assert {kek for project in projects for kek in keks(manifold, project)} == {Kek("file", "default", 2)}
    other = make_manifold(node="b")
    for project in projects:
        assert other.edits.apply(LOCAL_PRINCIPAL, project, [MakeFolder(b"made later")]).generation == 1


def test_a_key_that_its_first_wrapping_has_made_is_named_as_it_is_then(manifold: Manifold, tmp_path: Path) -> None:
    (project,) = make_projects(manifold, 1)
    context = manifold.context
    renamed = FileKeyProvider(
        tmp_path / "keystore", key_name="another", clock=context.clock, randomness=context.randomness
    )
    rewrap = Rewrap(context, {"file": renamed}, renamed)
    assert rewrap.kek() == Kek("file", "another", 0)
    assert rewrap_all(manifold, rewrap).done == 1
    assert rewrap.kek() == Kek("file", "another", 1)
    assert keks(manifold, project)[0] == Kek("file", "another", 1)


def test_a_process_that_holds_the_keys_works_on(manifold: Manifold) -> None:
    (project,) = make_projects(manifold, 1)
    manifold.edits.apply(LOCAL_PRINCIPAL, project, [MakeFolder(b"before")])
    provider_of(manifold).rotate()
    rewrap_all(manifold)
    assert manifold.edits.apply(LOCAL_PRINCIPAL, project, [MakeFolder(b"after")]).generation == 2


def test_keys_of_deleted_projects_and_of_forks_go_along(manifold: Manifold) -> None:
    source, gone = make_projects(manifold)
    manifold.edits.apply(LOCAL_PRINCIPAL, source, [MakeFolder(b"a")])
    fork = manifold.forks.fork(LOCAL_PRINCIPAL, source, "fork").id
    manifold.projects.delete(LOCAL_PRINCIPAL, gone)
    provider_of(manifold).rotate()
    assert rewrap_all(manifold).done == 4, "the fork has the source's key beside its own"
    assert manifold.context.catalog.keys_not_under(Kek("file", "default", 2)) == []
    assert set(manifold.history.snapshot(LOCAL_PRINCIPAL, fork).tree) == {b"", b"a"}


def test_cut_off_between_store_and_catalog_the_next_run_does_it_again(
    manifold: Manifold, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project,) = make_projects(manifold, 1)
    provider_of(manifold).rotate()

    def away(*_: Any) -> None:
        raise CatalogUnavailable("killed here")

    monkeypatch.setattr(manifold.context.catalog, "replace_wrapped_key", away)
    assert errors_of(rewrap_all(manifold)) == ["catalog_unavailable"]
    assert [kek.key_version for kek in keks(manifold, project)] == [1, 2], "never is the catalog ahead of the store"
    monkeypatch.undo()
    assert rewrap_all(manifold).done == 1
    assert [kek.key_version for kek in keks(manifold, project)] == [2, 2]


def test_where_the_store_does_not_take_it_the_catalog_keeps_what_the_store_has(
    manifold: Manifold, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project,) = make_projects(manifold, 1)
    provider_of(manifold).rotate()

    def away(*_: Any, **__: Any) -> None:
        raise StoreUnavailable("the store is away")

    monkeypatch.setattr(manifold.context.store, "put", away)
    assert errors_of(rewrap_all(manifold)) == ["store_unavailable"]
    monkeypatch.undo()
    assert [kek.key_version for kek in keks(manifold, project)] == [1, 1]


def test_of_two_at_once_store_and_catalog_end_up_with_the_same(
    manifold: Manifold, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project,) = make_projects(manifold, 1)
    provider = provider_of(manifold)
    provider.rotate()
    replace_it = manifold.context.catalog.replace_wrapped_key

    def overtaken(before: Any, wrapped: WrappedKey) -> WrappedKey | None:
        monkeypatch.undo()
        provider.rotate()
        manifold.rewrap.rewrap(before)
        return replace_it(before, wrapped)

    monkeypatch.setattr(manifold.context.catalog, "replace_wrapped_key", overtaken)
    assert rewrap_all(manifold).done == 1
    assert [kek.key_version for kek in keks(manifold, project)] == [3, 3]


def switched(manifold: Manifold) -> tuple[Rewrap, MemoryKeyProvider]:
    """Return what rewraps from the provider of the settings to another one."""
    target = MemoryKeyProvider(SystemRandomness())
    providers: dict[str, KeyProvider] = {**manifold.providers, "memory": target}
    context = manifold.context
    keys = DataKeys(
        context.catalog, providers, "memory", clock=context.clock, randomness=context.randomness, ttl_seconds=0
    )
    return Rewrap(replace(context, keys=keys), providers, target), target


def test_keys_go_on_to_another_provider(manifold: Manifold) -> None:
    (project,) = make_projects(manifold, 1)
    rewrap, target = switched(manifold)
    assert rewrap_all(manifold, rewrap).done == 1
    assert {kek.provider for kek in keks(manifold, project)} == {"memory"}
    assert target.rotate() == 2
    assert rewrap_all(manifold, rewrap).done == 1
    assert set(keks(manifold, project)) == {Kek("memory", "default", 2)}


def test_while_the_current_provider_is_away_the_whole_job_rests(manifold: Manifold) -> None:
    make_projects(manifold, 1)
    rewrap, target = switched(manifold)
    target.available = False
    job = rewrap_all(manifold, rewrap)
    assert (job.state, job.planned, job.troubles) == (JobState.RUNNING, False, [])
    assert job.trouble is not None and job.trouble.error == "key_unavailable" and job.trouble.retry_at is not None
    target.available = True
    assert rewrap_all(manifold, rewrap).done == 1


def test_a_key_that_is_under_the_current_one_by_then_is_passed_over(manifold: Manifold) -> None:
    (project,) = make_projects(manifold, 1)
    provider_of(manifold).rotate()
    job = manifold.jobs.start(LOCAL_PRINCIPAL, "rewrap", {}).job
    row = manifold.jobs.row(TENANT, job.id)
    assert manifold.job_worker.step(row).moved, "it is planned"
    (record,) = manifold.context.catalog.project_keys(TENANT, project)
    manifold.rewrap.rewrap(record)
    manifold.job_worker.see_through(row)
    done = manifold.jobs.get(LOCAL_PRINCIPAL, job.id)
    assert (done.state, done.done, done.skipped) == (JobState.DONE, 0, 1)


def test_of_one_project_only_its_keys_are_items(manifold: Manifold) -> None:
    project, other = make_projects(manifold)
    provider_of(manifold).rotate()
    job = manifold.jobs.start(LOCAL_PRINCIPAL, "rewrap", {"project": project}).job
    manifold.job_worker.see_through(manifold.jobs.row(TENANT, job.id))
    assert manifold.jobs.get(LOCAL_PRINCIPAL, job.id).done == 1
    assert [keks(manifold, one)[0].key_version for one in (project, other)] == [2, 1]


def test_keys_of_a_provider_that_is_no_longer_there_hold_up_no_others(
    manifold: Manifold, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_projects(manifold, 8)
    rewrap, _ = switched(manifold)
    asked = []

    def away(*_: Any) -> None:
        asked.append(1)
        raise KeyUnavailable("the old provider is away")

    monkeypatch.setattr(manifold.providers["file"], "unwrap", away)
    job = rewrap_all(manifold, rewrap)
    assert (job.state, job.done, job.pending, job.planned) == (JobState.RUNNING, 0, 8, True)
    assert errors_of(job) == ["key_unavailable"] * 8
    assert len(asked) == 5, "after some, it is not asked any more"


@pytest.mark.parametrize("is_planned", [True, False])
@pytest.mark.parametrize("params", [{}, {"to": "vault"}])
def test_a_node_that_lacks_the_key_leaves_the_job_to_those_that_have_it(
    manifold: Manifold, make_manifold: MakeManifold, params: dict[str, object], *, is_planned: bool
) -> None:
    make_projects(manifold)
    provider_of(manifold).rotate()
    if params:  # as a node that has it would have started it
        manifold.context.catalog.add_job(
            NewJob(TENANT, JobId("a" * 26), "rewrap", '{"to":"vault"}', LOCAL_PRINCIPAL.user, None, None)
        )
        job = JobId("a" * 26)
    else:
        job = manifold.jobs.start(LOCAL_PRINCIPAL, "rewrap", {}).job.id
    if is_planned:
        items = [f"{record.tenant}/{record.project}/{record.dek}" for record in manifold.rewrap.pending()]
        manifold.context.catalog.plan_items(TENANT, job, None, items, None)
    before = manifold.jobs.get(LOCAL_PRINCIPAL, job)
    lacking = make_manifold(node="lacking", PROJECTS_ENCRYPT="false")
    assert lacking.job_worker.run(["rewrap"]) == 0
    assert not lacking.job_worker.has_work(["rewrap"], within_seconds=900)
    after = lacking.jobs.get(LOCAL_PRINCIPAL, job)
    assert (after.revision, after.failed, after.trouble) == (before.revision, 0, None)
    if not params:
        assert manifold.job_worker.run(["rewrap"]) == 2
        assert manifold.jobs.get(LOCAL_PRINCIPAL, job).state is JobState.DONE


def test_without_a_key_of_its_own_a_node_starts_no_rewrap_to_none(make_manifold: MakeManifold) -> None:
    lacking = make_manifold(PROJECTS_ENCRYPT="false")
    with pytest.raises(InvalidInput, match="not encrypted") as refused:
        lacking.jobs.start(LOCAL_PRINCIPAL, "rewrap", {})
    assert refused.value.details == {"field": "params.to"}
