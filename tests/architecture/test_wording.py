"""One thing is never called "1 things"."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from manifold_common.domain.wording import plural

ROOT = Path(__file__).parents[2]
COUNTED = re.compile(
    r" (generations|files|paths|projects|sessions|commits|objects|drafts|keys|entries|streams|chunks|packs|rows|events|"
    r"working sets|settings|requests|connections)\b"
)
"""What follows a number in a sentence. Sizes in bytes are left out: hardly one of them is 1."""
NEVER_ONE = {
    "manifold_common/domain/quota.py": "files and folders: the root is one of them",
    "manifold_common/engine/working_set/ignore.py": "a file's name",
    "manifold_common/engine/data_keys.py": "anything but one is the error",
    "manifold_common/services/upkeep/health.py": "one has a branch of its own, for its verb",
}


def test_a_count_takes_the_number_of_what_it_counts() -> None:
    found = []
    for folder in ("functions", "layers/manifold_common/manifold_common", "local/manifold_local"):
        for path in (ROOT / folder).rglob("*.py"):
            if any(str(path).endswith(name) for name in NEVER_ONE):
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.JoinedStr):
                    found += [f"{path.relative_to(ROOT)}:{node.lineno}" for _ in _bare_counts(node)]
    assert found == [], "use manifold_common.domain.wording.plural"


def _bare_counts(text: ast.JoinedStr) -> list[str]:
    """Return what is counted in a text, by a value that may be one: constants are not."""
    return [
        after.value
        for value, after in zip(text.values, text.values[1:], strict=False)
        if isinstance(value, ast.FormattedValue)
        and isinstance(after, ast.Constant)
        and COUNTED.match(after.value)
        and not (isinstance(value.value, ast.Name) and value.value.id.strip("_").isupper())
    ]


def test_numbers_and_nouns_agree() -> None:
    shown = [plural(1, "file"), plural(0, "file"), plural(2, "entry"), plural(1, "entry"), plural(12_345, "key")]
    assert shown == ["1 file", "0 files", "2 entries", "1 entry", "12,345 keys"]


def test_no_message_leaves_the_plural_to_its_reader() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for folder in ("functions", "layers/manifold_common/manifold_common", "local/manifold_local")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.search(r" \w+\(s\) ", node.value)
    ]
    assert found == []
