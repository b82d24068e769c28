"""No modules of ours import each other in a circle: not late either, and not for type checkers alone."""

from __future__ import annotations

import pytest

from tests.support.imports import all_arrows, arrows, circles, modules


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circles(all_arrows(), modules()) == []


@pytest.mark.parametrize(
    "sources",
    [
        {"a": "import b", "b": "import a"},
        {"a": "from b import x", "b": "from c import x", "c": "from a import x"},
        {"a": "import b", "b": "def f():\n    import a"},
        {"a": "import b", "b": "if TYPE_CHECKING:\n    from a import x"},
        {"a": "import p.b", "p": "from p.c import x", "p.b": "", "p.c": "import a"},  # p.b's package imports a
        {"p": "from p.b import x", "p.b": "from p import y"},
    ],
)
def test_a_circle_is_found(sources: dict[str, str]) -> None:
    found = [arrow for name, source in sources.items() for arrow in arrows(name, source, is_package=name == "p")]
    assert circles(found, sources) == [sorted(sources.keys() - {"p.b"} if "p.c" in sources else sources)]


@pytest.mark.parametrize(
    "sources",
    [
        {"a": "import b\nimport c", "b": "import c", "c": ""},
        {"p": "from p.b import x", "p.b": "import p.c", "p.c": "", "a": "import p.b"},
    ],
)
def test_what_is_no_circle_is_not_taken_for_one(sources: dict[str, str]) -> None:
    found = [arrow for name, source in sources.items() for arrow in arrows(name, source, is_package=name == "p")]
    assert circles(found, sources) == []
