"""Patterns in gitignore's syntax: what they mean is what git says, and no name takes long."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from manifold_common.domain.paths import parent_of
from manifold_common.domain.patience import wanted_while
from manifold_common.domain.tree import DIRECTORY, FILE, Entry, Tree
from manifold_common.engine.working_set import ignore, patterns
from manifold_common.engine.working_set.folders import open_root
from manifold_common.engine.working_set.ignore import (
    IGNORE_FILE,
    MAX_IGNORE_BYTES,
    MAX_IGNORE_FILE_BYTES,
    IgnoreFiles,
    IgnoreRules,
)
from manifold_common.engine.working_set.pattern_syntax import BadPattern, Pattern, parse_pattern
from manifold_common.engine.working_set.patterns import MAX_STEPS, Matcher, Patterns, Steps
from manifold_common.engine.working_set.scan import ScanResult, scan
from manifold_common.engine.working_set.scope import MAX_PATTERNS_CHARACTERS, Scope
from manifold_common.engine.working_set.state import NO_TRUST
from manifold_common.errors import Abandoned, InvalidInput, QuotaExceeded
from manifold_common.format.chunker import Chunker
from manifold_common.ids import ChunkId

# --- against git ----------------------------------------------------------------------------------------------------

_NAMES = [
    b"a",
    b"b",
    b"ab",
    b"a.b",
    b"aab",
    b"A",
    b"[a]",
    b"*",
    b"\\",
    b"!a",
    b"#a",
    b"a ",
    b"-",
    b"]",
    b"\xff",
    "é".encode(),
]
_FOLDERS = [b"", b"a", b"a/a", b"a/a/b", b"b", b"b/a", b"ab", b"ab/[a]"]
_QUIRK = re.compile(rb"[^*?\[\\]*[^/*?\[\\]\*\*")
"""Of git before 2.52: after a literal beginning such as ``a`` in ``a**/b``, ``**`` counts as standing alone."""


class GitTree:
    """A folder with files and folders of all kinds of names, and git's word on which are ignored."""

    def __init__(self, root: Path) -> None:
        self.root = os.fsencode(root)
        self._environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(root),
            "GIT_CONFIG_NOSYSTEM": "1",
        }
        self._git("init", "-q")
        self.paths: dict[bytes, bool] = {}
        for folder in _FOLDERS:
            os.makedirs(os.path.join(self.root, folder), exist_ok=True)
            if folder:
                self.paths[folder] = True
        for folder in _FOLDERS:
            for name in _NAMES:
                path = os.path.join(folder, name)
                if path not in self.paths:
                    Path(os.fsdecode(os.path.join(self.root, path))).touch()
                    self.paths[path] = False

    def write(self, files: dict[bytes, bytes]) -> None:
        for folder in _FOLDERS:
            for name in (b".gitignore", IGNORE_FILE):
                file = Path(os.fsdecode(os.path.join(self.root, folder, name)))
                if folder in files:
                    file.write_bytes(files[folder])
                else:
                    file.unlink(missing_ok=True)

    def ignored_by_git(self) -> set[bytes]:
        out = self._git("check-ignore", "--no-index", "-z", "--stdin", given=b"\0".join(self.paths) + b"\0")
        return set(out.split(b"\0")) - {b""}

    def ignored_by_manifold(self) -> set[bytes]:
        files = IgnoreFiles()
        rules: dict[bytes, IgnoreRules | None] = {}
        for folder in _FOLDERS:
            fd = os.open(os.path.join(self.root, folder), os.O_RDONLY)
            rules[folder] = files.rules(fd, folder, rules[parent_of(folder)] if folder else None)
            os.close(fd)
        return {
            path
            for path, is_folder in self.paths.items()
            if (above := rules[parent_of(path)]) is not None and above.ignores(path, is_folder=is_folder)
        }

    def _git(self, *arguments: str, given: bytes = b"") -> bytes:
        done = subprocess.run(
            ["git", "-c", "core.excludesFile=", *arguments],
            cwd=os.fsdecode(self.root),
            env=self._environ,
            input=given,
            capture_output=True,
            check=False,
        )
        assert done.returncode in (0, 1), done.stderr  # 1: nothing is ignored
        return done.stdout


@pytest.fixture(scope="module")
def git_tree(tmp_path_factory: pytest.TempPathFactory) -> GitTree:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    return GitTree(tmp_path_factory.mktemp("git"))


_LITERALS = [b"a", b"b", b"ab", b"A", b".", b" ", b"!", b"#", b"-", b"\r", b"\t", b"\xff", "é".encode()]
_WILDCARDS = [b"/", b"*", b"**", b"?", b"/**/", b"/**", b"**/", b"\\", b"\\*", b"\\[", b"[", b"]"]
_BRACKETS = [b"[a-b]", b"[!a]", b"[^ab]", b"[]a]", b"[a", b"[b-a]", b"[a-]", b"[--a]", b"[\\]]", b"[\xc3]"]
_NAMED_CLASSES = [b"[[:alpha:]]", b"[[:punct:]a]", b"[[:no:]]", b"[[:a]"]
_PIECES = st.sampled_from([*_LITERALS, *_WILDCARDS, *_BRACKETS, *_NAMED_CLASSES])
_LINES = st.builds(
    lambda front, pieces, end: front + b"".join(pieces) + end,
    st.sampled_from([b"", b"", b"!", b"/", b"**/", b"\\!", b"\\#"]),
    st.lists(_PIECES, max_size=6),
    st.sampled_from([b"", b"", b"/", b"/**", b" ", b"\\ ", b"\r"]),
)
_FILES = st.dictionaries(st.sampled_from(_FOLDERS), st.lists(_LINES, max_size=5).map(b"\n".join), max_size=3)


@pytest.mark.slow
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example({b"": b"a/\n!a/a"})
@example({b"": b"a/**/b\n**/**/[[]a[]]"})
@example({b"": b"*\n!*/\n!a.b"})
@example({b"": b"\xef\xbb\xbfa\r\nb"})
@example({b"": b"ab", b"a": b"!ab", b"a/a": b"/b/\n\\"})
@given(_FILES)
def test_what_is_ignored_is_what_git_ignores(git_tree: GitTree, files: dict[bytes, bytes]) -> None:
    assume(not any(_QUIRK.match(line.lstrip(b"!/")) for text in files.values() for line in text.split(b"\n")))
    git_tree.write(files)
    assert git_tree.ignored_by_manifold() == git_tree.ignored_by_git()


# --- time -----------------------------------------------------------------------------------------------------------

_HOSTILE = [
    (b"*a" * 30 + b"b", b"a" * 255),
    (b"*" + b"?*" * 100 + b"b", b"a" * 255),
    (b"*[ab]" * 60 + b"c", b"ab" * 127),
    (b"/" + b"**/a/" * 60 + b"b", b"/".join([b"a"] * 2000)),
    (b"/" + b"**/*a*/" * 60 + b"b", b"/".join([b"aaaa"] * 800)),
]


@pytest.mark.parametrize(("line", "path"), _HOSTILE)
def test_no_name_takes_long_against_a_pattern_made_to_be_slow(line: bytes, path: bytes) -> None:
    pattern = parse_pattern(line)
    assert pattern is not None
    began = time.process_time()
    steps = Steps("the patterns", "")
    assert Matcher(Patterns([pattern]), steps).last_match(path, is_folder=False) == -1
    assert time.process_time() - began < 1  # by backtracking: hours
    assert steps.taken <= 2 * len(path) + 8


def test_the_largest_ignore_file_against_the_longest_path_is_done_in_a_moment(tmp_path: Path) -> None:
    lines = [b"*a" * 60 + b"b", b"/**/*[!b]*/**/?a*/c"]
    text = b"\n".join(lines * (MAX_IGNORE_FILE_BYTES // len(b"\n".join(lines))))
    (tmp_path / ".manifoldignore").write_bytes(text)
    began = time.process_time()
    rules = _rules_of(tmp_path)
    assert not rules.ignores(b"/".join([b"a" * 255] * 15), is_folder=False)
    assert time.process_time() - began < 5


def _scan(folder: Path) -> ScanResult:
    fd = open_root(folder)
    try:
        return scan(fd, {}, NO_TRUST, chunker=Chunker(bytes(32)), add=lambda data: ChunkId(bytes(32)))
    finally:
        os.close(fd)


def _nest(root: Path, levels: int, text: Callable[[int], bytes]) -> Path:
    """Make folders in folders, an ignore file in each; return the innermost."""
    folder = root
    for number in range(levels):
        folder = folder / "d"
        folder.mkdir()
        (folder / ".manifoldignore").write_bytes(text(number))
    return folder


_COSTLY = b"\n".join([b"*a" * 60 + b"b", b"/**/*[!b]*/**/?a*/c"] * 900)[: MAX_IGNORE_FILE_BYTES - 10]


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets the bytes of each ignore file that is compiled."""
    found: list[int] = []

    def counted(data: bytes) -> Iterator[Pattern]:
        found.append(len(data))
        return compile_patterns(data)

    compile_patterns = ignore._patterns
    monkeypatch.setattr(ignore, "_patterns", counted)
    monkeypatch.setattr(ignore, "_compiled", ignore._Compiled())
    return found


@pytest.mark.slow
def test_two_hundred_equal_ignore_files_are_compiled_once_and_not_again_by_the_next_scan(
    tmp_path: Path, compiled: list[int]
) -> None:
    """Each took a second, at each scan."""
    _nest(tmp_path, 200, lambda _: _COSTLY)
    for _ in range(2):
        assert len(_scan(tmp_path).seen) == 401
    assert compiled == [len(_COSTLY)]


@pytest.mark.slow
def test_ignore_files_that_differ_are_bounded_together(tmp_path: Path, compiled: list[int]) -> None:
    _nest(tmp_path, 20, lambda number: b"%d\n" % number + _COSTLY)
    told = rf"'(d/){{9}}.manifoldignore' have \d+ bytes together, over the limit of {MAX_IGNORE_BYTES}"
    with pytest.raises(QuotaExceeded, match=told):
        _scan(tmp_path)
    assert sum(compiled) <= MAX_IGNORE_BYTES


@pytest.mark.slow
def test_files_that_take_turns_are_compiled_once_by_a_scan(tmp_path: Path, compiled: list[int]) -> None:
    """All of them are more than what a process keeps."""
    _nest(tmp_path, 35, lambda number: b"%d\n" % (number % 7) + _COSTLY[:90_000])
    _scan(tmp_path)
    assert len(compiled) == 7


@pytest.mark.parametrize(
    ("levels", "files", "text"),
    [(100, 200, b"*a*a*a*b\n" * 2000), (400, 300, b"*z"), (1, 2000, _COSTLY), (40, 40, b"/**/a/**/b/**\n" * 999)],
    ids=["wildcards", "many files", "one file", "paths"],
)
def test_what_matching_takes_is_bounded_however_names_and_patterns_are_spread(
    tmp_path: Path, levels: int, files: int, text: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patterns, "MAX_STEPS", 200_000)
    folder = _nest(tmp_path, levels, lambda _: text)
    for number in range(files):
        (folder / ("a" * 200 + str(number))).touch()
    with pytest.raises(QuotaExceeded, match=r"\.manifoldignore files take more than 200000 steps to match, at 'd/"):
        _scan(tmp_path)


def test_the_steps_of_an_ordinary_project_are_below_what_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three ignore files above each other, a hundred patterns each: a hundred thousand such files are within it."""
    text = b"\n".join(b"*.o%d\nbuild%d/\n/src/**/gen%d_*.[ch]\n!keep%d" % ((number,) * 4) for number in range(25))
    folder = _nest(tmp_path, 3, lambda _: text)
    for number in range(1000):
        (folder / f"a_module_of_some_name_{number}.py").touch()
    files = IgnoreFiles()
    monkeypatch.setattr("manifold_common.engine.working_set.scan.IgnoreFiles", lambda: files)
    _scan(tmp_path)
    assert 0 < files.steps.taken * 100 < MAX_STEPS


def test_patterns_of_a_scope_are_bounded_by_the_tree_they_choose_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "MAX_STEPS", 100_000)
    tree = _tree(*(b"%s%d" % (b"a" * 200, number) for number in range(2000)))
    with pytest.raises(QuotaExceeded, match="the path patterns take more than 100000 steps to match, at 'aaa"):
        Scope(("*a" * 200 + "b",)).select(tree)


def test_links_are_bounded_by_what_their_targets_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("manifold_common.engine.working_set.scan.MAX_TARGET_BYTES", 10_000)
    for number in range(100):
        (tmp_path / f"l{number}").symlink_to("t" * 200)
    with pytest.raises(QuotaExceeded, match=r"targets of links .* up to 'l[0-9]+', have more than 10000 bytes"):
        _scan(tmp_path)


def test_nobody_is_waited_for_who_has_gone(tmp_path: Path) -> None:
    for number in range(100):
        (tmp_path / str(number)).touch()
    asked = 0

    def is_wanted() -> bool:
        nonlocal asked
        asked += 1
        return asked < 50

    with wanted_while(is_wanted), pytest.raises(Abandoned):
        _scan(tmp_path)
    assert asked == 50


# --- ignore files ---------------------------------------------------------------------------------------------------


def _rules_of(folder: Path) -> IgnoreRules:
    fd = os.open(folder, os.O_RDONLY)
    try:
        rules = IgnoreFiles().rules(fd, b"", None)
    finally:
        os.close(fd)
    assert rules is not None
    return rules


@pytest.mark.parametrize("bad", [b"[z", b"!", b"/", b"a\\", b"[[:nothing:]]", b"a\0b", b"\xff[", b"***[", b"!/"])
def test_a_bad_line_is_passed_over_and_the_others_hold(tmp_path: Path, bad: bytes) -> None:
    (tmp_path / ".manifoldignore").write_bytes(b"one\n" + bad + b"\ntwo")
    rules = _rules_of(tmp_path)
    assert rules.ignores(b"one", is_folder=False)
    assert rules.ignores(b"two", is_folder=False)
    assert not rules.ignores(b"three", is_folder=False)


@pytest.mark.parametrize("kind", ["folder", "fifo", "link", "dangling"])
def test_an_ignore_file_that_is_no_file_counts_as_absent(tmp_path: Path, kind: str) -> None:
    target = tmp_path / ".manifoldignore"
    (tmp_path / "elsewhere").write_text("*")
    if kind == "folder":
        target.mkdir()
    elif kind == "fifo":
        os.mkfifo(target)
    else:
        target.symlink_to("elsewhere" if kind == "link" else "nowhere")
    fd = os.open(tmp_path, os.O_RDONLY)
    before = len(os.listdir("/proc/self/fd"))
    assert IgnoreFiles().rules(fd, b"", None) is None
    assert len(os.listdir("/proc/self/fd")) == before
    os.close(fd)


def test_of_an_over_long_ignore_file_whole_lines_count_and_no_part_of_one(tmp_path: Path) -> None:
    filler = b"#" * 99 + b"\n"
    head = filler * (MAX_IGNORE_FILE_BYTES // len(filler) - 1)
    head += b"one\n"
    (tmp_path / ".manifoldignore").write_bytes(head + b"*" * (MAX_IGNORE_FILE_BYTES - len(head)) + b".tmp\n")
    rules = _rules_of(tmp_path)
    assert rules.ignores(b"one", is_folder=False)
    assert not rules.ignores(b"two", is_folder=False)


def test_rules_remember_folders_without_mixing_them_up(tmp_path: Path) -> None:
    (tmp_path / ".manifoldignore").write_bytes(b"out/\n/x/*/deep/y\n")
    rules = _rules_of(tmp_path)
    for number in range(5000):
        folder = b"in%d" % number
        assert not rules.ignores(folder + b"/f", is_folder=False)
    for number in range(20):
        assert rules.ignores(b"x/%d/deep/y" % number, is_folder=False)
        assert not rules.ignores(b"x/%d/deeper/y" % number, is_folder=False)
        assert rules.ignores(b"x/%d/out/y" % number, is_folder=False)


# --- scopes ---------------------------------------------------------------------------------------------------------


def _tree(*paths: bytes) -> Tree:
    tree: Tree = {b"": Entry(DIRECTORY, 0o755, 0, 0, b"")}
    for path in paths:
        folder = path.endswith(b"/")
        tree[path.rstrip(b"/")] = Entry(DIRECTORY if folder else FILE, 0o755, 0, 0, b"")
    return tree


_TREE = _tree(
    b"readme.md", b"src/", b"src/a.py", b"src/vendor/", b"src/vendor/b.py", b"docs/", b"docs/c.md", b"\xff.md"
)


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (("src",), {b"src", b"src/a.py", b"src/vendor", b"src/vendor/b.py"}),
        (("src/",), {b"src", b"src/a.py", b"src/vendor", b"src/vendor/b.py"}),
        (("src/*.py",), {b"src", b"src/a.py"}),
        (("src/**",), {b"src", b"src/a.py", b"src/vendor", b"src/vendor/b.py"}),
        (("*.md",), {b"readme.md", b"docs", b"docs/c.md", b"\xff.md"}),
        (("/*.md",), {b"readme.md", b"\xff.md"}),
        (("\udcff.md",), {b"\xff.md"}),
        (("src", "!src/vendor"), {b"src", b"src/a.py"}),
        (("*", "!docs/"), {b"readme.md", b"\xff.md", b"src", b"src/a.py", b"src/vendor", b"src/vendor/b.py"}),
        (
            ("*", "!src", "b.py"),
            {b"readme.md", b"docs", b"docs/c.md", b"\xff.md", b"src", b"src/vendor", b"src/vendor/b.py"},
        ),
        (("!src/vendor", "src"), {b"src", b"src/a.py", b"src/vendor", b"src/vendor/b.py"}),
        (("nothing",), set()),
    ],
)
def test_a_scope_has_what_its_patterns_match_and_the_folders_above(
    patterns: tuple[str, ...], expected: set[bytes]
) -> None:
    assert set(Scope(patterns).select(_TREE)) == expected | {b""}


def test_a_scope_without_patterns_is_the_whole_tree() -> None:
    assert Scope(()).is_whole
    assert Scope(()).select(_TREE) is _TREE


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "  ",
        "#x",
        "!",
        "/",
        "!/",
        "a\\",
        "[a",
        "[[:x:]]",
        "a\0b",
        "\ud800",
        "!only",
        "x" * (MAX_PATTERNS_CHARACTERS + 1),
    ],
)
def test_a_bad_path_pattern_is_invalid_input(pattern: str) -> None:
    with pytest.raises(InvalidInput):
        Scope((pattern,))


def test_one_bad_path_pattern_among_good_ones_is_named() -> None:
    with pytest.raises(InvalidInput, match=re.escape("'[z'")):
        Scope(("src", "[z", "docs"))


def test_bad_patterns_say_why() -> None:
    with pytest.raises(BadPattern, match="backslash"):
        parse_pattern(b"a\\")
