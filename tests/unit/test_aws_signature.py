"""Signature Version 4 of our own, held against the signer of AWS's SDK."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as SdkCredentials
from manifold_common.adapters.aws.signature import signed
from manifold_common.ports.aws_account import AwsKeys

NOW = datetime(2026, 5, 4, 10, 20, 30, tzinfo=UTC)


@pytest.mark.parametrize("token", [None, "a+long/session=token"])
@pytest.mark.parametrize("body", [b"", b'{"QueueUrl": "https://sqs.eu-central-1.amazonaws.com/1/q"}', "{é}".encode()])
@pytest.mark.parametrize("service", ["sqs", "secretsmanager"])
def test_it_is_the_signature_that_the_sdk_makes(
    service: str, body: bytes, token: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: NOW.replace(tzinfo=None))
    host = f"{service}.eu-central-1.amazonaws.com"
    headers = {"host": host, "content-type": "application/x-amz-json-1.0", "x-amz-target": "AmazonSQS.SendMessage"}
    request = AWSRequest("POST", f"https://{host}/", headers=dict(headers), data=body)
    SigV4Auth(SdkCredentials("AKID", "secret", token), service, "eu-central-1").add_auth(request)
    ours = signed(headers, body, AwsKeys("AKID", "secret", token), region="eu-central-1", service=service, now=NOW)
    assert ours["authorization"] == request.headers["Authorization"]
    assert ours["x-amz-date"] == request.headers["X-Amz-Date"]
    assert ours.get("x-amz-security-token") == token


def test_credentials_do_not_show_their_secret() -> None:
    assert "hush" not in repr(AwsKeys("AKID", "hush", "hush-hush"))
