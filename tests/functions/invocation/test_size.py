"""No answer is larger than Lambda passes on, whatever JSON makes of it; what is done is never answered as refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.errors import CommitConflict
from manifold_common.shapes.path import LISTED_PATHS

from functions.invocation import size
from functions.invocation.bounds import MAX_PAGE_BYTES, fitting
from functions.invocation.entry import InvocationError
from functions.invocation.entry import function as handler
from functions.invocation.http import answer
from functions.invocation.problems import AnswerTooLarge, answer_to
from functions.invocation.size import MAX_ANSWER_BYTES, check_size, written_bytes
from tests.support.functions import FakeContext, Function, sample

LAMBDA_BYTES = 6_291_556
FOLDERS = 450
LONG = '"' * 250  # JSON writes two characters for each, and four when that is text in JSON again


def deep(number: int) -> str:
    return "/".join([LONG] * 15 + [f"{number:03}"])


@pytest.mark.parametrize("character", ["a", '"', "\x01", "é", "\U0001f600"])
def test_no_answer_is_waved_through_for_having_few_characters(character: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(size, "_AS_ASCII", True)  # as up to Python 3.11
    for length in (1 << count for count in range(16, 24)):
        made = {"statusCode": 200, "body": character * (length - 1)}
        if written_bytes(made) > LAMBDA_BYTES:
            with pytest.raises(AnswerTooLarge):
                check_size(made)


@handler("test")
def large(event: Any, _call: Any) -> dict[str, Any]:
    """Answer as many quotes as the event says."""
    body = {"data": '"' * event.get("size", MAX_ANSWER_BYTES // 3)}
    return answer(body) if "requestContext" in event else body


def test_an_answer_that_json_makes_too_large_is_refused(function: Function) -> None:
    refused = large(sample("http-plan"), FakeContext())
    problem = json.loads(refused["body"])
    assert (refused["statusCode"], problem["code"]) == (413, "answer_too_large")
    assert problem["details"]["size"] > MAX_ANSWER_BYTES > 0 and "docs/direct-access.md" in problem["hint"]
    with pytest.raises(InvocationError, match=f"passes on {MAX_ANSWER_BYTES}") as caught:
        large({"size": MAX_ANSWER_BYTES}, FakeContext())
    assert type(caught.value).__name__ == "answer_too_large"
    assert large({"size": 1000}, FakeContext())["data"] == '"' * 1000


@pytest.mark.slow
def test_a_commit_of_many_long_paths_is_answered_and_its_paths_are_counted(function: Function) -> None:
    function.manifold.projects.create(LOCAL_PRINCIPAL, "demo")
    changes = [{"op": "mkdir", "path": deep(number)} for number in range(FOLDERS)]
    done = function("commit", {"project": "demo", "changes": changes})
    assert (done["generation"], done["paths_total"]) == (1, FOLDERS + 15)
    assert 1 <= len(done["paths"]) < FOLDERS

    body = json.dumps({"changes": [{"op": "delete", "path": LONG, "recursive": True}]})
    event = sample("http-post", rawPath="/api/v1/projects/demo/commits", body=body, isBase64Encoded=False)
    found = function("api", event)
    assert written_bytes(found) <= LAMBDA_BYTES
    assert (found["statusCode"], json.loads(found["body"])["generation"]) == (201, 2)

    for path in ("tree", "diff"):
        query = {"recursive": "true", "generation": "1"} if path == "tree" else {"before": "0", "after": "1"}
        seen, more, pages = [], {}, 0
        while more is not None:
            page = _page(function, path, {"limit": "1000", **query, **more})
            seen += [item["path"] for item in page["items"]]
            more, pages = {"cursor": last} if (last := page["next_cursor"]) else None, pages + 1
        assert pages > 1
        assert len(seen) == len(set(seen)) == FOLDERS + 15


def _page(function: Function, path: str, query: dict[str, str]) -> dict[str, Any]:
    text = "&".join(f"{name}={value}" for name, value in query.items())
    found = function("api", sample("http-get", rawPath=f"/api/v1/projects/demo/{path}", rawQueryString=text))
    assert found["statusCode"] == 200, found["body"][:500]
    assert written_bytes(found) <= LAMBDA_BYTES
    page: dict[str, Any] = json.loads(found["body"])
    return page


def test_a_page_of_commits_with_long_messages_ends_early_and_goes_on(function: Function) -> None:
    function.manifold.projects.create(LOCAL_PRINCIPAL, "demo")
    count, note = 30, "\x01" * 12_000  # six characters each
    for number in range(count):
        provenance = {"note": note}
        changes = [{"op": "put", "path": "a", "text": str(number)}]
        function("commit", {"project": "demo", "changes": changes, "provenance": provenance})
    first = _page(function, "commits", {"limit": "100"})
    assert count > len(first["items"]) > 1
    second = _page(function, "commits", {"limit": "100", "cursor": first["next_cursor"]})
    seen = [one["generation"] for one in first["items"] + second["items"]]
    assert (seen, second["next_cursor"]) == (list(range(count, 0, -1)), None)


def test_a_page_has_one_item_at_least() -> None:
    assert fitting(["a" * MAX_PAGE_BYTES * 2, "b"], str) == ["a" * MAX_PAGE_BYTES * 2]


def test_a_conflict_of_very_many_paths_is_told_with_their_number() -> None:
    paths = [f"part/{number}/" + "x" * 1000 for number in range(50_000)]
    error = CommitConflict("others changed it", paths=paths, base_generation=1, head_generation=2, project="p")
    found = answer_to(error, {})
    assert len(found.encode()) < 1 << 20
    assert found.document["details"]["paths_total"] == 50_000
    assert 1 <= len(found.document["details"]["paths"]) <= LISTED_PATHS
