"""Each function of the template is within what Lambda allows, and has what it needs around it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from manifold_common.settings import load_settings
from manifold_common.settings.catalogue import describe_settings
from manifold_local.functions_stack.deploy import routes
from manifold_local.packaging.artifacts import FUNCTIONS, SHARED

from tests.support.templates import INFRA, NAMES, functions, resources, template, values_of
from tests.support.tools import run_in_tools

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
    assert facts["Environment"]["Variables"]["MANIFOLD_SECRETS_ID"] == {"Fn::Sub": f"${{SecretPrefix}}/{name}"}


@pytest.mark.parametrize("name", NAMES)
def test_lambda_lets_through_what_the_function_logs_and_all_of_its_metrics(name: str) -> None:
    """Metrics are lines without a level, which Lambda takes for INFO."""
    logging = template()["Globals"]["Function"]["LoggingConfig"] | FACTS[name]["LoggingConfig"]
    levels = template()["Mappings"]["LogLevels"]
    assert logging["LogFormat"] == "JSON"
    for what in ("Application", "System"):
        assert logging[f"{what}LogLevel"] == {"Fn::FindInMap": ["LogLevels", {"Ref": "LogLevel"}, what]}
    assert levels.keys() == set(template()["Parameters"]["LogLevel"]["AllowedValues"])
    assert {level: row["Application"] for level, row in levels.items()} == {
        level: "DEBUG" if level == "debug" else "INFO" for level in levels
    }


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
    served = [setting for setting in describe_settings() if setting.unserved is None]
    known = {name for setting in served for name in (*setting.env, *setting.fallback)}
    assert variables.keys() - known == set()
    secret = {name for setting in describe_settings() if setting.secret for name in (*setting.env, *setting.fallback)}
    for name in (variables.keys() & secret) - set(SAM_LOCAL_SECRETS):
        raise AssertionError(f"{name} would show in the console")
    for name in SAM_LOCAL_SECRETS:
        assert variables[name] == {"Fn::If": ["OnThisMachine", "", {"Ref": "AWS::NoValue"}]}
    filled = {name: value if isinstance(value, str) else "" for name, value in variables.items()}
    own = {name for facts in FACTS.values() for name in facts["Environment"]["Variables"]}
    assert own == {"MANIFOLD_SECRETS_ID", "FUNCTIONS_PARTIAL_BATCHES"} <= known
    filled |= {
        "AWS_LAMBDA_FUNCTION_NAME": "manifold-api",
        "AWSKMS_KEY_ID": "alias/x",
        "PROJECTS_ENCRYPTION_PROVIDER": "awskms",
        "S3_BUCKET": "b",
    }
    settings = load_settings(environ={**filled, "LOG_LEVEL": "info"}, cwd=FUNCTIONS)
    assert (settings.projects.backend, settings.projects.encrypt) == ("s3", True)


def test_routes_go_where_the_work_is_done() -> None:
    document = resources("template", "AWS::Serverless::HttpApi")["HttpApi"]["DefinitionBody"]
    for uri in values_of(document, "uri"):
        assert uri["Fn::Sub"][1] == {"Alias": {"Fn::If": ["Gradual", "live", "latest"]}}
    assert routes() == {
        "$default": "api",
        "POST /api/v1/sessions/{session}/plan": "checkout",
        "POST /api/v1/sessions/{session}/publish": "commit",
        "POST /api/v1/sessions/{session}/verify": "commit",
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
    aliases = resources("template", "AWS::Lambda::Alias")
    allowed = []
    for one in permissions:
        condition, live, latest = one["FunctionName"]["Fn::If"]
        alias = aliases[latest["Ref"]]
        name = alias["FunctionName"]["Ref"]
        assert (condition, live) == ("Gradual", {"Ref": f"{name}.Alias"})
        assert (alias["Name"], alias["FunctionVersion"]) == ("latest", "$LATEST")
        allowed.append(name.removesuffix("Function").lower())
    assert sorted(allowed) == sorted(set(routes().values()))
    assert all("${HttpApi}" in one["SourceArn"]["Fn::Sub"] for one in permissions)


def called(target: Any) -> str:
    """Return the function that is called, at once or by its alias, as the kind of deployment has it."""
    condition, alias, function = target["Fn::If"]
    name = function["Ref"] if "Ref" in function else function["Fn::GetAtt"][0]
    assert (condition, alias) == ("Gradual", {"Ref": f"{name}.Alias"})
    return str(name).removesuffix("Function").lower()


@pytest.mark.parametrize(
    ("name", "rate"), [("fanout", "rate(1 minute)"), ("maintenance", "rate(5 minutes)"), ("reencrypt", "rate(1 hour)")]
)
def test_it_runs_on_a_schedule_whose_failures_are_kept(name: str, rate: str) -> None:
    schedules = resources("template", "AWS::Scheduler::Schedule").values()
    (schedule,) = (one for one in schedules if called(one["Target"]["Arn"]) == name)
    expression = schedule["ScheduleExpression"]
    if isinstance(expression, dict):
        expression = template()["Parameters"][expression["Ref"]]["Default"]
    assert expression == rate
    assert "${AWS::StackName}" in schedule["Name"]["Fn::Sub"], "two stacks of one account would fight for the name"
    target = schedule["Target"]
    assert target["DeadLetterConfig"]["Arn"] == {"Fn::GetAtt": ["Queues", "Outputs.DeadLettersArn"]}
    assert target["RoleArn"] == {"Fn::GetAtt": ["Roles", "Outputs.Scheduler"]}


@pytest.mark.parametrize("name", ["commit", "fanout", "maintenance", "reencrypt"])
def test_calls_that_nobody_waits_for_end_in_a_queue_when_they_fail(name: str) -> None:
    function = f"{name.capitalize()}Function"
    found = template()["Resources"][f"{name.capitalize()}Invocations"]
    assert found["DependsOn"] == f"{function}Aliaslive"
    facts = found["Properties"]
    assert facts["FunctionName"] == {"Ref": function}
    assert facts["Qualifier"] == {"Fn::If": ["Gradual", "live", "$LATEST"]}
    failure = facts["DestinationConfig"]["OnFailure"]
    assert failure == {"Destination": {"Fn::GetAtt": ["Queues", "Outputs.DeadLettersArn"]}}


# --- concurrency and connections ---------------------------------------------------------------------------------

MAX_CONNECTIONS, KEPT_FOR_OTHERS = 100, 10
"""What PostgreSQL has by default, and what superusers, migrations and people need of it."""


@pytest.mark.parametrize("name", NAMES)
def test_a_parameter_bounds_how_many_containers_there_are(name: str) -> None:
    reserved = {"Fn::If": ["Limits", {"Ref": f"{name.capitalize()}Concurrency"}, {"Ref": "AWS::NoValue"}]}
    assert FACTS[name]["ReservedConcurrentExecutions"] == reserved


def test_the_connections_of_all_containers_fit_into_a_postgresql_as_it_is_installed() -> None:
    parameters = template()["Parameters"]
    containers = sum(parameters[f"{name.capitalize()}Concurrency"]["Default"] for name in NAMES)
    assert containers * parameters["DatabaseConnections"]["Default"] <= MAX_CONNECTIONS - KEPT_FOR_OTHERS
    variables = template()["Globals"]["Function"]["Environment"]["Variables"]
    assert variables["DATABASE_POOL_MAX"] == {"Ref": "DatabaseConnections"}


def test_the_queue_leaves_the_fan_out_containers_for_its_schedule() -> None:
    source = resources("template", "AWS::Lambda::EventSourceMapping")["NudgeSource"]
    taken = source["ScalingConfig"]["MaximumConcurrency"]
    assert template()["Parameters"]["FanoutConcurrency"]["MinValue"] > taken


@pytest.mark.parametrize("name", ["Reencrypt", "Maintenance"])
def test_as_many_work_on_jobs_at_once_as_are_woken_and_they_leave_the_schedule_a_container(name: str) -> None:
    source = resources("template", "AWS::Lambda::EventSourceMapping")[f"{name}Source"]
    assert source["ScalingConfig"]["MaximumConcurrency"] == {"Ref": f"{name}Workers"}
    assert source["BatchSize"] == 1, "each message is a worker's"
    variables = template()["Globals"]["Function"]["Environment"]["Variables"]
    assert variables[f"FUNCTIONS_{name.upper()}_WORKERS"] == {"Ref": f"{name}Workers"}
    assert variables[f"FUNCTIONS_{name.upper()}_QUEUE_URL"] == {"Fn::GetAtt": ["Queues", f"Outputs.{name}Url"]}
    workers, containers = (template()["Parameters"][f"{name}{of}"] for of in ("Workers", "Concurrency"))
    assert workers["MinValue"] == 2, "Lambda takes no less"
    assert workers["Default"] < containers["Default"] and workers["MinValue"] < containers["MinValue"]


# --- releases -----------------------------------------------------------------------------------------------------


def test_a_new_layer_is_a_new_version_of_every_function() -> None:
    layer = resources("template", "AWS::Serverless::LayerVersion")["CommonLayer"]
    assert layer["PublishLambdaVersion"] is True
    shared = template()["Globals"]["Function"]
    assert (shared["AutoPublishAlias"], shared["AutoPublishAliasAllProperties"]) == ("live", True)


def test_every_kind_of_deployment_is_known_and_only_one_is_not_gradual() -> None:
    kinds = template()["Mappings"]["Deployments"]
    assert kinds.keys() == set(template()["Parameters"]["Deployment"]["AllowedValues"])
    assert [name for name, facts in kinds.items() if facts["Gradual"] != "true"] == ["AllAtOnce"]


@pytest.mark.parametrize("name", NAMES)
def test_a_gradual_deployment_is_ended_by_the_functions_alarm(name: str) -> None:
    preference = FACTS[name]["DeploymentPreference"]
    alarm = {"Fn::Sub": f"${{AWS::StackName}}-{name}-errors"}
    assert preference["Alarms"] == {"Fn::If": ["Alarmed", [alarm], [{"Ref": "AWS::NoValue"}]]}
    assert {"Fn::Sub": f"${{Name}}-{name}-errors"} in values_of(template("alarms"), "AlarmName")
    assert FACTS[name]["VersionDescription"] == {"Ref": "Release"}


_DEPLOY = """
import json, sys
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

class NoPolicies:
    def load(self):
        return {}

found = {}
for kind in ("AllAtOnce", "Canary10Percent5Minutes"):
    document = yaml_parse(open(sys.argv[1]).read())
    for item in document["Resources"].values():
        for place in {"CodeUri", "ContentUri", "Location"} & item.get("Properties", {}).keys():
            item["Properties"][place] = "s3://bucket/code" if place != "Location" else "https://bucket/stack.yaml"
    for name, facts in document["Parameters"].items():
        facts.setdefault("Default", "x")
    found[kind] = transform(document, {"Deployment": kind}, NoPolicies())["Resources"]
print(json.dumps(found))
"""


def test_sam_makes_an_alias_for_each_function_and_shifts_traffic_only_where_deployments_are_gradual(
    tmp_path: Path,
) -> None:
    for kind, made in json.loads(run_in_tools(_DEPLOY, INFRA / "template.yaml", home=tmp_path)).items():
        aliases = [one for name, one in made.items() if name.endswith("Aliaslive")]
        groups = [one for one in made.values() if one["Type"] == "AWS::CodeDeploy::DeploymentGroup"]
        assert len(aliases) == len(NAMES)
        assert len(groups) == sum("UpdatePolicy" in one for one in aliases) == (kind != "AllAtOnce") * len(NAMES)


@pytest.mark.parametrize(
    ("name", "queue"), [("fanout", "Nudge"), ("reencrypt", "Reencrypt"), ("maintenance", "Maintenance")]
)
def test_a_message_is_not_given_out_again_while_its_function_may_be_at_it(name: str, queue: str) -> None:
    facts = resources("queues", "AWS::SQS::Queue")[f"{queue}Queue"]
    assert facts["VisibilityTimeout"] == 6 * FACTS[name]["Timeout"]
    source = resources("template", "AWS::Lambda::EventSourceMapping")[f"{queue}Source"]
    assert called(source["FunctionName"]) == name
    assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert facts["RedrivePolicy"]["deadLetterTargetArn"] == {"Fn::GetAtt": ["DeadLetters", "Arn"]}
