"""How the description of the API refers to a shape: by its name. ``openapi.py`` adds what the name stands for."""

from __future__ import annotations

from typing import Any

import msgspec

SCHEMAS = "#/components/schemas/"
JSON = "application/json"


def content_of(shape: type[msgspec.Struct], media_type: str = JSON) -> dict[str, Any]:
    """Return what the description says of a body or an answer that is a ``shape``."""
    return {media_type: {"schema": {"$ref": f"{SCHEMAS}{shape.__name__}"}}}
