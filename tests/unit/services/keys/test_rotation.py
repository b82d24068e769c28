"""Master keys that get a new version when their time has come; keys wrapped under another than that of the settings."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from manifold_common.adapters.keyfile.provider import FileKeyProvider
from manifold_common.adapters.memory.catalog import MemoryCatalog
from manifold_common.adapters.memory.clock import ManualClock
from manifold_common.adapters.memory.key_provider import MemoryKeyProvider
from manifold_common.adapters.system.clock import SystemRandomness
from manifold_common.bootstrap import Manifold
from manifold_common.bootstrap.chores import CHORES
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.job import JobFilter, JobState
from manifold_common.domain.keys import Kek
from manifold_common.errors import InvalidInput, KeyUnavailable
from manifold_common.ports.key_provider import Requests
from manifold_common.services.keys.rewrap import Rewrap

from tests.support.manifold import MakeManifold

DAY = timedelta(days=1).total_seconds()
TENANT = LOCAL_PRINCIPAL.tenant
OTHER = {"to": "file/other", "create": True}
pytestmark = pytest.mark.in_memory("moves the clock by days")


class Place:
    def __init__(self, make_manifold: MakeManifold, days: int) -> None:
        self.clock = ManualClock()
        self.manifold: Manifold = make_manifold(
            clock=self.clock,
            catalog=MemoryCatalog(clock=self.clock),
            PROJECTS_ENCRYPTION_ROTATION_KEK_DAYS=str(days),
        )
        self.project = self.manifold.projects.create(LOCAL_PRINCIPAL, "demo").id

    @property
    def keystore(self) -> Path:
        return Path(self.manifold.providers["file"].describe()["keystore"])

    def tend(self) -> int:
        return CHORES["rotate_master_key"].run(self.manifold, lambda: False)

    def kek(self) -> Kek:
        (record,) = self.manifold.context.catalog.project_keys(TENANT, self.project)
        return record.wrapped.kek


def test_a_master_key_that_is_old_is_rotated_and_the_data_keys_follow(make_manifold: MakeManifold) -> None:
    place = Place(make_manifold, 90)
    assert place.tend() == 0
    place.clock.advance(89.9 * DAY)
    assert place.tend() == 0 and place.manifold.rewrap.kek() == Kek("file", "default", 1)
    place.clock.advance(0.2 * DAY)
    assert place.tend() == 2, "a version and a job"
    assert place.manifold.rewrap.kek() == Kek("file", "default", 2)
    assert place.tend() == 0, "both are there already"
    assert place.manifold.job_worker.run(["rewrap"]) == 1
    assert place.kek() == Kek("file", "default", 2)
    assert place.tend() == 0
    place.clock.advance(90.1 * DAY)
    assert place.tend() == 2 and place.manifold.rewrap.kek() == Kek("file", "default", 3)


def test_without_a_time_nothing_is_rotated_or_begun(make_manifold: MakeManifold) -> None:
    place = Place(make_manifold, 0)
    place.manifold.rewrap.rotate()
    place.clock.advance(3000 * DAY)
    assert place.tend() == 0
    assert place.manifold.jobs.page(LOCAL_PRINCIPAL, JobFilter()) == []
    assert place.manifold.rewrap.kek() == Kek("file", "default", 2)


def test_what_somebody_else_has_rotated_is_rewrapped_too(make_manifold: MakeManifold) -> None:
    place = Place(make_manifold, 90)
    place.manifold.rewrap.rotate()
    assert place.tend() == 1
    (job,) = place.manifold.jobs.page(LOCAL_PRINCIPAL, JobFilter())
    assert (job.kind, job.state) == ("rewrap", JobState.RUNNING)


def test_a_rewrap_that_failed_is_not_begun_again_round_after_round(make_manifold: MakeManifold) -> None:
    place = Place(make_manifold, 90)
    (record,) = place.manifold.context.catalog.project_keys(TENANT, place.project)
    spoilt = record.wrapped._replace(ciphertext=record.wrapped.ciphertext[:40])
    place.manifold.context.catalog.replace_wrapped_key(record, spoilt)
    place.manifold.rewrap.rotate()
    assert place.tend() == 1 and place.manifold.job_worker.run(["rewrap"]) == 1
    (job,) = place.manifold.jobs.page(LOCAL_PRINCIPAL, JobFilter())
    assert job.state is JobState.FAILED
    for _ in range(23):
        place.clock.advance(3600)
        assert place.tend() == 0
    place.clock.advance(2 * 3600)
    assert place.tend() == 1, "once a day"


def test_a_rewrap_that_is_under_way_is_left_as_it_is(make_manifold: MakeManifold) -> None:
    place = Place(make_manifold, 90)
    place.manifold.rewrap.rotate()
    assert place.tend() == 1
    (job,) = place.manifold.jobs.page(LOCAL_PRINCIPAL, JobFilter())
    place.manifold.jobs.pause(LOCAL_PRINCIPAL, job.id)
    before = place.manifold.jobs.get(LOCAL_PRINCIPAL, job.id)
    assert place.tend() == 0 and place.manifold.jobs.get(LOCAL_PRINCIPAL, job.id) == before


def test_a_key_whose_keystore_is_lost_is_not_rotated(make_manifold: MakeManifold, tmp_path: Path) -> None:
    place = Place(make_manifold, 0)
    place.manifold.rewrap.rotate()
    assert place.manifold.jobs.start(LOCAL_PRINCIPAL, "rewrap", {}).is_new
    place.manifold.job_worker.run(["rewrap"])
    keystore, aside = tmp_path / "keystore", tmp_path / "aside"
    keystore.rename(aside)
    with pytest.raises(KeyUnavailable, match="version 2 of the file key 'default', of which there is none"):
        place.manifold.rewrap.rotate()
    assert not keystore.exists()
    aside.rename(keystore)
    (keystore / "default" / "2.key").rename(aside)
    with pytest.raises(KeyUnavailable, match="there is only version 1"):
        place.manifold.rewrap.rotate()
    aside.rename(keystore / "default" / "2.key")
    assert place.manifold.rewrap.rotate() == Kek("file", "default", 3)


def test_without_encryption_there_is_nothing_to_rotate(make_manifold: MakeManifold) -> None:
    manifold = make_manifold(PROJECTS_ENCRYPT="false", PROJECTS_ENCRYPTION_ROTATION_KEK_DAYS="1")
    assert CHORES["rotate_master_key"].run(manifold, lambda: False) == 0
    with pytest.raises(InvalidInput, match="not encrypted"):
        manifold.rewrap.rotate()


def test_keys_go_to_another_key_of_the_provider_and_back(make_manifold: MakeManifold) -> None:
    place = Place(make_manifold, 0)
    jobs, worker = place.manifold.jobs, place.manifold.job_worker
    jobs.start(LOCAL_PRINCIPAL, "rewrap", OTHER)
    assert worker.run(["rewrap"]) == 1
    assert place.kek() == Kek("file", "other", 1)
    place.manifold.history.snapshot(LOCAL_PRINCIPAL, place.project)
    jobs.start(LOCAL_PRINCIPAL, "rewrap", {})
    assert worker.run(["rewrap"]) == 1
    assert place.kek() == Kek("file", "default", 1)


def test_jobs_to_different_keys_are_different_jobs(make_manifold: MakeManifold) -> None:
    place = Place(make_manifold, 0)
    begun = [
        place.manifold.jobs.start(LOCAL_PRINCIPAL, "rewrap", params).job.id
        for params in ({}, {"to": "file"}, OTHER, OTHER, {"project": place.project})
    ]
    assert len(set(begun)) == 4 and begun[2] == begun[3]


def test_no_job_goes_to_a_key_that_is_not_there_unless_it_may_be_made(make_manifold: MakeManifold) -> None:
    place = Place(make_manifold, 0)
    jobs, worker, keystore = place.manifold.jobs, place.manifold.job_worker, place.keystore
    with pytest.raises(InvalidInput, match="has no key 'typo'") as caught:
        jobs.start(LOCAL_PRINCIPAL, "rewrap", {"to": "file/typo"})
    assert caught.value.details["field"] == "params.to" and "there is: default;" in str(caught.value.hint)
    assert [one.name for one in keystore.iterdir() if one.is_dir()] == ["default"]
    jobs.start(LOCAL_PRINCIPAL, "rewrap", OTHER)
    assert worker.run(["rewrap"]) == 1
    jobs.start(LOCAL_PRINCIPAL, "rewrap", {})
    assert worker.run(["rewrap"]) == 1
    jobs.start(LOCAL_PRINCIPAL, "rewrap", {"to": "file/other"})
    assert worker.run(["rewrap"]) == 1 and place.kek() == Kek("file", "other", 1)


@pytest.mark.parametrize("params", [{}, {"to": "file"}])
def test_what_is_to_be_made_has_a_name(make_manifold: MakeManifold, params: dict[str, str]) -> None:
    with pytest.raises(InvalidInput) as caught:
        Place(make_manifold, 0).manifold.jobs.start(LOCAL_PRINCIPAL, "rewrap", {**params, "create": True})
    assert caught.value.details["field"] == "params.create"


def test_a_key_that_was_lost_after_a_job_was_started_is_not_made_anew(make_manifold: MakeManifold) -> None:
    place = Place(make_manifold, 0)
    provider, keystore = place.manifold.providers["file"], place.keystore
    (record,) = place.manifold.context.catalog.project_keys(TENANT, place.project)
    provider.with_key("other").rotate()
    known = place.manifold.rewrap.to("file/other")
    known.require_target_key()
    (keystore / "other" / "1.key").unlink()
    with pytest.raises(KeyUnavailable, match="has no key 'other'"):
        known.rewrap(record)
    assert list((keystore / "other").iterdir()) == []


@pytest.mark.parametrize("to", ["vault/x", "", "file/", "file/../x", "file/\0", "/"])
def test_a_target_that_there_is_not_is_refused_before_a_job_is_made(make_manifold: MakeManifold, to: str) -> None:
    place = Place(make_manifold, 0)
    with pytest.raises(InvalidInput) as caught:
        place.manifold.jobs.start(LOCAL_PRINCIPAL, "rewrap", {"to": to})
    assert (type(caught.value), caught.value.details["field"]) == (InvalidInput, "params.to")
    assert place.manifold.jobs.page(LOCAL_PRINCIPAL, JobFilter()) == []


def test_keys_go_from_one_provider_to_another_and_what_it_costs_is_known(make_manifold: MakeManifold) -> None:
    place = Place(make_manifold, 0)
    context = place.manifold.context
    (record,) = context.catalog.project_keys(TENANT, place.project)
    other = MemoryKeyProvider(SystemRandomness(), key_name="elsewhere")
    other.requests = Requests(wrap=2, unwrap=5, rewrap=3)
    file = place.manifold.providers["file"]
    assert isinstance(file, FileKeyProvider)
    there = Rewrap(context, {"file": file, "memory": other}, other)
    assert there.requests(record) == Counter(memory=2)
    place.manifold.providers["memory"] = other
    context.keys._providers["memory"] = other  # type: ignore[index]
    there.rewrap(record)
    assert place.kek() == Kek("memory", "elsewhere", 1)
    (moved,) = context.catalog.project_keys(TENANT, place.project)
    assert there.requests(moved) == Counter(memory=3)
    assert Rewrap(context, {"file": file, "memory": other}, file).requests(moved) == Counter(memory=5, file=0)
    other.available = False
    with pytest.raises(KeyUnavailable):
        Rewrap(context, {"file": file, "memory": other}, file).rewrap(moved)


def test_a_key_that_is_gone_does_not_keep_the_others_under_the_old_version(make_manifold: MakeManifold) -> None:
    place = Place(make_manifold, 90)
    locked = place.manifold.projects.create(LOCAL_PRINCIPAL, "locked").id
    catalog = place.manifold.context.catalog
    (record,) = catalog.project_keys(TENANT, locked)
    catalog.replace_wrapped_key(record, record.wrapped._replace(provider="vault"))
    place.manifold.context.keys.forget(TENANT, locked)
    for version in (2, 3):
        place.clock.advance(90.1 * DAY)
        assert place.tend() == 2, "a version and a job"
        place.manifold.job_worker.run(["rewrap"])
        assert place.kek() == Kek("file", "default", version)
        place.clock.advance(0.5 * DAY)
        assert place.tend() == 0, "what rests is waited for"
    jobs = place.manifold.jobs.page(LOCAL_PRINCIPAL, JobFilter(kind="rewrap"))
    assert [job.state for job in jobs] == [JobState.RUNNING, JobState.CANCELLED]
