"""Clients of the S3 store, and credentials that are replaced while one is made."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from manifold_common.adapters.memory.clock import ManualClock, SeededRandomness
from manifold_common.adapters.s3 import object_store
from manifold_common.adapters.s3.failures import Failure
from manifold_common.adapters.s3.native import S3Failure
from manifold_common.adapters.s3.object_store import S3ObjectStore
from manifold_common.adapters.s3.options import S3Options

OLD = S3Options("bucket", access_key_id="old", secret_access_key="old", health_timeout_seconds=1.0)
NEW = replace(OLD, access_key_id="new", secret_access_key="new")


class Rotated:
    """Credentials that were replaced, which nobody has noticed yet."""

    current = OLD

    def instead_of(self, refused: S3Options) -> S3Options | None:
        self.current = NEW
        return None if refused == NEW else NEW


class Client:
    def __init__(self, options: S3Options) -> None:
        self.refused = options == OLD

    def head(self, _: str) -> tuple[int, datetime]:
        if self.refused:
            raise S3Failure(Failure(403, "AccessDenied", "refused", passing=False))
        return 1, datetime.now(UTC)

    get = head


def test_a_client_that_was_made_while_its_credentials_were_replaced_is_made_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    others = threading.Thread(target=lambda: store._once("", lambda: store._probe.head("")))

    def make(options: S3Options, *, timeout_seconds: float, retries: int) -> Any:
        client = Client(options)
        if timeout_seconds == OLD.request_timeout_seconds and options == OLD:
            others.start()
            others.join(0.3)
        return client

    monkeypatch.setattr(object_store, "make_client", make)
    store = S3ObjectStore(OLD, clock=ManualClock(), randomness=SeededRandomness(), credentials=Rotated())
    made_meanwhile = store._bulk
    others.join()
    assert made_meanwhile.refused  # type: ignore[attr-defined]
    assert store.head("key") is not None
