"""RAM or the disk under the cache is full, from each write in turn.

Full RAM is ``NoSpace``: what was there stays as it was, and with room the same job succeeds. A full cache is nobody's
error.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.errors import NoSpace
from manifold_common.ids import DEFAULT_TENANT, ProjectId

from tests.support.full_disk import full_disk
from tests.support.manifold import MakeManifold
from tests.support.work import S1, S2, check_out, look, lose_ram, new_project, paths, put, remove

LARGE = os.urandom(2_200_000)
NEVER = 1 << 30
Prepare = Callable[[Manifold, ProjectId], Path | None]
Run = Callable[[Manifold, ProjectId], object]


@pytest.fixture
def writer(make_manifold: MakeManifold) -> Manifold:
    return make_manifold(node="writer")


@pytest.fixture
def manifold(make_manifold: MakeManifold) -> Manifold:
    return make_manifold()


def filled(manifold: Manifold, name: str) -> ProjectId:
    project = new_project(manifold, name, **{"a": b"one", "b": b"bee", "d/e": b"deep", "empty": b""})
    put(manifold, project, b"d/large", LARGE)
    return project


def nothing(manifold: Manifold, project: ProjectId) -> None:
    return None


def outdated_session(manifold: Manifold, project: ProjectId) -> Path:
    work = check_out(manifold, project)
    (work / "mine").write_bytes(b"mine")
    put(manifold, project, b"d/large", LARGE[::-1])
    put(manifold, project, b"new/folder/file", b"new")
    remove(manifold, project, b"b")
    return work


def edited_session(manifold: Manifold, project: ProjectId) -> Path:
    work = check_out(manifold, project)
    (work / "a").write_bytes(b"mine")
    put(manifold, project, b"new/file", LARGE[::-1])
    return work


def lost_session(manifold: Manifold, project: ProjectId) -> None:
    work = check_out(manifold, project)
    (work / "a").write_bytes(b"mine")
    manifold.commits.save(LOCAL_PRINCIPAL, S1)
    lose_ram(work)


JOBS: dict[str, tuple[Prepare, Run]] = {
    "new checkout": (nothing, lambda manifold, project: check_out(manifold, project)),
    "refresh": (outdated_session, lambda manifold, project: check_out(manifold)),
    "restored draft": (lost_session, lambda manifold, project: check_out(manifold)),
    "commit": (edited_session, lambda manifold, project: manifold.commits.commit(LOCAL_PRINCIPAL, S1)),
    "save": (edited_session, lambda manifold, project: manifold.commits.save(LOCAL_PRINCIPAL, S1)),
}


@pytest.mark.parametrize("name", JOBS)
def test_full_ram_changes_nothing_and_with_room_the_job_succeeds(
    make_manifold: MakeManifold, manifold: Manifold, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare, run = JOBS[name]
    project = filled(manifold, "counted")
    prepare(manifold, project)
    ram = Path(manifold.working_sets.folders.root)
    with full_disk(monkeypatch, ram, NEVER) as counted:
        run(manifold, project)
    refused = 0
    for full_from in range(1, counted.writes + 1):
        manifold.sessions.close(LOCAL_PRINCIPAL, S1)
        project = filled(manifold, f"full from {full_from}")
        before = prepare(manifold, project)
        expected = look(before) if before else None
        with full_disk(monkeypatch, ram, full_from):
            try:
                run(manifold, project)
            except NoSpace as error:
                refused += 1
                assert error.hint
                if expected is None:
                    assert not list(ram.rglob("work")), full_from
                elif name != "refresh":
                    assert before is not None
                    assert look(before) == expected, full_from
        run(make_manifold(), project)
        work = check_out(make_manifold())
        found = look(work)
        if name == "refresh":
            assert found.keys() == paths(manifold, project) | {b"mine"}, full_from
            assert (found[b"d/large"].content, found[b"mine"].content) == (LARGE[::-1], b"mine"), full_from
        elif expected is not None:
            assert {path: found[path] for path in expected} == expected, full_from
            assert found.keys() == expected.keys() | {b"new", b"new/file"}, full_from
        else:
            assert found.keys() == paths(manifold, project), full_from
    assert refused


def test_a_full_disk_under_the_cache_stops_nothing(
    manifold: Manifold, writer: Manifold, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = filled(writer, "demo")
    cache = manifold.settings.projects.workspace.cache_dir
    with full_disk(monkeypatch, cache, NEVER) as counted:
        check_out(manifold, project)
    assert counted.writes > 0
    for full_from in range(1, counted.writes + 1):
        for path in sorted(cache.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        manifold.context.log.forget(DEFAULT_TENANT, project)
        manifold.sessions.close(LOCAL_PRINCIPAL, S2)
        with full_disk(monkeypatch, cache, full_from):
            work = check_out(manifold, project, S2)
            assert (work / "d" / "large").read_bytes() == LARGE, full_from
            (work / "a").write_bytes(b"%d" % full_from)
            manifold.commits.commit(LOCAL_PRINCIPAL, S2)
        assert (check_out(writer, project) / "a").read_bytes() == b"%d" % full_from
        assert manifold.sessions.status(LOCAL_PRINCIPAL, S2).differences == []


REALLY_FULL = """
import os, subprocess, sys
from pathlib import Path
ram, folder = Path(sys.argv[1]), Path(sys.argv[2])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", ram], check=True)
from manifold_common.engine import object_cache
from manifold_common.adapters.keyfile.provider import FileKeyProvider
from manifold_common.adapters.memory.catalog import MemoryCatalog
from manifold_common.adapters.memory.object_store import MemoryObjectStore
from manifold_common.adapters.system.clock import SystemClock, SystemRandomness
from manifold_common.bootstrap import assemble
from manifold_common.errors import NoSpace
from tests.support.manifold import settings_for
from tests.support.work import check_out, look, new_project, put
clock = SystemClock()
manifold = assemble(
    settings_for(folder, ram / "sets"), catalog=MemoryCatalog(clock=clock), store=MemoryObjectStore(clock),
    providers={"file": FileKeyProvider(folder / "keystore", clock=clock, randomness=SystemRandomness())},
    clock=clock, randomness=SystemRandomness(),
)
project = new_project(manifold, a=b"one")
work = check_out(manifold, project)
(work / "mine").write_bytes(b"mine")
before = look(work)
put(manifold, project, b"large", os.urandom(9 << 20))
for session in (None, "s2"):
    object_cache.free_bytes = lambda folder: 1 << 40  # an estimate that was right when it was made
    try:
        check_out(manifold, project) if session is None else check_out(manifold, project, session)
    except NoSpace as error:
        print("no space", look(work) == before, [path.name for path in ram.rglob("large")])
put(manifold, project, b"large", b"small now")
print(sorted(look(check_out(manifold))))
"""


def test_ram_that_is_really_full_is_no_space(tmp_path: Path) -> None:
    allowed = subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode == 0
    if not allowed:
        pytest.skip("this user may not make a mount namespace")
    (tmp_path / "ram").mkdir()
    command = ["unshare", "-rm", sys.executable, "-c", REALLY_FULL, str(tmp_path / "ram"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert done.stdout.splitlines() == ["no space True []", "no space True []", "[b'a', b'large', b'mine']"], (
        done.stderr
    )
