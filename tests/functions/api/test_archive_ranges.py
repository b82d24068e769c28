"""Archives in parts: the same bytes whenever they are asked for, and a tag that says whether they are."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.engine.block_reader import BlockReader
from manifold_common.ids import ProjectId
from manifold_common.services.archive import exported
from manifold_common.services.projects.edits import Edit, MakeFolder, PutFile, PutLink

from tests.support.api import Api

ARCHIVE = "/api/v1/projects/demo/archive"
FORMS = ["tar.gz", "zip", "tar"]
LARGE = os.urandom(700_000)


@pytest.fixture(autouse=True)
def _project(api: Api) -> None:
    project = ProjectId(api.project())
    files = {b"a.txt": b"hello\n" * 500, b"b/" + b"n" * 200: b"long name", b"large": LARGE, b"z/raw-\xff": b"x" * 512}
    edits: list[Edit] = [PutFile(path, io.BytesIO(data).readinto, 0o644, 7) for path, data in files.items()]
    edits += [MakeFolder(b"empty"), PutLink(b"link", b"a.txt", -1), PutFile(b"none", io.BytesIO().readinto)]
    api.manifold.edits.apply(LOCAL_PRINCIPAL, project, edits)


def forget_sizes(api: Api) -> None:
    api.manifold.archives._sizes = exported.KnownSizes()


@pytest.mark.parametrize("form", FORMS)
def test_every_part_is_the_same_bytes_as_in_the_whole(api: Api, form: str) -> None:
    whole = api.get(ARCHIVE, params={"format": form}).content
    size = len(whole)
    middle = size // 2
    for is_known in (True, False):
        for wanted, first, last in [
            ("0-0", 0, 1), ("0-99", 0, 100), ("511-512", 511, 513),
            (f"{middle}-{middle + 4999}", middle, middle + 5000),
            (f"{size - 1}-", size - 1, size), ("1000-", 1000, size), ("-1", size - 1, size), ("-600", size - 600, size),
            (f"-{size * 2}", 0, size), (f"{middle}-{size * 2}", middle, size), (f"0-{size - 1}", 0, size),
        ]:  # fmt: skip
            if not is_known:
                forget_sizes(api)
            part = api.get(ARCHIVE, params={"format": form}, headers={"Range": f"bytes={wanted}"})
            assert part.status_code == 206, (wanted, part.text)
            assert part.content == whole[first:last], wanted
            told, total = part.headers["content-range"].split("/")
            assert told == f"bytes {first}-{last - 1}"
            assert total == str(size) or (total == "*" and not is_known and form != "tar"), wanted
            assert part.headers["content-length"] == str(last - first)
        for beyond in (f"{size}-", f"{size + 5}-{size + 9}", "-0"):
            if not is_known:
                forget_sizes(api)
            refused = api.get(ARCHIVE, params={"format": form}, headers={"Range": f"bytes={beyond}"})
            assert (refused.status_code, refused.json()["code"]) == (416, "unsatisfiable_range")
            assert refused.headers["content-range"] == f"bytes */{size}"
        for whole_instead in ("bytes=0-1,5-6", "bytes=5-2", "lines=1-2", "bytes=x"):
            answer = api.get(ARCHIVE, params={"format": form}, headers={"Range": whole_instead})
            assert (answer.status_code, answer.content) == (200, whole)


@pytest.mark.parametrize("form", FORMS)
def test_a_part_longer_than_what_is_held_is_the_same(api: Api, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = api.get(ARCHIVE, params={"format": form}).content
    monkeypatch.setattr(exported, "_HELD_BYTES", 1000)
    forget_sizes(api)
    part = api.get(ARCHIVE, params={"format": form}, headers={"Range": "bytes=100-5099"})
    assert (part.status_code, part.content) == (206, whole[100:5100])


def test_a_tar_in_parts_of_any_size_is_the_whole(api: Api) -> None:
    whole = api.get(ARCHIVE, params={"format": "tar"}).content
    for step in (70_001, 131_072, 400_000):
        parts = [
            api.get(ARCHIVE, params={"format": "tar"}, headers={"Range": f"bytes={at}-{at + step - 1}"}).content
            for at in range(0, len(whole), step)
        ]
        assert b"".join(parts) == whole
    with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
        member = archive.extractfile("large")
        assert member is not None and member.read() == LARGE


@pytest.mark.parametrize("form", FORMS)
def test_the_tag_stands_for_the_bytes(api: Api, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def tag() -> str:
        return api.get(ARCHIVE, params={"format": form}).headers["etag"]

    first = tag()
    assert first.startswith('"1-') and tag() == first
    tags = {api.get(ARCHIVE, params={"format": other}).headers["etag"] for other in FORMS}
    assert len(tags) == len(FORMS)
    with monkeypatch.context() as patch:
        patch.setattr(exported, "WRITER_VERSION", 99)
        assert tag() != first
    with monkeypatch.context() as patch:
        patch.setattr(exported, "compressor", lambda: "another zlib")
        assert (tag() == first) is (form == "tar"), "nothing in a tar is compressed"
    api.put("/api/v1/projects/demo/files/new", content=b"x")
    assert tag() != first
    known = api.get(ARCHIVE, params={"format": form, "generation": 1}, headers={"If-None-Match": first})
    assert (known.status_code, known.headers["etag"]) == (304, first)


def test_a_part_is_only_of_the_version_that_if_range_names(api: Api) -> None:
    answer = api.get(ARCHIVE)
    for condition, status in [
        (answer.headers["etag"], 206),
        ("W/" + answer.headers["etag"], 200),
        ('"1"', 200),
        ("Fri, 01 Jan 2100 00:00:00 GMT", 200),
    ]:
        part = api.get(ARCHIVE, headers={"Range": "bytes=5-9", "If-Range": condition})
        assert part.status_code == status
        assert part.content == (answer.content[5:10] if status == 206 else answer.content)


@pytest.mark.parametrize("form", FORMS)
def test_head_reads_no_content(api: Api, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: object, **__: object) -> None:
        raise AssertionError("content was read")

    with monkeypatch.context() as patch:
        patch.setattr(BlockReader, "read_all", read)
        head = api.head(ARCHIVE, params={"format": form}, headers={"Range": "bytes=5-"})
    assert head.status_code == 200 and head.headers["accept-ranges"] == "bytes"
    assert ("content-length" in head.headers) is (form == "tar")
    whole = api.get(ARCHIVE, params={"format": form})
    assert head.headers["etag"] == whole.headers["etag"]
    again = api.head(ARCHIVE, params={"format": form})
    assert again.headers["content-length"] == str(len(whole.content))


def test_of_a_tar_only_the_part_is_read(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = api.get(ARCHIVE, params={"format": "tar"}).content
    read: list[int] = []
    real = BlockReader.read_all

    def noting(self: BlockReader, blocks: Any, *more: Any) -> None:
        read.extend(block.raw_bytes for block in blocks)
        real(self, blocks, *more)

    monkeypatch.setattr(BlockReader, "read_all", noting)
    api.get(ARCHIVE, params={"format": "tar"}, headers={"Range": "bytes=0-511"})
    assert read == [], "a header needs no content"
    huge = os.urandom(9 << 20)  # three chunks
    api.put("/api/v1/projects/demo/files/huge", content=huge)
    whole = api.get(ARCHIVE, params={"format": "tar"}).content
    at = whole.index(huge) + (5 << 20)
    for first, last in [(at, at + 10), (at, len(whole))]:
        read.clear()
        part = api.get(ARCHIVE, params={"format": "tar"}, headers={"Range": f"bytes={first}-{last - 1}"})
        assert part.content == whole[first:last]
        assert 0 < sum(read) <= last - first + (4 << 20), "no chunk before or after it"


def test_curl_goes_on_with_a_download_that_was_cut_off(api: Api, tmp_path: Path) -> None:
    for form in FORMS:
        whole = api.get(ARCHIVE, params={"format": form}).content
        file = tmp_path / f"demo.{form}"
        file.write_bytes(whole[: len(whole) // 3])
        forget_sizes(api)
        address = f"http://127.0.0.1:{api.port}{ARCHIVE}?format={form}"
        subprocess.run(["curl", "-fsS", "-C", "-", "-o", file, address], check=True)
        assert file.read_bytes() == whole, form
