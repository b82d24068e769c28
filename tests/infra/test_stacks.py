"""Roles, alarms, and the stacks beside the main one."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest

from tests.support.templates import NAMES, ROOT, all_templates, as_list, resources, template, values_of

WITHOUT_RESOURCES = {
    "ec2:CreateNetworkInterface", "ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets", "ec2:DeleteNetworkInterface",
    "ec2:AssignPrivateIpAddresses", "ec2:UnassignPrivateIpAddresses", "xray:PutTraceSegments",
    "xray:PutTelemetryRecords",
}  # fmt: skip
"""Operations for which AWS lets nobody name a resource."""


def _statements(tree: Any) -> list[dict[str, Any]]:
    """Return the statements of all policies, without conditions around them."""
    found = []
    for statements in values_of(tree, "Statement"):
        for one in as_list(statements):
            found += [item for item in one["Fn::If"][1:] if "Effect" in item] if "Fn::If" in one else [one]
    return found


ROLES = template("roles")["Resources"]


def test_no_role_has_a_wildcard_where_aws_lets_one_name_what_is_meant() -> None:
    checked = 0
    for one in _statements(ROLES):
        actions = as_list(one["Action"])
        assert not [action for action in actions if "*" in action], one
        if "*" in as_list(one.get("Resource", [])):
            assert set(actions) <= WITHOUT_RESOURCES, one
        checked += 1
    assert checked > 20


@pytest.mark.parametrize("name", NAMES)
def test_a_role_is_for_lambda_and_writes_to_its_functions_log_only(name: str) -> None:
    role = ROLES[name.capitalize()]["Properties"]
    (trust,) = role["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "lambda.amazonaws.com"}
    logs = [one for one in _statements(role["Policies"]) if "logs:PutLogEvents" in one["Action"]]
    assert [one["Resource"]["Fn::Sub"].endswith(f":log-group:/aws/lambda/${{Name}}-{name}:*") for one in logs] == [True]


def _may(name: str) -> set[str]:
    role = ROLES[name.capitalize()]["Properties"]
    shared = [ROLES[one["Ref"]]["Properties"] for one in role.get("ManagedPolicyArns", [])]
    return {action for one in _statements([role["Policies"], shared]) for action in as_list(one["Action"])}


def test_the_fanout_sees_no_project() -> None:
    assert not [action for action in _may("fanout") if action.startswith(("s3:", "kms:Encrypt"))]


def test_only_maintenance_deletes_objects_and_only_reencrypt_rewraps_keys() -> None:
    assert [name for name in NAMES if "s3:DeleteObject" in _may(name)] == ["maintenance"]
    assert [name for name in NAMES if "kms:ReEncryptTo" in _may(name)] == ["reencrypt"]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "fanout"])
def test_who_changes_projects_can_store_wrap_and_nudge(name: str) -> None:
    assert {"s3:PutObject", "s3:GetObject", "kms:Encrypt", "kms:Decrypt", "sqs:SendMessage"} <= _may(name)


ALARMS = resources("alarms", "AWS::CloudWatch::Alarm")


@pytest.mark.parametrize("metric", ["Errors", "Throttles"])
@pytest.mark.parametrize("name", NAMES)
def test_every_function_has_an_alarm(name: str, metric: str) -> None:
    dimensions = [{"Name": "FunctionName", "Value": {"Fn::Sub": f"${{Name}}-{name}"}}]
    assert [one for one in ALARMS.values() if (one["MetricName"], one["Dimensions"]) == (metric, dimensions)]


def test_queues_events_and_the_api_have_alarms() -> None:
    metrics = {one["MetricName"] for one in ALARMS.values()}
    wanted = {"ApproximateNumberOfMessagesVisible", "ApproximateAgeOfOldestMessage", "events.oldest.age", "5xx"}
    assert wanted <= metrics


def test_alarms_say_what_is_the_matter_and_tell_somebody() -> None:
    for name, one in ALARMS.items():
        assert len(one["AlarmDescription"]) > 30, name
        assert one["AlarmActions"]["Fn::If"][1] == [{"Ref": "TopicArn"}]


def test_what_cannot_be_made_again_outlives_the_stack() -> None:
    lasting = template("storage")["Resources"]
    for name in ("Key", "Bucket"):
        assert (lasting[name]["DeletionPolicy"], lasting[name]["UpdateReplacePolicy"]) == ("Retain", "Retain")
    assert lasting["Key"]["Properties"]["EnableKeyRotation"] is True
    blocked = lasting["Bucket"]["Properties"]["PublicAccessBlockConfiguration"]
    assert set(blocked.values()) == {True} and len(blocked) == 4


def test_every_stack_is_used_and_gets_exactly_the_parameters_that_it_declares() -> None:
    nested = resources("template", "AWS::Serverless::Application")
    assert sorted(one["Location"] for one in nested.values()) == sorted(
        f"{name}.yaml" for name in all_templates() if name != "template"
    )
    for one in nested.values():
        declared = template(one["Location"].removesuffix(".yaml"))["Parameters"]
        assert one["Parameters"].keys() == declared.keys(), one["Location"]


def test_outputs_that_are_asked_for_exist() -> None:
    nested = resources("template", "AWS::Serverless::Application")
    asked = [place for place in values_of(template(), "Fn::GetAtt") if place[1].startswith("Outputs.")]
    assert len(asked) > 10
    for stack, output in asked:
        outputs = template(nested[stack]["Location"].removesuffix(".yaml"))["Outputs"]
        assert output.removeprefix("Outputs.") in outputs, (stack, output)


@pytest.mark.parametrize("name", all_templates())
def test_every_parameter_is_used(name: str) -> None:
    text = re.sub(r"(?ms)^Parameters:.*?^(?=\S)", "", (ROOT / "infra" / f"{name}.yaml").read_text())
    for parameter in template(name).get("Parameters", {}):
        assert re.search(rf"!Ref {parameter}\b|\$\{{{parameter}\}}", text), parameter


STAGES = tomllib.loads((ROOT / "samconfig.toml").read_text())


@pytest.mark.parametrize("stage", ["local", "dev", "prod"])
def test_a_stage_sets_parameters_that_exist_to_values_that_are_allowed(stage: str) -> None:
    known = template()["Parameters"]
    assert stage in known["Stage"]["AllowedValues"]
    deploy = STAGES[stage]["deploy"]["parameters"]
    assert {"CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"} == set(deploy["capabilities"])
    for line in deploy.get("parameter_overrides", []):
        name, _, value = line.partition("=")
        allowed = known[name].get("AllowedValues")
        assert allowed is None or value in {str(one) for one in allowed}, line


def test_stages_differ_in_the_name_of_their_stack() -> None:
    names = [STAGES[stage]["deploy"]["parameters"]["stack_name"] for stage in ("local", "dev", "prod")]
    assert len(set(names)) == 3
