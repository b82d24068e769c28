"""A patch says what changed, in the form that git and patch take."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from manifold_common.domain.tree import DIRECTORY, FILE, SYMLINK, Difference, Entry
from manifold_local.cli.patch import MAX_TEXT_BYTES, patch_of

_lines = st.lists(st.sampled_from([b"a", b"b", b"", b"long line", b"\xff\xfe", b"tab\t", b"cr\r"]), max_size=12)
_texts = st.builds(lambda lines, end: b"\n".join(lines) + end, _lines, st.sampled_from([b"", b"\n"]))


def _file(content: bytes, mode: int = 0o644) -> Entry:
    return Entry(FILE, mode, 0, len(content), b"id of " + content)


def _patch(path: bytes, before: Entry | None, after: Entry | None, contents: dict[Entry, bytes]) -> bytes:
    def read(_: bytes, entry: Entry) -> bytes:
        return contents[entry]

    return b"".join(patch_of(Difference(path, before, after), read, read))


def _text_patch(old: bytes, new: bytes, path: bytes = b"file.txt") -> bytes:
    before, after = _file(old), _file(new)
    return _patch(path, before, after, {before: old, after: new})


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
@settings(max_examples=40, deadline=None)
@given(old=_texts, new=_texts)
def test_git_makes_the_new_text_of_the_old_one_and_the_patch(
    tmp_path_factory: pytest.TempPathFactory, old: bytes, new: bytes
) -> None:
    folder = tmp_path_factory.mktemp("apply")
    (folder / "file.txt").write_bytes(old)
    patch = _text_patch(old, new)
    if old == new:
        assert patch == b""
        return
    done = subprocess.run(
        ["git", "apply", "--whitespace=nowarn", "-"], cwd=folder, input=patch, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (folder / "file.txt").read_bytes() == new


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
@pytest.mark.parametrize("name", [b"with space", b'qu"ote', b"back\\slash", b"new\nline", b"\xff\xfe", "ö".encode()])
def test_git_finds_files_with_unusual_names(tmp_path: Path, name: bytes) -> None:
    entry = _file(b"x\n")
    patch = _patch(name, None, entry, {entry: b"x\n"})
    subprocess.run(["git", "apply", "-"], cwd=tmp_path, input=patch, check=True)
    assert [path.name.encode("utf-8", "surrogateescape") for path in tmp_path.iterdir()] == [name]


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_git_makes_links_and_executables_and_removes_files(tmp_path: Path) -> None:
    (tmp_path / "tool").write_bytes(b"#!/bin/sh\n")
    (tmp_path / "gone").write_bytes(b"bye\n")
    (tmp_path / "becomes-link").write_bytes(b"text\n")
    plain, runs, gone, text = _file(b"#!/bin/sh\n"), _file(b"#!/bin/sh\n", 0o755), _file(b"bye\n"), _file(b"text\n")
    link = Entry(SYMLINK, 0o777, 0, 0, b"over/there")
    contents = {gone: b"bye\n", text: b"text\n"}
    patch = b"".join(
        [
            _patch(b"tool", plain, runs, contents),
            _patch(b"gone", gone, None, contents),
            _patch(b"link", None, link, contents),
            _patch(b"becomes-link", text, link, contents),
        ]
    )
    subprocess.run(["git", "apply", "-"], cwd=tmp_path, input=patch, check=True)
    assert (tmp_path / "tool").stat().st_mode & 0o100
    assert not (tmp_path / "gone").exists()
    assert (tmp_path / "link").readlink() == (tmp_path / "becomes-link").readlink() == Path("over/there")


def test_binary_and_large_files_are_named_only() -> None:
    assert b"Binary files a/file.txt and b/file.txt differ" in _text_patch(b"a\0b", b"text\n")
    large = Entry(FILE, 0o644, 0, MAX_TEXT_BYTES + 1, b"large")
    small = _file(b"x\n")
    assert b"Binary files /dev/null and b/big differ" in _patch(b"big", None, large, {})
    assert b"Binary files a/big and b/big differ" in _patch(b"big", small, large, {small: b"x\n"})


def test_folders_and_times_are_no_part_of_a_patch() -> None:
    folder = Entry(DIRECTORY, 0o755, 0, 0, b"")
    later = _file(b"x")._replace(mtime_ns=5)
    assert _patch(b"d", None, folder, {}) == b""
    assert _patch(b"f", _file(b"x"), later, {}) == b""
