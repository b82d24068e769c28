"""Messages count properly: "1 path", "2 paths", never "1 path(s)"."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_no_message_leaves_the_plural_to_its_reader() -> None:
    found = [
        f"{source.relative_to(ROOT)}:{number}"
        for folder in ("layers", "local", "functions")
        for source in sorted((ROOT / folder).rglob("*.py"))
        for number, line in enumerate(source.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(r"[a-z]\(s\)[^:]", line) and '"' in line and re.search(r" [a-z]+\(s\) ", line)
    ]
    assert not found
