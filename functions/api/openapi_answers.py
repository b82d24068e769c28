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
    "Preference-Applied": {"description": "`respond-async`: a job does the work.", "required": False},
    "ETag": {"description": "Stands for this version, in If-Match and If-None-Match.", "required": False},
    "Last-Modified": {
        "description": "Time of the generation; left out of what is younger than a second, and of what was asked for "
        "by the name of a tag.",
        "required": False,
    },
    "Moved-At": {
        "description": "When the tag came to where it is; left out where that is less than a second ago.",
        "required": False,
    },
    "Idempotency-Replayed": {
        "description": "`true`: an earlier request of that name has done this.",
        "required": False,
    },
    "Accept-Ranges": {"description": "`bytes`: ranges of bytes may be asked for."},
    "Content-Range": {"description": "Which part it is, and of how many bytes (`*`: not known)."},
    "Content-Disposition": {"description": "The name for a copy on a disk."},
    "Manifold-Generation": {"description": "The generation that was read.", "schema": {"type": "integer"}},
    "Manifold-Mode": {"description": "The file's permission bits in octal."},
    "Manifold-Modified-At": {"description": "The file's modification time, to the nanosecond."},
    "Committed-Generation": {
        "description": "The generation with the file in it, once it is committed.",
        "required": False,
        "schema": {"type": "integer"},
    },
    "Tus-Resumable": {"description": "`1.0.0`."},
    "Tus-Version": {"description": "Versions of the protocol that are spoken: `1.0.0`."},
    "Tus-Extension": {"description": "Parts of the protocol that are there."},
    "Tus-Checksum-Algorithm": {"description": "Algorithms of `Upload-Checksum`."},
    "Tus-Max-Size": {"description": "Bytes that a file may have.", "required": False, "schema": {"type": "integer"}},
    "Upload-Offset": {"description": "How many bytes of the file are stored.", "schema": {"type": "integer"}},
    "Upload-Length": {
        "description": "Bytes of the whole file, if that is known.",
        "required": False,
        "schema": {"type": "integer"},
    },
    "Upload-Defer-Length": {"description": "`1`: it is not known how long the file is.", "required": False},
    "Upload-Metadata": {"description": "As it was sent."},
    "Upload-Expires": {"description": "When the upload is removed, if nobody goes on with it."},
}

_OF_FILES = (
    "Accept-Ranges", "Content-Disposition", "Manifold-Generation", "Manifold-Mode", "Manifold-Modified-At",
)  # fmt: skip
_OF_ARCHIVES = ("Accept-Ranges", "Content-Disposition", "Manifold-Generation")
_NAMES = {"Committed-Generation": "Manifold-Generation", "Moved-At": "Last-Modified"}
"""Headers that are not called like what describes them."""
_OF_UPLOADS = ("Tus-Resumable", "Tus-Version")
_OF_PARTS = (
    *_OF_UPLOADS, "Upload-Offset", "Upload-Length", "Upload-Expires", "Committed-Generation",
    "Idempotency-Replayed",
)  # fmt: skip
_ON_SUCCESS = {
    "resumable_options": (*_OF_UPLOADS, "Tus-Extension", "Tus-Checksum-Algorithm", "Tus-Max-Size"),
    "create_resumable": _OF_PARTS,
    "look_at_resumable": (*_OF_PARTS, "Upload-Defer-Length", "Upload-Metadata"),
    "append_to_resumable": (*_OF_PARTS, "ETag"),
    "end_resumable": _OF_UPLOADS,
    "read_file": _OF_FILES,
    "look_at_file": _OF_FILES,
    "download_archive": _OF_ARCHIVES,
    "download_job_content": _OF_ARCHIVES,
}
TAKE_PREFER = frozenset({"verify_project", "restore", "upload_archive", "download_archive"})
"""Operations that a job does for who prefers it."""
_TRY_LATER = ("429", "503")

_MADE_BY = {
    "project": ("$response.body#/id", ("create_project", "fork_project")),
    "session": ("$response.body#/session", ("open_session",)),
    "upload": ("$response.body#/upload", ("create_resumable",)),
    "job": ("$response.body#/id", ("start_job",)),
}
"""Where a parameter of other operations stands in the answer of those that make what it names."""


def add_headers(operations: Operations) -> None:
    """Declare the headers of answers. Those that every answer of the server has alike, such as what browsers are told,
    are none of an operation's."""
    for name, operation in operations.items():
        answers = operation["responses"]
        for status, answer in answers.items():
            declared: tuple[str, ...] = ()
            if status.startswith("2") or status == "304":
                declared = ("X-Request-Id", *_ON_SUCCESS.get(name, ()), *_validators(name, status, answers))
            if status == "202" and name in TAKE_PREFER:
                replayed = ("Idempotency-Replayed",) if "422" in answers else ()
                declared = ("X-Request-Id", "ETag", "Location", "Preference-Applied", *replayed)
            if status == "206":
                declared += ("Content-Range",)
            if status in _TRY_LATER and MEDIA_TYPE in answer["content"]:
                declared = ("Retry-After",)
            if declared:
                answer["headers"] = {_NAMES.get(one, one): {"$ref": f"#/components/headers/{one}"} for one in declared}


def _validators(name: str, status: str, answers: dict[str, Any]) -> tuple[str, ...]:
    """Return the headers by which a client can go on without asking anew."""
    if "304" in answers:
        return ("ETag", "Moved-At" if name == "get_tag" else "Last-Modified")
    made = ("ETag", "Location") if status == "201" else ("ETag",) if status == "200" and "412" in answers else ()
    return (*made, "Idempotency-Replayed") if made and "422" in answers else made


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
