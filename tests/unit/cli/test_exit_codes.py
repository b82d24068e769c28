"""Every error has an exit code, and every exit code is explained."""

from __future__ import annotations

from manifold_common import errors
from manifold_common.errors import ErrorKind, ManifoldError
from manifold_local.cli import exit_codes
from manifold_local.cli.exit_codes import EXIT_CODES, MEANINGS, worst


def _subclasses(kind: type[ManifoldError]) -> set[type[ManifoldError]]:
    found = set(kind.__subclasses__())
    return found.union(*map(_subclasses, found)) if found else found


def test_every_error_class_maps_to_an_exit_code_that_is_not_success() -> None:
    classes = {kind for kind in _subclasses(ManifoldError) if kind.__module__ == errors.__name__}
    assert len(classes) > 10
    for kind in classes:
        assert 0 < EXIT_CODES[kind.kind] < 126, kind


def test_every_kind_has_an_exit_code_of_its_own() -> None:
    assert set(EXIT_CODES) == set(ErrorKind)
    assert len(set(EXIT_CODES.values())) == len(EXIT_CODES)


def test_every_exit_code_is_explained() -> None:
    signals = {exit_codes.HUNG_UP, exit_codes.INTERRUPTED, exit_codes.TERMINATED}
    others = {exit_codes.OK, exit_codes.DIFFERENT, exit_codes.CLOSED_PIPE} | signals
    assert set(MEANINGS) == set(EXIT_CODES.values()) | others
    assert others.isdisjoint(EXIT_CODES.values())


def test_of_several_errors_the_worst_decides() -> None:
    kinds = [ErrorKind.INTERNAL, ErrorKind.CORRUPT, ErrorKind.UNAVAILABLE, ErrorKind.NOT_FOUND, ErrorKind.INVALID]
    for start, kind in enumerate(kinds):
        assert worst(set(kinds[start:])) == EXIT_CODES[kind]
