"""A patch says what changed, in the form that git takes, in both directions."""

from __future__ import annotations

import os
import shutil
import subprocess
import tracemalloc
from collections.abc import Mapping
from itertools import repeat
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from manifold_common.domain.tree import DIRECTORY, FILE, SYMLINK, Difference, Entry, differences, directory
from manifold_local.cli.patch import MAX_TEXT_BYTES, patch_of
from manifold_local.cli.patch_losses import losses

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")

FOLDER = directory(0)
LARGE = os.urandom(5_000_000)
LARGE_TEXT = b"a line that comes again\n" * (MAX_TEXT_BYTES // 20)


class Files(dict[bytes, Entry]):
    """A tree, with what is in its files and the folders that they stand in."""

    def __init__(self, files: Mapping[bytes, tuple[bytes, int] | bytes | Entry]) -> None:
        super().__init__({b"": FOLDER})
        self.contents: dict[bytes, bytes] = {}
        for path, thing in files.items():
            if isinstance(thing, Entry):
                self[path] = thing
            else:
                content, mode = (thing, 0o644) if isinstance(thing, bytes) else thing
                self[path] = Entry(FILE, mode, 0, len(content), b"id of " + content)
                self.contents[path] = content
            while b"/" in path:
                path = path.rpartition(b"/")[0]
                self.setdefault(path, FOLDER)

    def read(self, path: bytes, _: Entry) -> list[bytes]:
        content = self.contents[path]
        return [content[at : at + 1_000_003] for at in range(0, len(content), 1_000_003)]

    def write_into(self, folder: Path) -> None:
        for path, entry in sorted(self.items()):
            if not path:
                continue
            at = os.fsencode(folder) + b"/" + path
            if entry.kind == DIRECTORY:
                os.mkdir(at)
            elif entry.kind == SYMLINK:
                os.symlink(entry.content, at)
            else:
                with open(at, "wb") as file:
                    file.write(self.contents[path])
                os.chmod(at, entry.mode)

    def as_git_has_it(self) -> dict[bytes, tuple[str, bytes]]:
        return {
            path: ("link", entry.content)
            if entry.kind == SYMLINK
            else ("program" if entry.mode & 0o100 else "file", self.contents[path])
            for path, entry in self.items()
            if entry.kind != DIRECTORY
        }


def link(target: bytes) -> Entry:
    return Entry(SYMLINK, 0o777, 0, 0, target)


def patch_between(old: Files, new: Files) -> bytes:
    return b"".join(b"".join(patch_of(found, old.read, new.read)) for found in differences(old, new))


def found_in(folder: Path) -> dict[bytes, tuple[str, bytes]]:
    """Return what is in a folder, as ``Files.as_git_has_it``."""
    found: dict[bytes, tuple[str, bytes]] = {}
    top = os.fsencode(folder)
    for root, names, files in os.walk(top):
        if b".git" in names:
            names.remove(b".git")
        for name in [*files, *names]:
            at = os.path.join(root, name)
            path = at[len(top) + 1 :]
            if os.path.islink(at):
                found[path] = ("link", os.readlink(at))
            elif not os.path.isdir(at):
                with open(at, "rb") as file:
                    found[path] = ("program" if os.stat(at).st_mode & 0o100 else "file", file.read())
    return found


def git(folder: Path, *arguments: str, stdin: bytes = b"") -> bytes:
    done = subprocess.run(
        ["git", "-c", "user.name=t", "-c", "user.email=t@t", *arguments],
        cwd=folder,
        input=stdin,
        capture_output=True,
        check=False,
        env={**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, "GIT_DIR": ".git"},
    )
    assert done.returncode == 0, (arguments, done.stderr, stdin[:2000])
    return done.stdout


def check_both_ways(folder: Path, old: Files, new: Files) -> bytes:
    """Have git make ``new`` of ``old`` and the patch, and ``old`` again; return the patch."""
    patch = patch_between(old, new)
    old.write_into(folder)
    git(folder, "init", "-q")
    git(folder, "add", "-A", "--force")
    if not patch:
        assert old.as_git_has_it() == new.as_git_has_it()
        return patch
    git(folder, "apply", "--index", "--whitespace=nowarn", "-", stdin=patch)
    assert found_in(folder) == new.as_git_has_it()
    git(folder, "apply", "--index", "--whitespace=nowarn", "-R", "-", stdin=patch)
    assert found_in(folder) == old.as_git_has_it()
    return patch


_lines = st.lists(
    st.sampled_from([b"a", b"b", b"", b"long line", b"\xff\xfe", b"tab\t", b"cr\r", b"-- ", b"@@ -1 +1 @@", b"\0\1"]),
    max_size=12,
)
_contents = st.builds(lambda lines, end: b"\n".join(lines) + end, _lines, st.sampled_from([b"", b"\n"])) | st.binary(
    max_size=200
)
_names = st.sampled_from(
    [b"a", b"b", b"with space", b" ", b'qu"ote', b"back\\slash", b"tab\t", b"line\n", b"\xff\xfe", "ö".encode(), b"a.b"]
)
_paths = st.lists(_names, min_size=1, max_size=3).map(b"/".join)
_things = st.tuples(_contents, st.sampled_from([0o644, 0o755])) | st.sampled_from(
    [b"over/there", b"\xff", b"li ne\n"]
).map(link)


def _whole(files: dict[bytes, tuple[bytes, int] | Entry]) -> Files:
    """Return a tree without what would stand below a file."""
    return Files({path: thing for path, thing in files.items() if not any(path.startswith(p + b"/") for p in files)})


_trees = st.dictionaries(_paths, _things, max_size=6).map(_whole)


@needs_git
@settings(max_examples=60, deadline=None)
@given(old=_trees, new=_trees)
@example(old=Files({b"x": b"text\n"}), new=Files({b"x": b""}))
def test_git_makes_the_new_tree_of_the_old_one_and_the_patch_and_the_other_way_round(
    tmp_path_factory: pytest.TempPathFactory, old: Files, new: Files
) -> None:
    check_both_ways(tmp_path_factory.mktemp("apply"), old, new)


@needs_git
@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param({b"f": b"a\0b"}, {b"f": b"a\0c"}, id="binary"),
        pytest.param({b"f": b""}, {b"f": b"\0"}, id="empty to binary"),
        pytest.param({b"f": b"text\n"}, {b"f": b"\0\0"}, id="text to binary"),
        pytest.param({b"f": b"x" * 9000 + b"\0"}, {b"f": b"x" * 9001}, id="a late NUL"),
        pytest.param({}, {b"f": b"\0new"}, id="new binary"),
        pytest.param({}, {b"f": b"", b"g": (b"", 0o755)}, id="new empty"),
        pytest.param({b"f": (b"\0a", 0o644)}, {b"f": (b"\0b", 0o755)}, id="binary and mode"),
        pytest.param({b"f": (b"\0a", 0o644)}, {b"f": (b"\0a", 0o755)}, id="mode of a binary"),
        pytest.param({b"f": b"\0a"}, {b"f": link(b"over there")}, id="binary to link"),
        pytest.param({b"f": b"\0a"}, {b"f/g": b"\0a"}, id="binary to folder"),
        pytest.param({b"f/g": b"\0a"}, {b"f": link(b"x")}, id="folder to link"),
        pytest.param({b"big": LARGE}, {b"big": LARGE[:-1] + b"!"}, id="large binary"),
        pytest.param({b"big": LARGE_TEXT}, {b"big": LARGE_TEXT + b"end"}, id="large text"),
        pytest.param({b"big": b"small\n"}, {b"big": LARGE_TEXT}, id="small to large text"),
        pytest.param({b"crlf": b"a\r\nb\r\n"}, {b"crlf": b"a\r\nc\r\n"}, id="carriage returns"),
    ],
)
def test_git_takes_each_kind_of_change_in_both_directions(tmp_path: Path, old: dict, new: dict) -> None:
    assert check_both_ways(tmp_path, Files(old), Files(new))


@needs_git
@pytest.mark.parametrize("size", [0, 1, 25, 26, 27, 51, 52, 53, 103, 104, 105])
def test_git_takes_lines_of_any_length(tmp_path: Path, size: int) -> None:
    check_both_ways(tmp_path, Files({b"f": b"\0"}), Files({b"f": b"\0" + LARGE[:size]}))


@needs_git
def test_the_patch_is_like_the_one_that_git_makes_itself(tmp_path: Path) -> None:
    old = Files({b"bin": b"\0a", b"gone": b"x\n", b"text": b"a\nb\n", b"to link": b"y\n", b"tool": b"#!\n"})
    new = Files({b"bin": b"\0b", b"text": b"a\nc\n", b"to link": link(b"z"), b"tool": (b"#!\n", 0o755), b"n\xff": b""})
    patch = check_both_ways(tmp_path, old, new)
    git(tmp_path, "commit", "-q", "-m", "old")
    git(tmp_path, "apply", "--index", "-", stdin=patch)
    gits = git(tmp_path, "diff", "--cached", "--binary", "--full-index", "--no-renames")
    assert patch.splitlines() == gits.splitlines()


@needs_git
def test_git_applies_a_binary_patch_outside_a_repository_too(tmp_path: Path) -> None:
    old, new = Files({b"f": b"\0a"}), Files({b"f": b"\0b"})
    old.write_into(tmp_path)
    git(tmp_path, "apply", "-", stdin=patch_between(old, new))
    assert (tmp_path / "f").read_bytes() == b"\0b"


@needs_git
@pytest.mark.parametrize("name", [b".git", b".GIT", b".git ", b"git~1", b"folder/.git", b".git:x"])
def test_a_name_that_git_keeps_for_itself_is_left_out_and_said(tmp_path: Path, name: bytes) -> None:
    plain, more = Files({}), Files({name + b"/config": b"x", b"taken": b"y\n"})
    assert [loss for loss in losses(differences(plain, more), plain, more) if "git keeps for itself" in loss]
    patch = patch_between(plain, more)
    git(tmp_path, "init", "-q")
    git(tmp_path, "apply", "-", stdin=patch)
    assert found_in(tmp_path) == {b"taken": ("file", b"y\n")}


def test_what_no_patch_carries_is_said() -> None:
    def said(old: Files, new: Files) -> list[str]:
        return list(losses(differences(old, new), old, new))

    text = Files({b"d/f": b"x\n"})
    assert said(Files({}), text) == said(text, Files({})) == []
    assert said(text, Files({b"d/f": (b"y\n", 0o755), b"l": link(b"z")})) == []
    hollow = Files({b"d": FOLDER, b"d/e": FOLDER})
    for old, new in ((Files({}), hollow), (text, hollow), (hollow, text)):
        assert "folder without files" in "".join(said(old, new))
    private = Files({b"d/f": (b"x\n", 0o600)})
    closed = Files({b"d/f": b"x\n", b"d": FOLDER._replace(mode=0o700)})
    for other in (private, closed):
        for old, new in ((text, other), (other, text), (Files({}), other)):
            assert "permissions that git does not keep" in "".join(said(old, new))
    later = Files({b"d/f": b"x\n"})
    later[b"d/f"] = later[b"d/f"]._replace(mtime_ns=5)
    assert said(text, later) == ["the patch leaves out 1 path of which only the modification time differs, such as d/f"]
    for other in (private, closed, later):
        assert patch_between(text, other) == b""


def test_memory_stays_bounded_however_large_a_file_is() -> None:
    piece, count = bytes(1 << 20), 64
    large = Entry(FILE, 0o644, 0, count << 20, b"large")
    tracemalloc.start()
    try:
        written = sum(map(len, patch_of(Difference(b"big", None, large), no_read, lambda *_: repeat(piece, count))))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert written > 200_000
    assert peak < 4 << 20


def no_read(*_: object) -> list[bytes]:
    raise AssertionError("there is nothing to read")
