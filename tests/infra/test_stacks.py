"""Roles, alarms, and the stacks beside the main one."""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any

import pytest

from functions.invocation import metrics
from functions.maintenance import handler as maintenance
from functions.reencrypt import handler as reencrypt
from tests.support.templates import (
    NAMES,
    ROOT,
    all_templates,
    as_list,
    functions,
    resources,
    template,
    values_of,
)

WITHOUT_RESOURCES = {
    "ec2:CreateNetworkInterface", "ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets", "ec2:DeleteNetworkInterface",
    "ec2:AssignPrivateIpAddresses", "ec2:UnassignPrivateIpAddresses", "ec2:DescribeVpcs", "ec2:DescribeSecurityGroups",
    "xray:PutTraceSegments", "xray:PutTelemetryRecords",
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


@pytest.mark.parametrize("name", NAMES)
def test_a_function_reads_its_own_secret_and_no_other(name: str) -> None:
    role = ROLES[name.capitalize()]["Properties"]
    shared = [ROLES[one["Ref"]]["Properties"] for one in role["ManagedPolicyArns"]]
    reads = [one for one in _statements([role["Policies"], shared]) if "secretsmanager" in str(one["Action"])]
    found = {(one["Resource"].get("Ref") or one["Resource"]["Fn::Sub"]).rpartition(":")[2] for one in reads}
    assert found == {f"${{SecretPrefix}}/{name}-??????", *(["KafkaSourceSecretArn"] if name == "maintenance" else [])}
    (decrypt,) = (one for one in _statements(role["Policies"]) if one["Resource"] == {"Ref": "SecretKeyArn"})
    bound = decrypt["Condition"]["StringLike"]["kms:EncryptionContext:SecretARN"]["Fn::Sub"]
    assert bound.endswith(f":secret:${{SecretPrefix}}/{name}-??????")


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


@pytest.mark.parametrize("worker", ["reencrypt", "maintenance"])
def test_work_on_jobs_is_asked_for_where_jobs_are_started_and_taken_where_it_is_done(worker: str) -> None:
    queue = {"Ref": f"{worker.capitalize()}QueueArn"}
    may = {
        name: {
            action.removeprefix("sqs:")
            for one in _statements(ROLES[name.capitalize()]["Properties"]["Policies"])
            if one["Resource"] == queue
            for action in as_list(one["Action"])
        }
        for name in NAMES
    }
    takes = {"ReceiveMessage", "DeleteMessage", "GetQueueAttributes"}
    assert {name: actions for name, actions in may.items() if actions} == {
        "api": {"SendMessage"},
        worker: {"SendMessage", *takes},
    }
    shared = [ROLES[name]["Properties"] for name in ("Platform", "ReadProjects", "WriteProjects")]
    assert queue not in [one["Resource"] for one in _statements(shared)]


def test_the_kafka_source_gets_into_the_network_with_the_rights_of_its_function() -> None:
    """It makes network interfaces where the brokers are, whether the function itself is in a VPC or not."""
    wanted = {
        "ec2:CreateNetworkInterface", "ec2:DescribeNetworkInterfaces", "ec2:DeleteNetworkInterface",
        "ec2:DescribeVpcs", "ec2:DescribeSubnets", "ec2:DescribeSecurityGroups",
    }  # fmt: skip
    policies = ROLES["Maintenance"]["Properties"]["Policies"]
    conditional = {one[0]: set(as_list(one[1]["Action"])) for one in values_of(policies, "Fn::If") if one}
    assert wanted <= conditional["HasKafkaSource"]
    assert {"kafka:DescribeClusterV2", "kafka:GetBootstrapBrokers"} <= conditional["FromMsk"]
    assert conditional["HasKafkaSourceSecretKey"] == {"kms:Decrypt"}


def test_failed_records_of_kafka_come_again_in_either_mode_and_end_in_the_queue_of_dead_letters() -> None:
    (source,) = resources("kafka-source", "AWS::Lambda::EventSourceMapping").values()
    nothing = {"Ref": "AWS::NoValue"}
    assert source["FunctionResponseTypes"] == {"Fn::If": ["Provisioned", ["ReportBatchItemFailures"], nothing]}
    assert source["BisectBatchOnFunctionError"] == {"Fn::If": ["Provisioned", True, nothing]}
    assert source["ProvisionedPollerConfig"]["Fn::If"][0] == "Provisioned"
    assert source["DestinationConfig"] == {"OnFailure": {"Destination": {"Ref": "DeadLettersArn"}}}
    # The function answers with single records only where the source reads them.
    variables = resources("template", "AWS::Serverless::Function")["MaintenanceFunction"]["Environment"]["Variables"]
    assert variables["FUNCTIONS_PARTIAL_BATCHES"] == {"Fn::If": ["HasPollers", "true", ""]}
    assert template()["Conditions"]["HasPollers"] == {"Fn::Not": [{"Fn::Equals": [{"Ref": "KafkaPollers"}, 0]}]}
    assert template("kafka-source")["Conditions"]["Provisioned"] == {
        "Fn::Not": [{"Fn::Equals": [{"Ref": "Pollers"}, 0]}]
    }


def test_a_schedule_may_call_a_function_by_its_name_and_its_alias() -> None:
    (invoke,) = (one for one in _statements(ROLES["Scheduler"]) if one["Action"] == "lambda:InvokeFunction")
    found = {one["Fn::Sub"].rpartition(":function:")[2] for one in invoke["Resource"]}
    jobs = ("fanout", "reencrypt", "maintenance")
    assert found == {f"${{Name}}-{name}{alias}" for name in jobs for alias in ("", ":live")}


ALARMS = resources("alarms", "AWS::CloudWatch::Alarm")


@pytest.mark.parametrize("metric", ["Errors", "Throttles", "Duration", "database.failures"])
@pytest.mark.parametrize("name", NAMES)
def test_every_function_has_an_alarm(name: str, metric: str) -> None:
    function = {"Fn::Sub": f"${{Name}}-{name}"}
    of_aws = [{"Name": "FunctionName", "Value": function}]
    of_ours = [{"Name": "function", "Value": function}, {"Name": "service", "Value": "manifold"}]
    dimensions = of_ours if "." in metric else of_aws
    assert [one for one in ALARMS.values() if (one.get("MetricName"), one.get("Dimensions")) == (metric, dimensions)]


@pytest.mark.parametrize("name", NAMES)
def test_a_call_that_nearly_timed_out_is_noticed_and_a_job_that_stops_in_time_is_not(name: str) -> None:
    limit = functions()[name]["Timeout"] * 1000
    (alarm,) = (one for one in ALARMS.values() if one["AlarmName"]["Fn::Sub"] == f"${{Name}}-{name}-near-timeout")
    assert (alarm["MetricName"], alarm["Statistic"]) == ("Duration", "Maximum")
    assert 0.9 * limit <= alarm["Threshold"] < limit
    margin = {"maintenance": maintenance._MARGIN_SECONDS, "reencrypt": reencrypt._MARGIN_SECONDS}.get(name, 0)
    assert alarm["Threshold"] > limit - margin * 1000 or not margin


@pytest.mark.parametrize("name", ["api", "checkout", "commit"])
def test_the_containers_in_use_are_measured_by_those_that_there_may_be(name: str) -> None:
    (alarm,) = (one for one in ALARMS.values() if one["AlarmName"]["Fn::Sub"] == f"${{Name}}-{name}-concurrency")
    running, share = alarm["Metrics"]
    assert running["MetricStat"]["Metric"]["MetricName"] == "ConcurrentExecutions"
    assert share["Expression"] == {"Fn::Sub": f"100 * running / ${{{name.capitalize()}Concurrency}}"}


def test_alarms_about_our_own_metrics_name_metrics_that_the_code_emits_with_their_dimensions(
    capsys: pytest.CaptureFixture[str],
) -> None:
    ours = {one["MetricName"]: one for one in ALARMS.values() if one.get("Namespace") == metrics.NAMESPACE}
    wanted = {"keys.failed", "maintenance.failures", "events.parked_streams", "events.failed_sinks"}
    assert wanted | {"events.oldest.age", "database.failures"} <= ours.keys()
    sources = {path: path.read_text() for path in (ROOT / "functions").rglob("*.py")}
    for name, one in ours.items():
        emitting = {path.parent.name for path, text in sources.items() if f'metrics.count("{name}"' in text}
        emitting |= {path.parent.name for path, text in sources.items() if f'metrics.seconds("{name}"' in text}
        assert emitting, f"nothing emits {name}"
        metrics.start("manifold-x")
        metrics.count(name, 1)
        metrics.flush()
        line = json.loads(capsys.readouterr().out)
        (dimensions,) = line["_aws"]["CloudWatchMetrics"][0]["Dimensions"]
        assert sorted(dimensions) == sorted(item["Name"] for item in one["Dimensions"])
        function = next(item for item in one["Dimensions"] if item["Name"] == "function")["Value"]["Fn::Sub"]
        assert function.removeprefix("${Name}-") in emitting or "invocation" in emitting


def test_queues_events_and_the_api_have_alarms() -> None:
    found = {one.get("MetricName") for one in ALARMS.values()}
    wanted = {"ApproximateNumberOfMessagesVisible", "ApproximateAgeOfOldestMessage", "events.oldest.age", "5xx"}
    assert wanted <= found


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
