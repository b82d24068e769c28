"""The commit function: posted changes become a generation."""

from __future__ import annotations

from typing import Any

import pytest
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.ids import ProjectId

from functions.invocation.entry import InvocationError
from tests.support.functions import Function, metrics_of, printed, sample

PUT = {"op": "put", "path": "a", "text": ""}
ANN = LOCAL_PRINCIPAL


@pytest.fixture
def project(function: Function) -> ProjectId:
    return function.manifold.projects.create(ANN, "demo").id


def content(function: Function, project: ProjectId, path: bytes) -> bytes:
    return b"".join(map(bytes, function.manifold.history.open_file(ANN, project, path).read()))


def test_the_sample_becomes_one_generation(function: Function, project: ProjectId, capsys: Any) -> None:
    answer = function("commit", sample("commit-direct"))
    assert (answer["project"], answer["generation"]) == (project, 1)
    tree = function.manifold.history.snapshot(ANN, project).tree
    assert {path for path in tree if path} == {
        b"hello.txt", b"latest", b"empty", b"docs", b"docs/hello.txt", b"tools", b"tools/tool"
    }  # fmt: skip
    assert tree[b"tools/tool"].mode == 0o755
    assert content(function, project, b"tools/tool") == b"#!/bin/sh\nexit 0\n"
    entry = function.manifold.history.log(ANN, project)[0]
    assert (entry.message, entry.provenance) == ("say hello", {"model": "gpt-4.1", "run": "run-17"})
    measured = metrics_of(capsys.readouterr().out)
    assert measured["cold_starts"] == 1 and measured["workspace.commit.duration"] > 0


def test_a_second_invocation_with_the_same_request_id_changes_nothing(function: Function, project: ProjectId) -> None:
    first = function("commit", sample("commit-direct"))
    again = function("commit", sample("commit-direct", correlation_id="another-1"))
    assert (again["generation"], again["commit"]) == (first["generation"], first["commit"])
    assert function.manifold.projects.get(ANN, project).generation == 1


@pytest.mark.parametrize(
    "other",
    [{"message": "another"}, {"changes": [{"op": "put", "path": "hello.txt", "text": "ho"}]}, {"strategy": "ours"}],
    ids=str,
)
def test_another_commit_under_a_used_request_id_is_refused(
    function: Function, project: ProjectId, other: dict[str, Any]
) -> None:
    function("commit", sample("commit-direct"))
    with pytest.raises(InvocationError) as caught:
        function("commit", sample("commit-direct", **other))
    assert type(caught.value).__name__ == "request_name_reused"
    assert function.manifold.projects.get(ANN, project).generation == 1


def test_a_conflict_bears_its_code_and_names_no_path_where_lambda_logs_it(
    function: Function, project: ProjectId
) -> None:
    function("commit", sample("commit-direct"))
    stale = sample("commit-direct", request_id="other", expected_generation=0)
    with pytest.raises(InvocationError) as caught:
        function("commit", stale)
    assert type(caught.value).__name__ == "generation_mismatch"
    assert "hello" not in str(caught.value) and '"errors": "return"' in str(caught.value)
    answer = function("commit", {**stale, "errors": "return"})
    assert answer["error"]["code"] == "generation_mismatch"
    assert answer["error"]["details"] == {"expected": 0, "head_generation": 1}


@pytest.mark.parametrize(
    ("changes", "field", "reason"),
    [
        ({"project": None}, "project", "it is missing"),
        ({"changes": []}, "changes", "expected `array` of length >= 1"),
        ({"changes": [{"op": "burn", "path": "a"}]}, "changes[0].op", "it is none of the values"),
        ({"changes": [{"op": "put", "path": "a"}]}, "changes[0]", "give either text or content_base64"),
        ({"changes": [{"op": "put", "path": "a", "text": 1}]}, "changes[0].text", "expected `str | null`, got `int`"),
        ({"changes": [{"op": "put", "text": ""}]}, "changes[0]", "give path or path_base64"),
        ({"changes": [{**PUT, "text": None, "content_base64": "?"}]}, "changes[0].content_base64", "invalid base64"),
        ({"changes": [{**PUT, "mode": "9"}]}, "changes[0].mode", "expected `str` matching"),
        ({"changes": [{"op": "delete", "path": "a", "secret": 1}]}, "changes[0].secret", "there is no such field"),
        ({"strategy": "mine"}, "strategy", "it is none of the values"),
        ({"expected_generation": -1}, "expected_generation", "expected `int` >= 0"),
        ({"message": "\ud800"}, "message", "it holds text that is not Unicode"),
        ({"action": "burn"}, "action", "expected one of commit, publish, verify, keep"),
        ({"errors": "hide"}, "errors", "it is none of the values"),
        ({"tenant": 5}, "tenant", "expected `str`, got `int`"),
    ],
)  # fmt: skip
def test_a_malformed_event_is_refused_with_the_name_of_the_field(
    function: Function, changes: dict[str, Any], field: str, reason: str
) -> None:
    event = {"errors": "return", **sample("commit-direct", **changes)}
    if event["errors"] == "hide":
        with pytest.raises(InvocationError) as caught:
            function("commit", event)
        assert type(caught.value).__name__ == "malformed_event"
        return
    error = function("commit", event)["error"]
    assert error["code"] == "malformed_event"
    assert error["details"] == {"field": field}
    assert reason in error["detail"]


@pytest.mark.parametrize("event", [None, [], "commit", 7])
def test_an_event_that_is_no_object_is_refused(function: Function, event: object) -> None:
    with pytest.raises(InvocationError, match="the event is not valid"):
        function("commit", event)


def test_what_an_event_holds_is_not_repeated_in_an_error(function: Function) -> None:
    secret = "the-plan-for-monday"
    event = sample("commit-direct", errors="return", strategy=secret, changes=[{"op": secret, secret: secret}])
    assert secret not in str(function("commit", event))


def test_paths_that_are_not_utf_8_come_and_go_as_base64(function: Function, project: ProjectId) -> None:
    event = sample("commit-direct", changes=[{"op": "put", "path_base64": "/w==", "text": "x"}])
    assert function("commit", event)["paths"] == [{"path": "\\xff", "path_base64": "/w=="}]
    assert content(function, project, b"\xff") == b"x"


def test_another_tenants_project_does_not_exist(function: Function, project: ProjectId) -> None:
    event = sample("commit-direct", tenant="umbrella", project=project, errors="return")
    assert function("commit", event)["error"]["code"] == "not_found"


def test_logs_tell_the_outcome_and_no_name(function: Function, project: ProjectId, capsys: Any) -> None:
    function("commit", sample("commit-direct"))
    function("commit", sample("commit-direct", errors="return", changes=[{"op": "delete", "path": "secret-name"}],
                              request_id=None))  # fmt: skip
    out = capsys.readouterr().out
    lines = printed(out)
    assert [line["message"].split(" in ")[0] for line in lines if "message" in line] == [
        "commit: ok",
        "commit: not_found",
    ]
    assert all(line["correlation_id"] == "8f5078b4-2f6c-4d7f-a0a1-6f1ab0a6d2b3" for line in lines if "message" in line)
    assert "secret-name" not in out and "hello.txt" not in out
