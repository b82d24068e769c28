"""Signatures as Standard Webhooks has them (version ``v1``): HMAC-SHA256 over id, time and body."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

from manifold_common.errors import ConfigError

_PREFIX = "whsec_"


def key_of(secret: str) -> bytes:
    """Return the key that a secret stands for: base64 after ``whsec_``, as Standard Webhooks writes secrets; otherwise
    the text itself in UTF-8.

    Raises:
        ConfigError: what follows ``whsec_`` is not base64.
    """
    if not secret.startswith(_PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        raise ConfigError(
            f"projects.events.webhooks.secret begins with {_PREFIX}, but no base64 follows",
            hint=f"use {_PREFIX} and the output of 'openssl rand -base64 32'",
        ) from None


def sign(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """Return the value of ``webhook-signature``.

    Args:
        timestamp: seconds since 1970, as in ``webhook-timestamp``.
    """
    digest = hmac.digest(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256)
    return "v1," + base64.b64encode(digest).decode()
