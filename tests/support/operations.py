"""Which command and which operation of the API do the same, and so answer the same document. Each one there is stands
in one of these tables."""

from __future__ import annotations

from typing import NamedTuple

from manifold_common.domain.api_address import API


class Operation(NamedTuple):
    method: str
    path: str


def _of(method: str, path: str) -> Operation:
    return Operation(method, f"{API}{path}")


BOTH = {
    "project create": _of("post", "/projects"),
    "project list": _of("get", "/projects"),
    "project show": _of("get", "/projects/{project}"),
    "project rename": _of("patch", "/projects/{project}"),
    "project undelete": _of("post", "/projects/{project}/undelete"),
    "fork": _of("post", "/projects/{project}/fork"),
    "log": _of("get", "/projects/{project}/commits"),
    "show": _of("get", "/projects/{project}/commits/{generation}"),
    "diff": _of("get", "/projects/{project}/diff"),
    "ls": _of("get", "/projects/{project}/tree"),
    "tag": _of("put", "/projects/{project}/tags/{tag}"),
    "tags": _of("get", "/projects/{project}/tags"),
    "restore": _of("post", "/projects/{project}/restore"),
    "sessions": _of("get", "/sessions"),
    "checkout": _of("post", "/sessions"),
    "status": _of("get", "/sessions/{session}/status"),
    "save": _of("post", "/sessions/{session}/save"),
    "commit": _of("post", "/sessions/{session}/commit"),
    "damage": _of("get", "/projects/{project}/damage"),
    "verify": _of("post", "/projects/{project}/verify"),
    "retention": _of("put", "/projects/{project}/retention"),
    "usage": _of("get", "/usage"),
    "garbage": _of("get", "/projects/{project}/garbage"),
    "jobs list": _of("get", "/jobs"),
    "jobs show": _of("get", "/jobs/{job}"),
    "jobs result": _of("get", "/jobs/{job}/result"),
    "jobs pause": _of("post", "/jobs/{job}/pause"),
    "jobs resume": _of("post", "/jobs/{job}/resume"),
    "jobs cancel": _of("post", "/jobs/{job}/cancel"),
    "jobs retry": _of("post", "/jobs/{job}/retry"),
    "health": Operation("get", "/health"),
}
"""Commands whose document is the answer of an operation."""

SAME_DOCUMENT = {
    _of("get", "/jobs/{job}/items"): "jobs show",
    _of("get", "/projects/{project}/retention"): "retention",
    _of("get", "/projects/{project}/tree/{path}"): "ls",
    _of("get", "/projects/{project}/usage"): "usage",
    _of("post", "/sessions/{session}/checkout"): "checkout",
}
"""Further operations that do what a command does."""

NO_DOCUMENT = {
    "project delete": _of("delete", "/projects/{project}"),
    "untag": _of("delete", "/projects/{project}/tags/{tag}"),
    "close": _of("delete", "/sessions/{session}"),
    "cat": _of("get", "/projects/{project}/files/{path}"),
}
"""The API answers with nothing, or with the bytes of a file."""

COMMANDS_ALONE = {
    "up", "stop", "database", "migrate-db", "config check", "config show", "store check", "store prepare", "adopt",
    "leftovers list", "leftovers remove", "leftovers set-aside", "backup declare", "backup list", "backup release",
    "keys status", "keys rotate", "keys rewrap",
    "events tail", "events list", "events redrive", "import", "export", "jobs watch", "jobs work",
}  # fmt: skip
"""What is about this machine, its folders, or the installation: no operation does it."""

OPERATIONS_ALONE = {
    _of("head", "/projects/{project}/files/{path}"),
    _of("put", "/projects/{project}/files/{path}"),
    _of("post", "/projects/{project}/files/{path}"),
    _of("delete", "/projects/{project}/files/{path}"),
    _of("post", "/projects/{project}/read"),
    _of("get", "/projects/{project}/archive"),
    _of("post", "/projects/{project}/archive"),
    _of("post", "/projects/{project}/dirs"),
    _of("post", "/projects/{project}/move"),
    _of("post", "/projects/{project}/commits"),
    _of("post", "/projects/{project}/resumable-uploads"),
    _of("head", "/projects/{project}/resumable-uploads/{upload}"),
    _of("patch", "/projects/{project}/resumable-uploads/{upload}"),
    _of("delete", "/projects/{project}/resumable-uploads/{upload}"),
    _of("get", "/events"),
    _of("get", "/projects/{project}/events"),
    _of("post", "/jobs"),
    _of("get", "/jobs/{job}/content"),
    _of("get", "/projects/{project}/tags/{tag}"),
    _of("get", "/sessions/{session}"),
    _of("post", "/projects/{project}/plan"),
    _of("post", "/sessions/{session}/plan"),
    _of("post", "/sessions/{session}/uploads"),
    _of("post", "/sessions/{session}/links"),
    _of("post", "/sessions/{session}/verify"),
    _of("post", "/sessions/{session}/publish"),
    _of("post", "/sessions/{session}/keep"),
    Operation("get", "/readyz"),
    Operation("get", "/livez"),
}
"""What no command does by itself."""
