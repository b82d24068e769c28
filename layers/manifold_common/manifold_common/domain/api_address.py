"""Where the HTTP API stands on a server."""

from __future__ import annotations

from typing import Final

API: Final = "/api/v1"
DESCRIPTION: Final = f"{API}/openapi.json"
