"""Each file in ``events/``, as it is shipped, in the order of docs/functions-local.md, on a database without projects.

The same order is run against the stand-in for AWS in tests/e2e/test_functions_scenario.py.
"""

from __future__ import annotations

import json
import re
import secrets
from typing import Any

from manifold_local.embedded.stack.seaweedfs import S3Endpoint

from tests.support.functions import EVENTS, MakeFunction, sample
from tests.support.seaweedfs import s3_variables

GUIDE = EVENTS.parent / "docs" / "functions-local.md"


def test_each_sample_is_served(make_function: MakeFunction, s3_endpoint: S3Endpoint) -> None:
    function = make_function(**s3_variables(s3_endpoint), S3_PREFIX=f"samples/{secrets.token_hex(8)}")
    order = re.findall(r"\$INVOKE-([a-z]+)/invocations -d @events/([a-z-]+)\.json", GUIDE.read_text())
    assert sorted(name for _, name in order) == sorted(path.stem for path in EVENTS.glob("*.json"))
    answers: dict[str, Any] = {name: function(target, sample(name)) for target, name in order}
    statuses = {name: answer["statusCode"] for name, answer in answers.items() if "statusCode" in answer}
    assert statuses == {"http-post": 201, "http-get": 200, "http-plan": 200, "http-publish": 400}
    assert json.loads(answers["http-publish"]["body"])["code"] == "bad_upload"
    assert answers["commit-direct"]["generation"] == answers["checkout-direct"]["generation"] == 1
    assert len(json.loads(answers["http-plan"]["body"])["plan"]["objects"]) <= 1
    batches = ("sqs-nudges", "sqs-reencrypt", "sqs-maintenance", "kafka-commits")
    assert [answers[name] for name in batches] == [{"batchItemFailures": []}] * len(batches)
    assert all("done" in outcome for outcome in answers["maintenance-direct"]["chores"].values())
    assert answers["reencrypt-direct"]["job"] is None
