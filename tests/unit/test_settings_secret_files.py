"""Secrets in files of their own, as Docker and Kubernetes hand them over."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from manifold_common.errors import ConfigError
from manifold_common.settings import Setting, Settings, describe_settings, load_settings
from manifold_common.settings.secretfile import MAX_BYTES

CANARY = "canary-7f3a9c51e0-canary-7f3a9c51e0"
IN_FILES = [setting for setting in describe_settings() if setting.in_file]
TWINS = [(setting, name) for setting in IN_FILES if setting.is_taken for name in (*setting.env, *setting.fallback)]
VALUES = {
    "databaseUrl": f"postgresql://u:{CANARY}@h/d",
    "projects.events.webhooks.urls": f"https://h/{CANARY}",
}
COMPANIONS = {
    "S3_ACCESS_KEY_ID": "i",
    "S3_SECRET_ACCESS_KEY": "s",
    "KAFKA_SASL_PASSWORD": "p",
    "WEBHOOKS_SECRET": "s" * 16,
}
"""What the rules between settings ask for."""


def revealed(setting: Setting, settings: Settings) -> str:
    value = setting.value(settings)
    one = value[0] if isinstance(value, tuple) else value
    return str(one.get_secret_value() if setting.secret else one)


def secret(folder: Path, content: bytes | str = CANARY) -> Path:
    path = folder / "secret"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def problem(folder: Path, **environ: str) -> str:
    """Return the one problem of a configuration, which shows nothing of the secret."""
    with pytest.raises(ConfigError) as caught:
        load_settings(environ=environ, cwd=folder)
    assert len(caught.value.details["problems"]) == 1
    assert CANARY not in str(caught.value) + repr(caught.value.details)
    assert caught.value.__cause__ is None
    return str(caught.value)


def test_every_secret_may_stand_in_a_file() -> None:
    assert {setting.key for setting in describe_settings() if setting.secret} <= {one.key for one in IN_FILES}
    assert {"DATABASE_URL", "VAULT_TOKEN", "REDIS_PASSWORD", "POSTGRES_PASSWORD"} <= {name for _, name in TWINS}


@pytest.mark.parametrize(("setting", "name"), TWINS, ids=[name for _, name in TWINS])
def test_a_value_in_a_file_counts_as_in_a_variable(setting: Setting, name: str, tmp_path: Path) -> None:
    value = VALUES.get(setting.key, CANARY)
    path = secret(tmp_path, f"{value}\n")
    companions = {one: text for one, text in COMPANIONS.items() if one not in (*setting.env, *setting.fallback)}
    settings = load_settings(environ={**companions, f"{name}_FILE": str(path)}, cwd=tmp_path)
    assert revealed(setting, settings) == value
    assert settings.sources[setting.key] == f"variable {name}_FILE"
    assert CANARY not in repr(settings) or not setting.secret


@pytest.mark.parametrize(
    ("written", "value"), [("a", "a"), ("a\n", "a"), ("a\r\n", "a"), (" a \n", " a "), ("$a", "$a")]
)
def test_one_line_break_at_the_end_is_not_part_of_the_value_and_nothing_is_expanded(
    tmp_path: Path, written: str, value: str
) -> None:
    found = load_settings(environ={"VAULT_TOKEN_FILE": str(secret(tmp_path, written))}, cwd=tmp_path)
    token = found.projects.encryption.vault.token
    assert token is not None and token.get_secret_value() == value


@pytest.mark.parametrize("where", ["environment", ".env"])
def test_a_variable_and_its_file_in_one_place_are_an_error_that_names_both(tmp_path: Path, where: str) -> None:
    both = {"REDIS_PASSWORD": CANARY, "REDIS_PASSWORD_FILE": str(secret(tmp_path))}
    if where == ".env":
        (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in both.items()))
        both = {}
    said = problem(tmp_path, **both)
    assert "projects.redis.password: REDIS_PASSWORD and REDIS_PASSWORD_FILE are both set" in said
    assert said.startswith(
        "variable REDIS_PASSWORD_FILE: " if where == "environment" else ".env:2 (REDIS_PASSWORD_FILE): "
    )


def test_an_empty_variable_is_unset_beside_a_file_and_an_empty_name_of_a_file_beside_a_variable(
    tmp_path: Path,
) -> None:
    path = str(secret(tmp_path))
    for environ in (
        {"REDIS_PASSWORD": "", "REDIS_PASSWORD_FILE": path},
        {"REDIS_PASSWORD": CANARY, "REDIS_PASSWORD_FILE": ""},
    ):
        password = load_settings(environ=environ, cwd=tmp_path).projects.redis.password
        assert password is not None and password.get_secret_value() == CANARY


def test_a_stronger_place_counts_whichever_of_the_two_it_has_and_the_file_of_the_weaker_is_not_read(
    tmp_path: Path,
) -> None:
    (tmp_path / ".env").write_text("REDIS_PASSWORD_FILE=absent\nVAULT_TOKEN=of-dotenv\n")
    (tmp_path / "config.yaml").write_text("projects: {redis: {password: of-the-file}}")
    environ = {"REDIS_PASSWORD": "of-the-environment", "VAULT_TOKEN_FILE": str(secret(tmp_path))}
    found = load_settings(environ=environ, cwd=tmp_path).projects
    assert found.redis.password is not None and found.encryption.vault.token is not None
    assert found.redis.password.get_secret_value() == "of-the-environment"
    assert found.encryption.vault.token.get_secret_value() == CANARY


def test_a_relative_name_starts_at_the_folder_of_what_sets_it_and_is_expanded_in_dotenv(tmp_path: Path) -> None:
    config = tmp_path / "etc"
    config.mkdir()
    secret(config)
    (config / "config.yaml").write_text("")
    (config / ".env").write_text("VAULT_TOKEN_FILE=${NAME}\n")
    found = load_settings(config / "config.yaml", environ={"NAME": "secret"}, cwd=tmp_path)
    token = found.projects.encryption.vault.token
    assert token is not None and token.get_secret_value() == CANARY
    assert found.sources["projects.encryption.vault.token"] == "etc/.env:1 (VAULT_TOKEN_FILE)"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"\xff\xfe", "is not UTF-8 text (byte 0)"),
        (CANARY.encode() + b"\n" + CANARY.encode(), "must hold one line"),
        (CANARY.encode() + b"\0", "must hold one line"),
        (CANARY.encode() * 2000, f"is larger than {MAX_BYTES} bytes"),
    ],
)
def test_a_file_that_holds_no_secret_is_refused_with_its_path(tmp_path: Path, content: bytes, reason: str) -> None:
    path = secret(tmp_path, content)
    said = problem(tmp_path, VAULT_TOKEN_FILE=str(path))
    assert f"variable VAULT_TOKEN_FILE: projects.encryption.vault.token: the file {path} {reason}" in said


@pytest.mark.parametrize("kind", ["absent", "folder", "pipe", "socket", "endless", "dangling"])
def test_what_is_no_file_is_refused_at_once_with_its_path(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "secret"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
    elif kind == "endless":
        path.symlink_to("/dev/zero")
    elif kind == "dangling":
        path.symlink_to(tmp_path / "nowhere")
    said = problem(tmp_path, DATABASE_URL_FILE=str(path))
    assert f"databaseUrl: the file {path}" in said
    assert ("is not a regular file" if kind in ("pipe", "endless") else "cannot be read: ") in said


def test_a_wrong_value_in_a_file_is_refused_like_one_in_a_variable_and_not_shown(tmp_path: Path) -> None:
    path = secret(tmp_path, f"postgresql://u:p@{CANARY}@h/d")
    said = problem(tmp_path, DATABASE_URL_FILE=str(path))
    assert said.startswith("variable DATABASE_URL_FILE: databaseUrl: must be a URL such as")
