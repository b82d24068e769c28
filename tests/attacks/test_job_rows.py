"""Whoever can write to the database forges jobs and their items. That holds up no other job, and no list of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from manifold_common.bootstrap import Manifold, build
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.job import ItemState, JobFilter, JobState
from manifold_common.ids import JobId

from tests.support.manifold import settings_for

ITEMS = (
    "x",
    "../../x",
    "a/b/c",
    "default//",
    "/" * 500,
    "default/" + "a" * 26 + "/" + "a" * 26,
    "\U0001f511/\ud7ff/\x7f",
)


@pytest.fixture
def manifold(tmp_path: Path, ram_folder: Path, postgres_dsn: str) -> Iterator[Manifold]:
    made = build(settings_for(tmp_path, ram_folder), postgres_dsn)
    yield made
    made.close()


@pytest.fixture
def database(postgres_dsn: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        yield connection


def begin(manifold: Manifold) -> JobId:
    """Start a rewrap of a few keys, of which nothing is done yet."""
    for number in range(3):
        manifold.projects.create(LOCAL_PRINCIPAL, f"project {number}")
    manifold.rewrap.rotate()
    job = manifold.jobs.start(LOCAL_PRINCIPAL, "rewrap", {}).job.id
    manifold.job_worker.step(manifold.jobs.row(LOCAL_PRINCIPAL.tenant, job), stop=lambda: True)
    return job


def test_odd_items_fail_by_themselves(manifold: Manifold, database: psycopg.Connection) -> None:
    job = begin(manifold)
    for number, item in enumerate(ITEMS, 4):
        database.execute(
            "INSERT INTO job_items (tenant_id, job_id, number, item, changed_at) VALUES (%s, %s, %s, %s, now())",
            (LOCAL_PRINCIPAL.tenant, job, number, item),
        )
    database.execute("UPDATE jobs SET pending = pending + %s", (len(ITEMS),))
    manifold.job_worker.run(["rewrap"])
    after = manifold.jobs.get(LOCAL_PRINCIPAL, job)
    assert (after.state, after.done, after.skipped, after.failed) == (JobState.FAILED, 3, 1, len(ITEMS) - 1)
    odd = manifold.jobs.items(LOCAL_PRINCIPAL, job, states=[ItemState.FAILED])
    assert {item.error for item in odd} == {"invalid_input"}


@pytest.mark.parametrize("forged", [
    "params = '{bad'", "params = '[1]'", "params = 'null'", "params = '{\"to\": 7}'", "params = '{\"depth\": 1}'",
    "kind = 'no-such-kind'", "pending = 0", "pending = 1", "pending = 10000", "failed = 9223372036854775807",
    "speed = 'NaN'", "speed = '-Infinity'", "plan_cursor = 'x', is_planned = false",
    "project_id = '../../etc'", "user_id = '', trouble_code = '', trouble_text = repeat('x', 100000)",
])  # fmt: skip
def test_an_odd_job_holds_up_neither_others_nor_lists(
    manifold: Manifold, database: psycopg.Connection, forged: str
) -> None:
    victim = begin(manifold)
    other = manifold.jobs.start(LOCAL_PRINCIPAL, "rewrap", {"to": "file/other", "create": True}).job.id
    database.execute(f"UPDATE jobs SET {forged} WHERE job_id = %s", (victim,))  # type: ignore[arg-type]
    for _ in range(2):
        manifold.job_worker.run(["rewrap", "no-such-kind"])
    assert manifold.jobs.get(LOCAL_PRINCIPAL, other).state is JobState.DONE
    listed = manifold.jobs.page(LOCAL_PRINCIPAL, JobFilter())
    assert {job.id for job in listed} == {victim, other}
    json.dumps([job.params for job in listed])
    found = manifold.jobs.get(LOCAL_PRINCIPAL, victim)
    if not found.state.is_over:
        assert manifold.jobs.cancel(LOCAL_PRINCIPAL, victim).state is JobState.CANCELLED
