"""Settings that are kept in AWS Secrets Manager."""

from __future__ import annotations

import json

import pytest
from manifold_common.domain.access import LOCAL_PRINCIPAL

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
    text = json.dumps({"DATABASE_URL": dsn, "WEBHOOKS_SECRET": "of-the-secret-manager", "PROJECTS_ENCRYPT": False})
    function = make_function(**secrets.store(text), DATABASE_URL="", PROJECTS_ENCRYPT="")
    assert function("api", sample("http-post"))["statusCode"] == 201
    settings = function.manifold.settings
    assert settings.projects.events.webhooks.secret is not None
    assert settings.projects.events.webhooks.secret.get_secret_value() == "of-the-secret-manager"
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


def test_no_part_of_a_secret_is_in_the_answers_or_the_log_of_a_function(
    make_function: MakeFunction, secrets: Secrets, capfd: pytest.CaptureFixture[str]
) -> None:
    variables = planted(LOG_LEVEL="debug", PROJECTS_ENCRYPTION_PROVIDER="file", PROJECTS_BACKEND="filesystem")
    fields = {name: value for name, value in variables.items() if not name.startswith(("AWS_", "HTTP", "ALL_"))}
    access = secrets.store(json.dumps(fields))
    function = make_function(**access)
    said = [function("api", sample("http-post"))["body"], function("fanout", {"errors": "return"})]
    said.append(function("api", sample("http-get", rawPath="/health"))["body"])
    broken = {**fields, "DATABASE_URL": f"postgresql://u:{MARK}@{MARK}@127.0.0.1:1/d"}
    secrets.replace(access, json.dumps(broken))
    function = make_function(**access, DATABASE_URL="")
    said += [function("api", sample("http-get"))["body"], start(function)]
    assert "redis" in said[2] and "%-escapes" in said[3]
    assert not around(json.dumps(said)) and not around("".join(capfd.readouterr()))
