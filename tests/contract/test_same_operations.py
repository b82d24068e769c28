"""A command and an operation of the API that do the same are known as such: what is new has to be told of here."""

from __future__ import annotations

import json
from pathlib import Path

from tests.contract.test_commands import ALL
from tests.support.operations import (
    BOTH,
    COMMANDS_ALONE,
    NO_DOCUMENT,
    OPERATIONS_ALONE,
    SAME_DOCUMENT,
    Operation,
)

SERVED = {
    Operation(method, path)
    for path, operations in json.loads((Path(__file__).parents[2] / "docs" / "openapi-v1.json").read_text())[
        "paths"
    ].items()
    for method in operations
    if method in ("get", "head", "put", "post", "patch", "delete")
}


def test_each_command_is_told_of_once() -> None:
    told = [*BOTH, *NO_DOCUMENT, *COMMANDS_ALONE]
    assert sorted(told) == sorted(" ".join(words) for words in ALL)


def test_each_operation_is_told_of_once() -> None:
    told = [*BOTH.values(), *SAME_DOCUMENT, *NO_DOCUMENT.values(), *OPERATIONS_ALONE]
    assert sorted(told) == sorted(SERVED)
    assert set(SAME_DOCUMENT.values()) <= BOTH.keys()
