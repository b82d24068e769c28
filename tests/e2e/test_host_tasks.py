"""The host's background work, on a real database."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from manifold_common.bootstrap import build, migrate_catalog
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.ids import SessionId
from manifold_local.embedded.postgres import ensure_embedded
from manifold_local.host.tasks import chores, watch_over

from tests.support.manifold import MakeManifold, settings_for


def never() -> bool:
    return False


def test_an_embedded_database_that_crashed_is_started_again(tmp_path: Path, ram_folder: Path) -> None:
    work = ram_folder / "work"
    work.mkdir()
    postgres = ensure_embedded(work / ".postgres", linger_seconds=0.2)
    try:
        migrate_catalog(postgres.dsn)
        manifold = build(settings_for(work, ram_folder / "ram", DATABASE_TIMEOUT_SECONDS="2"), postgres.dsn)
        try:
            watch = watch_over(postgres, manifold)
            assert not watch.run(never)
            manifold.projects.create(LOCAL_PRINCIPAL, "before")
            pid = int((work / ".postgres" / "data" / "postmaster.pid").read_text().split()[0])
            os.kill(pid, signal.SIGKILL)
            deadline = time.monotonic() + 60
            while not watch.run(never):
                assert time.monotonic() < deadline
            while not manifold.context.catalog.health()[0]:
                assert time.monotonic() < deadline
            assert [row.name for row in manifold.projects.page(LOCAL_PRINCIPAL)] == ["before"]
        finally:
            manifold.close()
    finally:
        postgres.close(stop_now=True)


def test_changes_of_a_session_are_saved_without_being_asked(make_manifold: MakeManifold) -> None:
    manifold = make_manifold()
    project = manifold.projects.create(LOCAL_PRINCIPAL, "demo").id
    work = Path(manifold.sessions.checkout(LOCAL_PRINCIPAL, SessionId("s1"), project).path)
    (work / "new").write_text("not committed")
    save = next(task for task in chores(manifold) if task.name == "save_drafts")
    assert save.period_seconds == 60
    assert save.run(never) == 1
    assert manifold.sessions.view(LOCAL_PRINCIPAL, SessionId("s1")).session.draft is not None


def test_a_period_of_zero_leaves_a_task_out(make_manifold: MakeManifold) -> None:
    manifold = make_manifold(PROJECTS_WORKSPACE_DRAFT_SECONDS="0", PROJECTS_MAINTENANCE_INTERVAL_SECONDS="0")
    assert [task.name for task in chores(manifold)] == ["remove_working_sets"]
