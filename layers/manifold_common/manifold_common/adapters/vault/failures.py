"""Every way in which Vault can fail, told apart. Each error carries its ``reason`` among its details.

Nothing that Vault or a proxy answers is passed on: an answer may repeat what was sent. Only statuses and known phrases
are looked at.
"""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

from manifold_common.adapters.vault.confidential import Body
from manifold_common.adapters.vault.options import VaultOptions
from manifold_common.domain.retry_after import asked_wait
from manifold_common.domain.wording import span
from manifold_common.errors import KeyUnavailable


class Answer(NamedTuple):
    """What came back. ``data`` is the whole JSON object, ``errors`` its list of messages, in lower case."""

    status: int
    data: Body
    errors: str
    asked_seconds: float | None = None
    """For how long the server, or what stands before it, asks to be left alone."""

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300


class Refusals:
    """Makes the errors of one server."""

    def __init__(self, options: VaultOptions) -> None:
        self._options = options
        self._mount = options.mount_path

    # --- the server -----------------------------------------------------------------------------------------------

    def unreachable(self, reason: str, *, passing: bool) -> KeyUnavailable:
        return KeyUnavailable(
            f"Vault at {self._options.where} cannot be reached: {reason}",
            hint="check vault.address and the network; 'vault status' with the same VAULT_ADDR must answer",
            reason="unreachable",
            **_retryable(passing),
        )

    def tls(self, reason: str) -> KeyUnavailable:
        return KeyUnavailable(
            f"no TLS connection to Vault at {self._options.where}: {reason}",
            hint="check vault.address, and vault.tls: caFile must hold the issuer of the server's certificate, "
            "certFile and keyFile what the server asks of its clients; 'vault status' shows the same",
            reason="tls",
        )

    def of_server(self, answer: Answer) -> KeyUnavailable | None:
        """Return the error if the server as a whole is at fault, or ``None``."""
        status, where = answer.status, f"Vault at {self._options.where}"
        if status == 503 and "sealed" in answer.errors:
            return KeyUnavailable(
                f"{where} is sealed",
                hint="'vault status' shows it; unseal it with 'vault operator unseal', once per key share",
                reason="sealed",
            )
        if status == 501 or "not initialized" in answer.errors:
            return KeyUnavailable(
                f"{where} is not initialised",
                hint="'vault status' shows it; run 'vault operator init' and unseal it",
                reason="sealed",
            )
        if status == 429 or status >= 500 or status == 412:
            return KeyUnavailable(
                f"{where} answered with HTTP status {status}",
                hint="run 'vault status' and look into the server's log",
                reason="overloaded" if status == 429 else "failing",
                retryable=True,
                **asked_wait(answer.asked_seconds),
            )
        if 300 <= status < 400:
            return KeyUnavailable(
                f"{where} sends clients to another address (HTTP status {status})",
                hint="set vault.address to the address it names; 'vault status' shows it",
                reason="unreachable",
            )
        return None

    def resting(self, seconds: float) -> KeyUnavailable:
        return KeyUnavailable(
            f"Vault at {self._options.where} has asked to be left alone for another {span(ceil(seconds))}",
            hint="run 'vault status' and look into the server's log, or into that of what stands before it",
            reason="overloaded",
            retryable=True,
            **asked_wait(seconds),
        )

    # --- signing in -----------------------------------------------------------------------------------------------

    def token_dead(self, path: str) -> KeyUnavailable:
        return KeyUnavailable(
            f"Vault at {self._options.where} does not accept the token for {path}: it has expired, was revoked, or is "
            "mistyped",
            hint="check VAULT_TOKEN with 'vault token lookup'; make a new one with 'vault token create -period=24h' "
            "and the policy of docs/keys.md. A token without Vault's default policy looks dead where it is forbidden",
            reason="token",
        )

    def sign_in(self, method: str, status: int) -> KeyUnavailable:
        hints = {
            "approle": "check vault.auth.roleId and vault.auth.secretId: a secret id may have expired or be used up; "
            "make one with 'vault write -f auth/approle/role/ROLE/secret-id'",
            "kubernetes": "check vault.auth.role, and that its bound service account and namespace are this pod's: "
            "'vault read auth/kubernetes/role/ROLE'",
        }
        return KeyUnavailable(
            f"Vault at {self._options.where} refused the sign-in by {method} (HTTP status {status})",
            hint=hints[method] + "; 'vault auth list' shows where the method is mounted (vault.auth.mountPath)",
            reason="sign_in",
        )

    def forbidden(self, path: str) -> KeyUnavailable:
        return KeyUnavailable(
            f"Vault at {self._options.where} forbids {path} to the token of Manifold",
            hint=f"its policies must allow it: 'vault token capabilities {path}' (docs/keys.md has the policy); "
            "a namespace that is not set, or set wrongly, looks the same",
            reason="forbidden",
        )

    # --- keys -----------------------------------------------------------------------------------------------------

    def missing_key(self, name: str, version: int | None = None) -> KeyUnavailable:
        facts: dict[str, object] = {"key_name": name}
        if version is not None:
            facts["key_version"] = version
        return KeyUnavailable(
            f"Vault at {self._options.where} has no Transit key {name!r} in {self._mount}/",
            hint=f"'vault list {self._mount}/keys' shows what is there; restore the key from a backup if projects use "
            f"it, or make it with 'vault write {self._mount}/keys/{name} type=aes256-gcm96 derived=true'",
            reason="missing_key",
            **facts,
        )

    def missing_mount(self) -> KeyUnavailable:
        return KeyUnavailable(
            f"Vault at {self._options.where} has no secrets engine at {self._mount}/",
            hint="check vault.mountPath and vault.namespace against 'vault secrets list'; "
            f"'vault secrets enable -path={self._mount} transit' makes one",
            reason="missing_key",
        )

    def missing_version(self, name: str, version: int, *, retired: bool) -> KeyUnavailable:
        if retired:
            why = "no longer opens with this version (its min_decryption_version is higher)"
            hint = f"lower it with 'vault write {self._mount}/keys/{name}/config min_decryption_version={version}', "
            hint += "run 'manifold keys rewrap', and raise it when 'manifold keys status' does not name it any more"
        else:
            why = "does not have this version"
            hint = f"'vault read {self._mount}/keys/{name}' shows its versions; was it restored from an older backup?"
        return KeyUnavailable(
            f"Transit key {name!r} version {version} at {self._options.where}: the key {why}",
            hint=hint,
            reason="missing_key",
            key_name=name,
            key_version=version,
        )

    def wrong_kind(self, name: str, kind: str) -> KeyUnavailable:
        return KeyUnavailable(
            f"Transit key {name!r} at {self._options.where} is of type {kind}; Manifold needs aes256-gcm96",
            hint=f"make another with 'vault write {self._mount}/keys/NAME type=aes256-gcm96 derived=true' "
            "and set vault.keyName to it",
            reason="wrong_key_type",
        )

    def not_understood(self, path: str, status: int) -> KeyUnavailable:
        return KeyUnavailable(
            f"what answers at {self._options.where} does not act as Vault does: {path} gave HTTP status {status}",
            hint="check vault.address; 'vault status' with the same VAULT_ADDR must answer",
            reason="not_vault",
        )


def _retryable(passing: bool) -> dict[str, bool]:
    return {"retryable": True} if passing else {}
