"""The rules of ``rebase`` against a model of two people who edit copies of one tree.

The model knows trees only: what each side did is what its tree differs in from the base, whatever ``Changes`` say.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from manifold_common.domain.conflict import Strategy, dropped, rebase
from manifold_common.domain.tree import (
    DIRECTORY,
    FILE,
    SYMLINK,
    Changes,
    Entry,
    Tree,
    apply,
    between,
    differences,
    misfit,
)

NAMES = [b"a", b"b", b"c"]
DEPTH = 3


class Edit(NamedTuple):
    """One thing someone does to a path: what it does depends on what is there."""

    path: bytes
    action: str
    value: int


PATHS = st.lists(st.sampled_from(NAMES), min_size=1, max_size=DEPTH).map(b"/".join)
EDITS = st.builds(
    Edit,
    PATHS,
    st.sampled_from(["write", "write", "folder", "link", "delete", "delete", "chmod", "touch", "root"]),
    st.integers(1, 3),
)
HISTORIES = st.lists(EDITS, max_size=8)


def _entry(kind: int, value: int, time: int) -> Entry:
    content = b"" if kind == DIRECTORY else b"%032d" % value
    return Entry(kind, 0o700 + value if kind != SYMLINK else 0o777, time, 32 if kind == FILE else 0, content)


def _parent(path: bytes) -> bytes:
    return path[: path.rfind(b"/")] if b"/" in path else b""


def _below(tree: Mapping[bytes, Entry], path: bytes) -> list[bytes]:
    return [other for other in tree if other == path or other.startswith(path + b"/")]


def _make_way(tree: Tree, path: bytes, time: int) -> None:
    """Make every folder above ``path``, in the place of whatever was there."""
    parts = path.split(b"/")
    for length in range(1, len(parts)):
        folder = b"/".join(parts[:length])
        if folder not in tree or tree[folder].kind != DIRECTORY:
            tree[folder] = _entry(DIRECTORY, 1, time)


def _touch(tree: Tree, path: bytes, time: int) -> None:
    """A folder's time changes when a name in it does, as file systems have it."""
    folder = _parent(path)
    if folder in tree:
        tree[folder] = tree[folder]._replace(mtime_ns=time)


def edited(base: Tree, edits: list[Edit], clock: int) -> Tree:
    tree = dict(base)
    for number, (path, action, value) in enumerate(edits):
        time = clock + number
        if action == "root":
            tree[b""] = _entry(DIRECTORY, value, time)
        elif action == "delete":
            if path in tree:
                for gone in _below(tree, path):
                    del tree[gone]
                _touch(tree, path, time)
        elif action in ("chmod", "touch"):
            if path in tree:
                mode = 0o600 + value if action == "chmod" else tree[path].mode
                tree[path] = tree[path]._replace(mode=mode, mtime_ns=time)
        else:
            kind = {"write": FILE, "folder": DIRECTORY, "link": SYMLINK}[action]
            if kind == DIRECTORY and path in tree and tree[path].kind == DIRECTORY:
                continue
            for gone in _below(tree, path):
                del tree[gone]
            _make_way(tree, path, time)
            tree[path] = _entry(kind, value, time)
            _touch(tree, path, time)
    return tree


def stands(tree: Mapping[bytes, Entry]) -> bool:
    """Every entry is in a folder."""
    return all(
        _parent(path) == b"" or (_parent(path) in tree and tree[_parent(path)].kind == DIRECTORY)
        for path in tree
        if path
    )


def essence(entry: Entry | None) -> tuple[int, int, bytes] | None:
    """What of an entry counts: everything but a time."""
    return None if entry is None else (entry.kind, entry.mode, entry.content)


def really_changed(base: Mapping[bytes, Entry], after: Mapping[bytes, Entry]) -> set[bytes]:
    found = set()
    for path in base.keys() | after.keys():
        before, now = base.get(path), after.get(path)
        if essence(before) != essence(now) or (before != now and now is not None and now.kind != DIRECTORY):
            found.add(path)
    return found


def expected_conflicts(base: Tree, ours: Tree, theirs: Tree) -> set[bytes]:
    """Both sides changed a path and disagree, or one side put something where the other left no folder."""
    mine, others = really_changed(base, ours), really_changed(base, theirs)
    found = {path for path in mine & others if essence(ours.get(path)) != essence(theirs.get(path))}
    for one, other, changed, walls in ((ours, theirs, mine, others), (theirs, ours, others, mine)):
        for path in changed:
            if path not in one:
                continue
            above = _parent(path)
            while above:
                if above in walls and (above not in other or other[above].kind != DIRECTORY):
                    found.add(path)
                above = _parent(above)
    return found


@st.composite
def situations(draw: st.DrawFn) -> tuple[Tree, Tree, Tree]:
    """(base, ours, theirs)"""
    return _situation(draw(HISTORIES), draw(HISTORIES), draw(HISTORIES))


def _situation(first: list[Edit], mine: list[Edit], others: list[Edit]) -> tuple[Tree, Tree, Tree]:
    base = edited({b"": _entry(DIRECTORY, 1, 1)}, first, 100)
    return base, edited(base, mine, 200), edited(base, others, 300)


def _applied(tree: Tree, changes: Changes) -> Tree:
    after = dict(tree)
    apply(after, changes)
    return after


def _ancestors(path: bytes) -> set[bytes]:
    found = set()
    while path := _parent(path):
        found.add(path)
    return found


def check_conflicts(base: Tree, ours: Tree, theirs: Tree) -> None:
    mine, others = between(base, ours), between(base, theirs)
    found = rebase(base, mine, others).conflicts
    assert found == sorted(expected_conflicts(base, ours, theirs))
    assert found == rebase(base, others, mine).conflicts


def check_agreement(base: Tree, ours: Tree, theirs: Tree) -> None:
    merge = rebase(base, between(base, ours), between(base, theirs))
    if merge.conflicts:
        return
    assert misfit(theirs, merge.changes) is None
    assert merge.changes.deletes <= theirs.keys(), "what they deleted is not deleted again"
    assert not [path for path, entry in merge.changes.upserts.items() if theirs.get(path) == entry != base.get(path)]
    result = _applied(theirs, merge.changes)
    assert stands(result)
    for side in (ours, theirs):
        for path in really_changed(base, side):
            assert essence(result.get(path)) == essence(side.get(path)), path
    for path in result.keys() - really_changed(base, ours) - really_changed(base, theirs):
        assert essence(result[path]) == essence(base.get(path)), path
    for path, entry in result.items():
        sides = [side[path] for side in (ours, theirs) if path in side and side[path] != base.get(path)]
        if entry.kind == DIRECTORY and len(sides) == 2:
            assert entry.mtime_ns == max(side.mtime_ns for side in sides)


def check_order(base: Tree, ours: Tree, theirs: Tree) -> None:
    mine, others = between(base, ours), between(base, theirs)
    one, other = rebase(base, mine, others), rebase(base, others, mine)
    if one.conflicts:
        return
    first, second = _applied(theirs, one.changes), _applied(ours, other.changes)
    assert first.keys() == second.keys()
    for path, entry in first.items():
        assert essence(entry) == essence(second[path]), path


def check_preference(base: Tree, ours: Tree, theirs: Tree, strategy: Strategy) -> None:
    """All of the preferred side's work stands; the other's wherever it is compatible with that.

    What is not: the conflicting paths, and the other side's removal or replacement of a folder that the preferred side
    still fills.
    """
    merge = rebase(base, between(base, ours), between(base, theirs), strategy)
    assert misfit(theirs, merge.changes) is None
    result = _applied(theirs, merge.changes)
    assert stands(result)
    preferred, other = (ours, theirs) if strategy is Strategy.OURS else (theirs, ours)
    for path in really_changed(base, preferred) | set(merge.conflicts):
        assert essence(result.get(path)) == essence(preferred.get(path)), path
    kept = {above for path in merge.conflicts if path in preferred for above in _ancestors(path)}
    for path in really_changed(base, other) - set(merge.conflicts) - kept:
        assert essence(result.get(path)) == essence(other.get(path)), path


def check_dropped(base: Tree, ours: Tree, theirs: Tree) -> None:
    """Whatever of ours does not stand in what THEIRS makes stands in what was kept, which fits their tree by itself."""
    mine, others = between(base, ours), between(base, theirs)
    merge = rebase(base, mine, others, Strategy.THEIRS)
    lost = dropped(base, mine, others, theirs)
    assert misfit(theirs, lost) is None
    published, kept = _applied(theirs, merge.changes), _applied(theirs, lost)
    assert stands(kept)
    gone = {path for path in really_changed(base, ours) if essence(published.get(path)) != essence(ours.get(path))}
    for path in gone:
        assert essence(kept.get(path)) == essence(ours.get(path)), path
    assert bool(gone) == bool(lost), "nothing is kept for nothing"
    above = {folder for path in gone for folder in _ancestors(path)}
    for path in lost.upserts.keys() - gone - above:
        assert path == b"", path


def check_nothing(base: Tree, ours: Tree, theirs: Tree) -> None:
    mine, none = between(base, ours), Changes({}, set())
    for strategy in Strategy:
        assert rebase(base, mine, none, strategy) == (mine, [])
        assert rebase(base, none, mine, strategy) == (none, [])


def check_same(base: Tree, ours: Tree, theirs: Tree) -> None:
    later = {path: entry._replace(mtime_ns=entry.mtime_ns + 7) for path, entry in ours.items()}
    for same in (ours, later):
        for strategy in Strategy:
            merge = rebase(base, between(base, ours), between(base, same), strategy)
            assert merge.conflicts == []
            assert differences(same, _applied(same, merge.changes)) == []


def check_folder_times(base: Tree, ours: Tree, theirs: Tree) -> None:
    before = rebase(base, between(base, ours), between(base, theirs)).conflicts
    our_time = {p: e._replace(mtime_ns=900) if e.kind == DIRECTORY else e for p, e in ours.items()}
    their_time = {p: e._replace(mtime_ns=901) if e.kind == DIRECTORY else e for p, e in theirs.items()}
    merge = rebase(base, between(base, our_time), between(base, their_time))
    assert merge.conflicts == before
    if not before:
        assert stands(_applied(their_time, merge.changes))


def check_inputs(base: Tree, ours: Tree, theirs: Tree) -> None:
    mine, others = between(base, ours), between(base, theirs)
    for strategy in Strategy:
        rebase(base, mine, others, strategy)
    assert (mine, others) == (between(base, ours), between(base, theirs))


def check_misfit(base: Tree, ours: Tree, theirs: Tree) -> None:
    """``theirs`` is an arbitrary tree here, on which the changes from base to ours may or may not stand."""
    changes = between(base, ours)
    result = _applied(theirs, changes)
    assert (misfit(theirs, changes) is None) == stands(result)
    assert (misfit({}, Changes(result, set())) is None) == stands(result)


Check = Callable[[Tree, Tree, Tree], None]
CLAIMS: dict[str, Check] = {
    "conflicts are those of the model, whichever side came first": check_conflicts,
    "without conflicts the result holds every change of both sides": check_agreement,
    "without conflicts both orders end in the same tree but for times": check_order,
    "OURS keeps our version of every conflicting path, in a good tree": partial(
        check_preference, strategy=Strategy.OURS
    ),
    "THEIRS keeps their version of every conflicting path, in a good tree": partial(
        check_preference, strategy=Strategy.THEIRS
    ),
    "what THEIRS drops is told, and fits their tree": check_dropped,
    "a rebase on nothing changes nothing": check_nothing,
    "the same change on both sides never conflicts": check_same,
    "times of folders never conflict": check_folder_times,
    "inputs are not changed": check_inputs,
    "misfit says what the model says": check_misfit,
}


@pytest.mark.parametrize("claim", CLAIMS)
@settings(max_examples=100, deadline=None)
@given(trees=situations())
def test_the_rules_of_a_rebase_hold(claim: str, trees: tuple[Tree, Tree, Tree]) -> None:
    CLAIMS[claim](*trees)


def _random_edits(source: random.Random, most: int) -> list[Edit]:
    actions = ["write", "write", "folder", "link", "delete", "delete", "chmod", "touch", "root"]
    return [
        Edit(b"/".join(source.choices(NAMES, k=source.randint(1, DEPTH))), source.choice(actions), source.randint(1, 3))
        for _ in range(source.randint(0, most))
    ]


def sweep(seed: int, count: int) -> int:
    """Hold ``count`` random situations against every claim; return how many had conflicts."""
    source = random.Random(seed)
    conflicting = 0
    for _ in range(count):
        trees = _situation(*(_random_edits(source, most) for most in (12, 6, 6)))
        for claim, check in CLAIMS.items():
            try:
                check(*trees)
            except AssertionError as error:
                raise AssertionError(f"{claim}: base, ours, theirs = {trees}") from error
        conflicting += bool(expected_conflicts(*trees))
    return conflicting


def test_the_rules_of_a_rebase_hold_in_a_sweep_of_busy_trees() -> None:
    conflicting = sweep(seed=1, count=2000)
    assert 200 < conflicting < 1800, "the sweep should see both sorts"
