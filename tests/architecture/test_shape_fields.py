"""No field of a shape is spelled elsewhere: what is asked and answered is made of shapes, not of dictionaries."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest
from manifold_local import cli

from functions.api.openapi_schemas import shapes_by_name
from tests.architecture.test_imports import modules

LOOKED_AT = ("functions.", "manifold_local.", "manifold_common.services.", "manifold_common.adapters.remote.")
FIELDS = {name for shape in shapes_by_name(cli).values() for name in shape.__struct_fields__ if "_" in name}
"""Those of two words: one word may stand for anything."""

SOMETHING_ELSE = {
    "manifold_common.adapters.remote.lists": {"path_base64"},  # a parameter of an address
    "manifold_common.adapters.remote.problems": {"base_generation", "head_generation"},  # details of an error
    "manifold_common.services.remote.transfer": {"head_generation"},
    "manifold_local.cli.conflicts": {"head_generation"},
    "manifold_common.services.keys.rewrap": {"key_name", "key_version"},  # what a provider says of itself
    "manifold_local.host.logs": {"correlation_id"},  # a line of a log
    "functions.invocation.ids": {"correlation_id"},
    "functions.invocation.problems": {"correlation_id"},  # left out of a problem where there is none
    "functions.invocation.http": {"expected_generation"},  # from a header into the event that is read as a shape
}
"""What has the name of a field and is none, by module."""


def spelled(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line and text of each key of a dictionary, however it is written or looked up."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Dict(keys=keys):
                found = [key for key in keys if key is not None]
            case ast.Subscript(slice=key):
                found = [key]
            case ast.Call(func=ast.Name(id="dict"), keywords=words):
                yield from ((node.lineno, word.arg) for word in words if word.arg)
                continue
            case ast.Call(func=ast.Attribute(attr="get" | "pop" | "setdefault" | "update"), args=args, keywords=words):
                yield from ((node.lineno, word.arg) for word in words if word.arg)
                found = args[:1]
            case _:
                continue
        yield from ((key.lineno, key.value) for key in found if isinstance(key, ast.Constant))


def test_no_field_of_a_shape_is_spelled_in_a_dictionary_elsewhere() -> None:
    found = [
        f"{module}:{line}: {name}"
        for module, path in modules().items()
        if module.startswith(LOOKED_AT)
        for line, name in spelled(path.read_text())
        if name in FIELDS and name not in SOMETHING_ELSE.get(module, ())
    ]
    assert found == []


def test_what_is_something_else_is_still_there() -> None:
    for module, names in SOMETHING_ELSE.items():
        assert names <= {name for _, name in spelled(modules()[module].read_text())}, module


@pytest.mark.parametrize(
    "source",
    [
        '{"total_bytes": 1}',
        'facts["total_bytes"] = 1',
        "dict(total_bytes=1)",
        'facts.setdefault("total_bytes", 1)',
        "facts.update(total_bytes=1)",
        'say(**{**facts, "total_bytes": 1})',
    ],
)
def test_however_it_is_spelled_it_is_noticed(source: str) -> None:
    assert "total_bytes" in FIELDS
    assert "total_bytes" in {name for _, name in spelled(source)}
