"""A hostile archive: each attack is a small program, and what has to come of it is a refusal that changes nothing.

What leaves the project, bombs, lies about sizes, encryption, damage, duplicates and quotas have their tests beside the
route (``tests/functions/api/test_archives.py``); here stands what an attacker would try next.
"""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.paths import MAX_PATH_BYTES
from manifold_common.domain.patience import wanted_while
from manifold_common.domain.quota import UNLIMITED, Limits
from manifold_common.errors import Abandoned, InvalidInput, ManifoldError, QuotaExceeded
from manifold_common.ids import ProjectId
from manifold_common.services.archive import ArchiveFormat, archives, limits, zip_directory
from manifold_common.services.projects import tree_editor

from tests.support.manifold import MakeManifold
from tests.support.memory import traced_memory
from tests.support.work import new_project, paths

DEEP = "/".join(["d"] * ((MAX_PATH_BYTES - 20) // 2))


@pytest.fixture
def manifold(make_manifold: MakeManifold) -> Manifold:
    return make_manifold()


@pytest.fixture
def project(manifold: Manifold) -> ProjectId:
    return new_project(manifold, before=b"before")


@pytest.fixture(autouse=True)
def _nothing_outside_is_touched(tmp_path: Path, project: ProjectId) -> Iterator[None]:
    canary = tmp_path / "canary"
    canary.write_bytes(b"precious")
    yield
    assert canary.read_bytes() == b"precious"


def refused(
    manifold: Manifold, project: ProjectId, archive: bytes, kind: type[ManifoldError], match: str | None = None
) -> None:
    """Send an archive, in small pieces, and see it refused whole."""
    with pytest.raises(kind, match=match):
        manifold.archives.load(LOCAL_PRINCIPAL, project, io.BytesIO(archive).readinto)
    assert paths(manifold, project) == {b"before"}
    assert manifold.history.snapshot(LOCAL_PRINCIPAL, project).head.generation == 1


# --- tar --------------------------------------------------------------------------------------------------------------


def header(name: str, kind: bytes, size: int = 0, link: str = "") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size, link
    return info.tobuf(tarfile.USTAR_FORMAT)


def block(kind: bytes, data: bytes) -> bytes:
    return header("header", kind, len(data)) + data + bytes(-len(data) % 512)


def record(key: str, value: str) -> bytes:
    body = f" {key}={value}\n".encode()
    length = len(body) + 1
    while len(str(length)) + len(body) != length:
        length = len(str(length)) + len(body)
    return str(length).encode() + body


END = bytes(1024)


@pytest.mark.parametrize("kind", [b"g", b"x"], ids=["global", "of one entry"])
def test_headers_that_remember_more_and_more_are_cut_off(manifold: Manifold, project: ProjectId, kind: bytes) -> None:
    """Each is within its bound; together they would fill memory, out of a few packed kilobytes."""

    def endless() -> Iterator[bytes]:
        for number in range(10_000):
            yield block(kind, b"".join(record(f"k{number}.{part}", "v" * 60_000) for part in range(16)))
            if number % 8 == 7:
                yield header(f"f{number}", tarfile.REGTYPE)

    pieces = endless()
    given = 0

    def read(into: memoryview) -> int:
        nonlocal given
        piece = rest.pop() if rest else next(pieces)
        into[: len(piece)] = piece[: len(into)]
        if len(piece) > len(into):
            rest.append(piece[len(into) :])
        given += min(len(piece), len(into))
        return min(len(piece), len(into))

    rest: list[bytes] = []
    with pytest.raises(InvalidInput, match="header"):
        manifold.archives.load(LOCAL_PRINCIPAL, project, read)
    assert given < 16 << 20
    assert paths(manifold, project) == {b"before"}


@pytest.mark.parametrize("kind", [b"g", b"x"], ids=["global", "of one entry"])
def test_two_thousand_headers_of_short_records_take_no_memory(
    manifold: Manifold, project: ProjectId, kind: bytes
) -> None:
    """16 MB of them, each record new and four to eight bytes long, took 2.1 GB."""
    header_of_8_kb = block(kind, b"".join(record(f"{number:x}", "") for number in range(1000)))
    entry = header("f", tarfile.REGTYPE)
    archive = (header_of_8_kb * 8 + entry) * 250 + END
    with traced_memory() as peak:
        refused(manifold, project, archive, QuotaExceeded, "headers of the archive's first 6 entries have .* records")
        assert peak() < 8 << 20


def test_what_global_headers_say_beyond_what_entries_need_is_not_kept(manifold: Manifold, project: ProjectId) -> None:
    """An honest archive has such headers, too: as many as it likes, as long as there are entries to them."""
    parts = []
    for number in range(1500):
        parts.append(block(b"g", b"".join(record(f"comment.{number}.{part}", "x" * 40) for part in range(16))))
        parts.append(block(b"x", record("path", f"d/é{number}") + record("SCHILY.xattr.user.note", "y" * 3000)))
        parts.append(header(f"f{number}", tarfile.REGTYPE))
    archive = b"".join(parts) + END
    with traced_memory() as peak:
        done = manifold.archives.load(LOCAL_PRINCIPAL, project, io.BytesIO(archive).readinto)
        assert peak() < 16 << 20
    assert done.entries == 1500


def _empty_members() -> bytes:
    return gzip.compress(b"", mtime=0) * 50_000


def _members_of_little() -> bytes:
    return gzip.compress(b"\0" * 512, mtime=0) * 50_000


def _empty_blocks() -> bytes:
    stored = b"\0\0\xff\xff"
    return gzip.compress(b"", mtime=0)[:10] + (b"\0" + stored) * 600_000 + b"\1" + stored + bytes(8)


@pytest.mark.parametrize("made", [_empty_members, _members_of_little, _empty_blocks])
def test_gzip_that_takes_time_and_says_little_is_cut_off(
    manifold: Manifold, project: ProjectId, made: Callable[[], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[int] = []

    def counted(window: int) -> zlib._Decompress:
        begun.append(window)
        return begin(window)

    begin = zlib.decompressobj
    monkeypatch.setattr(zlib, "decompressobj", counted)
    refused(manifold, project, gzip.compress(b"\0" * 512, mtime=0) + made(), QuotaExceeded, "gzip streams|packed bytes")
    assert len(begun) < 2100


def test_headers_that_never_come_to_an_entry_are_cut_off(manifold: Manifold, project: ProjectId) -> None:
    for kind, data in ((b"g", record("a", "b")), (b"x", record("a", "b")), (b"L", b"name"), (b"K", b"name")):
        refused(manifold, project, block(kind, data) * 100 + END, InvalidInput, "headers for one entry")


def test_a_few_long_paths_cannot_add_millions_of_folders(
    manifold: Manifold, project: ProjectId, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2,000 folders for each entry of a few packed bytes: without a bound, 1,000 entries take 4 GB."""
    monkeypatch.setattr(tree_editor, "MAX_NEW_ENTRY_BYTES", 16 << 20)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for number in range(1000):
            archive.addfile(tarfile.TarInfo(f"{number}/{DEEP}"))
    assert len(out.getvalue()) < 100_000
    refused(manifold, project, out.getvalue(), QuotaExceeded, "too deep")

    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as zipped:
        for number in range(30):
            zipped.writestr(f"{number}/{DEEP}", b"")
    refused(manifold, project, packed.getvalue(), QuotaExceeded, "too deep")


def test_targets_of_links_count_like_names(
    manifold: Manifold, project: ProjectId, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A million links to 4,095 bytes each are 4 GB, out of some packed megabytes."""
    monkeypatch.setattr(tree_editor, "MAX_NEW_ENTRY_BYTES", 2 << 20)
    target = block(b"x", record("linkpath", "t" * 4000))
    links = b"".join(target + header(f"l{number}", tarfile.SYMTYPE, link="x") for number in range(1000))
    refused(manifold, project, links + END, QuotaExceeded, "too long links: they take about .* up to 'l4[0-9]+'")


@pytest.mark.parametrize("kind", [tarfile.FIFOTYPE, tarfile.DIRTYPE], ids=["skipped", "one folder again and again"])
def test_what_is_only_noted_of_entries_is_bounded(
    manifold: Manifold, project: ProjectId, kind: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MAX_SKIPPED_BYTES", 1 << 20)
    entry = block(b"x", record("path", DEEP)) + header("x", kind)
    with traced_memory() as peak:
        if kind == tarfile.FIFOTYPE:
            refused(manifold, project, entry * 1000 + END, QuotaExceeded, "devices and FIFOs .*, 25[0-9] up")
        else:
            archive = io.BytesIO(entry * 1500 + END)
            manifold.archives.load(LOCAL_PRINCIPAL, project, archive.readinto)
        assert peak() < 32 << 20


def test_folders_linked_into_each_other_do_not_double_without_end(
    manifold: Manifold, project: ProjectId, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hard link is a copy, of a folder too: 40 of them would be 2**40 files."""
    monkeypatch.setattr(tree_editor, "MAX_MOVED_ENTRIES", 50_000)
    parts = [header("a/f", tarfile.REGTYPE)]
    for number in range(40):
        parts.append(header(f"a/{number}", tarfile.DIRTYPE))
        parts.append(header(f"b{number}", tarfile.LNKTYPE, link="a"))
        parts.append(header(f"a/{number}/in", tarfile.LNKTYPE, link=f"b{number}"))
    refused(manifold, project, b"".join(parts) + END, QuotaExceeded)


@pytest.mark.parametrize(
    "members",
    [
        [("a", tarfile.REGTYPE, ""), ("a/b", tarfile.REGTYPE, "")],
        [("a/b", tarfile.REGTYPE, ""), ("a", tarfile.REGTYPE, "")],
        [("a/b", tarfile.REGTYPE, ""), ("a", tarfile.SYMTYPE, "/tmp")],
        [("a", tarfile.SYMTYPE, "b"), ("b", tarfile.SYMTYPE, ".."), ("a/x", tarfile.REGTYPE, "")],
        [("a", tarfile.SYMTYPE, ".."), ("b", tarfile.LNKTYPE, "a"), ("b/x", tarfile.REGTYPE, "")],
        [("a", tarfile.SYMTYPE, "/"), ("b", tarfile.LNKTYPE, "a/etc/passwd")],
        [("a", tarfile.SYMTYPE, ".."), ("a", tarfile.DIRTYPE, "")],
        [("a", tarfile.LNKTYPE, "a")],
        [("a", tarfile.LNKTYPE, "nowhere")],
        [("a", tarfile.LNKTYPE, "../canary")],
        [("a/b", tarfile.REGTYPE, ""), ("a/b/c", tarfile.LNKTYPE, "a")],
        [("a", tarfile.SYMTYPE, "")],
        [("before/x", tarfile.REGTYPE, "")],
    ],
    ids=lambda members: " ".join(f"{name}:{link}" for name, _, link in members),
)
def test_entries_that_do_not_fit_each_other_are_refused_whole(
    manifold: Manifold, project: ProjectId, members: list[tuple[str, bytes, str]]
) -> None:
    """One in the place of another, through a link, through a link to a link, through a copy of a link."""
    archive = b"".join(header(name, kind, link=link) for name, kind, link in members)
    refused(manifold, project, header("first", tarfile.REGTYPE) + archive + END, ManifoldError)


def test_a_name_of_another_system_is_a_name(manifold: Manifold, project: ProjectId) -> None:
    """Backslashes, drives and devices lead nowhere here: they come in as the bytes that they are."""
    names = ["..\\..\\evil", "C:\\evil", "con", "aux.txt", "~root", "$HOME", "-rf", "a\rb"]
    archive = b"".join(header(name, tarfile.REGTYPE) for name in names) + END
    manifold.archives.load(LOCAL_PRINCIPAL, project, io.BytesIO(archive).readinto)
    assert paths(manifold, project) == {b"before"} | {name.encode() for name in names}


def test_nothing_goes_on_for_a_client_that_has_gone(manifold: Manifold, project: ProjectId) -> None:
    """Neither an import nor reading the log, in whatever thread, nor what an archive is made of."""
    asked: list[str] = []

    def is_wanted() -> bool:
        asked.append(threading.current_thread().name)
        return len(asked) < 5

    archive = b"".join(header(f"f{number}", tarfile.REGTYPE) for number in range(100)) + END
    with wanted_while(is_wanted), pytest.raises(Abandoned):
        manifold.archives.load(LOCAL_PRINCIPAL, project, io.BytesIO(archive).readinto)
    assert len(asked) == 5
    assert paths(manifold, project) == {b"before"}
    manifold.context.log.forget(LOCAL_PRINCIPAL.tenant, project)
    with wanted_while(lambda: False), pytest.raises(Abandoned):
        manifold.history.snapshot(LOCAL_PRINCIPAL, project)
    exported = manifold.archives.export(LOCAL_PRINCIPAL, project, ArchiveFormat.ZIP)
    with wanted_while(lambda: False), pytest.raises(Abandoned):
        b"".join(exported.read())


# --- zip --------------------------------------------------------------------------------------------------------------


def test_files_that_share_their_bytes_are_a_bomb(manifold: Manifold, project: ProjectId) -> None:
    """A thousand entries of one kernel: each tells the truth, and no file is compressed further than others are."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("kernel", bytes(1 << 20))
    data = out.getvalue()
    start = data.index(b"PK\x01\x02")
    entry = data[start : start + 46]
    entries = b"".join(entry[:28] + struct.pack("<H", 6) + entry[30:46] + b"%06d" % number for number in range(1000))
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1000, 1000, len(entries), start, 0)
    refused(manifold, project, data[:start] + entries + end, QuotaExceeded, "expands")


def _directory_of(members: int, name: Callable[[int], bytes], extra: bytes = b"") -> tuple[bytes, bytes]:
    """Return empty files, each in its place, and the directory of them."""
    local = struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, 0, 0, 0, 0x21, 0, 0, 0, len(name(0)), 0)
    front = struct.pack("<4s6H3L5H", b"PK\x01\x02", 20, 20, 0, 0, 0, 0x21, 0, 0, 0, len(name(0)), len(extra), 0, 0, 0)
    files, entries = [], []
    at = 0
    for number in range(members):
        files.append(local + name(number))
        entries.append(front + struct.pack("<2L", 0, at) + name(number) + extra)
        at += len(files[-1])
    return b"".join(files), b"".join(entries)


def _zip_of(files: bytes, directory: bytes, count: int) -> bytes:
    wide = struct.pack(
        "<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, len(directory), len(files)
    ) + struct.pack("<4sLQL", b"PK\x06\x07", 0, len(files) + len(directory), 1)
    return files + directory + wide + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, *[0xFFFF] * 2, *[0xFFFFFFFF] * 2, 0)


def test_looking_through_a_directory_takes_little_memory_however_many_files_it_has(tmp_path: Path) -> None:
    """An object for each took 1 KB: 1 GB for as many as are allowed."""
    count = 20_000
    (tmp_path / "zip").write_bytes(_zip_of(*_directory_of(count, lambda number: b"%07d" % number), count))
    with (tmp_path / "zip").open("rb") as file:
        with traced_memory() as peak:
            zip_directory.Directory(file.fileno()).check(limits.ArchiveLimits.of(UNLIMITED))
            assert peak() < count * 200
        few = limits.ArchiveLimits.of(Limits(max_files=count - 1))
        with pytest.raises(QuotaExceeded, match="more than 19,999 entries"):
            zip_directory.Directory(file.fileno()).check(few)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda files, directory: (files, directory[:-46], 3), "longer|ends early"),
        (lambda files, directory: (files, directory, 2), "longer"),
        (lambda files, directory: (files, directory, 2**63), "ends early"),
        (lambda files, directory: (files, directory.replace(struct.pack("<L", 37), bytes(4)), 3), "share their bytes"),
        (lambda files, directory: (files[:-1], directory, 3), "where the directory is"),
        (lambda files, directory: (files, directory + bytes(46), 4), "ends early"),
    ],
    ids=["cut", "fewer", "more", "shared", "overlapping", "not one"],
)
def test_a_directory_that_contradicts_itself_is_refused(
    manifold: Manifold, project: ProjectId, change: Callable[[bytes, bytes], tuple[bytes, bytes, int]], match: str
) -> None:
    archive = _zip_of(*change(*_directory_of(3, lambda number: b"%07d" % number)))
    refused(manifold, project, archive, InvalidInput, match)


def test_an_over_long_directory_is_not_read(
    manifold: Manifold, project: ProjectId, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zip_directory, "MAX_DIRECTORY_BYTES", 1 << 20)
    archive = _zip_of(*_directory_of(20, lambda number: b"%07d" % number, extra=bytes(65_000)), 20)
    refused(manifold, project, archive, InvalidInput, "1301060 bytes, over the limit of 1048576")


def _renamed_inside(data: bytes) -> bytes:
    """Give a local header another name than the directory gives: readers that trust the one or the other disagree."""
    return data.replace(b"inside", b"../evi", 1)


def _renamed_in_directory(data: bytes) -> bytes:
    at = data.rindex(b"inside")
    return data[:at] + b"../evi" + data[at + 6 :]


def _nul_in_name(data: bytes) -> bytes:
    return data.replace(b"inside", b"in\0ide")


@pytest.mark.parametrize("attack", [_renamed_inside, _renamed_in_directory, _nul_in_name])
def test_a_zip_that_says_two_things_is_refused(
    manifold: Manifold, project: ProjectId, attack: Callable[[bytes], bytes]
) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("first", b"first")
        archive.writestr("inside", b"content")
    refused(manifold, project, attack(out.getvalue()), InvalidInput)


def test_nothing_comes_in_through_links_in_a_zip(manifold: Manifold, project: ProjectId) -> None:
    for target in ("/", "..", "b", "."):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            for name, content, mode in (("b", "..", 0o120777), ("a", target, 0o120777), ("a/evil", "x", 0o100644)):
                info = zipfile.ZipInfo(name)
                info.create_system, info.external_attr = 3, mode << 16
                archive.writestr(info, content)
        refused(manifold, project, out.getvalue(), InvalidInput, "not a folder")
