"""The description of the API, as OpenAPI 3.1. It says what really happens: wrong input is 400, and every error is a
problem document."""

from __future__ import annotations

import re
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from manifold_common import shapes
from manifold_common.shapes.base import Answer

from functions.api.areas import load
from functions.api.problem import responses
from functions.api.shaped import SCHEMAS

_ABOUT = """Encrypted, versioned project workspaces.

Every change to a project makes a *generation*. Reads take any generation; a write with `If-Match: "<generation>"`
happens only on top of that one. A path in a URL is written name by name with `/` or `%2F` between; any byte of a
name may be written as `%NN`. Errors are problem documents (RFC 9457) with a stable `code`.
"""

_CONDITION_FAILED = {str(status): found for status, found in responses(412).items() if status == 412}


def describe(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document, made once."""
    if app.openapi_schema:
        return app.openapi_schema
    load(app)
    document = get_openapi(
        title=app.title, version=app.version, description=_ABOUT, routes=app.routes, openapi_version="3.1.0"
    )
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if "application/json" in operation["responses"].get("422", {}).get("content", {}):
                del operation["responses"]["422"]  # the framework's; wrong input is 400
            if "requestBody" in operation:
                operation["responses"] |= {str(status): found for status, found in responses(*_OF_CONTENT).items()}
                operation["responses"] = dict(sorted(operation["responses"].items()))
            _add_parameters(path, method, operation)
            _add_answers(path, method, operation)
            for parameter in operation.get("parameters", []):
                parameter.get("schema", {}).pop("title", None)
    schemas = document["components"]["schemas"]
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    document["components"]["schemas"] |= schemas_of(document)
    document["servers"] = [{"url": "/", "description": "The server that this description comes from."}]
    document["security"] = []  # there is no sign-in yet
    document["tags"] = [{"name": name, "description": text} for name, text in _TAGS.items()]
    app.openapi_schema = document
    return document


_TAGS = {
    "projects": "Make, list, rename, fork and delete projects.",
    "files": "Read and write single files; list folders.",
    "archive": "A whole tree as one archive, out and in.",
    "changes": "Many changes as one commit; old generations brought back.",
    "history": "Commits, and what differs between two generations.",
    "sessions": "Working directories on the server's machine.",
    "direct access": "Clients that read and store content by themselves.",
    "health": "How the server is.",
}


def schemas_of(document: dict[str, Any]) -> dict[str, Any]:
    """Return the schemas that a document refers to, by name."""
    known = _shapes()
    named = sorted(set(re.findall(rf"{SCHEMAS}(\w+)", str(document))))
    referred = [known[name] for name in named if name in known]
    _, schemas = msgspec.json.schema_components(referred, ref_template=SCHEMAS + "{name}")
    for name, schema in schemas.items():
        schema.pop("title", None)
        shape = known.get(name)
        if shape is not None and issubclass(shape, Answer):
            schema["required"] = [one.encode_name for one in msgspec.structs.fields(shape) if not _may_lack(one)]
            for found in schema["properties"].values():
                found.pop("default", None)
    return {name: _portable(schema) for name, schema in schemas.items()}


def _shapes() -> dict[str, type[msgspec.Struct]]:
    modules = [import_module(f"{shapes.__name__}.{module.name}") for module in iter_modules(shapes.__path__)]
    return {
        name: value
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, msgspec.Struct)
    }


def _may_lack(field: msgspec.structs.FieldInfo) -> bool:
    """Tell whether an answer may come without a field."""
    return field.default is msgspec.UNSET


def _portable(schema: Any) -> Any:
    """Return a schema with its patterns as all readers of JSON Schema take them, not only Python."""
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
    return found


_OF_CONTENT = (408, 413, 415)
"""What whoever sends content may be answered."""
_PATH = {
    "name": "path",
    "in": "path",
    "required": True,
    "description": "A path in the project: `/` (or `%2F`) between names, other bytes than letters and digits as `%NN`.",
    "schema": {"type": "string"},
    "example": "src/main.py",
}
_CONDITIONS = {
    "If-Match": 'Only if it is one of these: tags from `ETag` headers, or states of the project such as `"7"` (a '
    'generation) and `"7-<commit id>"`. `*`: only if it is there.',
    "If-None-Match": "Only if it is none of these tags. `*`: only if it is not there.",
    "If-Unmodified-Since": "Only if the project was not changed after that time.",
}
_CONDITIONS_OF_READS = {
    "If-Match": _CONDITIONS["If-Match"],
    "If-None-Match": "Tags of versions that the client has: if it has this one, the answer is 304.",
    "If-Modified-Since": "If the project was not changed after that time, the answer is 304.",
    "If-Unmodified-Since": _CONDITIONS["If-Unmodified-Since"],
}
_IDEMPOTENCY_KEY = (
    "A name for this request, unique in the project. Sent again under that name, it changes nothing and is answered "
    "with the commit that it made."
)
_ETAG = {"description": "Tells this version from all others.", "schema": {"type": "string"}}
_TAGGED = {"ETag": _ETAG}
_MADE = {
    "ETag": {**_ETAG, "description": "Of what was made, or of the generation at which this left the project."},
    "Location": {"description": "Where what was made is.", "schema": {"type": "string", "format": "uri-reference"}},
}
_SHOWN = {
    "ETag": _ETAG,
    "Last-Modified": {
        "description": "Time of the generation; left out of what is younger than a second.",
        "schema": {"type": "string"},
    },
}
_REPLAYED = {
    "Idempotency-Replayed": {
        "description": "`true`: an earlier request of that name has done this.",
        "schema": {"type": "string", "enum": ["true"]},
    }
}


def _add_parameters(path: str, method: str, operation: dict[str, Any]) -> None:
    """Declare what routes read from the request itself."""
    parameters: list[dict[str, Any]] = operation.get("parameters", [])
    declared = {parameter["name"] for parameter in parameters}
    if "{path}" in path and "path" not in declared:
        parameters.append(_PATH)
    is_read = method in ("get", "head") and path.startswith("/api/")
    if is_read or "412" in operation["responses"]:
        conditions = _CONDITIONS_OF_READS if is_read else _CONDITIONS
        parameters += [_header(name, description) for name, description in conditions.items()]
    if "422" in operation["responses"]:
        parameters.append(_header("Idempotency-Key", _IDEMPOTENCY_KEY))
    if path.endswith("/files/{path}") and method == "get":
        parameters.append(_header("Range", "One range of bytes, such as `bytes=0-99` or `bytes=-100`."))
        parameters.append(_header("If-Range", "An ETag: take the range only of that version."))
    if parameters:
        operation["parameters"] = parameters


def _add_answers(path: str, method: str, operation: dict[str, Any]) -> None:
    """Declare what every answer of its kind has: validators, and what conditions make of it."""
    answers = operation["responses"]
    if not path.startswith("/api/"):
        return
    if method in ("get", "head"):
        answers.setdefault("304", {"description": "The client has this version already.", "headers": _TAGGED})
        answers.update({status: found for status, found in _CONDITION_FAILED.items() if status not in answers})
        operation["responses"] = dict(sorted(answers.items()))
    for status, answer in answers.items():
        if status in ("200", "201", "206"):
            headers = _SHOWN if method in ("get", "head") else _MADE if status == "201" else _TAGGED
            replayed = _REPLAYED if "422" in answers else {}
            answer["headers"] = {**headers, **replayed}


def _header(name: str, description: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, "description": description, "schema": {"type": "string"}}
