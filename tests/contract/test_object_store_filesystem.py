"""The directory store against crashes, full disks, planted links and lost mounts."""

from __future__ import annotations

import errno
import os
import random
import signal
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from manifold_common.adapters.filesystem.object_store import MARKER, STALE_SECONDS, FilesystemObjectStore
from manifold_common.adapters.memory.clock import ManualClock
from manifold_common.adapters.system.clock import SystemClock, SystemRandomness
from manifold_common.errors import AlreadyExists, NoSpace, ObjectNotFound, StoreUnavailable

from tests.support.privileges import ignores_permissions

KEY = "t/acme/p/one/packs/pack"
BIG = 1 << 30
OPERATIONS: dict[str, Callable[[FilesystemObjectStore], object]] = {
    "put": lambda store: store.put(KEY, b"new"),
    "put if absent": lambda store: store.put("t/acme/p/one/packs/new", b"new", if_absent=True),
    "create": lambda store: store.create("t/acme/p/one/packs/new", [b"new", b"er"]),
    "get": lambda store: store.get(KEY, max_bytes=BIG),
    "get_ranges": lambda store: store.get_ranges(KEY, [(0, 1)]),
    "head": lambda store: store.head(KEY),
    "list": lambda store: list(store.list("t/acme/p/one/packs")),
    "delete": lambda store: store.delete([KEY]),
}


def open_store(root: Path) -> FilesystemObjectStore:
    return FilesystemObjectStore(root, clock=SystemClock(), randomness=SystemRandomness())


@pytest.fixture
def store(tmp_path: Path) -> FilesystemObjectStore:
    return open_store(tmp_path / "store")


def files(store: FilesystemObjectStore) -> set[str]:
    """Every file in the store's folder but the marker."""
    root = Path(store.root)
    return {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()} - {MARKER}


# --- crashes ----------------------------------------------------------------------------------------------------------

WRITER = """
import sys
from manifold_common.adapters.filesystem.object_store import FilesystemObjectStore
from manifold_common.adapters.system.clock import SystemClock, SystemRandomness
store = FilesystemObjectStore(sys.argv[1], clock=SystemClock(), randomness=SystemRandomness())
print("ready", flush=True)
turn = 0
while True:
    turn += 1
    store.put(sys.argv[2], bytes([65 + turn % 26]) * (500_000 + turn % 26))
"""


def test_a_writer_killed_at_any_instant_leaves_whole_bytes_and_nothing_to_see(store: FilesystemObjectStore) -> None:
    versions = {bytes([65 + turn]) * (500_000 + turn) for turn in range(26)}
    store.put(KEY, bytes([65]) * 500_000)
    chance = random.Random(7)
    left_aside = 0
    for _ in range(12):
        command = [sys.executable, "-c", WRITER, store.root, KEY]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(chance.random() * 0.02)
            writer.send_signal(signal.SIGKILL)
        assert bytes(store.get(KEY, max_bytes=BIG)) in versions
        assert [info.key for info in store.list("")] == [KEY]
        left_aside = len(files(store)) - 1
    # Each kill that came in the middle of a put left a file; what matters is that they go away by themselves.
    later = datetime.now(UTC) + timedelta(seconds=STALE_SECONDS + 60)
    cleaner = FilesystemObjectStore(store.root, clock=ManualClock(later), randomness=SystemRandomness())
    assert [info.key for info in cleaner.list("t")] == [KEY]
    assert files(store) == {KEY}
    assert left_aside > 0, "no kill came in the middle of a put: the test shows nothing"


def test_a_file_being_written_now_is_not_taken_for_a_leftover(store: FilesystemObjectStore) -> None:
    store.put(KEY, b"x")
    aside = Path(store.root, KEY).parent / "~put-1-abc"
    aside.write_bytes(b"half")
    assert [info.key for info in store.list("t")] == [KEY]
    assert aside.exists()


@pytest.mark.parametrize("if_absent", [False, True])
def test_the_file_and_each_new_folder_are_synced_before_put_returns(
    store: FilesystemObjectStore, monkeypatch: pytest.MonkeyPatch, if_absent: bool
) -> None:
    effects: list[str] = []
    real = {name: getattr(os, name) for name in ("fsync", "mkdir", "rename", "link")}

    def name_of(fd: int) -> str:
        path = os.readlink(f"/proc/self/fd/{fd}")
        return "aside" if "~put-" in path else os.path.relpath(path, store.root)

    def fsync(fd: int) -> None:
        effects.append(f"sync {name_of(fd)}")
        real["fsync"](fd)

    def mkdir(path: str, mode: int = 0o777, *, dir_fd: int) -> None:
        effects.append(f"make {path}")
        real["mkdir"](path, mode, dir_fd=dir_fd)

    def place(name: str) -> Callable[..., None]:
        def call(*args: object, **kwargs: object) -> None:
            effects.append("place")
            real[name](*args, **kwargs)

        return call

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "mkdir", mkdir)
    monkeypatch.setattr(os, "rename", place("rename"))
    monkeypatch.setattr(os, "link", place("link"))
    store.put("a/b/c", b"x", if_absent=if_absent)
    assert effects == ["make a", "sync .", "make b", "sync a", "sync aside", "place", "sync a/b"]
    effects.clear()
    store.put("a/b/d", b"x", if_absent=if_absent)
    assert effects == ["sync aside", "place", "sync a/b"]


def test_a_folder_made_by_another_process_is_synced_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_store(tmp_path / "s").put("a/b/c", b"x")
    newcomer = open_store(tmp_path / "s")
    synced: list[str] = []
    real = os.fsync

    def fsync(fd: int) -> None:
        synced.append(os.path.relpath(os.readlink(f"/proc/self/fd/{fd}"), newcomer.root))
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    newcomer.put("a/b/d", b"x")
    assert {".", "a", "a/b"} <= set(synced)


RACER = """
import sys, time
from manifold_common.adapters.filesystem.object_store import FilesystemObjectStore
from manifold_common.adapters.system.clock import SystemClock, SystemRandomness
from manifold_common.errors import AlreadyExists
store = FilesystemObjectStore(sys.argv[1], clock=SystemClock(), randomness=SystemRandomness())
print("ready", flush=True)
sys.stdin.readline()
won = []
for turn in range(50):
    try:
        store.put(f"race/{turn}/key", sys.argv[2].encode() * 100, if_absent=True)
        won.append(turn)
    except AlreadyExists:
        pass
print(*won)
"""


def test_of_processes_that_race_for_a_key_exactly_one_wins(tmp_path: Path) -> None:
    root = tmp_path / "made-by-the-racers"
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(root), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    answers = []
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("\n")
        racer.stdin.flush()
    for racer in racers:
        out, _ = racer.communicate(timeout=60)
        assert racer.returncode == 0
        answers.append([int(word) for word in out.split()])
    assert sorted(turn for won in answers for turn in won) == list(range(50))
    store = open_store(root)
    for number, won in enumerate(answers):
        for turn in won:
            assert bytes(store.get(f"race/{turn}/key", max_bytes=BIG)) == str(number).encode() * 100
    assert len(files(store)) == 50


# --- full and failing disks -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["write", "fsync", "rename", "open"])
@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (errno.ENOSPC, NoSpace),
        (errno.EDQUOT, NoSpace),
        (errno.EACCES, StoreUnavailable),
        (errno.EIO, StoreUnavailable),
        (errno.EROFS, StoreUnavailable),
    ],
)
def test_a_put_that_fails_leaves_the_old_bytes_and_no_file(
    store: FilesystemObjectStore, monkeypatch: pytest.MonkeyPatch, call: str, code: int, expected: type[Exception]
) -> None:
    store.put(KEY, b"old")
    real = getattr(os, call)

    def fail(*args: object, **kwargs: object) -> object:
        if call == "open" and "~put-" not in str(args[0]):
            return real(*args, **kwargs)
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(expected) as caught:
            store.put(KEY, b"new")
    assert store.root in str(caught.value)
    assert bytes(store.get(KEY, max_bytes=BIG)) == b"old"
    assert files(store) == {KEY}


FULL_DISK = """
import os, subprocess, sys
from manifold_common.adapters.filesystem.object_store import FilesystemObjectStore
from manifold_common.adapters.system.clock import SystemClock, SystemRandomness
from manifold_common.errors import NoSpace
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", sys.argv[1]], check=True)
store = FilesystemObjectStore(sys.argv[1], clock=SystemClock(), randomness=SystemRandomness())
store.put("a/old", b"old")
try:
    store.put("a/old", bytes(4 * 2**20))
except NoSpace as error:
    print("no space", error.hint)
print(bytes(store.get("a/old", max_bytes=99)), sorted(os.listdir(sys.argv[1] + "/a")))
store.put("a/small", b"x")
"""


def test_a_disk_that_is_really_full_is_no_space(tmp_path: Path) -> None:
    allowed = subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode == 0
    if not allowed:
        pytest.skip("this user may not make a mount namespace")
    command = ["unshare", "-rm", sys.executable, "-c", FULL_DISK, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["no space free space on the disk, or raise the quota", "b'old' ['old']"]


@pytest.mark.skipif(ignores_permissions(), reason="root is refused nothing")
@pytest.mark.parametrize("name", OPERATIONS)
def test_a_store_without_permission_is_unavailable(store: FilesystemObjectStore, name: str) -> None:
    store.put(KEY, b"old")
    folder = Path(store.root, "t/acme/p")
    folder.chmod(0)
    try:
        with pytest.raises(StoreUnavailable):
            OPERATIONS[name](store)
    finally:
        folder.chmod(0o700)


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_store_whose_disk_is_gone_is_unavailable_not_empty(store: FilesystemObjectStore, name: str) -> None:
    store.put(KEY, b"old")
    root = Path(store.root)
    root.rename(root.with_name("elsewhere"))
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        OPERATIONS[name](store)
    root.mkdir()  # what is left of a mount point when its disk is not mounted
    with pytest.raises(StoreUnavailable, match=MARKER):
        OPERATIONS[name](store)
    assert list(root.iterdir()) == []
    assert not store.health().ok


def test_a_folder_of_other_files_does_not_become_a_store(tmp_path: Path) -> None:
    (tmp_path / "thesis.doc").write_text("years of work")
    with pytest.raises(StoreUnavailable, match="holds files"):
        open_store(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.doc"]


def test_a_root_that_is_a_file_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreUnavailable):
        open_store(tmp_path / "file")


# --- planted things ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_link_in_the_place_of_a_folder_is_never_followed(
    store: FilesystemObjectStore, tmp_path: Path, name: str
) -> None:
    outside = tmp_path / "outside/packs"
    outside.mkdir(parents=True)
    (outside / "pack").write_bytes(b"not the store's")
    Path(store.root, "t/acme/p").mkdir(parents=True)
    Path(store.root, "t/acme/p/one").symlink_to(outside.parent)
    with pytest.raises(StoreUnavailable, match="link"):
        OPERATIONS[name](store)
    assert [path.name for path in outside.iterdir()] == ["pack"]
    assert (outside / "pack").read_bytes() == b"not the store's"


def test_a_link_in_the_place_of_an_object_is_never_followed(store: FilesystemObjectStore, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"not the store's")
    store.put(KEY, b"x")
    planted = Path(store.root, KEY)

    def plant() -> None:
        planted.unlink()
        planted.symlink_to(target)

    plant()
    for name in ("get", "get_ranges", "head"):
        with pytest.raises(StoreUnavailable, match="link"):
            OPERATIONS[name](store)
    with pytest.raises(StoreUnavailable, match="link"):
        store.put(KEY, b"new", if_absent=True)
    assert list(store.list("t")) == []
    store.put(KEY, b"new")
    assert bytes(store.get(KEY, max_bytes=BIG)) == b"new"
    plant()
    store.delete([KEY])
    assert not planted.is_symlink()
    assert target.read_bytes() == b"not the store's"


def test_a_link_to_a_folder_is_not_listed(store: FilesystemObjectStore, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").write_bytes(b"x")
    store.put("a/b", b"x")
    Path(store.root, "a/link").symlink_to(tmp_path / "outside")
    assert [info.key for info in store.list("")] == ["a/b"]


def test_a_planted_fifo_does_not_make_a_reader_wait(store: FilesystemObjectStore) -> None:
    store.put("a/b", b"x")
    os.mkfifo(Path(store.root, "a/fifo"))
    with pytest.raises(StoreUnavailable):
        store.get("a/fifo", max_bytes=BIG)
    assert [info.key for info in store.list("a")] == ["a/b"]


def test_names_that_are_no_keys_are_not_listed(store: FilesystemObjectStore) -> None:
    store.put("a/b", b"x")
    Path(store.root, "a/with space").write_bytes(b"x")
    Path(os.fsdecode(os.fsencode(store.root) + b"/a/\xff\xfe")).write_bytes(b"x")
    Path(store.root, "lost+found").mkdir(mode=0)
    assert [info.key for info in store.list("")] == ["a/b"]


def test_a_folder_is_no_object(store: FilesystemObjectStore) -> None:
    store.put("a/b/c", b"x")
    assert store.head("a/b") is None
    with pytest.raises(ObjectNotFound):
        store.get("a/b", max_bytes=BIG)
    store.delete(["a/b"])
    assert bytes(store.get("a/b/c", max_bytes=BIG)) == b"x"
    for if_absent in (False, True):
        with pytest.raises(StoreUnavailable):
            store.put("a/b", b"x", if_absent=if_absent)
    assert files(store) == {"a/b/c"}


# --- modes ------------------------------------------------------------------------------------------------------------


def test_nobody_else_can_read_the_store(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        store = open_store(tmp_path / "deep/store")
        store.put(KEY, b"x")
    finally:
        os.umask(before)
    for path in [tmp_path / "deep", *(tmp_path / "deep").rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_an_existing_object_is_told_by_its_key(store: FilesystemObjectStore) -> None:
    store.put(KEY, b"x")
    with pytest.raises(AlreadyExists, match=KEY):
        store.put(KEY, b"y", if_absent=True)


def test_the_adapter_loads_no_client_that_it_does_not_use() -> None:
    code = """
        import sys
        import manifold_common.adapters.filesystem.object_store
        print(sorted({"obstore", "boto3", "psycopg", "cryptography"} & set(sys.modules)))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
