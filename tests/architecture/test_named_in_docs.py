"""What pages and docstrings name is there: files by their path, and members of classes of ours."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.imports import ROOT, modules

FILE = re.compile(r"(?<![\w/.<>~{}-])((?:[\w-]+/)*\w+\.py)\b(?!\w)")
FENCED = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
MADE = re.compile(r"`([\w./-]+\.py)`[^`\n]*:\n\n```")
"""A file of which the page has the content: its reader makes it."""
QUOTED = re.compile(r"`([^`\n]+)`")
MEMBER = re.compile(r"([A-Z]\w+)\.([a-z_]\w*)(?:\(.*\))?")
THEIRS = {"app.py", "handler.py", "lambda_function.py"}
"""Names of files that a reader has, or any function may have."""


def pages() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@functools.cache
def files() -> frozenset[str]:
    """Return the path of each Python file, and every end of it that begins at a folder's name."""
    found = set()
    for folder in ("functions", "layers", "local", "tests", "infra"):
        for path in (ROOT / folder).rglob("*.py"):
            parts = path.relative_to(ROOT).parts
            found |= {"/".join(parts[start:]) for start in range(len(parts))}
    return frozenset(found)


@functools.cache
def trees() -> dict[str, ast.Module]:
    return {name: ast.parse(path.read_text()) for name, path in modules().items()}


@functools.cache
def classes() -> dict[str, set[str]]:
    """Return the members of the classes of ours, by the class's name: of all of them that bear it."""
    found: dict[str, set[str]] = {}
    for tree in trees().values():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, set()).update(_members(node))
    return found


def _members(node: ast.ClassDef) -> Iterator[str]:
    for part in ast.walk(node):
        if isinstance(part, ast.FunctionDef | ast.ClassDef):
            yield part.name
        elif isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
            yield part.id
        elif isinstance(part, ast.Attribute) and isinstance(part.ctx, ast.Store):
            yield part.attr


def missing(text: str) -> list[str]:
    """Return what a text names that is not there."""
    absent = [name for name in FILE.findall(text) if name not in files() | THEIRS]
    for quoted in QUOTED.findall(text):
        member = MEMBER.fullmatch(quoted)
        if member and member[2] not in classes().get(member[1], {member[2]}):
            absent.append(quoted)
    return absent


def test_every_file_and_member_that_a_page_names_is_there() -> None:
    absent = {}
    for page in pages():
        text = page.read_text()
        wrong = set(missing(FENCED.sub("", text))) - set(MADE.findall(text))
        if wrong:
            absent[page.name] = sorted(wrong)
    assert absent == {}


def test_every_file_that_a_docstring_names_is_there() -> None:
    absent = {}
    for name, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                wrong = missing(ast.get_docstring(node) or "")
                if wrong:
                    absent[f"{name} {getattr(node, 'name', '')}"] = wrong
    assert absent == {}


@pytest.mark.parametrize(
    "text", ["see `services/gone.py`", "as ports/absent.py says", "`Publisher.vanish`", "`Publisher.vanish(now)`"]
)
def test_what_is_not_there_is_found(text: str) -> None:
    assert missing(text) != []


@pytest.mark.parametrize(
    "text", ["`services/publish.py`", "`layers/manifold_common/manifold_common/ids.py`", "`Strange.thing`", "x.pyc"]
)
def test_what_is_there_is_not_missed(text: str) -> None:
    assert missing(text) == []
