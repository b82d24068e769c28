"""What webhooks are called."""

from __future__ import annotations

import hashlib
from urllib.parse import urlsplit


def name_of(url: str) -> str:
    """Return the name of the sink at ``url``. Only its host is shown: paths and queries often hold secrets."""
    digest = hashlib.blake2b(url.encode(), digest_size=4).hexdigest()
    return f"webhook:{urlsplit(url).hostname or ''}-{digest}"
