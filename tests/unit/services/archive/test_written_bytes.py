"""What archives are made of, byte by byte: who has a part of one goes on with it after an update of Manifold."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zlib

import pytest
from manifold_common.domain.tree import DIRECTORY, FILE, SYMLINK, Entry
from manifold_common.engine.block_reader import BlockReader
from manifold_common.engine.contents import Contents
from manifold_common.errors import CorruptObject
from manifold_common.format.places import Block, Place
from manifold_common.ids import ChunkId, CommitId
from manifold_common.services.archive import deflate
from manifold_common.services.archive.deflate import compressor
from manifold_common.services.archive.exported import WRITER_VERSION
from manifold_common.services.archive.write_tar import tar_bytes, write_tar
from manifold_common.services.archive.write_zip import write_zip

TIMES = (0, 1, -1_500_000_000, 1_700_000_000_123_456_789, 8**11 * 1_000_000_000, 2**63 - 1)
NAMES = (b"a", b"n" * 99, b"n" * 100, b"n" * 101, "ü".encode() * 20, b"\xff\xfe", b"d/" + b"m" * 240)
ENTRIES = sorted(
    [
        (b"%d/%s" % (number, name), Entry(kind, 0o640 + number, time, 0, b"" if kind != SYMLINK else name))
        for number, time in enumerate(TIMES)
        for name, kind in zip(NAMES, (FILE, DIRECTORY, SYMLINK) * 3, strict=False)
    ]
)
"""No content, so that nothing depends on this machine's zlib."""
GOLDEN = {1: ("d18ee49c25484dd96c308b751bc284f3", "8ef49db3691a9aaf8867d5a153359581")}
"""For each version of the writer: of the tar, and of the zip."""


def contents(*_: object) -> Contents:
    reader: BlockReader = None  # type: ignore[assignment]  # there is nothing to read
    return Contents([], {}, reader)


def test_the_bytes_are_those_of_their_version() -> None:
    tar = b"".join(map(bytes, write_tar(ENTRIES, contents)))
    zipped = b"".join(write_zip(ENTRIES, contents()))
    found = tuple(hashlib.sha256(data).hexdigest()[:32] for data in (tar, zipped))
    assert found == GOLDEN[WRITER_VERSION], "other bytes need another WRITER_VERSION"
    assert len(tar) == tar_bytes(ENTRIES)


def test_a_tar_says_of_names_times_and_modes_what_they_are() -> None:
    tar = b"".join(map(bytes, write_tar(ENTRIES, contents)))
    with tarfile.open(fileobj=io.BytesIO(tar), encoding="utf-8", errors="surrogateescape") as archive:
        for (path, entry), member in zip(ENTRIES, archive.getmembers(), strict=True):
            assert member.name.encode("utf-8", "surrogateescape") == path
            assert member.linkname.encode("utf-8", "surrogateescape") == entry.content
            assert (member.mode, member.size, member.isdir()) == (entry.mode, 0, entry.kind == DIRECTORY)
            assert member.mtime == pytest.approx(entry.mtime_ns / 1e9, rel=1e-15)


@pytest.mark.parametrize("size", [0, 8**11 - 1, 8**11, 2**40])
def test_a_file_of_any_size_has_its_size_in_its_header(size: int) -> None:
    entry = Entry(FILE, 0o644, 0, size, b"")
    header = next(iter(write_tar([(b"f", entry)], contents, 0, 512)))
    if size < 8**11:
        assert tarfile.TarInfo.frombuf(bytes(header), "utf-8", "strict").size == size
    else:
        records = bytes(next(iter(write_tar([(b"f", entry)], contents, 512, 1024))))
        assert b" size=%d\n" % size in records


def test_another_zlib_is_told_from_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    this = compressor()
    assert zlib.ZLIB_RUNTIME_VERSION in this
    compressor.cache_clear()
    monkeypatch.setattr(deflate, "_LEVEL", 5)
    of_another_level = compressor()
    assert of_another_level.split()[2] != this.split()[2], "the sample is one that shows it"
    compressor.cache_clear()
    monkeypatch.undo()
    assert compressor() == this


def test_a_file_whose_chunks_are_not_what_its_size_says_is_not_sent() -> None:
    chunk, block = ChunkId(b"c" * 32), Block(CommitId("a" * 26), 2, 0, 10, 5)
    entry = Entry(FILE, 0o644, 0, 6, chunk)
    reader: BlockReader = None  # type: ignore[assignment]  # it is told before anything is read
    with pytest.raises(CorruptObject, match="has not the 6 bytes"):
        list(Contents([(b"f", entry)], {chunk: Place(block, 0, 5)}, reader).of(entry))
