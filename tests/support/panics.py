"""A real panic of a native library."""

from __future__ import annotations

from typing import NoReturn

import obstore
from obstore.store import S3Store

SECRET = "a-token-that-is-never-shown"


def panic(*_: object) -> NoReturn:
    """Give obstore a token that no header can carry."""
    store = S3Store(
        "bucket",
        config={"endpoint": "http://127.0.0.1:1", "region": "us-east-1"},
        client_options={"allow_http": True},
        credential_provider=lambda: {
            "access_key_id": "key",
            "secret_access_key": "secret",
            "token": SECRET + "\n",
            "expires_at": None,
        },
    )
    obstore.put(store, "key", b"")
    raise AssertionError("it did not panic")
