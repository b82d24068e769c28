"""Pages that go on after a path. The cursor is the last path, in a form that any URL can carry."""

from __future__ import annotations

import base64
import binascii

from manifold_common.errors import InvalidInput


def cursor_of(path: bytes) -> str:
    return base64.urlsafe_b64encode(path).decode("ascii").rstrip("=")


def path_after(cursor: str) -> bytes:
    """Return the last path of the page before; ``b""`` for the first page. Raises InvalidInput."""
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInput("the cursor was not made by this server", hint="give 'next' of the page before") from None
