"""The script that prepares Vault gives Manifold what it needs, and no more."""

from __future__ import annotations

import json
import re
import secrets
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from manifold_common.adapters.vault.provider import VaultKeyProvider
from manifold_common.errors import KeyUnavailable
from manifold_local.embedded.stack.openbao import OpenBao as EmbeddedOpenBao
from manifold_local.embedded.stack.vault_policy import policy_text

from tests.support.openbao import OpenBao
from tests.support.vault_set_up import CONTEXT, SCRIPT, provider, set_up

RULE = re.compile(r'^path "(.+?)" +\{ capabilities = (\[.*?\]) \}$', re.MULTILINE)


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


def test_an_administrators_token_in_manifolds_hands_and_a_forgetful_server_are_pointed_out(openbao: OpenBao) -> None:
    done = set_up(openbao, openbao.root_token, f"kek-{secrets.token_hex(6)}")
    assert done.returncode == 0
    assert "token of its own" in done.stderr
    assert "WARNING: this Vault keeps its keys in memory" in done.stderr


def by_script(server: OpenBao, token: str, key: str) -> None:
    done = set_up(server, token, key)
    assert done.returncode == 0, done.stderr


def by_embedded_stack(server: OpenBao, token: str, key: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "unseal.json").write_text(json.dumps({"root_token": server.root_token}))
        EmbeddedOpenBao(Path(folder), port=server.port).prepare(mount="transit", key=key, token=token)


@pytest.mark.parametrize("prepare", [by_script, by_embedded_stack])
def test_the_key_may_change_and_change_back_and_former_ones_open_what_they_wrapped(
    openbao: OpenBao, prepare: Callable[[OpenBao, str, str], None]
) -> None:
    first, second = (f"kek.{secrets.token_hex(4)}-{number}" for number in (1, 2))
    token, material = f"m-{secrets.token_hex(16)}", bytes(range(64))
    wrapped = {}
    for key in (first, second, first):
        prepare(openbao, token, key)
        keys = provider(openbao, token, key)
        assert keys.health().ok
        wrapped[key] = keys.wrap(material, CONTEXT)
        for former, record in wrapped.items():
            assert keys.unwrap(record, CONTEXT) == material
            assert keys.unwrap(keys.rewrap(record, CONTEXT), CONTEXT) == material
            assert former == key or is_forbidden_to_wrap(provider(openbao, token, former))
    openbao.make_key("of-somebody-else", derived=True)
    assert is_forbidden_to_wrap(provider(openbao, token, "of-somebody-else"))
    assert openbao.lookup(token)["policies"] == ["manifold"]


def is_forbidden_to_wrap(keys: VaultKeyProvider) -> bool:
    with pytest.raises(KeyUnavailable) as caught:
        keys.wrap(bytes(64), CONTEXT)
    return caught.value.details["reason"] == "forbidden"


def test_a_name_that_would_say_something_else_in_a_policy_changes_nothing(openbao: OpenBao) -> None:
    before = openbao.call("GET", "sys/policies/acl?list=true")
    for key in ("", "*", "+", "a/b", "a|b", 'x" { } path "sys'):
        done = set_up(openbao, "m-any", key)
        assert done.returncode == 1
        assert "KEY_NAME" in done.stderr
    assert openbao.call("GET", "sys/policies/acl?list=true")["data"] == before["data"]


def test_a_mount_that_would_say_something_else_in_a_policy_changes_nothing(openbao: OpenBao) -> None:
    before = openbao.call("GET", "sys/mounts")["data"].keys()
    for mount in ("*", "a&b", "a|b", "/", 'x" { } path "sys'):
        done = set_up(openbao, "m-any", "kek-any", MOUNT=mount)
        assert done.returncode == 1
        assert "MOUNT" in done.stderr
    assert openbao.call("GET", "sys/mounts")["data"].keys() == before


def test_names_of_a_policy_that_somebody_else_wrote_are_taken_for_nothing_but_names(openbao: OpenBao) -> None:
    token = f"m-{secrets.token_hex(16)}"
    text = 'path "transit/decrypt/*" { capabilities = ["update"] }\npath "transit/decrypt/a b" { capabilities = [] }\n'
    openbao.call("PUT", "sys/policies/acl/manifold", {"policy": text})
    assert set_up(openbao, token, "kek-new").returncode == 0
    policy = openbao.call("GET", "sys/policies/acl/manifold")["data"]["policy"]
    assert set(re.findall(r"/decrypt/([^\"]+)", policy)) == {"kek-new"}, "neither patterns nor files of this folder"


def test_another_mount_is_prepared_with_the_keys_that_it_had_under_its_old_path(openbao: OpenBao) -> None:
    token, mount = f"m-{secrets.token_hex(16)}", f"transit-{secrets.token_hex(4)}"
    assert set_up(openbao, token, "kek-first").returncode == 0
    done = set_up(openbao, token, "kek-second", MOUNT=mount)
    assert done.returncode == 0, done.stderr
    policy = openbao.call("GET", "sys/policies/acl/manifold")["data"]["policy"]
    assert f'path "{mount}/encrypt/kek-second"' in policy
    assert f'path "{mount}/decrypt/kek-first"' in policy
    assert '"transit/' not in policy


def test_without_an_administrators_token_it_says_whether_all_is_ready_and_how_to_make_it_so(openbao: OpenBao) -> None:
    key, token = f"kek-{secrets.token_hex(6)}", f"m-{secrets.token_hex(16)}"
    before = set_up(openbao, token, key, VAULT_TOKEN="")
    assert before.returncode == 1
    assert "VAULT_ADMIN_TOKEN=" in before.stderr
    assert set_up(openbao, token, key).returncode == 0
    after = set_up(openbao, token, key, VAULT_TOKEN="")
    assert (after.returncode, after.stderr) == (0, "")
    changed = set_up(openbao, token, f"{key}-2", VAULT_TOKEN="")
    assert changed.returncode == 1
    assert f"{key}-2" in changed.stderr


def test_the_scripts_policy_is_that_of_the_embedded_vault() -> None:
    script = {}
    for name in ("manifold-policy.hcl.template", "former-key-policy.hcl.template"):
        text = (SCRIPT.parent / name).read_text()
        rendered = text.replace("MOUNT", "m").replace("KEY_NAME", "new" if name.startswith("manifold") else "old")
        script |= dict(RULE.findall(rendered))
    assert dict(RULE.findall(policy_text("m", "new", ["old"]))) == script
