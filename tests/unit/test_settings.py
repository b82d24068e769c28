"""Where values come from, what they may be, and how a wrong one is reported."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

import pytest
from manifold_common.domain.garbage import Rules, to_remove
from manifold_common.errors import ConfigError
from manifold_common.ids import Generation
from manifold_common.settings import S3, Projects, Setting, Settings, describe_settings, load_settings
from manifold_common.settings.fields import Section
from manifold_common.settings.fields import setting as declared
from pydantic import ValidationError

from tests.support.settings import sample


class Load(Protocol):
    def __call__(self, yaml: str | None = None, dotenv: str | None = None, **environ: str) -> Settings: ...


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Load from texts, in an otherwise empty folder and environment."""

    def load(yaml: str | None = None, dotenv: str | None = None, **environ: str) -> Settings:
        if yaml is not None:
            (tmp_path / "config.yaml").write_text(yaml)
        if dotenv is not None:
            (tmp_path / ".env").write_text(dotenv)
        return load_settings(environ=environ, cwd=tmp_path)

    return load


# --- defaults and derived values ----------------------------------------------------------------------------------


def test_an_empty_environment_gives_simple_mode_with_the_defaults_of_the_guide(load: Load) -> None:
    settings = load()
    assert settings.workdir == Path("/app/manifold")
    assert settings.database_url is None
    assert (settings.server.host, settings.server.port) == ("127.0.0.1", 32180)
    assert (settings.projects.backend, settings.projects.encrypt) == ("filesystem", False)
    assert settings.projects.workspace.mode == "legacy"
    assert settings.projects.workspace.ttl_seconds == 86400
    assert (settings.projects.redis.enabled, settings.projects.redis.addr) == (False, "localhost:6379")
    assert settings.projects.encryption.vault.address is None
    assert settings.projects.events.brokers == ()
    assert settings.projects.events.topic == "manifold.project.commits"
    assert settings.skills.redis_cache_ttl_seconds == 3600
    assert settings.otel.service_name == "manifold"


def test_default_folders_lie_below_the_workdir_that_was_set(load: Load, tmp_path: Path) -> None:
    settings = load(WORKDIR=str(tmp_path / "w"))
    assert settings.projects.filesystem.root == tmp_path / "w/.store"
    assert settings.projects.workspace.cache_dir == tmp_path / "w/.cache"
    assert settings.projects.encryption.file.keystore_path == tmp_path / "w/.keystore"
    assert settings.projects.workspace.tmpfs_dir == Path(f"/dev/shm/manifold-{os.getuid()}")


def test_settings_made_in_code_derive_their_folders_too(tmp_path: Path) -> None:
    projects = Projects(backend="s3", s3=S3(bucket="b"))
    settings = Settings(workdir=tmp_path, projects=projects)
    assert settings.projects.filesystem.root == tmp_path / ".store"
    assert settings.projects.s3.bucket == "b"
    other = Settings(workdir=tmp_path / "other", projects=projects)
    assert other.projects.filesystem.root == tmp_path / "other/.store", (
        "a section used twice is not changed by the first"
    )


def test_braces_in_a_path_that_was_set_are_kept_as_they_are(load: Load) -> None:
    settings = load(PROJECTS_FILESYSTEM_ROOT="/srv/{workdir}/{x}")
    assert settings.projects.filesystem.root == Path("/srv/{workdir}/{x}")


def test_settings_cannot_be_changed(load: Load) -> None:
    with pytest.raises(ValidationError):
        load().projects.encrypt = True


# --- precedence ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sources", "expected", "origin"),
    [
        ({"environ": "1001", "dotenv": "1002", "yaml": "1003"}, 1001, "variable SERVER_PORT"),
        ({"dotenv": "1002", "yaml": "1003"}, 1002, ".env:1 (SERVER_PORT)"),
        ({"yaml": "1003"}, 1003, "config.yaml:2"),
        ({}, 32180, "default"),
    ],
)
def test_the_environment_beats_dotenv_beats_the_file_beats_the_default(
    load: Load, sources: Mapping[str, str], expected: int, origin: str
) -> None:
    settings = load(
        yaml=f"server:\n  port: {sources['yaml']}\n" if "yaml" in sources else None,
        dotenv=f"SERVER_PORT={sources['dotenv']}\n" if "dotenv" in sources else None,
        **({"SERVER_PORT": sources["environ"]} if "environ" in sources else {}),
    )
    assert settings.server.port == expected
    assert settings.sources["server.port"] == origin


def test_every_setting_has_an_origin(load: Load) -> None:
    assert set(load().sources) == {setting.key for setting in describe_settings()}


COMPANIONS = {
    "PROJECTS_WORKSPACE_MODE": "ephemeral",
    "KAFKA_BROKERS": "h:1",
    "KAFKA_SASL_PASSWORD": "p",
    "S3_BUCKET": "b",
    "S3_ACCESS_KEY_ID": "i",
    "S3_SECRET_ACCESS_KEY": "s",
    "WEBHOOKS_SECRET": "s" * 16,
}
"""What the rules between settings ask for when one of the samples is set."""


TAKEN = [setting for setting in describe_settings() if setting.is_taken]


@pytest.mark.parametrize("setting", TAKEN, ids=lambda setting: setting.key)
def test_a_setting_is_set_by_its_variable_and_by_its_key(setting: Setting, tmp_path: Path) -> None:
    text, variable = sample(setting), setting.env[0]
    companions = COMPANIONS | {
        variable.replace("CERT_FILE", "KEY_FILE"): "/pem",
        variable.replace("KEY_FILE", "CERT_FILE"): "/pem",
    }
    companions = {name: value for name, value in companions.items() if name not in setting.env}
    *sections, last = setting.key.split(".")
    yaml = "".join(f"{{{section}: " for section in sections) + f'{{{last}: "{text}"}}' + "}" * len(sections)
    (tmp_path / "one.yaml").write_text(yaml)

    by_variable = load_settings(environ={**companions, variable: text}, cwd=tmp_path)
    by_key = load_settings(tmp_path / "one.yaml", environ=companions, cwd=tmp_path)

    assert setting.value(by_variable) == setting.value(by_key)
    assert by_variable.sources[setting.key] == f"variable {variable}"
    assert by_key.sources[setting.key] == "one.yaml:1"


def test_no_two_settings_share_a_key_or_a_variable() -> None:
    rows = describe_settings()
    keys = [row.key for row in rows]
    variables = [name for row in rows for name in row.variables]
    assert len(keys) == len(set(keys))
    assert len(variables) == len(set(variables))
    assert all(row.description for row in rows)


def test_the_variables_and_keys_of_the_guide_exist() -> None:
    rows = describe_settings()
    variables = {name for row in rows for name in (*row.env, *row.fallback)}
    assert variables >= {
        "WORKDIR", "PROJECTS_BACKEND", "PROJECTS_ENCRYPT", "PROJECTS_WORKSPACE_MODE", "REDIS_ENABLED", "REDIS_ADDR",
        "REDIS_PASSWORD", "VAULT_ADDR", "VAULT_TOKEN", "VAULT_KEY_NAME", "KAFKA_BROKERS", "OPENAI_API_KEY",
        "POSTGRES_PASSWORD", "MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD", "MINIO_BUCKET", "OTEL_SERVICE_NAME",
        "OTEL_EXPORTER_OTLP_ENDPOINT", "CLICKHOUSE_DSN", "DATABASE_URL",
    }  # fmt: skip
    assert {row.key for row in rows} >= {
        "projects.backend", "projects.encrypt", "projects.encryption.provider", "projects.encryption.vault.address",
        "projects.encryption.vault.token", "projects.encryption.vault.keyName", "projects.encryption.vault.mountPath",
        "projects.workspace.mode", "projects.workspace.cacheDir", "projects.workspace.tmpfsDir",
        "projects.workspace.ttlSeconds", "projects.s3.endpoint", "projects.s3.bucket", "projects.s3.usePathStyle",
        "projects.redis.enabled", "projects.redis.addr", "projects.events.enabled", "projects.events.brokers",
        "projects.events.topic", "skills.redisCacheTTLSeconds", "skills.useS3Loader", "auth.enabled", "logLevel",
        "logPayloads", "projects.encryption.file.keystorePath",
    }  # fmt: skip


@pytest.mark.parametrize("dotenv", ["SERVER_PORT=\n", "SERVER_PORT=''\n", 'SERVER_PORT=""\n', "SERVER_PORT=${EMPTY}\n"])
def test_an_empty_value_counts_as_unset_and_the_next_source_is_used(load: Load, dotenv: str) -> None:
    settings = load("server:\n  port: 1003\n", dotenv, SERVER_PORT="", EMPTY="")
    assert settings.server.port == 1003
    assert load("server:\n  port: ''\n", dotenv, EMPTY="").server.port == 32180


def test_a_fallback_variable_counts_only_when_nothing_else_sets_the_value(load: Load) -> None:
    minio = {"MINIO_ROOT_USER": "root", "MINIO_ROOT_PASSWORD": "root-password"}
    assert load(**minio).projects.s3.access_key_id == "root"
    yaml = "projects: {s3: {accessKeyId: app, secretAccessKey: app-password}}"
    assert load(yaml, **minio).projects.s3.access_key_id == "app"
    assert load(yaml, S3_ACCESS_KEY_ID="env", **minio).projects.s3.access_key_id == "env"


def test_minio_bucket_overrides_the_file_and_yields_to_s3_bucket(load: Load) -> None:
    yaml = "projects: {s3: {bucket: file}}"
    assert load(yaml, MINIO_BUCKET="minio").projects.s3.bucket == "minio"
    assert load(yaml, MINIO_BUCKET="minio", S3_BUCKET="s3").projects.s3.bucket == "s3"


# --- which files ---------------------------------------------------------------------------------------------------


def test_the_argument_beats_manifold_config_beats_config_yaml(tmp_path: Path) -> None:
    for name, port in (("config.yaml", 1), ("named.yaml", 2), ("argument.yaml", 3)):
        (tmp_path / name).write_text(f"server: {{port: {port}}}")
    environ = {"MANIFOLD_CONFIG": "named.yaml"}
    assert load_settings(Path("argument.yaml"), environ=environ, cwd=tmp_path).server.port == 3
    assert load_settings(environ=environ, cwd=tmp_path).server.port == 2
    assert load_settings(environ={}, cwd=tmp_path).server.port == 1


def test_dotenv_beside_the_file_is_read_and_else_that_of_the_current_folder(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    config = tmp_path / "conf/m.yaml"
    config.write_text("")
    (tmp_path / ".env").write_text("SERVER_PORT=1\n")
    assert load_settings(config, environ={}, cwd=tmp_path).server.port == 1
    (tmp_path / "conf/.env").write_text("SERVER_PORT=2\n")
    settings = load_settings(config, environ={}, cwd=tmp_path)
    assert (settings.server.port, settings.sources["server.port"]) == (2, "conf/.env:1 (SERVER_PORT)")


def test_relative_paths_start_at_the_folder_of_whatever_set_them(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    config = tmp_path / "conf/m.yaml"
    config.write_text("workdir: ../data\nprojects: {workspace: {cacheDir: ~/cache}}")
    environ = {"PROJECTS_FILESYSTEM_ROOT": "store"}
    settings = load_settings(config, environ=environ, cwd=tmp_path)
    assert settings.workdir == tmp_path / "data"
    assert settings.projects.filesystem.root == tmp_path / "store"
    assert settings.projects.workspace.cache_dir == Path.home() / "cache"


@pytest.mark.parametrize("how", ["argument", "variable"])
def test_a_named_file_that_is_missing_is_an_error(tmp_path: Path, how: str) -> None:
    argument = Path("absent.yaml") if how == "argument" else None
    environ = {"MANIFOLD_CONFIG": "absent.yaml"} if how == "variable" else {}
    with pytest.raises(ConfigError, match=r"absent\.yaml: cannot be read: no such file"):
        load_settings(argument, environ=environ, cwd=tmp_path)


def test_a_folder_in_place_of_the_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: is a directory"):
        load_settings(tmp_path, environ={}, cwd=tmp_path)


@pytest.mark.parametrize("name", ["~nobody-of-that-name/x", "a\x00b", "x" * 5000])
def test_a_file_name_that_cannot_exist_is_a_config_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_settings(environ={"MANIFOLD_CONFIG": name}, cwd=tmp_path)


def test_a_dangling_config_yaml_is_an_error_and_not_skipped(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").symlink_to("absent")
    with pytest.raises(ConfigError, match=r"config\.yaml: cannot be read: no such file"):
        load_settings(environ={}, cwd=tmp_path)


def test_a_current_folder_that_was_removed_is_a_config_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    with pytest.raises(ConfigError, match="the current folder no longer exists"):
        load_settings(environ={})


# --- values -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1048576", 2**20),
        ("16MiB", 2**24),
        ("1.5 GiB", 3 * 2**29),
        ("2GB", 2 * 10**9),
        ("3k", 3000),
        ("0", 0),
        ("7b", 7),
    ],
)
def test_sizes_may_carry_a_unit(load: Load, text: str, expected: int) -> None:
    assert load(SERVER_MAX_UPLOAD_BYTES=text).server.max_upload_bytes == expected


@pytest.mark.parametrize("yaml", ["'a:1, b:2'", "[a:1, b:2]", "\n    - a:1\n    - b:2"])
def test_lists_are_yaml_lists_or_texts_with_commas(load: Load, yaml: str) -> None:
    settings = load(f"projects:\n  events:\n   brokers: {yaml}\n")
    assert settings.projects.events.brokers == ("a:1", "b:2")


def test_texts_keep_their_spelling_whatever_yaml_makes_of_them(load: Load) -> None:
    settings = load("projects: {s3: {bucket: 0123, prefix: on, accessKeyId: 1e3, secretAccessKey: 2001-01-01}}")
    s3 = settings.projects.s3
    assert (s3.bucket, s3.prefix, s3.access_key_id) == ("0123", "on", "1e3")
    assert s3.secret_access_key is not None
    assert s3.secret_access_key.get_secret_value() == "2001-01-01"


def test_choices_are_found_whatever_their_case(load: Load) -> None:
    assert load(LOG_LEVEL="DEBUG", S3_SSE_MODE="aes256").projects.s3.sse_mode == "AES256"
    assert load(LOG_LEVEL="DEBUG").log_level == "debug"


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        ("SERVER_PORT", "65536", "a whole number, at least 0 and at most 65535"),
        ("SERVER_PORT", "http", "a whole number, at least 0 and at most 65535"),
        ("PROJECTS_BACKEND", "s4", "one of filesystem, s3"),
        ("PROJECTS_ENCRYPT", "perhaps", "true or false"),
        ("SERVER_MAX_UPLOAD_BYTES", "1.5", "a size in bytes"),
        ("SERVER_MAX_UPLOAD_BYTES", "ten", "a size in bytes"),
        ("SERVER_MAX_UPLOAD_BYTES", "-1", "a size in bytes"),
        ("SERVER_MAX_UPLOAD_BYTES", "9" * 50 + ".5TB", "a size in bytes"),
        ("SERVER_PORT", "9" * 50, "a whole number"),
        ("OTEL_SAMPLE_RATIO", "nan", "a number, at least 0 and at most 1"),
        ("S3_RETRY_TIMEOUT_SECONDS", "inf", "a number, more than 0"),
        ("VAULT_ADDR", "vault:8200", "an http:// or https:// URL without credentials"),
        ("VAULT_ADDR", "http://", "an http:// or https:// URL without credentials"),
        ("VAULT_ADDR", "http://vault:port", "an http:// or https:// URL without credentials"),
        ("VAULT_ADDR", f"http://{'v' * 64}", "an http:// or https:// URL without credentials"),
        ("S3_ENDPOINT", "http://s3..example", "an http:// or https:// URL without credentials"),
        ("REDIS_ADDR", f"{'r' * 64}:6379", "an address such as localhost:6379"),
        ("KAFKA_BROKERS", "kafka:29092,.kafka:29092", "a list of addresses"),
        ("REDIS_ADDR", "redis", "an address such as localhost:6379"),
        ("REDIS_ADDR", "redis:99999", "an address such as localhost:6379"),
        ("KAFKA_BROKERS", "kafka:29092,other", "a list of addresses"),
        ("KAFKA_TOPIC", "bad topic", "text, matching"),
    ],
)
def test_a_wrong_value_is_reported_with_key_place_value_and_what_is_allowed(
    load: Load, variable: str, value: str, allowed: str
) -> None:
    key = next(row.key for row in describe_settings() if variable in row.env)
    with pytest.raises(ConfigError) as caught:
        load(**{variable: value})
    (problem,) = caught.value.details["problems"]
    assert problem["key"] == key
    assert problem["where"] == f"variable {variable}"
    assert f"must be {allowed}" in problem["message"]
    assert problem["message"].endswith(f"not {value!r}")


def test_names_of_servers_as_networks_have_them_are_taken(load: Load) -> None:
    longest = "x" * 63
    settings = load(
        VAULT_ADDR="http://my_vault.:8200", S3_ENDPOINT=f"http://{longest}.example", KAFKA_BROKERS="[::1]:1,bücher.de:2"
    )
    assert settings.projects.s3.endpoint == f"http://{longest}.example"
    assert settings.projects.events.brokers == ("[::1]:1", "bücher.de:2")


def test_a_wrong_value_in_the_file_is_reported_with_its_line(load: Load) -> None:
    with pytest.raises(ConfigError, match=r"^config\.yaml:3: server\.port: must be a whole number"):
        load("# comment\nserver:\n  port: many\n")


def test_a_wrong_value_in_dotenv_is_reported_with_its_line(load: Load) -> None:
    with pytest.raises(ConfigError, match=r"^\.env:2 \(SERVER_PORT\): server\.port: must be a whole number"):
        load(dotenv="\nSERVER_PORT=many\n")


@pytest.mark.parametrize("value", ["a\nb", "a\x00b", "a\x1bb", "a\x7fb"])
def test_control_characters_are_refused(load: Load, value: str) -> None:
    with pytest.raises(ConfigError, match="control characters"):
        load(S3_BUCKET=value)


def test_the_home_of_an_unknown_user_is_refused(load: Load) -> None:
    with pytest.raises(ConfigError, match="unknown user: ~nobody-of-that-name"):
        load(WORKDIR="~nobody-of-that-name/x")


def test_long_values_are_cut_in_messages(load: Load) -> None:
    with pytest.raises(ConfigError) as caught:
        load(PROJECTS_BACKEND="x" * 5000)
    assert len(str(caught.value)) < 300


def test_all_problems_are_reported_together(load: Load) -> None:
    with pytest.raises(ConfigError) as caught:
        load(
            "server: {port: many}\nprojects:\n  bakend: s3\n  encrypt: true\nlogPayloads: [1]\n",
            "this is no assignment\nPROJECTS_QUOTAS_MAX_FILES=-1\n",
            REDIS_ADDR="redis",
            VAULT_ADDR="ftp://x",
        )
    keys = {problem["key"] for problem in caught.value.details["problems"]}
    assert keys == {
        "server.port", "projects.bakend", "projects.encrypt", "logPayloads", "", "projects.quotas.maxFiles",
        "projects.redis.addr", "projects.encryption.vault.address",
    }  # fmt: skip
    assert str(caught.value).startswith("8 problems in the configuration:\n  - ")


def test_a_database_password_of_its_own_is_put_into_the_url_encoded(load: Load) -> None:
    url = load(DATABASE_URL="postgresql://manifold@db:5432/m", POSTGRES_PASSWORD="p@ss/w:rd%").database_url
    assert url is not None
    assert url.get_secret_value() == "postgresql://manifold:p%40ss%2Fw%3Ard%25@db:5432/m"


@pytest.mark.parametrize("url", ["postgresql://u:own@db/m", "postgresql:///m?host=/run/postgresql"])
def test_a_database_url_with_a_password_or_without_a_user_is_left_alone(load: Load, url: str) -> None:
    found = load(DATABASE_URL=url, POSTGRES_PASSWORD="other").database_url
    assert found is not None
    assert found.get_secret_value() == url


def test_what_the_program_decides_counts_more_than_every_other_source(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("projects:\n  backend: filesystem\n")
    settings = load_settings(
        environ={"PROJECTS_BACKEND": "filesystem", "S3_BUCKET": "from-a-variable"},
        cwd=tmp_path,
        overrides={"projects.backend": "s3"},
    )
    assert (settings.projects.backend, settings.projects.s3.bucket) == ("s3", "from-a-variable")
    assert settings.sources["projects.backend"] == "the program"


# --- spans of time --------------------------------------------------------------------------------------------------

_UNITS = {"seconds": 1, "hours": 3600, "days": 86_400}
SPANS = [setting for setting in describe_settings() if setting.path[-1].rpartition("_")[2] in _UNITS]


@pytest.mark.parametrize("setting", SPANS, ids=lambda setting: setting.key)
def test_a_span_of_time_that_no_clock_bears_is_refused_by_its_name(load: Load, setting: Setting) -> None:
    with pytest.raises(ConfigError) as caught:
        load(**{setting.env[0]: "99999999999"})
    (problem,) = caught.value.details["problems"]
    assert problem["key"] == setting.key and "at most" in problem["message"]


def test_the_longest_span_of_each_setting_can_be_reckoned_with(load: Load) -> None:
    assert len(SPANS) > 30
    now = datetime.now(UTC)
    for setting in SPANS:
        longest = float(setting.limits.rpartition("at most ")[2]) * _UNITS[setting.path[-1].rpartition("_")[2]]
        assert now - timedelta(seconds=longest) < now < now + timedelta(seconds=longest), setting.key
    settings = load(PROJECTS_MAINTENANCE_GARBAGE_GRACE_SECONDS=str(100 * 365 * 86_400))
    rules = Rules(1, 0, timedelta(seconds=settings.projects.maintenance.garbage_grace_seconds))
    assert to_remove([(Generation(1), now), (Generation(2), now)], (), now, rules) == []


def test_a_span_of_time_without_a_maximum_cannot_be_declared() -> None:
    with pytest.raises(TypeError, match=r"Endless\.kept_days is a span of time"):
        type("Endless", (Section,), {"__annotations__": {"kept_days": int}, "kept_days": declared(1, "?", ge=0)})
