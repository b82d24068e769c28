"""What the tests of the Vault provider share: a key, a context, and a provider for a server."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from manifold_common.adapters.system.clock import SystemClock, SystemRandomness
from manifold_common.adapters.vault.options import (
    SignIn,
    TokenSignIn,
    VaultOptions,
)
from manifold_common.adapters.vault.provider import VaultKeyProvider
from manifold_common.domain.keys import KeyContext
from manifold_common.errors import KeyUnavailable
from manifold_common.ids import DekId, ProjectId, TenantId

from tests.support.openbao import OpenBao

MATERIAL = bytes(range(64))
CONTEXT = KeyContext(TenantId("acme"), ProjectId("p" * 26), DekId("d" * 26))
KEY = "manifold-kek"


def provider_for(
    server: OpenBao | str, sign_in: SignIn | str, mount: str = "transit", *, key_name: str = KEY, **options: Any
) -> VaultKeyProvider:
    made = VaultOptions(
        address=server if isinstance(server, str) else server.url,
        key_name=key_name,
        sign_in=TokenSignIn(sign_in) if isinstance(sign_in, str) else sign_in,
        mount_path=mount,
        **{"timeout_seconds": 5.0, **options},
    )
    return VaultKeyProvider(made, clock=SystemClock(), randomness=SystemRandomness())


def failure_of(operation: Callable[[], object]) -> KeyUnavailable:
    with pytest.raises(KeyUnavailable) as caught:
        operation()
    return caught.value


def timed(operation: Callable[[], object]) -> tuple[object, float]:
    begun = time.monotonic()
    result = operation()
    return result, time.monotonic() - begun


def assert_says(error: KeyUnavailable, reason: str, *hints: str) -> None:
    assert error.details["reason"] == reason
    for hint in hints:
        assert hint in str(error)
