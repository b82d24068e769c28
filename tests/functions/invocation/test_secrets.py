"""Settings that are kept in AWS Secrets Manager."""

from __future__ import annotations

import json

import pytest
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.errors import KeyUnavailable
from manifold_common.settings import describe_settings
from manifold_common.settings.holders import not_held

from functions.invocation.entry import InvocationError
from tests.support.functions import Function, MakeFunction, printed, sample
from tests.support.planted import MARK, around, planted
from tests.support.secrets_manager import Secrets


def start(function: Function) -> tuple[str, str]:
    """Return name and text of the exception with which an invocation fails."""
    with pytest.raises(InvocationError) as caught:
        function("fanout", {})
    return type(caught.value).__name__, str(caught.value)


def test_a_function_starts_with_what_its_secret_says(make_function: MakeFunction, secrets: Secrets) -> None:
    dsn = make_function().variables["DATABASE_URL"]
    text = json.dumps({"DATABASE_URL": dsn, "REDIS_PASSWORD": "of-the-secret-manager", "PROJECTS_ENCRYPT": False})
    function = make_function(**secrets.store(text), DATABASE_URL="", PROJECTS_ENCRYPT="")
    assert function("api", sample("http-post"))["statusCode"] == 201
    settings = function.manifold.settings
    assert settings.projects.redis.password is not None
    assert settings.projects.redis.password.get_secret_value() == "of-the-secret-manager"
    assert settings.projects.encrypt is False
    function.manifold.projects.create(LOCAL_PRINCIPAL, "works")


@pytest.mark.parametrize("text", ["hunter2", '["hunter2"]', '"hunter2"', '{"VAULT_TOKEN": ["hunter2"]}'])
def test_a_secret_that_holds_something_else_is_refused_and_not_shown(
    make_function: MakeFunction, secrets: Secrets, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    function = make_function(**secrets.store(text))
    problem = json.loads(function("api", sample("http-get"))["body"])
    assert (problem["status"], problem["code"]) == (500, "config_error")
    assert "manifold/" in problem["detail"]
    assert "hunter2" not in json.dumps(problem) + "".join(capsys.readouterr())


def test_a_secret_that_does_not_exist_is_told(make_function: MakeFunction, secrets: Secrets) -> None:
    variables = {**secrets.store("{}"), "MANIFOLD_SECRETS_ID": "manifold/absent"}
    problem = json.loads(make_function(**variables)("api", sample("http-get"))["body"])
    assert problem["code"] == "unavailable"
    assert "ResourceNotFoundException" in problem["detail"]


def test_without_access_the_missing_variables_are_named(make_function: MakeFunction) -> None:
    function = make_function(MANIFOLD_SECRETS_ID="manifold/prod")
    problem = json.loads(function("api", sample("http-get"))["body"])
    assert problem["code"] == "config_error" and "AWS_ACCESS_KEY_ID" in problem["hint"]


def test_without_a_database_the_variable_is_named(make_function: MakeFunction) -> None:
    name, _ = start(make_function(DATABASE_URL=""))
    assert name == "config_error"
    problem = json.loads(make_function(DATABASE_URL="")("api", sample("http-get"))["body"])
    assert "DATABASE_URL" in problem["hint"]


def test_why_a_function_cannot_start_stands_in_its_log_even_with_encryption_on(
    make_function: MakeFunction, capsys: pytest.CaptureFixture[str]
) -> None:
    start(make_function(DATABASE_URL=""))
    assert any(
        str(line.get("message")).startswith("this function cannot start: databaseUrl is not set")
        for line in printed(capsys.readouterr().out)
    )


@pytest.mark.parametrize("name", ["api", "checkout", "commit", "fanout", "reencrypt", "maintenance"])
def test_no_function_starts_where_it_is_asked_for_sign_in(
    make_function: MakeFunction, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    function = make_function(AUTH_ENABLED="true")
    if name == "api":
        assert function(name, sample("http-get"))["statusCode"] == 500
    else:
        event = sample(f"{name}-direct") if name in ("checkout", "commit") else {}
        assert function(name, {**event, "errors": "return"})["error"]["code"] == "config_error"
    said = "this function cannot start: variable AUTH_ENABLED: auth.enabled: has no effect yet"
    assert any(str(line.get("message")).startswith(said) for line in printed(capsys.readouterr().out))


def test_a_function_says_once_what_has_no_effect_yet(
    make_function: MakeFunction, capsys: pytest.CaptureFixture[str]
) -> None:
    function = make_function(OPENAI_API_KEY="hunter2")
    for _ in range(2):
        assert function("api", sample("http-get"))["statusCode"] == 200
    out = capsys.readouterr().out
    said = [line for line in printed(out) if "llm.apiKey: has no effect yet" in str(line.get("message"))]
    assert [line["level"] for line in said] == ["WARNING"]
    assert "hunter2" not in out


HIDDEN = {
    "VAULT_TOKEN": "hvs.of-the-tests",
    "S3_SECRET_ACCESS_KEY": "of-the-store",
    "REDIS_PASSWORD": "of-redis",
    "KAFKA_SASL_PASSWORD": "of-kafka",
    "WEBHOOKS_SECRET": "of-the-webhooks-of-tests",
}
WITH_EVERYTHING = {
    "PROJECTS_ENCRYPTION_PROVIDER": "vault",
    "VAULT_ADDR": "http://127.0.0.1:1",
    "KAFKA_ENABLED": "true",
    "KAFKA_BROKERS": "127.0.0.1:1",
    "KAFKA_SASL_USERNAME": "manifold",
    "WEBHOOKS_URLS": "http://127.0.0.1:1/hook",
}


def _dsn(make_function: MakeFunction) -> str:
    return make_function().variables["DATABASE_URL"]


@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ("api", {"KAFKA_SASL_PASSWORD", "WEBHOOKS_SECRET"}),
        ("checkout", {"KAFKA_SASL_PASSWORD", "WEBHOOKS_SECRET"}),
        ("commit", {"KAFKA_SASL_PASSWORD", "WEBHOOKS_SECRET"}),
        ("fanout", {"VAULT_TOKEN", "S3_SECRET_ACCESS_KEY", "REDIS_PASSWORD"}),
        ("reencrypt", {"KAFKA_SASL_PASSWORD", "WEBHOOKS_SECRET", "REDIS_PASSWORD"}),
        ("maintenance", {"KAFKA_SASL_PASSWORD", "WEBHOOKS_SECRET", "REDIS_PASSWORD"}),
    ],
)
def test_a_secret_with_what_its_function_must_not_hold_is_refused_by_name(
    make_function: MakeFunction, secrets: Secrets, name: str, refused: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    text = json.dumps({"DATABASE_URL": _dsn(make_function), **HIDDEN})
    function = make_function(**secrets.store(text), DATABASE_URL="")
    if name == "api":
        problem = json.loads(function(name, sample("http-get"))["body"])
    else:
        event = sample("commit-direct") if name == "commit" else {}
        problem = function(name, {**event, "errors": "return"})["error"]
    assert problem["code"] == "config_error"
    assert {one["hint"].split()[1] for one in problem["details"]["problems"]} == refused
    assert not [value for value in HIDDEN.values() if value in json.dumps(problem) + "".join(capsys.readouterr())]


def test_the_fan_out_starts_and_works_without_what_would_open_a_project(
    make_function: MakeFunction, secrets: Secrets
) -> None:
    kept = ("KAFKA_SASL_PASSWORD", "WEBHOOKS_SECRET")
    text = json.dumps({"DATABASE_URL": _dsn(make_function), **{name: HIDDEN[name] for name in kept}})
    function = make_function(**secrets.store(text), DATABASE_URL="", **WITH_EVERYTHING)
    assert function("fanout", {})["waiting"] == 0
    manifold = function.manifold
    assert manifold.settings.projects.encryption.vault.token is None
    with pytest.raises(KeyUnavailable, match="the fanout function holds nothing that opens keys"):
        manifold.projects.create(LOCAL_PRINCIPAL, "demo")


@pytest.mark.parametrize("name", ["api", "maintenance"])
def test_who_delivers_nothing_starts_without_the_secrets_of_sinks(
    make_function: MakeFunction, secrets: Secrets, name: str
) -> None:
    text = json.dumps({"DATABASE_URL": _dsn(make_function), "VAULT_TOKEN": HIDDEN["VAULT_TOKEN"]})
    function = make_function(**secrets.store(text), DATABASE_URL="", **WITH_EVERYTHING)
    if name == "api":
        assert function("api", sample("http-get"))["statusCode"] == 200
    else:
        assert function("maintenance", {"chores": ["prune_events"]})["chores"]["prune_events"]["done"] == 0


def test_a_function_whose_secret_lacks_the_vault_token_says_so(make_function: MakeFunction, secrets: Secrets) -> None:
    text = json.dumps({"DATABASE_URL": _dsn(make_function)})
    function = make_function(**secrets.store(text), DATABASE_URL="", **WITH_EVERYTHING)
    problem = json.loads(function("api", sample("http-get"))["body"])
    assert problem["code"] == "config_error" and "VAULT_TOKEN" in problem["detail"]


def test_no_part_of_a_secret_is_in_the_answers_or_the_log_of_a_function(
    make_function: MakeFunction, secrets: Secrets, capfd: pytest.CaptureFixture[str]
) -> None:
    variables = planted(LOG_LEVEL="debug", PROJECTS_ENCRYPTION_PROVIDER="file", PROJECTS_BACKEND="filesystem")
    fields = {name: value for name, value in variables.items() if not name.startswith(("AWS_", "HTTP", "ALL_"))}

    def held(name: str, fields: dict[str, str]) -> str:
        strange = {field for one in describe_settings() if one.key in not_held(name) for field in one.env}
        return json.dumps({field: value for field, value in fields.items() if field not in strange})

    api, fanout = secrets.store(held("api", fields)), secrets.store(held("fanout", fields))
    function = make_function(**api)
    said = [
        function("api", sample("http-post"))["body"],
        function("api", sample("http-get", rawPath="/health", rawQueryString=""))["body"],
    ]
    said.append(make_function(**fanout)("fanout", {"errors": "return"}))
    broken = {**fields, "DATABASE_URL": f"postgresql://u:{MARK}@{MARK}@127.0.0.1:1/d"}
    secrets.replace(api, held("api", broken))
    said.append(make_function(**api, DATABASE_URL="")("api", sample("http-get"))["body"])
    secrets.replace(fanout, held("fanout", broken))
    said.append(start(make_function(**fanout, DATABASE_URL="")))
    assert "redis" in said[1] and "%-escapes" in said[3]
    assert not around(json.dumps(said)) and not around("".join(capfd.readouterr()))
