"""What the description says of answers beside their content: headers, and where to go on from what was made."""

from __future__ import annotations

from typing import Any

from functions.invocation.problems import MEDIA_TYPE

Operations = dict[str, dict[str, Any]]
"""By ``operationId``."""

HEADERS: dict[str, dict[str, Any]] = {
    "X-Request-Id": {"description": "Finds the request in the server's log."},
    "Retry-After": {"description": "Seconds to wait before the same request is sent again."},
    "Location": {"description": "The address of what was made."},
    "ETag": {"description": "Stands for this version, in If-Match and If-None-Match."},
    "Accept-Ranges": {"description": "`bytes`: ranges of bytes may be asked for."},
    "Content-Range": {"description": "Which part it is, and of how many bytes."},
    "Content-Disposition": {"description": "The name for a copy on a disk."},
    "Manifold-Generation": {"description": "The generation that was read.", "schema": {"type": "integer"}},
    "Manifold-Mode": {"description": "The file's permission bits in octal."},
    "Manifold-Modified-At": {"description": "The file's modification time, to the nanosecond."},
}

_OF_FILES = (
    "ETag", "Accept-Ranges", "Content-Disposition", "Manifold-Generation", "Manifold-Mode", "Manifold-Modified-At",
)  # fmt: skip
_ON_SUCCESS = {
    "create_project": ("Location",),
    "fork_project": ("Location",),
    "get_project": ("ETag",),
    "read_file": _OF_FILES,
    "look_at_file": _OF_FILES,
    "download_archive": ("Content-Disposition", "Manifold-Generation"),
}
_TRY_LATER = ("429", "503")

_MADE_BY = {
    "project": ("$response.body#/id", ("create_project", "fork_project")),
    "session": ("$response.body#/session", ("open_session",)),
}
"""Where a parameter of other operations stands in the answer of those that make what it names."""


def add_headers(operations: Operations) -> None:
    """Declare the headers that answers always have. Those that every answer of the server has alike, such as what
    browsers are told, are none of an operation's."""
    for name, operation in operations.items():
        for status, answer in operation["responses"].items():
            declared: tuple[str, ...] = ()
            if status.startswith("2") or status == "304":
                declared = ("X-Request-Id", *_ON_SUCCESS.get(name, ()))
            if status == "206":
                declared += ("Content-Range",)
            if status in _TRY_LATER and MEDIA_TYPE in answer["content"]:
                declared = ("Retry-After",)
            if declared:
                answer["headers"] = {one: {"$ref": f"#/components/headers/{one}"} for one in declared}


def header_components() -> dict[str, Any]:
    return {name: {"schema": {"type": "string"}, "required": True, **said} for name, said in HEADERS.items()}


def add_links(operations: Operations) -> None:
    """Say which operations take what another one has made: that leads readers on, and programs that test."""
    for parameter, (where, makers) in _MADE_BY.items():
        takers = [
            name
            for name, operation in operations.items()
            if any((one["in"], one["name"]) == ("path", parameter) for one in operation.get("parameters", []))
        ]
        links = {name: {"operationId": name, "parameters": {parameter: where}} for name in takers}
        for maker in makers:
            for status, answer in operations[maker]["responses"].items():
                if status in ("200", "201"):
                    answer["links"] = links
