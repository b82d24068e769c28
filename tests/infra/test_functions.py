"""Each function of the template is within what Lambda allows, and has what it needs around it."""

from __future__ import annotations

from typing import Any

import pytest
from manifold_common.settings import load_settings
from manifold_common.settings.catalogue import describe_settings
from manifold_local.functions_stack.deploy import routes
from manifold_local.packaging.artifacts import FUNCTIONS, SHARED

from tests.support.templates import NAMES, functions, resources, template, values_of

FACTS = functions()
MAX_MEMORY_MB, MAX_SECONDS, MIN_STORAGE_MB, MAX_STORAGE_MB = 10_240, 900, 512, 10_240
HTTP_API_SECONDS = 30
SAM_LOCAL_SECRETS = (
    "DATABASE_URL", "POSTGRES_PASSWORD", "MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD", "VAULT_TOKEN", "REDIS_PASSWORD",
)  # fmt: skip
"""Variables that stand in the template, empty, for nothing but ``sam local``, which sets no others."""


def _number(value: Any) -> int:
    """Return a number, or the default of the parameter that gives it."""
    return int(template()["Parameters"][value["Ref"]]["Default"] if isinstance(value, dict) else value)


def test_there_is_one_for_each_room_that_is_not_shared() -> None:
    rooms = {path.parent.name for path in FUNCTIONS.glob("*/__init__.py")} - set(SHARED)
    assert FACTS.keys() == set(NAMES)
    assert rooms <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_memory_time_and_storage_are_within_limits(name: str) -> None:
    facts = FACTS[name]
    storage = _number(facts["EphemeralStorage"]["Size"])
    assert 128 <= facts["MemorySize"] <= MAX_MEMORY_MB
    assert 1 <= facts["Timeout"] <= MAX_SECONDS
    assert MIN_STORAGE_MB <= storage <= MAX_STORAGE_MB
    assert "SnapStart" not in facts or storage == MIN_STORAGE_MB, "Lambda refuses the two together"


def test_limits_stand_at_each_function_where_lint_sees_them() -> None:
    assert not {"MemorySize", "Timeout", "EphemeralStorage", "SnapStart"} & template()["Globals"]["Function"].keys()


def test_a_parameter_of_storage_has_lambdas_bounds() -> None:
    storage = template()["Parameters"]["CheckoutStorageMb"]
    assert (storage["MinValue"], storage["MaxValue"]) == (MIN_STORAGE_MB, MAX_STORAGE_MB)


def test_the_api_answers_before_the_gateway_gives_up() -> None:
    assert FACTS["api"]["Timeout"] < HTTP_API_SECONDS


@pytest.mark.parametrize("name", NAMES)
def test_its_code_handler_role_and_log_are_its_own(name: str) -> None:
    facts = FACTS[name]
    assert facts["Handler"] == f"functions.{name}.handler.handler"
    assert facts["CodeUri"] == f"../functions/{name}"
    assert facts["FunctionName"] == {"Fn::Sub": f"${{AWS::StackName}}-{name}"}
    assert facts["Role"] == {"Fn::GetAtt": ["Roles", f"Outputs.{name.capitalize()}"]}
    log = {"LogGroupName": {"Fn::Sub": f"/aws/lambda/${{Name}}-{name}"}, "RetentionInDays": {"Ref": "RetentionDays"}}
    assert log in resources("logs", "AWS::Logs::LogGroup").values()
    assert facts["LoggingConfig"]["LogGroup"] == {"Fn::Sub": f"/aws/lambda/${{AWS::StackName}}-{name}"}


def test_every_artifact_is_built_by_make_at_the_top_of_the_repository() -> None:
    built = [item for item in template()["Resources"].values() if "CodeUri" in str(item) or "ContentUri" in str(item)]
    assert len(built) == len(NAMES) + 1
    for item in built:
        assert item["Metadata"]["BuildMethod"] == "makefile"
        assert item["Metadata"]["WorkingDirectory"] == ".."
    rules = (FUNCTIONS.parent / "infra" / "Makefile").read_text()
    for name in ("CommonLayer", *(f"{name.capitalize()}Function" for name in NAMES)):
        assert f"build-{name}" in rules


def test_variables_are_settings_and_fill_a_whole_configuration() -> None:
    variables = template()["Globals"]["Function"]["Environment"]["Variables"]
    known = {name for setting in describe_settings() for name in (*setting.env, *setting.fallback)}
    assert variables.keys() - known == set()
    secret = {name for setting in describe_settings() if setting.secret for name in (*setting.env, *setting.fallback)}
    for name in (variables.keys() & secret) - set(SAM_LOCAL_SECRETS):
        raise AssertionError(f"{name} would show in the console")
    for name in SAM_LOCAL_SECRETS:
        assert variables[name] == {"Fn::If": ["OnThisMachine", "", {"Ref": "AWS::NoValue"}]}
    filled = {name: value if isinstance(value, str) else "" for name, value in variables.items()}
    filled |= {
        "AWS_LAMBDA_FUNCTION_NAME": "manifold-api",
        "AWSKMS_KEY_ID": "alias/x",
        "PROJECTS_ENCRYPTION_PROVIDER": "awskms",
        "S3_BUCKET": "b",
    }
    settings = load_settings(environ={**filled, "LOG_LEVEL": "info"}, cwd=FUNCTIONS)
    assert (settings.projects.backend, settings.projects.encrypt) == ("s3", True)


def test_routes_go_where_the_work_is_done() -> None:
    assert routes() == {
        "$default": "api",
        "POST /api/sessions/{session}/plan": "checkout",
        "POST /api/sessions/{session}/publish": "commit",
        "POST /api/sessions/{session}/verify": "commit",
    }


def test_the_api_is_closed_to_strangers_unless_somebody_opens_it() -> None:
    assert template()["Parameters"]["ApiAuthorization"]["Default"] == "AWS_IAM"
    document = resources("template", "AWS::Serverless::HttpApi")["HttpApi"]["DefinitionBody"]
    auth = values_of(document, "x-amazon-apigateway-auth")
    assert len(auth) == len(routes())
    for one in auth:
        assert one == {"Fn::If": ["Signed", {"type": "AWS_IAM"}, {"Ref": "AWS::NoValue"}]}


def test_api_gateway_may_call_the_functions_of_the_routes_and_no_other() -> None:
    permissions = resources("template", "AWS::Lambda::Permission").values()
    allowed = [one["FunctionName"]["Ref"].removesuffix("Function").lower() for one in permissions]
    assert sorted(allowed) == sorted(set(routes().values()))
    assert all("${HttpApi}" in one["SourceArn"]["Fn::Sub"] for one in permissions)


@pytest.mark.parametrize(
    ("name", "rate"), [("fanout", "rate(1 minute)"), ("maintenance", "rate(5 minutes)"), ("reencrypt", "rate(1 hour)")]
)
def test_it_runs_on_a_schedule_whose_failures_are_kept(name: str, rate: str) -> None:
    (event,) = FACTS[name]["Events"].values()
    schedule = event["Properties"]
    expression = schedule["ScheduleExpression"]
    if isinstance(expression, dict):
        expression = template()["Parameters"][expression["Ref"]]["Default"]
    assert (event["Type"], expression) == ("ScheduleV2", rate)
    assert "${AWS::StackName}" in schedule["Name"]["Fn::Sub"], "two stacks of one account would fight for the name"
    assert schedule["DeadLetterConfig"]["Arn"] == {"Fn::GetAtt": ["Queues", "Outputs.DeadLettersArn"]}
    assert schedule["RoleArn"] == {"Fn::GetAtt": ["Roles", "Outputs.Scheduler"]}


@pytest.mark.parametrize("name", ["commit", "fanout", "maintenance", "reencrypt"])
def test_calls_that_nobody_waits_for_end_in_a_queue_when_they_fail(name: str) -> None:
    failure = FACTS[name]["EventInvokeConfig"]["DestinationConfig"]["OnFailure"]
    assert failure == {"Type": "SQS", "Destination": {"Fn::GetAtt": ["Queues", "Outputs.DeadLettersArn"]}}


def test_a_nudge_is_not_given_out_again_while_the_fanout_may_be_at_it() -> None:
    nudges = resources("queues", "AWS::SQS::Queue")["NudgeQueue"]
    assert nudges["VisibilityTimeout"] == 6 * FACTS["fanout"]["Timeout"]
    source = resources("template", "AWS::Lambda::EventSourceMapping")["NudgeSource"]
    assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert nudges["RedrivePolicy"]["deadLetterTargetArn"] == {"Fn::GetAtt": ["DeadLetters", "Arn"]}
