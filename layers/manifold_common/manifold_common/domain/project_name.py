"""What a project may be called."""

from __future__ import annotations

import re
import unicodedata

from manifold_common.errors import InvalidInput
from manifold_common.ids import parse_project_id

MAX_NAME_BYTES = 200
NAME_PATTERN = r"^(?![.\s])[^/\\\u0000-\u001f\u007f-\u009f]+$"
"""What a pattern can say of the rule: names that it does not match are refused, and a few of the others."""


def check_project_name(name: str) -> None:
    """Raises InvalidInput unless ``name`` is 1 to 200 bytes of printable text without slashes, not a dot name, no
    project's id, and without space around it."""
    reason = None
    if not name or name != name.strip():
        reason = "it is empty, or has space around it"
    elif len(name.encode("utf-8", "surrogatepass")) > MAX_NAME_BYTES:
        reason = f"it is longer than {MAX_NAME_BYTES} bytes"
    elif "/" in name or "\\" in name or name.startswith("."):
        reason = "it has a slash or begins with a dot"
    elif _is_id(name):
        reason = "it reads as a project's id"
    elif any(unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") for char in name):
        reason = "it has characters that cannot be seen"
    if reason:
        raise InvalidInput(
            f"{name[:80]!r} cannot be a project's name: {reason}",
            hint="use letters, digits, spaces and marks such as - _ .",
        )


def can_be_text(name: str) -> bool:
    """Tell whether a catalog can look for a name: it has no NUL, and no half of a surrogate pair."""
    return re.search(r"[\0\ud800-\udfff]", name) is None


def _is_id(name: str) -> bool:
    try:
        parse_project_id(name)
    except InvalidInput:
        return False
    return True
