"""Every deliberate error can be told from every other, by people and by programs."""

from __future__ import annotations

import ast
import builtins
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from manifold_common import errors
from manifold_common.errors import CommitConflict, CorruptObject, ErrorKind, ManifoldError

ROOT = Path(__file__).parents[2]
SOURCES = [
    path for folder in ("layers", "local/manifold_local", "functions") for path in sorted((ROOT / folder).rglob("*.py"))
]


def _subclasses(base: type[ManifoldError]) -> Iterator[type[ManifoldError]]:
    for child in base.__subclasses__():
        if child.__module__ == errors.__name__:
            yield child
            yield from _subclasses(child)


CLASSES = sorted(set(_subclasses(ManifoldError)), key=lambda cls: cls.__name__)


def _example(cls: type[ManifoldError]) -> ManifoldError:
    arguments: dict[Any, Any] = {
        CommitConflict: {"paths": ["a", "b"], "base_generation": 1, "head_generation": 2, "project": "p"},
        CorruptObject: {"reason": "it was cut"},
    }
    return cls("something", **arguments.get(cls, {}))


def test_there_are_errors_of_every_kind() -> None:
    assert {cls.kind for cls in CLASSES} == set(ErrorKind)


def test_codes_are_unique_and_snake_case() -> None:
    codes = [cls.code for cls in CLASSES]
    assert sorted(codes) == sorted(set(codes))
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", code) for code in codes)


def test_a_stored_code_tells_the_kind_of_its_error() -> None:
    assert {cls.code: errors.kind_of_code(cls.code) for cls in CLASSES} == {cls.code: cls.kind for cls in CLASSES}
    assert errors.kind_of_code("of_a_newer_release") is ErrorKind.INTERNAL


def test_kinds_are_unique_snake_case_words() -> None:
    assert len({kind.value for kind in ErrorKind}) == len(ErrorKind) == 7


@pytest.mark.parametrize("cls", CLASSES)
def test_an_error_is_of_its_parents_kind(cls: type[ManifoldError]) -> None:
    parent = cls.__mro__[1]
    if parent is not ManifoldError:
        assert cls.kind is parent.kind  # type: ignore[attr-defined]


@pytest.mark.parametrize("cls", CLASSES)
def test_an_error_says_what_was_wrong_and_its_details_are_json(cls: type[ManifoldError]) -> None:
    error = _example(cls)
    assert "something" in error.message
    assert error.message in str(error)
    if error.hint:
        assert error.hint in str(error)
    assert json.loads(json.dumps(error.details)) == error.details


@pytest.mark.parametrize("cls", CLASSES)
def test_an_error_does_not_hide_a_builtin(cls: type[ManifoldError]) -> None:
    assert not hasattr(builtins, cls.__name__)


def test_hints_and_details_are_kept() -> None:
    error = errors.InvalidInput("bad", hint="do better", path="x")
    assert (str(error), error.hint, error.details) == ("bad (do better)", "do better", {"path": "x"})
    assert str(errors.InvalidInput("bad")) == "bad"


def test_a_corrupt_object_names_the_object_and_the_way_out() -> None:
    error = CorruptObject("t/x/p/y", "it was cut")
    assert error.details == {"object": "t/x/p/y", "reason": "it was cut"}
    assert "t/x/p/y" in str(error)
    assert "'manifold verify PROJECT --read-data'" in str(error.hint) and "--repair" in str(error.hint)
    assert "backup" in str(error.hint)


def test_a_commit_conflict_names_every_path() -> None:
    error = CommitConflict("two paths", paths=("a", "b"), base_generation=1, head_generation=3, project="p")
    assert (error.paths, error.project, error.session) == (["a", "b"], "p", None)
    known = {"paths": ["a", "b"], "base_generation": 1, "head_generation": 3}
    assert error.details == {**known, "project": "p", "session": None}


def _declared() -> list[tuple[str, str]]:
    """Return (code, where) of every error class in the source, wherever it is declared."""
    names = {cls.__name__ for cls in CLASSES} | {"ManifoldError"}
    found = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ClassDef):
                continue
            if not names & {getattr(base, "id", getattr(base, "attr", "")) for base in node.bases}:
                continue
            codes = [
                statement.value.value
                for statement in node.body
                if isinstance(statement, ast.Assign)
                and getattr(statement.targets[0], "id", "") == "code"
                and isinstance(statement.value, ast.Constant)
            ]
            found.append((str(codes[0]) if codes else "", f"{path.relative_to(ROOT)}: {node.name}"))
    return found


def test_no_two_error_classes_of_the_whole_source_share_a_code() -> None:
    declared = _declared()
    assert len(declared) >= len(CLASSES)
    without = [where for code, where in declared if not code]
    assert without == [f"{Path(inspect.getfile(errors)).relative_to(ROOT)}: InternalError"]  # its base has the code
    codes = [code for code, _ in declared]
    assert [entry for entry in declared if codes.count(entry[0]) > 1] == []


def test_the_base_class_is_for_catching_only() -> None:
    raised = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Raise)
        and isinstance(node.exc, ast.Call)
        and getattr(node.exc.func, "id", "") == "ManifoldError"
    ]
    assert raised == []
