"""What programs that read the description of the API need besides its operations: generators, and linters."""

from __future__ import annotations

import json
from typing import Any

_HEAD: dict[str, Any] = {
    "info": {"license": {"name": "Apache-2.0", "identifier": "Apache-2.0"}},
    "servers": [
        {
            "url": "{origin}",
            "description": "A host (`manifold up`), or the gateway before the functions.",
            "variables": {"origin": {"default": "http://127.0.0.1:32180", "description": "Scheme, host and port."}},
        }
    ],
    "security": [],
    "tags": [
        {"name": "projects", "description": "Directory trees with a history."},
        {"name": "files", "description": "Read at any generation, write at the head. A write is one commit."},
        {"name": "archive", "description": "A whole tree as one tar or zip, out and in."},
        {"name": "changes", "description": "Folders, moves, many changes as one commit, old generations brought back."},
        {"name": "history", "description": "Commits, and what differs between two generations."},
        {"name": "sessions", "description": "Working directories on the server's machine."},
        {"name": "direct access", "description": "Content read and stored past the server."},
        {"name": "health", "description": "Whether the server and what it depends on work."},
    ],
}


def for_readers(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document with what it says of the API as a whole, and with defaults that only people read.

    A field with a ``default`` is one that generators of types take for always there: a request would have to name it.
    """
    for schema in document["components"]["schemas"].values():
        for name, field in schema.get("properties", {}).items():
            if "default" in field and name not in schema.get("required", ()):
                default = field.pop("default")
                if default not in (None, [], {}, ""):
                    said = f"{json.dumps(default)} by default."
                    field["description"] = f"{field['description']} {said}" if "description" in field else said
    return {**document, **_HEAD, "info": {**document["info"], **_HEAD["info"]}}
