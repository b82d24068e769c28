"""The shapes as the description of the API has them: what generators of clients make types of."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

import msgspec
from manifold_common import shapes
from manifold_common.shapes.base import Answer, Request

from functions.api.references import SCHEMAS


def schemas_of(document: dict[str, Any]) -> dict[str, Any]:
    """Return the schemas that a document refers to, by name."""
    known = shapes_by_name()
    named = sorted(set(re.findall(rf"{SCHEMAS}(\w+)", str(document))))
    referred = [known[name] for name in named if name in known]
    _, schemas = msgspec.json.schema_components(referred, ref_template=SCHEMAS + "{name}")
    for name, schema in schemas.items():
        schema.pop("title", None)
        if "description" in schema:
            schema["description"] = schema["description"].replace("``", "`")
        shape = known.get(name)
        if shape is not None and issubclass(shape, Answer):
            schema["required"] = [one.encode_name for one in msgspec.structs.fields(shape) if not _may_lack(one)]
        if shape is not None and issubclass(shape, (Answer, Request)):
            for names in shape.ONE_OF:
                is_answer = issubclass(shape, Answer)
                schema |= _at_most_one(names) if is_answer else _just_one(schema["properties"], names)
        for field in schema.get("properties", {}).values():
            _tell_default(field, is_answer=shape is not None and issubclass(shape, Answer))
    return {name: _portable(schema) for name, schema in schemas.items()}


def schema_of(kind: Any) -> dict[str, Any]:
    """Return the schema of a type that is no shape, such as an id."""
    found: dict[str, Any] = _portable(msgspec.json.schema(kind))
    return found


def shapes_by_name(*more: ModuleType) -> dict[str, type[msgspec.Struct]]:
    """Return the shapes of the world, and those in the modules of further packages."""
    modules = [
        import_module(f"{package.__name__}.{module.name}")
        for package in (shapes, *more)
        for module in iter_modules(package.__path__)
    ]
    return {
        name: value
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, msgspec.Struct)
    }


def _may_lack(field: msgspec.structs.FieldInfo) -> bool:
    """Tell whether an answer may come without a field."""
    return field.default is msgspec.UNSET


def _at_most_one(names: Sequence[str]) -> dict[str, Any]:
    return {"not": {"properties": {name: {} for name in names}, "required": list(names)}}


def _just_one(fields: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return what says that an object has one of these fields; the others may be null.

    It stands in an ``allOf``: of a bare choice generators make types that have no other field. And it is an ``anyOf``,
    of which two never hold: that they exclude each other is more than Redocly sees in a ``oneOf``.
    """
    choice = [
        {
            "type": "object",
            "required": [name],
            "properties": {one: _not_null(fields[one]) if one == name else {"type": "null"} for one in names},
        }
        for name in names
    ]
    return {"allOf": [{"anyOf": choice}]}


def _not_null(field: dict[str, Any]) -> dict[str, Any]:
    (found,) = (one for one in field["anyOf"] if one != {"type": "null"})
    return dict(found)


def _tell_default(field: dict[str, Any], *, is_answer: bool) -> None:
    """Tell a field's default to people alone: generators of types take a field that has one for always there, so that a
    request would have to name it. An answer names every field, whatever its default."""
    default = field.pop("default", None)
    if not is_answer and default not in (None, [], {}, ""):
        field["description"] = f"{field.get('description', '')} {json.dumps(default)} by default.".lstrip()


def _portable(schema: Any) -> Any:
    """Return a schema as all readers of JSON Schema take it: patterns that are not only Python's, and a single value
    as that, which generators would make an enumeration of."""
    if isinstance(schema, list):
        return [_portable(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _portable(value) for name, value in schema.items()}
    pattern = found.get("pattern")
    if isinstance(pattern, str):
        if "(?i:" in pattern:
            del found["pattern"]
        else:
            found["pattern"] = pattern.replace(r"\A", "^").replace(r"\Z", "$")
    if "$ref" not in found and len(found.get("enum", ())) == 1:
        found["const"] = found.pop("enum")[0]
    return found
