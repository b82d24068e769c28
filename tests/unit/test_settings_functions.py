"""What is different on AWS Lambda: the folders, and a further source of variables."""

from __future__ import annotations

from pathlib import Path

import pytest
from manifold_common.errors import ConfigError
from manifold_common.settings import Aws, Settings, load_settings

LAMBDA = {"AWS_LAMBDA_FUNCTION_NAME": "checkout"}
NAMED = {"MANIFOLD_SECRETS_ID": "manifold/prod"}


def load(folder: Path, environ: dict[str, str], secret: dict[str, str] | None = None) -> Settings:
    def open_secret(name: str, aws: Aws) -> dict[str, str]:
        assert name == "manifold/prod"
        return secret or {}

    return load_settings(environ=environ, cwd=folder, open_secret=open_secret)


def test_a_function_works_below_tmp_which_is_all_that_lambda_gives(tmp_path: Path) -> None:
    settings = load(tmp_path, LAMBDA)
    workspace = settings.projects.workspace
    assert settings.workdir == Path("/tmp/manifold")
    assert workspace.cache_dir == Path("/tmp/manifold/.cache")
    assert workspace.tmpfs_dir == Path("/tmp/manifold-sets")
    assert workspace.mode == "ephemeral"
    assert settings.database_connect_seconds == 3.0


def test_what_is_set_counts_on_lambda_too(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        {**LAMBDA, "WORKDIR": "/mnt/efs", "PROJECTS_WORKSPACE_MODE": "legacy", "PROJECTS_WORKSPACE_TMPFS_DIR": "/x"},
    )
    workspace = settings.projects.workspace
    assert (settings.workdir, workspace.mode, workspace.tmpfs_dir) == (Path("/mnt/efs"), "legacy", Path("/x"))


def test_a_secret_counts_less_than_the_environment_and_more_than_files(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("VAULT_KEY_NAME=dotenv\nS3_REGION=dotenv\nREDIS_ADDR=dotenv:1\n")
    secret = {"VAULT_KEY_NAME": "secret", "S3_REGION": "secret", "VAULT_TOKEN": "hvs.secret"}
    settings = load(tmp_path, {**NAMED, "S3_REGION": "environ"}, secret)
    assert settings.projects.s3.region == "environ"
    assert settings.projects.encryption.vault.key_name == "secret"
    assert settings.projects.redis.addr == "dotenv:1"
    assert settings.sources["projects.encryption.vault.keyName"] == "secret (VAULT_KEY_NAME)"


def test_an_empty_variable_does_not_hide_the_secrets(tmp_path: Path) -> None:
    settings = load(tmp_path, {**NAMED, "VAULT_TOKEN": ""}, {"VAULT_TOKEN": "hvs.secret"})
    token = settings.projects.encryption.vault.token
    assert token is not None and token.get_secret_value() == "hvs.secret"


def test_a_wrong_value_is_named_with_the_secret_that_has_it_and_without_the_value(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, NAMED, {"DATABASE_URL": "mysql://root:hunter2@db/x"})
    assert str(caught.value).startswith("secret (DATABASE_URL): databaseUrl: must be")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("name", ["VAULT_TOKEN", "S3_ACCESS_KEY_ID"])
def test_a_secret_that_names_a_file_is_refused_since_nothing_would_read_it(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, NAMED, {f"{name}_FILE": "/run/secrets/one"})
    assert str(caught.value).startswith(f"secret ({name}_FILE): ") and f"as {name}" in str(caught.value)
    assert "/run/secrets" not in str(caught.value)


def test_access_to_the_secret_comes_from_the_other_sources(tmp_path: Path) -> None:
    seen: list[Aws] = []

    def open_secret(name: str, aws: Aws) -> dict[str, str]:
        seen.append(aws)
        return {"AWS_REGION": "of-the-secret", "LOG_LEVEL": "debug"}

    environ = {**NAMED, "AWS_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key"}
    settings = load_settings(environ=environ, cwd=tmp_path, open_secret=open_secret)
    (aws,) = seen
    assert (aws.region, aws.access_key_id) == ("eu-central-1", "id")
    assert aws.secret_access_key is not None and aws.secret_access_key.get_secret_value() == "key"
    assert settings.log_level == "debug"


def test_a_wrong_address_of_the_service_is_an_error_of_the_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"variable AWS_ENDPOINT_URL: aws.endpointUrl: must be"):
        load(tmp_path, {**NAMED, "AWS_ENDPOINT_URL": "nowhere"})


def test_only_functions_open_secrets(tmp_path: Path) -> None:
    assert load_settings(environ=NAMED, cwd=tmp_path).functions.secrets_id == "manifold/prod"
