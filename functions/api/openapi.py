"""The description of the API, as OpenAPI 3.1. It says what really happens: wrong input is 400, and every error is a
problem document."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from manifold_common.domain.arguments import MAX_GENERATION
from manifold_common.ids import JobId, RequestId, SessionId, TagName

from functions.api.areas import load
from functions.api.openapi_answers import TAKE_PREFER, add_headers, add_links, header_components
from functions.api.openapi_schemas import schema_of, schemas_of
from functions.api.problem import responses

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
        title=app.title,
        version=app.version,
        description=_ABOUT,
        routes=app.routes,
        openapi_version="3.1.0",
        license_info=_LICENSE,
        servers=_SERVERS,
        tags=_TAGS,
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
                if parameter["name"] in _IDS:
                    parameter["schema"] |= schema_of(_IDS[parameter["name"]])
                if parameter["name"] in _GENERATIONS:
                    _tell_generation(parameter)
    operations = {one["operationId"]: one for methods in document["paths"].values() for one in methods.values()}
    add_headers(operations)
    add_links(operations)
    schemas = document["components"]["schemas"]
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    document["components"]["schemas"] |= schemas_of(document)
    document["components"]["headers"] = header_components()
    document["security"] = []  # there is no sign-in yet
    app.openapi_schema = document
    return document


_LICENSE = {"name": "Apache-2.0", "identifier": "Apache-2.0"}
_SERVERS = [{"url": "/", "description": "The server that this description comes from."}]
_TAGS = [
    {"name": "projects", "description": "Make, list, rename, fork and delete projects."},
    {"name": "files", "description": "Read and write single files; list folders."},
    {"name": "resumable uploads", "description": "Files in parts, over several requests (tus 1.0.0)."},
    {"name": "archive", "description": "A whole tree as one archive, out and in."},
    {"name": "changes", "description": "Many changes as one commit; old generations brought back."},
    {"name": "history", "description": "Commits, and what differs between two generations."},
    {"name": "tags", "description": "Names for generations."},
    {"name": "events", "description": "What has happened, and a wait for what happens next."},
    {"name": "sessions", "description": "Working directories on the server's machine."},
    {"name": "jobs", "description": "Work on many items, which goes on by itself."},
    {"name": "space", "description": "How long history is kept, what is garbage, and what projects take."},
    {"name": "direct access", "description": "Clients that read and store content by themselves."},
    {"name": "health", "description": "How the server is."},
]
_OF_CONTENT = (408, 415)
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
_CONDITIONS_AT_A_GENERATION = {
    name: f"{_CONDITIONS_OF_READS[name]} Not looked at where a tag names the generation."
    for name in ("If-Modified-Since", "If-Unmodified-Since")
}
_CONDITIONS_OF_TAGS = {
    "If-Match": "Only if it is one of these: tags from `ETag` headers, or where it is, whenever it came there: "
    '`"7-<commit id>"`. `*`: only if it is there, wherever that is. A generation\'s number alone never matches.',
    "If-Modified-Since": "If it was not moved after that time, the answer is 304.",
    "If-Unmodified-Since": "Only if it was not moved after that time.",
}
_IDEMPOTENCY_KEY = (
    "A name for this request, unique in the project. Sent again under that name, it changes nothing and is answered "
    "with the commit that it made."
)
_PREFER = "`respond-async`: a job does it, and the answer is that job (202), with its address in `Location`."
_IDS = {"session": SessionId, "job": JobId, "tag": TagName, "Idempotency-Key": RequestId}
"""Parameters that routes take as text and read as an id, so that whoever writes a wrong one is told the rule."""
_GENERATIONS = ("generation", "before_generation", "before", "after")
"""Those that they read as a number or a tag."""


def _add_parameters(path: str, method: str, operation: dict[str, Any]) -> None:
    """Declare what routes read from the request itself."""
    parameters: list[dict[str, Any]] = operation.get("parameters", [])
    declared = {parameter["name"] for parameter in parameters}
    if "{path}" in path and "path" not in declared:
        parameters.append(_PATH)
    is_read = _is_conditional_read(path, method)
    if is_read or ("412" in operation["responses"] and not _is_about_an_upload(path, method)):
        conditions = _CONDITIONS_OF_READS if is_read else _CONDITIONS
        others: dict[str, str] = {}
        if path.endswith("/tags/{tag}"):
            others = _CONDITIONS_OF_TAGS
        elif is_read and "generation" in declared:
            others = _CONDITIONS_AT_A_GENERATION
        parameters += [_header(name, others.get(name, said)) for name, said in conditions.items()]
    if "422" in operation["responses"]:
        parameters.append(_header("Idempotency-Key", _IDEMPOTENCY_KEY))
    if operation["operationId"] in TAKE_PREFER:
        parameters.append(_header("Prefer", _PREFER))
    if "206" in operation["responses"]:
        parameters.append(_header("Range", "One range of bytes, such as `bytes=0-99` or `bytes=-100`."))
        parameters.append(_header("If-Range", "An ETag: take the range only of that version."))
    if parameters:
        operation["parameters"] = parameters


def _add_answers(path: str, method: str, operation: dict[str, Any]) -> None:
    """Declare what conditions make of a read."""
    if _is_conditional_read(path, method):
        seen = {"304": {"description": "The client has this version already."}}
        operation["responses"] = dict(sorted({**seen, **_CONDITION_FAILED, **operation["responses"]}.items()))


def _tell_generation(parameter: dict[str, Any]) -> None:
    least = 1 if parameter["in"] == "path" else 0
    number = {"type": "integer", "maximum": MAX_GENERATION, "minimum": least}
    none = [] if parameter["required"] else [{"type": "null"}]
    parameter["schema"].pop("type", None)
    parameter["schema"]["anyOf"] = [number, schema_of(TagName), *none]


def _is_conditional_read(path: str, method: str) -> bool:
    return path.startswith("/api/") and method in ("get", "head") and not _is_about_an_upload(path, method)


def _is_about_an_upload(path: str, method: str) -> bool:
    """Tell whether an operation has no conditions because what it is about has no versions."""
    return path.endswith("/resumable-uploads/{upload}") and method in ("head", "delete")


def _header(name: str, description: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, "description": description, "schema": {"type": "string"}}
