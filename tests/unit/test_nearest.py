"""Names that may have been meant: near ones, whatever the case, and never at a price."""

from __future__ import annotations

import time

from manifold_common.domain.nearest_paths import path_hint
from manifold_common.nearest import did_you_mean, nearest

TREE = [b"", b"docs", b"docs/hello.txt", b"docs/deep", b"docs/deep/guide.md", b"readme.md", b"caf\xe9.txt"]


def test_near_names_are_found_and_others_are_not() -> None:
    known = ["tour", "tour-2", "notes"]
    assert nearest("tuor", known, most=3) == ["tour", "tour-2"][:1]
    assert nearest("TOUR", known) == ["tour"]
    assert nearest("zebra", known, most=3) == []
    assert nearest("x", []) == []
    assert did_you_mean(["a", "b"], "or look") == "did you mean 'a' or 'b'? or look"
    assert did_you_mean([], "look") == "look"


def test_a_path_is_found_beside_and_elsewhere() -> None:
    assert path_hint(TREE, b"docs/helo.txt") == "did you mean 'docs/hello.txt'?"
    assert path_hint(TREE, b"hello.txt") == "did you mean 'docs/hello.txt'?"
    assert path_hint(TREE, b"dosc/deep/guide.md") == "did you mean 'docs/deep/guide.md'?"
    assert path_hint(TREE, b"README.md") == "did you mean 'readme.md'?"
    assert path_hint(TREE, b"docs/readme.md") == "did you mean 'readme.md'?"
    assert path_hint(TREE, b"caf\xe8.txt") == "did you mean 'caf\\\\xe9.txt'?"
    assert path_hint(TREE, b"nothing/like/it") is None
    assert path_hint([], b"a") is None


def test_hostile_names_take_no_time() -> None:
    """Names that are as like as can be, and as long: what comparing them takes is bounded."""
    known = [("ab" * 2000) + str(number) for number in range(5000)]
    known += [f"{number:04}" + "ab" * 2000 for number in range(5000)]
    started = time.process_time()
    nearest("ba" * 100_000, known, most=3)
    path_hint((name.encode() for name in known), b"ab" * 2000)
    assert time.process_time() - started < 20, "a bound was lost, not a race with the clock"
