"""The list of error codes is complete, and each is explained."""

from __future__ import annotations

import ast
from pathlib import Path

from functions.api.error_codes import error_classes, page

ROOT = Path(__file__).parents[2]


def test_the_page_of_codes_is_what_the_classes_say() -> None:
    assert (ROOT / "docs" / "errors.md").read_text() == page()


def test_every_code_is_explained() -> None:
    assert [one.code for one in error_classes() if not (one.__doc__ or "").strip()] == []


def test_no_code_is_made_up_where_an_error_is_answered() -> None:
    """A literal given as a problem's code would be missing from the list."""
    makers = {"document_of", "problem"}
    found = []
    for folder in ("functions", "local/manifold_local"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if not isinstance(node, ast.Call) or getattr(node.func, "id", "") not in makers:
                    continue
                if any(isinstance(value, ast.Constant) and isinstance(value.value, str) for value in node.args[1:2]):
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert found == []
