"""What a file system can hold beside plain files: kept where it can be kept, reported where it cannot."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.losses import Loss
from manifold_common.errors import Unavailable
from manifold_common.shapes.path import listed

from tests.support.manifold import MakeManifold
from tests.support.privileges import ignores_permissions
from tests.support.work import S1, S2, cat, check_out, look, new_project, paths, put


@contextmanager
def planted(folder: Path) -> Iterator[set[bytes]]:
    """Put a FIFO, a socket and, where that is allowed, a device into a folder."""
    names = {b"fifo", b"socket"}
    os.mkfifo(folder / "fifo")
    here = os.open(".", os.O_RDONLY)
    try:
        os.chdir(folder)  # a socket's path may have only 108 bytes
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind("socket")
            try:
                os.mknod("device", stat.S_IFCHR | 0o666, os.makedev(1, 3))
                names.add(b"device")
            except PermissionError:
                pass  # only root may; then the two others speak for it
            yield names
    finally:
        os.chdir(here)
        os.close(here)


@pytest.fixture
def manifold(make_manifold: MakeManifold) -> Manifold:
    return make_manifold()


def test_fifos_sockets_and_devices_are_skipped_and_reported(
    manifold: Manifold, make_manifold: MakeManifold, tmp_path: Path
) -> None:
    project = new_project(manifold, "demo", **{"d/file": b"one"})
    work = check_out(manifold, project)
    with planted(work / "d") as names:
        expected = sorted(b"d/" + name for name in names)
        assert sorted(path.exact for path in manifold.sessions.status(LOCAL_PRINCIPAL, S1).answer.skipped) == expected
        (work / "d" / "file").write_bytes(b"two")
        assert sorted(path.exact for path in manifold.commits.commit(LOCAL_PRINCIPAL, S1).skipped) == expected
        put(manifold, project, b"theirs", b"theirs")
        assert look_at_names(check_out(manifold)) == {"d", "d/file", "theirs", *map(os.fsdecode, expected)}
        imported = manifold.transfer.import_folder(LOCAL_PRINCIPAL, project, work)
        assert (sorted(path.exact for path in imported.skipped), imported.commit) == (expected, None)
    assert paths(manifold, project) == {b"d", b"d/file", b"theirs"}
    assert look(check_out(make_manifold(node="b"), project, S2)).keys() == {b"d", b"d/file", b"theirs"}


def look_at_names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_a_fifo_in_the_place_of_a_file_counts_as_its_deletion(manifold: Manifold) -> None:
    project = new_project(manifold, a=b"one", b=b"bee")
    work = check_out(manifold, project)
    (work / "a").unlink()
    os.mkfifo(work / "a")
    done = manifold.commits.commit(LOCAL_PRINCIPAL, S1)
    assert (done.deleted, done.skipped) == (1, listed([b"a"]))
    assert paths(manifold, project) == {b"b"}


def make_file(path: Path) -> None:
    path.write_bytes(b"file")


def make_program(path: Path) -> None:
    path.write_bytes(b"file")
    path.chmod(0o755)


def make_empty_file(path: Path) -> None:
    path.write_bytes(b"")


def make_folder(path: Path) -> None:
    path.mkdir()
    (path / "below").mkdir()
    (path / "below" / "x").write_bytes(b"x")


def make_empty_folder(path: Path) -> None:
    path.mkdir(mode=0o750)


def make_link(path: Path) -> None:
    path.symlink_to("elsewhere/../..")


def make_link_to_a_folder(path: Path) -> None:
    path.symlink_to("beside")


def make_nothing(path: Path) -> None:
    pass


SHAPES = [
    make_file,
    make_program,
    make_empty_file,
    make_folder,
    make_empty_folder,
    make_link,
    make_link_to_a_folder,
    make_nothing,
]


def clear(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@pytest.mark.parametrize("before", SHAPES)
def test_anything_can_take_the_place_of_anything(
    manifold: Manifold, make_manifold: MakeManifold, before: Callable[[Path], None]
) -> None:
    """In a commit, in a refresh of a session elsewhere, and in a new session; and there and back again."""
    project = new_project(manifold, "demo", **{"beside/kept": b"kept"})
    work = check_out(manifold, project)
    there = make_manifold(node="b")
    other = check_out(there, project, S2)
    for after in SHAPES:
        for shape in (before, after):
            clear(work / "it")
            shape(work / "it")
            manifold.commits.commit(LOCAL_PRINCIPAL, S1)
            check_out(there, session=S2)
            assert look(other) == look(work), (shape, after)
    for node in (manifold, make_manifold(node="c")):
        fresh = node.sessions.checkout(LOCAL_PRINCIPAL, None, project)
        assert look(Path(fresh.path)) == look(work)
    assert cat(manifold, project, b"beside/kept") == b"kept"


RESERVED = [
    ".manifold",
    ".manifold/skills",
    ".state",
    ".git",
    ".postgres",
    ".keystore",
    "work",
    "state",
    "state~",
    "step",
    "stage",
    "building",
    "owner",
    "lock",
    "clock",
    "t",
    "packs",
    "commits",
    "keys",
    "~",
    "...",
    " ",
    "-rf",
    "new\nline",
    "n" * 255,
]


def test_names_that_manifold_uses_itself_are_ordinary_names(manifold: Manifold, make_manifold: MakeManifold) -> None:
    """At the top and nested, as folders and as files."""
    project = new_project(manifold)
    work = check_out(manifold, project)
    for name in RESERVED:
        for folder in (work, work / "nested"):
            (folder / name).mkdir(parents=True, exist_ok=True)
            (folder / name / name.rpartition("/")[2]).write_bytes(name.encode())
    (work / "raw").mkdir()
    for raw in (b"\xff\xfe", b"caf\xe9", b"caf\xc3\xa9", b"\x01\x7f"):
        (work / "raw" / os.fsdecode(raw)).write_bytes(raw)
    expected = look(work)
    manifold.commits.save(LOCAL_PRINCIPAL, S1)
    other = make_manifold(node="b")
    assert look(check_out(other)) == expected
    other.commits.commit(LOCAL_PRINCIPAL, S1)
    assert look(check_out(make_manifold(node="c"), project, S2)) == expected
    assert other.sessions.status(LOCAL_PRINCIPAL, S1).differences == []


def test_modes_and_times_are_kept_to_the_bit(manifold: Manifold, make_manifold: MakeManifold) -> None:
    project = new_project(manifold)
    work = check_out(manifold, project)
    for mode in (0o400, 0o444, 0o600, 0o644, 0o700, 0o755, 0o777):
        path = work / f"{mode:o}"
        path.write_bytes(b"x")
        path.chmod(mode)
        os.utime(path, ns=(0, mode * 1_000_000_007))
    (work / "folder").mkdir()
    (work / "folder").chmod(0o711)
    (work / "link").symlink_to("nowhere")
    os.utime(work / "link", ns=(0, 5), follow_symlinks=False)
    manifold.commits.commit(LOCAL_PRINCIPAL, S1)
    assert look(check_out(make_manifold(node="b"), project, S2)) == look(work)
    (work / "644").chmod(0o755)
    done = manifold.commits.commit(LOCAL_PRINCIPAL, S1)
    assert (done.modified, done.new_bytes) == (1, 0)
    assert stat.S_IMODE((check_out(make_manifold(node="b"), project, S2) / "644").stat().st_mode) == 0o755


def test_bits_that_give_rights_away_are_dropped(manifold: Manifold, make_manifold: MakeManifold) -> None:
    project = new_project(manifold)
    work = check_out(manifold, project)
    (work / "program").write_bytes(b"x")
    (work / "program").chmod(0o6755)
    (work / "folder").mkdir()
    (work / "folder").chmod(0o1777)
    manifold.commits.commit(LOCAL_PRINCIPAL, S1)
    there = check_out(make_manifold(node="b"), project, S2)
    assert [stat.S_IMODE((there / name).stat().st_mode) for name in ("program", "folder")] == [0o755, 0o777]
    assert manifold.sessions.status(LOCAL_PRINCIPAL, S1).differences == []


def test_hard_links_become_files_of_their_own(manifold: Manifold, make_manifold: MakeManifold) -> None:
    project = new_project(manifold, a=b"one")
    work = check_out(manifold, project)
    os.link(work / "a", work / "same")
    manifold.commits.commit(LOCAL_PRINCIPAL, S1)
    there = check_out(make_manifold(node="b"), project, S2)
    (there / "same").write_bytes(b"two")
    assert (there / "a").read_bytes() == b"one"
    put(manifold, project, b"a", b"three")
    check_out(manifold)
    assert ((work / "a").read_bytes(), (work / "same").read_bytes()) == (b"three", b"one")


def test_a_file_that_cannot_be_read_is_named_and_never_taken_for_an_empty_one(manifold: Manifold) -> None:
    project = new_project(manifold, a=b"one")
    work = check_out(manifold, project)
    (work / "secret").write_bytes(b"x")
    (work / "secret").chmod(0)
    if not ignores_permissions():
        with pytest.raises(Unavailable, match="secret"):
            manifold.commits.commit(LOCAL_PRINCIPAL, S1)
        assert paths(manifold, project) == {b"a"}
        (work / "secret").chmod(0o400)
    manifold.commits.commit(LOCAL_PRINCIPAL, S1)
    assert cat(manifold, project, b"secret") == b"x"


def put_what_is_not_kept(folder: Path) -> None:
    """One of each kind, twice, in a new folder that itself is one of them."""
    (folder / "new").mkdir()
    (folder / "new").chmod(0o2755)
    for name in ("a", "b"):
        file = folder / "new" / name
        file.write_bytes(name.encode())
        file.chmod(0o4755)
        os.setxattr(file, "user.note", b"x")
        os.link(file, folder / "new" / f"{name}-again")
    os.utime(folder / "new" / "b", (0, 1 << 34))


@contextmanager
def folder_with_attributes(tmp_path: Path) -> Iterator[Path]:
    """Yield a folder on a file system that takes attributes of users."""
    for parent in (tmp_path, Path("/dev/shm"), Path("/var/tmp")):
        with tempfile.TemporaryDirectory(dir=parent) as name:
            try:
                os.setxattr(name, "user.note", b"x")
            except OSError:
                continue
            os.removexattr(name, "user.note")
            yield Path(name)
            return
    pytest.skip("no file system here takes extended attributes of users")


def test_what_an_import_does_not_keep_is_counted_and_named(manifold: Manifold, tmp_path: Path) -> None:
    project = new_project(manifold)
    with folder_with_attributes(tmp_path) as folder:
        put_what_is_not_kept(folder)
        for _ in range(2):  # an import that has nothing to bring says it, too: project and folder are not quite alike
            done = manifold.transfer.import_folder(LOCAL_PRINCIPAL, project, folder)
            assert {lost.kind: lost.count for lost in done.not_kept} == {
                Loss.SPECIAL_BITS: 5,
                Loss.ATTRIBUTES: 4,
                Loss.HARD_LINKS: 2,
                Loss.TIMES: 2,
            }
            (special,) = (lost for lost in done.not_kept if lost.kind is Loss.SPECIAL_BITS)
            assert special.example.exact == b"new"
        (folder / "new" / "b-again").unlink()
        shutil.rmtree(folder / "new")
        assert manifold.transfer.import_folder(LOCAL_PRINCIPAL, project, folder).not_kept == []


def test_a_commit_says_once_what_it_does_not_keep(manifold: Manifold) -> None:
    project = new_project(manifold, a=b"one")
    work = check_out(manifold, project)
    (work / "folder").mkdir()
    (work / "folder").chmod(0o2755)
    (work / "program").write_bytes(b"x")
    (work / "program").chmod(0o4755)
    os.link(work / "a", work / "same")
    os.utime(work / "program", (0, 1 << 34))
    said = manifold.commits.commit(LOCAL_PRINCIPAL, S1).not_kept
    assert {lost.kind: lost.count for lost in said} == {
        Loss.SPECIAL_BITS: 2,
        Loss.HARD_LINKS: 1,
        Loss.TIMES: 1,
    }
    assert manifold.commits.commit(LOCAL_PRINCIPAL, S1).not_kept == []
    for number in range(2):
        (work / "folder" / f"file-{number}").write_bytes(b"x")
        done = manifold.commits.commit(LOCAL_PRINCIPAL, S1)
        assert (done.added, done.not_kept) == (1, [])


def test_a_large_file_is_counted_while_it_is_read_or_written_and_not_only_at_its_end(
    manifold: Manifold, tmp_path: Path
) -> None:
    project = new_project(manifold)
    source = tmp_path / "source"
    source.mkdir()
    (source / "large").write_bytes(os.urandom(20_000_000))
    (source / "small").write_bytes(b"x" * 1000)

    def check(reports: list[tuple[int, int]]) -> None:
        assert (sum(files for files, _ in reports), sum(size for _, size in reports)) == (2, 20_001_000)
        assert max(size for _, size in reports) < 10_000_000

    read: list[tuple[int, int]] = []
    manifold.transfer.import_folder(
        LOCAL_PRINCIPAL, project, source, progress=lambda files, size: read.append((files, size))
    )
    check(read)
    written: list[tuple[int, int]] = []
    manifold.transfer.export(
        LOCAL_PRINCIPAL, project, tmp_path / "out", progress=lambda files, size: written.append((files, size))
    )
    check(written)
