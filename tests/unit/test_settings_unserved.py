"""A setting that has no effect yet is refused, or taken with a warning: never ignored."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from manifold_common.errors import ConfigError
from manifold_common.settings import Setting, Settings, describe_settings, load_settings

from tests.support.settings import sample

UNSERVED = [setting for setting in describe_settings() if setting.unserved is not None]
REFUSED = [setting for setting in UNSERVED if not setting.is_taken]
WARNED = [setting for setting in UNSERVED if setting.is_taken]

GUIDE = {
    "logPayloads": "true",
    "llm.apiKey": "sk-x",
    "otel.serviceName": "manifold",
    "otel.endpoint": "http://otel-collector:4318",
    "clickhouse.dsn": "tcp://clickhouse:9000?database=otel",
    "skills.redisCacheTTLSeconds": "3600",
    "skills.useS3Loader": "true",
}
"""What the deployment guide gives."""


def refusals(folder: Path, **environ: str) -> list[dict[str, str]]:
    with pytest.raises(ConfigError) as caught:
        load_settings(environ=environ, cwd=folder)
    found: list[dict[str, str]] = caught.value.details["problems"]
    return found


def in_file(folder: Path, setting: Setting, text: str) -> None:
    tree: object = text
    for name in reversed(setting.key.split(".")):
        tree = {name: tree}
    (folder / "config.yaml").write_text(yaml.safe_dump(tree))


@pytest.mark.parametrize("setting", REFUSED, ids=lambda setting: setting.key)
def test_it_is_refused_wherever_it_is_given(setting: Setting, tmp_path: Path) -> None:
    text, variable = sample(setting), setting.env[0]
    assert setting.unserved is not None
    expected = {"key": setting.key, "message": f"has no effect yet: {setting.unserved.lacks}"}
    expected["hint"] = setting.unserved.instead
    assert expected["hint"].startswith("remove it")
    assert refusals(tmp_path, **{variable: text}) == [{**expected, "where": f"variable {variable}"}]
    (tmp_path / ".env").write_text(f"{variable}={text}\n")
    assert refusals(tmp_path) == [{**expected, "where": f".env:1 ({variable})"}]
    (tmp_path / ".env").unlink()
    in_file(tmp_path, setting, text)
    (problem,) = refusals(tmp_path)
    assert problem == {**expected, "where": problem["where"]}
    assert problem["where"].startswith("config.yaml:")


@pytest.mark.parametrize("setting", WARNED, ids=lambda setting: setting.key)
def test_it_is_taken_with_a_warning_that_shows_no_value(setting: Setting, tmp_path: Path) -> None:
    text = GUIDE.get(setting.key) or sample(setting)
    in_file(tmp_path, setting, text)
    (warning,) = load_settings(environ={}, cwd=tmp_path).warnings
    assert (warning.key, warning.where.partition(":")[0]) == (setting.key, "config.yaml")
    assert setting.unserved is not None and setting.unserved.lacks in warning.message
    assert text not in str(warning) or text in setting.unserved.lacks


def test_everything_that_the_guide_gives_is_served_or_warned_of(tmp_path: Path) -> None:
    by_key = {setting.key: setting for setting in describe_settings()}
    settings = load_settings(environ={by_key[key].env[0]: text for key, text in GUIDE.items()}, cwd=tmp_path)
    assert {warning.key for warning in settings.warnings} == GUIDE.keys()


def test_what_promises_protection_is_never_just_warned_of(tmp_path: Path) -> None:
    for setting in WARNED:
        assert not re.match(r"auth|.*(tls|quotas|retention|encryption)\b", setting.key), setting.key
    (problem,) = refusals(tmp_path, AUTH_ENABLED="true")
    assert "this release has no sign-in" in problem["message"]
    assert "ApiAuthorization=AWS_IAM" in problem["hint"]


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("AUTH_ENABLED", "false"),
        ("LOG_PAYLOADS", "false"),
        ("PROJECTS_RETENTION_DAYS", "0"),
        ("PROJECTS_RETENTION_GENERATIONS", "0"),
        ("SKILLS_USE_S3_LOADER", "no"),
        ("SKILLS_REDIS_CACHE_TTL_SECONDS", "0"),
        ("OTEL_SAMPLE_RATIO", "0.0"),
    ],
)
def test_what_asks_for_what_is_so_anyway_is_taken_in_silence(tmp_path: Path, variable: str, text: str) -> None:
    assert not load_settings(environ={variable: text}, cwd=tmp_path).warnings


def test_a_default_that_would_do_something_is_no_less_a_promise(tmp_path: Path) -> None:
    (problem,) = refusals(tmp_path, OTEL_METRICS_INTERVAL_SECONDS="30")
    assert Settings().otel.metrics_interval_seconds == 30
    assert "sends no telemetry" in problem["message"]


def test_an_empty_value_is_none_given(tmp_path: Path) -> None:
    assert not load_settings(environ={setting.env[0]: "" for setting in UNSERVED}, cwd=tmp_path).warnings


def test_the_twin_that_names_a_file_is_refused_too(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s" * 32)
    (problem,) = refusals(tmp_path, AUTH_SESSION_SECRET_FILE=str(tmp_path / "secret"))
    assert problem["where"] == "variable AUTH_SESSION_SECRET_FILE"


def test_a_value_of_the_wrong_kind_is_one_problem(tmp_path: Path) -> None:
    (problem,) = refusals(tmp_path, AUTH_SESSION_SECONDS="soon")
    assert problem["message"].startswith("must be a whole number")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("AUTH_ENABLE", "AUTH_ENABLED"),
        ("auth_enabled", "AUTH_ENABLED"),
        ("MANIFOLD_AUTH_ENABLED", "AUTH_ENABLED"),
        ("PROJECT_ENCRYPT", "PROJECTS_ENCRYPT"),
        ("PROJECTS_ENCRYPTION", "PROJECTS_ENCRYPT"),
    ],
)
@pytest.mark.parametrize("place", ["variable", ".env"])
def test_a_variable_that_looks_like_one_of_ours_is_warned_of(tmp_path: Path, name: str, meant: str, place: str) -> None:
    if place == ".env":
        (tmp_path / ".env").write_text(f"{name}=true\n")
    settings = load_settings(environ={name: "true"} if place == "variable" else {}, cwd=tmp_path)
    (warning,) = settings.warnings
    assert place in warning.where
    assert (warning.message, warning.hint) == (f"{name} is no variable of a setting", f"did you mean '{meant}'?")


def test_variables_of_other_programs_are_none_of_our_business(tmp_path: Path) -> None:
    others = {"AUTH_TOKEN": "x", "PROJECT_ID": "x", "MANIFOLD_TOOLS": "x", "PROJECTS": "x", "AUTHOR": "x"}
    assert not load_settings(environ=others, cwd=tmp_path).warnings


@pytest.mark.parametrize("name", ["AUTH_ENABLED", "PROJECTS_ENCRYPT", "LOG_LEVEL"])
def test_a_file_is_not_named_for_what_is_not_read_from_one(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=f"variable {name}_FILE: .* is not read from a file .set {name} itself."):
        load_settings(environ={f"{name}_FILE": "/run/secrets/x"}, cwd=tmp_path)
