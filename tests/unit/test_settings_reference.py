"""Secrets stay secret, the examples load, and the reference page is up to date."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from manifold_common.errors import ConfigError
from manifold_common.settings import Setting, Settings, describe_settings, load_settings, masked, reference_page
from psycopg.conninfo import conninfo_to_dict

ROOT = Path(__file__).parents[2]
CANARY = "canary-7f3a9c51e0-canary-7f3a9c51e0"
SECRETS = [setting for setting in describe_settings() if setting.secret]
TAKEN = [setting for setting in SECRETS if setting.is_taken]


def _flat(tree: dict[str, object], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def _with_all_secrets(tmp_path: Path) -> Settings:
    environ = {setting.env[0]: CANARY for setting in TAKEN}
    environ |= {"DATABASE_URL": f"postgresql://u:{CANARY}@h/d", "S3_ACCESS_KEY_ID": "id"}
    environ |= {"WEBHOOKS_URLS": f"https://h/{CANARY},https://h/hook?token={CANARY}"}
    return load_settings(environ=environ, cwd=tmp_path)


# --- secrets ------------------------------------------------------------------------------------------------------


def test_no_address_is_a_free_text_in_which_credentials_would_be_shown() -> None:
    for setting in describe_settings():
        if re.search(r"(url|urls|endpoint|addr|address|brokers|dsn)$", setting.key.lower()):
            assert setting.secret or setting.type in ("URL", "host:port", "list of host:port"), setting.key


def test_everything_that_grants_access_is_declared_secret() -> None:
    words = ("password", "secret", "token", "apikey", "dsn", "databaseurl", "headers")
    for setting in describe_settings():
        name = setting.key.rpartition(".")[2].lower()
        if any(word in name for word in words) and setting.key != "functions.secretsId":  # which only names a place
            assert setting.secret, setting.key


def test_no_secret_appears_in_repr_str_masked_values_or_dumps(tmp_path: Path) -> None:
    settings = _with_all_secrets(tmp_path)
    for setting in TAKEN:
        value = setting.value(settings)
        for secret in value if isinstance(value, tuple) else (value,):
            assert CANARY in secret.get_secret_value(), setting.key
    for text in (
        repr(settings),
        str(settings),
        f"{settings.projects.s3!r}",
        json.dumps(masked(settings)),
        settings.model_dump_json(),
        repr(settings.model_dump()),
        repr(dict(settings.sources)),
        repr(settings.warnings),
    ):
        assert CANARY not in text


@pytest.mark.parametrize("setting", SECRETS, ids=lambda setting: setting.key)
def test_no_secret_appears_in_an_error_about_it(tmp_path: Path, setting: Setting) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(environ={setting.env[0]: f"{CANARY}\n{CANARY}"}, cwd=tmp_path)
    assert setting.key in str(caught.value)
    assert CANARY not in str(caught.value) + repr(caught.value) + repr(caught.value.details)
    assert caught.value.__cause__ is None


SPECIAL = ("@", "/", "#", "?", "%x", "%zz", "%00", "[", "]", " ", "/@", "?@", "#@", ":@")
WRONG_URLS = (
    CANARY,
    f"mysql://u:{CANARY}@h/d",
    f"postgresql://{CANARY}@[h/d",
    f"postgresql://u:{CANARY}",
    f"postgresql://u:1{CANARY}@h/d/e",
    f"postgresql://u@h:{CANARY}/d",
    f"postgresql://u:p@h/d?sslmode={CANARY}=x",
    *(f"postgresql://u:{CANARY}{special}{CANARY}@h/d" for special in SPECIAL),
    *(f"postgresql://{CANARY}{special}{CANARY}:p@h/d" for special in SPECIAL if special != ":@"),
    *(f"postgresql://u@h/d?password={CANARY}{special}{CANARY}" for special in SPECIAL if special[0] not in ":/"),
)


@pytest.mark.parametrize("url", WRONG_URLS)
def test_no_part_of_a_wrong_database_url_appears_in_the_error(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError, match="databaseUrl: must be a URL such as postgresql://") as caught:
        load_settings(environ={"DATABASE_URL": url, "POSTGRES_PASSWORD": "p"}, cwd=tmp_path)
    assert CANARY not in str(caught.value) + repr(caught.value.details)


@pytest.mark.parametrize(
    "line",
    [
        "databaseUrl: [CANARY]",
        "databaseUrl: {CANARY: 1}",
        "databaseUrl: *CANARY",
        "databaseUrl: &CANARY",
        "databaseUrl: !CANARY",
        "databaseUrl: !CANARY!x y",
        "databaseUrl: 'CANARY",
        'databaseUrl: "\\qCANARY"',
        "databaseUrl: {CANARY",
        "databaseUrl: @CANARY",
        "databaseUrl: %CANARY: x",
        "databaseUrl: a: CANARY",
        "databaseUrl: '${CANARY CANARY}'",
        "databaseUrl: CANARY",
        "databaseUrl: 1\ndatabaseUrl: CANARY",
    ],
)
def test_no_secret_in_a_broken_file_appears_in_the_error(tmp_path: Path, line: str) -> None:
    (tmp_path / "config.yaml").write_text(line.replace("CANARY", CANARY))
    with pytest.raises(ConfigError) as caught:
        load_settings(environ={}, cwd=tmp_path)
    assert "canary" not in str(caught.value) + repr(caught.value.details)


def test_no_secret_in_a_broken_dotenv_line_appears_in_the_error(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"{CANARY}\nVAULT_TOKEN='{CANARY}\nREDIS_PASSWORD=${{{CANARY}\n")
    with pytest.raises(ConfigError) as caught:
        load_settings(environ={}, cwd=tmp_path)
    assert len(caught.value.details["problems"]) == 3
    assert CANARY not in str(caught.value) + repr(caught.value.details)


def test_a_variable_in_the_wrong_place_is_shown_as_written_not_as_expanded(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text('projects: {redis: {addr: "${REDIS_PASSWORD}"}}')
    with pytest.raises(ConfigError) as caught:
        load_settings(environ={"REDIS_PASSWORD": CANARY}, cwd=tmp_path)
    assert "not '${REDIS_PASSWORD}'" in str(caught.value)
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("S3_ENDPOINT", f"https://user:{CANARY}@host/path"),
        ("S3_ENDPOINT", f"https://user:slash/{CANARY}@host/path"),
        ("VAULT_ADDR", f"https://{CANARY}@host"),
        ("WEBHOOKS_URLS", f"https://host/hook,https://user:{CANARY}@host/path"),
        ("REDIS_ADDR", f"redis://:{CANARY}@host:6379"),
        ("REDIS_ADDR", f":{CANARY}@host:6379"),
        ("KAFKA_BROKERS", f"a:1,user:{CANARY}@host:9092"),
        ("S3_ENDPOINT", f"https://user:12/{CANARY}@host"),
        ("VAULT_ADDR", f"https://vault:8200?token={CANARY}"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", f"https://collector:4318/v1?key={CANARY}"),
        ("AUTH_ISSUER_URL", f"https://issuer/realm#{CANARY}"),
        ("MANIFOLD_REMOTE", f"https://server?key={CANARY}"),
        ("WEBHOOKS_URLS", f"ftp://host/{CANARY}"),
        ("REDIS_ADDR", f"redis://host:6379?password={CANARY}"),
    ],
)
def test_credentials_in_an_address_are_refused_and_not_repeated(tmp_path: Path, variable: str, value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(environ={variable: value}, cwd=tmp_path)
    assert variable in str(caught.value)
    assert CANARY not in str(caught.value) + repr(caught.value.details)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p%40ss%2F%23%3F%25@h/d",
        "postgresql://u:a:b,c;d=&+$!ä@h1:1,h2:2,h3/d?sslmode=require&options=-c%20a%3Db",
        "postgresql://u:p@/d?host=/run/postgresql&port=5433",
        "postgres://u:p@[::1]:5432/d?password=a%40b",
        "postgresql://%2Frun%2Fpostgresql/d",
        "postgresql://",
    ],
)
def test_a_database_url_means_what_libpq_makes_of_it(tmp_path: Path, url: str) -> None:
    found = load_settings(environ={"DATABASE_URL": url}, cwd=tmp_path).database_url
    assert found is not None and found.get_secret_value() == url
    conninfo_to_dict(url)


def test_the_scheme_of_a_database_url_may_be_in_capitals(tmp_path: Path) -> None:
    found = load_settings(environ={"DATABASE_URL": "PostgreSQL://u:P@h/D"}, cwd=tmp_path).database_url
    assert found is not None and found.get_secret_value() == "postgresql://u:P@h/D"


# --- masked -------------------------------------------------------------------------------------------------------


def test_masked_shows_every_setting_in_force_under_its_key_and_says_which_secrets_are_set(tmp_path: Path) -> None:
    values = _flat(masked(_with_all_secrets(tmp_path)))
    assert set(values) == {setting.key for setting in describe_settings() if setting.unserved is None}
    assert all(values[setting.key] == "********" for setting in SECRETS if setting.unserved is None)
    assert _flat(masked(Settings()))["projects.redis.password"] is None


def test_masked_output_without_secrets_loads_again_to_the_same_settings(tmp_path: Path) -> None:
    environ = {"WORKDIR": str(tmp_path), "KAFKA_BROKERS": "a:1,b:2", "LOG_LEVEL": "debug"}
    settings = load_settings(environ=environ, cwd=tmp_path)
    (tmp_path / "shown.yaml").write_text(yaml.safe_dump(masked(settings)))
    again = load_settings(tmp_path / "shown.yaml", environ={}, cwd=tmp_path)
    assert again.model_dump() == settings.model_dump()


# --- examples and the page ----------------------------------------------------------------------------------------


def test_untouched_copies_of_the_examples_give_simple_mode(tmp_path: Path) -> None:
    shutil.copy(ROOT / "config.yaml.example", tmp_path / "config.yaml")
    shutil.copy(ROOT / "example.env", tmp_path / ".env")
    settings = load_settings(environ={}, cwd=tmp_path)
    assert settings.projects.backend == "filesystem"
    assert settings.projects.workspace.mode == "legacy"
    assert settings.database_url is None
    assert not settings.warnings


def test_the_simple_example_is_the_default_configuration(tmp_path: Path) -> None:
    assert load_settings(ROOT / "configs/simple.yaml", environ={}, cwd=tmp_path).model_dump() == Settings().model_dump()


def test_the_encrypted_example_keeps_plaintext_in_ram(tmp_path: Path) -> None:
    projects = load_settings(ROOT / "configs/simple-encrypted.yaml", environ={}, cwd=tmp_path).projects
    assert projects.encrypt
    assert projects.encryption.provider == "file"
    assert projects.workspace.mode == "ephemeral"
    assert projects.workspace.tmpfs_dir.is_relative_to("/dev/shm")


def test_the_enterprise_example_needs_only_a_vault_token(tmp_path: Path) -> None:
    example = ROOT / "configs/enterprise.yaml"
    with pytest.raises(ConfigError) as caught:
        load_settings(example, environ={}, cwd=tmp_path)
    assert len(caught.value.details["problems"]) == 1
    assert "VAULT_TOKEN" in str(caught.value)
    projects = load_settings(example, environ={"VAULT_TOKEN": "t"}, cwd=tmp_path).projects
    assert (projects.backend, projects.s3.bucket, projects.s3.use_path_style) == ("s3", "manifold-workspaces", True)
    assert projects.redis.addr == "redis:6379"
    assert projects.events.brokers == ("kafka:29092",)


def test_the_enterprise_example_works_with_the_variables_of_example_env(tmp_path: Path) -> None:
    shutil.copy(ROOT / "configs/enterprise.yaml", tmp_path / "config.yaml")
    filled = (ROOT / "example.env").read_text()
    for name, value in {
        "POSTGRES_PASSWORD": "p@ss",
        "MINIO_ROOT_USER": "minio",
        "MINIO_ROOT_PASSWORD": "minio-password",
        "VAULT_DEV_ROOT_TOKEN": "root",
    }.items():
        lines = [f"{name}={value}" if line.startswith(f"{name}=") else line for line in filled.splitlines()]
        filled = "\n".join(lines)
    (tmp_path / ".env").write_text(filled)
    settings = load_settings(environ={}, cwd=tmp_path)
    token, url, secret = (
        settings.projects.encryption.vault.token,
        settings.database_url,
        settings.projects.s3.secret_access_key,
    )
    assert token is not None
    assert token.get_secret_value() == "root"
    assert url is not None
    assert url.get_secret_value() == "postgresql://manifold:p%40ss@pg-manifold:5432/manifold"
    assert secret is not None
    assert secret.get_secret_value() == "minio-password"


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_every_example_loads_and_has_an_effect(tmp_path: Path, path: Path) -> None:
    assert not load_settings(path, environ={"VAULT_TOKEN": "t"}, cwd=tmp_path).warnings


def test_the_reference_page_is_up_to_date() -> None:
    assert (ROOT / "docs/configuration.md").read_text() == reference_page(), (
        "run: python -m manifold_common.settings > docs/configuration.md"
    )


def test_the_reference_page_has_a_row_for_every_setting() -> None:
    page = reference_page()
    for setting in describe_settings():
        assert f"| `{setting.key.rpartition('.')[2]}` | `{setting.env[0]}`" in page
