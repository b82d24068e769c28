"""A path as it is written in JSON. Kept apart from the shapes, which take longer to load than the work of a function
that only names paths."""

from __future__ import annotations

import base64

from manifold_common.domain.paths import to_display


def path_fields(path: bytes, name: str = "path") -> dict[str, str]:
    """Return ``path``, and ``path_base64`` where the text does not say it all."""
    shown = to_display(path)
    if shown.encode("utf-8", "replace") == path:
        return {name: shown}
    return {name: shown, f"{name}_base64": base64.b64encode(path).decode("ascii")}
