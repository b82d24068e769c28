"""``configs/vault/set-up.sh`` on a real server, and Manifold's key provider there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Protocol

from manifold_common.adapters.system.clock import SystemClock, SystemRandomness
from manifold_common.adapters.vault.options import TokenSignIn, VaultOptions
from manifold_common.adapters.vault.provider import VaultKeyProvider
from manifold_common.domain.keys import KeyContext
from manifold_common.ids import DekId, ProjectId, TenantId

SCRIPT = Path(__file__).parents[2] / "configs" / "vault" / "set-up.sh"
CONTEXT = KeyContext(TenantId("acme"), ProjectId("p" * 26), DekId("d" * 26))


class VaultServer(Protocol):
    url: str
    root_token: str


def set_up(server: VaultServer, token: str, key: str, **environ_too: str) -> subprocess.CompletedProcess[str]:
    environ = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": "/nonexistent",
        "VAULT": "bao",
        "VAULT_ADDR": server.url,
        "VAULT_TOKEN": server.root_token,
        "MANIFOLD_TOKEN": token,
        "KEY_NAME": key,
        **environ_too,
    }
    return subprocess.run(["sh", SCRIPT], env=environ, capture_output=True, text=True, timeout=60, check=False)


def provider(server: VaultServer, token: str, key: str) -> VaultKeyProvider:
    options = VaultOptions(address=server.url, key_name=key, sign_in=TokenSignIn(token))
    return VaultKeyProvider(options, clock=SystemClock(), randomness=SystemRandomness())
