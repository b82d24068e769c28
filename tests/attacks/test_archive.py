"""A hostile archive: each attack is a small program, and what has to come of it is a refusal that changes nothing.

What leaves the project, bombs, lies about sizes, encryption, damage, duplicates and quotas have their tests beside the
route (``tests/functions/api/test_archives.py``); here stands what an attacker would try next.
"""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.paths import MAX_PATH_BYTES
from manifold_common.errors import InvalidInput, ManifoldError, QuotaExceeded
from manifold_common.ids import ProjectId
from manifold_common.services import tree_editor

from tests.support.manifold import MakeManifold
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
