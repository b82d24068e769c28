from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from manifold_common.domain.paths import ROOT
from manifold_common.domain.tree import (
    DIRECTORY,
    FILE,
    SYMLINK,
    Changes,
    Difference,
    Entry,
    Tree,
    apply,
    between,
    chunk_ids,
    differences,
    directory,
    growth,
    is_significant,
    misfit,
    significant,
    totals,
)

ENTRIES = st.builds(
    lambda kind, mode, time, chunks: Entry(
        kind,
        mode,
        time,
        10 * chunks if kind == FILE else 0,
        {FILE: b"c" * 32 * chunks, DIRECTORY: b"", SYMLINK: b"t"}[kind],
    ),
    st.sampled_from([FILE, DIRECTORY, SYMLINK]),
    st.sampled_from([0o600, 0o755]),
    st.integers(0, 2),
    st.integers(0, 3),
)
PATHS = st.lists(st.sampled_from([b"a", b"b"]), max_size=3).map(b"/".join)
TREES = st.dictionaries(PATHS, ENTRIES, max_size=6)


def file(size: int, time: int = 0) -> Entry:
    return Entry(FILE, 0o644, time, size, b"c" * 32)


@given(TREES, TREES)
def test_the_changes_between_two_trees_turn_one_into_the_other(before: Tree, after: Tree) -> None:
    changes = between(before, after)
    assert not changes.upserts.keys() & changes.deletes
    assert bool(changes) == (before != after)
    tree = dict(before)
    apply(tree, changes)
    assert tree == after


@given(TREES, TREES)
def test_growth_is_the_difference_of_totals(before: Tree, after: Tree) -> None:
    changes = between(before, after)
    if b"" in changes.deletes:
        return  # the root is never deleted
    sizes, entries = totals(before)
    more_bytes, more_entries = growth(before, changes)
    assert (sizes + more_bytes, entries + more_entries) == totals(after)


@given(TREES, TREES)
def test_only_new_times_of_folders_are_insignificant(before: Tree, after: Tree) -> None:
    changes = between(before, after)
    kept = significant(before, changes)
    new_root = {ROOT} - before.keys()
    assert is_significant(before, changes) == bool(kept.deletes or kept.upserts.keys() - new_root)
    assert kept.deletes == changes.deletes
    for path in changes.upserts.keys() - kept.upserts.keys():
        assert before[path].kind == after[path].kind == DIRECTORY
        assert before[path]._replace(mtime_ns=0) == after[path]._replace(mtime_ns=0)
    without_root = {ROOT} if (ROOT in before) != (ROOT in after) else set()
    assert [path for path, _, _ in differences(before, after)] == sorted(kept.paths() - without_root)


def test_differences_show_both_sides() -> None:
    before = {b"a": file(1), b"b": file(2), b"d": directory(1)}
    after = {b"b": file(2, time=5), b"c": file(3), b"d": directory(2)}
    assert differences(before, after) == [
        Difference(b"a", file(1), None),
        Difference(b"b", file(2), file(2, time=5)),
        Difference(b"c", None, file(3)),
    ]


def test_the_root_that_an_empty_tree_has_not_is_no_difference() -> None:
    tree = {ROOT: directory(1), b"a": file(1)}
    assert differences({}, tree) == [Difference(b"a", None, file(1))]
    assert differences(tree, {}) == [Difference(b"a", file(1), None)]


def test_only_files_have_chunks() -> None:
    assert chunk_ids(Entry(FILE, 0, 0, 9, b"a" * 32 + b"b" * 32)) == [b"a" * 32, b"b" * 32]
    assert chunk_ids(Entry(SYMLINK, 0, 0, 0, b"t" * 64)) == []
    assert chunk_ids(directory(0)) == []


def test_an_entry_stands_in_a_folder_or_is_a_misfit() -> None:
    tree: Tree = {b"": directory(0), b"d": directory(0), b"d/f": file(1), b"f": file(1), b"l": Entry(2, 0, 0, 0, b"d")}
    assert misfit({}, Changes(tree, set())) is None
    for stray in (b"f/x", b"l/x", b"missing/x", b"d/missing/x"):
        assert misfit(tree, Changes({stray: file(1)}, set())) == stray


def test_changes_that_leave_something_without_its_folder_are_a_misfit() -> None:
    tree: Tree = {b"d": directory(0), b"d/e": directory(0), b"d/e/f": file(1), b"f": file(1)}
    assert misfit(tree, Changes({}, {b"d", b"d/e", b"d/e/f"})) is None
    assert misfit(tree, Changes({}, {b"d", b"d/e"})) == b"d/e/f"
    assert misfit(tree, Changes({b"d": file(1)}, set())) == b"d/e"
    assert misfit(tree, Changes({b"d": file(1)}, {b"d/e", b"d/e/f"})) is None
    assert misfit(tree, Changes({b"f/x": file(1)}, set())) == b"f/x"
    assert misfit(tree, Changes({b"f/x": file(1), b"f": directory(0)}, set())) is None
    assert misfit(tree, Changes({b"d/new": file(1)}, {b"d", b"d/e", b"d/e/f"})) == b"d/new"
    assert misfit({}, Changes({b"x": file(1), b"": directory(0)}, set())) is None
