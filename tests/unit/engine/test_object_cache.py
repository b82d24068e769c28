"""The encrypted cache on disk: never trusted, never a reason to fail, never plaintext."""

from __future__ import annotations

import os
import random
import stat
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from manifold_common.adapters.system.clock import SystemClock, SystemRandomness
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.engine.object_cache import ObjectCache
from manifold_common.ids import SessionId

from tests.support.manifold import MakeManifold
from tests.support.work import S1, cat, check_out, look, new_project, put


def flip_bits(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def grow_beyond_memory(path: Path) -> None:
    os.truncate(path, 1 << 43)


def make_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def make_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def make_zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def make_unreadable(path: Path) -> None:
    path.chmod(0)


def remove(path: Path) -> None:
    path.unlink()


HARM = [
    flip_bits, cut, empty, append, grow_beyond_memory, make_fifo, make_folder, make_link, make_zeros, make_unreadable,
    remove,
]  # fmt: skip


def cached_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


@pytest.mark.parametrize("harm", HARM)
def test_a_damaged_copy_is_fetched_again_and_heals(make_manifold: MakeManifold, harm: Callable[[Path], None]) -> None:
    manifold = make_manifold()
    project = new_project(manifold, small=b"small")
    put(manifold, project, b"large", os.urandom(3 << 20))
    reader = make_manifold(node="b")
    expected = look(check_out(reader, project))
    folder = reader.settings.projects.workspace.cache_dir
    files = cached_files(folder)
    assert len(files) == 3  # two commit objects and a pack
    for path in files:
        harm(path)
    again = make_manifold(node="b")
    assert look(check_out(again, project, SessionId("other"))) == expected
    if harm not in (make_folder, make_fifo, make_link, make_unreadable):
        counted = again.context.store.requests  # type: ignore[attr-defined]
        counted.clear()
        third = make_manifold(node="b")
        assert look(check_out(third, project, SessionId("third"))) == expected
        assert counted["get"] == counted["get_ranges"] == 0, "the copies did not heal"


def test_copies_that_change_places_are_noticed(make_manifold: MakeManifold) -> None:
    manifold = make_manifold()
    project = new_project(manifold, a=b"one")
    put(manifold, project, b"a", b"two")
    one, two = cached_files(manifold.settings.projects.workspace.cache_dir)
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    again = make_manifold()
    assert [cat(again, project, b"a", n) for n in (1, 2)] == [b"one", b"two"]


def test_a_copy_from_another_project_is_noticed(make_manifold: MakeManifold) -> None:
    manifold = make_manifold()
    project, other = new_project(manifold, "one", a=b"one"), new_project(manifold, "two", a=b"two")
    folder = manifold.settings.projects.workspace.cache_dir
    (mine,) = [path for path in cached_files(folder) if project in str(path)]
    (theirs,) = [path for path in cached_files(folder) if other in str(path)]
    mine.write_bytes(theirs.read_bytes())
    assert cat(make_manifold(), project, b"a") == b"one"


def test_the_budget_holds_and_the_oldest_goes_first(make_manifold: MakeManifold) -> None:
    budget = 16 << 20
    manifold = make_manifold(PROJECTS_WORKSPACE_CACHE_MAX_BYTES=str(budget))
    project = new_project(manifold)
    for number in range(8):
        put(manifold, project, b"f%d" % number, os.urandom(4 << 20))
    folder = manifold.settings.projects.workspace.cache_dir
    assert 0 < sum(path.stat().st_blocks * 512 for path in cached_files(folder)) <= budget
    assert [len(cat(manifold, project, b"f%d" % number)) for number in range(8)] == [4 << 20] * 8


def test_nodes_that_share_a_cache_and_fill_it_at_once_never_read_a_wrong_byte(make_manifold: MakeManifold) -> None:
    budget = 16 << 20
    first = make_manifold(node="a", PROJECTS_WORKSPACE_CACHE_MAX_BYTES=str(budget))
    folder = first.settings.projects.workspace.cache_dir
    shared = {"PROJECTS_WORKSPACE_CACHE_MAX_BYTES": str(budget), "PROJECTS_WORKSPACE_CACHE_DIR": str(folder)}
    nodes = [first, make_manifold(node="b", **shared), make_manifold(node="c", **shared)]
    files = {b"f%d" % number: os.urandom(3 << 20) for number in range(8)}  # more than the cache may hold
    project = new_project(first)
    for path, data in files.items():
        put(first, project, path, data)
    done = threading.Event()

    def meddle() -> None:
        rng = random.Random(1)
        while not done.is_set():
            if found := cached_files(folder):
                with suppress(OSError, IndexError):  # it may be gone by now, or just made, and empty
                    rng.choice([flip_bits, cut, remove])(rng.choice(found))
            done.wait(0.01)

    def read(number: int) -> int:
        rng = random.Random(number)
        wanted = [rng.choice(list(files)) for _ in range(12)]
        return sum(cat(nodes[number % 3], project, path) == files[path] for path in wanted)

    with ThreadPoolExecutor(7) as threads:
        meddling = threads.submit(meddle)
        right = list(threads.map(read, range(6)))
        done.set()
        meddling.result()
    assert right == [12] * 6
    assert sum(path.stat().st_blocks * 512 for path in cached_files(folder)) <= budget * 1.2 + (3 << 20)


def test_a_full_or_closed_disk_under_the_cache_stops_nothing(make_manifold: MakeManifold) -> None:
    manifold = make_manifold()
    project = new_project(manifold, a=b"one")
    folder = manifold.settings.projects.workspace.cache_dir
    for path in sorted(folder.rglob("*"), reverse=True):
        with suppress(OSError):
            path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()
    folder.write_text("a file where the cache should be")
    put(manifold, project, b"a", b"two")
    work = check_out(manifold, project)
    (work / "a").write_bytes(b"three")
    manifold.commits.commit(LOCAL_PRINCIPAL, S1)
    assert cat(manifold, project, b"a") == b"three"


def test_the_cache_is_closed_to_other_users(make_manifold: MakeManifold) -> None:
    manifold = make_manifold()
    new_project(manifold, a=b"one")
    folder = manifold.settings.projects.workspace.cache_dir
    for path in (folder, *cached_files(folder)):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


@pytest.fixture
def cache(tmp_path: Path) -> ObjectCache:
    cache = ObjectCache(tmp_path / "cache", 1 << 30, clock=SystemClock(), randomness=SystemRandomness())
    for number in range(3):
        cache.put(f"p/{number}", bytes(10_000))
    return cache


def kept(cache: ObjectCache) -> list[str]:
    return [key for key in ("p/0", "p/1", "p/2", "p/new") if cache.has(key)]


def test_copies_make_way_for_a_job_that_needs_more_than_is_free(cache: ObjectCache, tmp_path: Path) -> None:
    assert cache.make_room(str(tmp_path), 1) > 1
    assert kept(cache) == ["p/0", "p/1", "p/2"]
    free = cache.make_room(str(tmp_path), 1 << 60)
    assert kept(cache) == [] and 0 < free < 1 << 60


def test_copies_on_another_file_system_than_a_job_stay(cache: ObjectCache) -> None:
    cache.make_room("/proc", 1 << 60)
    with cache.leaving_room("/proc", 1 << 60):
        cache.put("p/new", b"new")
    assert kept(cache) == ["p/0", "p/1", "p/2", "p/new"]


def test_nothing_is_added_that_would_take_from_the_room_of_a_job(cache: ObjectCache, tmp_path: Path) -> None:
    with cache.leaving_room(str(tmp_path), 1 << 60):
        cache.put("p/new", b"new")
        cache.put_ranges("p/new", [(0, 3)], [b"new"])
        with cache.leaving_room(str(tmp_path), 1):
            cache.put("p/new", b"new")
        assert kept(cache) == []
    with cache.leaving_room(str(tmp_path), 1):
        cache.put("p/new", b"new")
    assert kept(cache) == ["p/new"]


def test_a_cache_that_is_off_leaves_room_like_any_other(tmp_path: Path) -> None:
    off = ObjectCache(Path(), 0, clock=SystemClock(), randomness=SystemRandomness())
    assert off.make_room(str(tmp_path), 1 << 60) > 0
    with off.leaving_room(str(tmp_path), 1 << 60):
        off.put("p/new", b"new")
    assert not off.has("p/new")
