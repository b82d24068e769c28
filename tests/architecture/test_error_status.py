"""One table says which HTTP status an error has, and no error is left out."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from manifold_common import errors
from manifold_common.errors import ErrorKind, ManifoldError

from functions.invocation import problems as problem

ROOT = Path(__file__).parents[2]


def _all(base: type[ManifoldError] = ManifoldError) -> list[type[ManifoldError]]:
    return [base, *(found for child in base.__subclasses__() for found in _all(child))]


def _status(cls: type[ManifoldError], headers: dict[str, str] | None = None) -> int:
    error = cls.__new__(cls)
    ManifoldError.__init__(error, "x")
    return problem.status_of(error, headers or {})


def test_every_kind_of_error_has_a_status() -> None:
    assert problem.STATUS_OF_KIND.keys() == set(ErrorKind)


@pytest.mark.parametrize("cls", sorted(set(_all()), key=lambda cls: cls.__qualname__))
def test_every_error_has_a_status_of_its_kinds_class(cls: type[ManifoldError]) -> None:
    status = _status(cls)
    ours = cls.kind in (ErrorKind.UNAVAILABLE, ErrorKind.CORRUPT, ErrorKind.INTERNAL) or cls is errors.ConfigError
    theirs = cls is errors.StaleStore  # what was seen before is the caller's word, and may be wrong
    assert status // 100 == (5 if (ours and not theirs) or cls is problem.UnknownTransferCoding else 4)


@pytest.mark.parametrize(
    ("cls", "status"),
    [
        (errors.InvalidInput, 400), (errors.UnsafePath, 400), (errors.Denied, 403), (errors.NotFound, 404),
        (errors.CommitConflict, 409), (errors.GenerationMismatch, 409), (errors.AlreadyExists, 409),
        (errors.SessionBusy, 409), (errors.StaleStore, 409), (errors.QuotaExceeded, 413),
        (errors.UnsatisfiableRange, 416),
        (errors.CorruptObject, 500), (errors.InternalError, 500), (errors.ConfigError, 500),
        (errors.CatalogUnavailable, 503), (errors.KeyUnavailable, 503), (errors.NoSpace, 507),
        (problem.IncompleteBody, 408), (problem.PreconditionFailed, 412), (errors.RequestNameReused, 422),
        (problem.HeadersTooLarge, 431), (problem.UnknownTransferCoding, 501),
    ],
)  # fmt: skip
def test_the_table_says(cls: type[ManifoldError], status: int) -> None:
    assert _status(cls) == status


def test_a_precondition_in_a_header_that_fails_is_412() -> None:
    for header in ("if-match", "if-none-match", "if-unmodified-since"):
        assert _status(errors.GenerationMismatch, {header: '"1"'}) == 412
    assert _status(errors.AlreadyExists, {"if-none-match": "*"}) == 412
    assert _status(errors.AlreadyExists, {"if-match": '"1"'}) == 409
    assert _status(errors.CommitConflict, {"if-match": '"1"'}) == 409


def test_no_route_chooses_the_status_of_an_error_itself() -> None:
    choosing = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in (ROOT / "functions").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and "HTTPException" in ast.dump(node.exc)
    ]
    assert choosing == []
