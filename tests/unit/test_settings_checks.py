"""Rules between settings: each names what to set."""

from __future__ import annotations

from pathlib import Path

import pytest
from manifold_common.errors import ConfigError
from manifold_common.settings import load_settings

SEALED = {"PROJECTS_ENCRYPT": "true", "PROJECTS_WORKSPACE_MODE": "ephemeral"}
VAULT = {**SEALED, "PROJECTS_ENCRYPTION_PROVIDER": "vault", "VAULT_ADDR": "http://vault:8200"}
VAULT_KEY = "projects.encryption.vault"
EVENTS = "projects.events"


@pytest.mark.parametrize(
    ("environ", "key", "message"),
    [
        (
            {"PROJECTS_ENCRYPT": "true"},
            "projects.encrypt",
            "encryption cannot be used with projects.workspace.mode legacy, which keeps plaintext on disk "
            "(set projects.workspace.mode to ephemeral (or PROJECTS_WORKSPACE_MODE=ephemeral))",
        ),
        (
            {"PROJECTS_BACKEND": "s3"},
            "projects.s3.bucket",
            "the backend s3 needs projects.s3.bucket (set projects.s3.bucket (or the variable S3_BUCKET))",
        ),
        ({"S3_ACCESS_KEY_ID": "a"}, "projects.s3.secretAccessKey", "projects.s3.accessKeyId needs"),
        ({"S3_SECRET_ACCESS_KEY": "a"}, "projects.s3.accessKeyId", "projects.s3.secretAccessKey needs"),
        ({**VAULT, "VAULT_ADDR": "", "VAULT_TOKEN": "t"}, f"{VAULT_KEY}.address", "the variable VAULT_ADDR"),
        (VAULT, f"{VAULT_KEY}.token", "the Vault sign-in method token needs"),
        (
            {**VAULT, "VAULT_AUTH_METHOD": "approle"},
            f"{VAULT_KEY}.auth.roleId",
            f"needs {VAULT_KEY}.auth.roleId and {VAULT_KEY}.auth.secretId",
        ),
        (
            {**VAULT, "VAULT_AUTH_METHOD": "approle", "VAULT_AUTH_ROLE_ID": "r"},
            f"{VAULT_KEY}.auth.secretId",
            f"needs {VAULT_KEY}.auth.secretId",
        ),
        ({**VAULT, "VAULT_AUTH_METHOD": "kubernetes"}, f"{VAULT_KEY}.auth.role", "VAULT_AUTH_ROLE"),
        (
            {**SEALED, "PROJECTS_ENCRYPTION_PROVIDER": "awskms"},
            "projects.encryption.awskms.keyId",
            "the variable AWSKMS_KEY_ID",
        ),
        ({"KAFKA_ENABLED": "true"}, f"{EVENTS}.brokers", "the variable KAFKA_BROKERS"),
        ({"KAFKA_SASL_USERNAME": "u"}, f"{EVENTS}.sasl.password", "the variable KAFKA_SASL_PASSWORD"),
        ({"WEBHOOKS_URLS": "https://x/y"}, f"{EVENTS}.webhooks.secret", "the variable WEBHOOKS_SECRET"),
        ({"WEBHOOKS_SECRET": "short"}, f"{EVENTS}.webhooks.secret", "at least 16 characters"),
        ({"REDIS_TLS_CERT_FILE": "/c"}, "projects.redis.tls.keyFile", "projects.redis.tls.certFile needs"),
        ({"VAULT_TLS_KEY_FILE": "/k"}, f"{VAULT_KEY}.tls.certFile", f"{VAULT_KEY}.tls.keyFile needs"),
        (
            {**SEALED, "WORKDIR": "/ram", "PROJECTS_WORKSPACE_TMPFS_DIR": "/ram"},
            "projects.workspace.tmpfsDir",
            "overlaps with projects.workspace.cacheDir",
        ),
        (
            {**SEALED, "WORKDIR": "/w", "PROJECTS_WORKSPACE_TMPFS_DIR": "/w/.store/../.store/ram"},
            "projects.workspace.tmpfsDir",
            "/w/.store/ram overlaps with projects.filesystem.root (/w/.store)",
        ),
    ],
)
def test_a_broken_rule_names_the_setting_and_what_to_do(
    tmp_path: Path, environ: dict[str, str], key: str, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(environ=environ, cwd=tmp_path)
    assert key in {problem["key"] for problem in caught.value.details["problems"]}
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "environ",
    [
        SEALED,
        {**VAULT, "VAULT_TOKEN": "t"},
        {**VAULT, "VAULT_AUTH_METHOD": "approle", "VAULT_AUTH_ROLE_ID": "r", "VAULT_AUTH_SECRET_ID": "s"},
        {**VAULT, "VAULT_AUTH_METHOD": "kubernetes", "VAULT_AUTH_ROLE": "r"},
        {**SEALED, "PROJECTS_ENCRYPTION_PROVIDER": "awskms", "AWSKMS_KEY_ID": "k"},
        {"PROJECTS_BACKEND": "s3", "S3_BUCKET": "b"},
        {"KAFKA_ENABLED": "true", "KAFKA_BROKERS": "kafka:29092"},
        {"REDIS_ENABLED": "true"},
        {"PROJECTS_ENCRYPTION_PROVIDER": "vault"},
        {**SEALED, "WORKDIR": "/w", "PROJECTS_WORKSPACE_TMPFS_DIR": "/w/ram"},
    ],
)
def test_a_complete_configuration_passes(tmp_path: Path, environ: dict[str, str]) -> None:
    load_settings(environ=environ, cwd=tmp_path)


def test_a_rule_names_where_the_setting_that_broke_it_was_set(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("projects:\n  encrypt: true\n")
    with pytest.raises(ConfigError, match=r"^config\.yaml:2: projects\.encrypt: encryption cannot be used"):
        load_settings(environ={}, cwd=tmp_path)


def test_rules_stay_silent_about_settings_that_are_wrong_themselves(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(environ={**SEALED, "PROJECTS_WORKSPACE_MODE": "ephemral"}, cwd=tmp_path)
    assert [problem["key"] for problem in caught.value.details["problems"]] == ["projects.workspace.mode"]


def test_rules_stay_silent_when_a_file_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("projects: {s3: {bucket: b}\n")
    with pytest.raises(ConfigError, match=r"^config\.yaml:\d: not valid YAML"):
        load_settings(environ={"PROJECTS_BACKEND": "s3"}, cwd=tmp_path)
