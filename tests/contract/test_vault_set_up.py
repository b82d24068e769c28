"""The script that prepares Vault gives Manifold what it needs, and no more."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest
from manifold_common.adapters.system.clock import SystemClock, SystemRandomness
from manifold_common.adapters.vault.options import TokenSignIn, VaultOptions
from manifold_common.adapters.vault.provider import VaultKeyProvider
from manifold_common.domain.keys import KeyContext
from manifold_common.errors import KeyUnavailable
from manifold_common.ids import DekId, ProjectId, TenantId

from tests.support.openbao import OpenBao

SCRIPT = Path(__file__).parents[2] / "configs" / "vault" / "set-up.sh"
CONTEXT = KeyContext(TenantId("acme"), ProjectId("p" * 26), DekId("d" * 26))


def set_up(server: OpenBao, token: str, key: str) -> subprocess.CompletedProcess[str]:
    environ = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": "/nonexistent",
        "VAULT": "bao",
        "VAULT_ADDR": server.url,
        "VAULT_TOKEN": server.root_token,
        "MANIFOLD_TOKEN": token,
        "KEY_NAME": key,
    }
    return subprocess.run(["sh", SCRIPT], env=environ, capture_output=True, text=True, timeout=60, check=False)


def provider(server: OpenBao, token: str, key: str) -> VaultKeyProvider:
    options = VaultOptions(address=server.url, key_name=key, sign_in=TokenSignIn(token))
    return VaultKeyProvider(options, clock=SystemClock(), randomness=SystemRandomness())


def test_a_prepared_vault_wraps_and_unwraps_with_a_token_that_may_do_nothing_else(openbao: OpenBao) -> None:
    key, token = f"kek-{secrets.token_hex(6)}", f"m-{secrets.token_hex(16)}"
    for _ in range(2):
        done = set_up(openbao, token, key)
        assert done.returncode == 0, done.stderr
        assert token not in done.stdout + done.stderr

    keys = provider(openbao, token, key)
    material = bytes(range(64))
    assert keys.unwrap(keys.wrap(material, CONTEXT), CONTEXT) == material
    assert keys.health().ok
    assert openbao.key(key)["derived"] is True

    found = openbao.lookup(token)
    assert found["policies"] == ["manifold"]
    assert found["period"] == 24 * 3600
    openbao.make_key("of-somebody-else", derived=True)
    with pytest.raises(KeyUnavailable) as caught:
        provider(openbao, token, "of-somebody-else").wrap(material, CONTEXT)
    assert caught.value.details["reason"] == "forbidden"


def test_an_administrators_token_in_manifolds_hands_is_pointed_out(openbao: OpenBao) -> None:
    done = set_up(openbao, openbao.root_token, f"kek-{secrets.token_hex(6)}")
    assert done.returncode == 0
    assert "token of its own" in done.stderr
