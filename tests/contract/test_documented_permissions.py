"""The permissions in S3 that the documents give as all that is needed: each operation is made with just these, before a
server that evaluates policies as AWS does."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from manifold_common.adapters.s3.object_store import S3ObjectStore
from manifold_common.adapters.s3.options import S3Options
from manifold_common.adapters.system.clock import SystemClock, SystemRandomness
from manifold_common.errors import AlreadyExists
from manifold_common.ports.retry import RetryPolicy
from manifold_common.services.upkeep.store_check import check_store

from tests.support.aws import operator_client
from tests.support.kms import running_moto

DOCS = Path(__file__).parents[2] / "docs"


@dataclass
class Account:
    """An account of AWS whose users may do what their policies say, and nothing else."""

    url: str

    def client(self, service: str) -> Any:
        return operator_client(service, self.url, "us-east-1")

    def user(self, name: str, statements: list[dict[str, Any]]) -> dict[str, str]:
        """Return the access key of a new user with just these statements."""
        self.check(False)
        iam = self.client("iam")
        iam.create_user(UserName=name)
        policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **one} for one in statements]}
        iam.put_user_policy(UserName=name, PolicyName="own", PolicyDocument=json.dumps(policy))
        key = iam.create_access_key(UserName=name)["AccessKey"]
        self.check(True)
        return {"access_key_id": key["AccessKeyId"], "secret_access_key": key["SecretAccessKey"]}

    def check(self, checks: bool) -> None:
        body, header = b"0" if checks else b"inf", {"content-type": "text/plain"}
        urllib.request.urlopen(urllib.request.Request(f"{self.url}/moto-api/reset-auth", body, header)).close()


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    with running_moto() as url:
        made = Account(url)
        made.client("s3").create_bucket(Bucket="bucket")
        yield made


def documented() -> set[str]:
    section = (DOCS / "operations.md").read_text().partition("### Permissions in S3")[2].partition("\n## ")[0]
    return set(re.findall(r"`(s3:\w+)`", section))


def store(account: Account, key: dict[str, str]) -> S3ObjectStore:
    # The stand-in for AWS asks for the right to delete in bulk on the bucket, AWS on each object.
    options = S3Options("bucket", "prefix", account.url, retries=RetryPolicy(attempts=1), bulk_delete=False, **key)
    return S3ObjectStore(options, clock=SystemClock(), randomness=SystemRandomness())


def of_objects(actions: set[str]) -> dict[str, Any]:
    return {"Action": sorted(actions), "Resource": "arn:aws:s3:::bucket/prefix/*"}


def of_buckets(actions: set[str]) -> dict[str, Any]:
    return {"Action": sorted(actions), "Resource": "arn:aws:s3:::bucket"}


def test_the_store_works_with_the_documented_permissions(account: Account) -> None:
    objects = {action for action in documented() if action.endswith("Object")}
    key = account.user("works", [of_objects(objects), of_buckets({"s3:ListBucket"})])
    made = store(account, key)
    made.put("t/a", b"0123456789")
    made.put("t/b", b"x", if_absent=True)
    with pytest.raises(AlreadyExists):
        made.put("t/b", b"y", if_absent=True)
    assert bytes(made.get("t/a", max_bytes=10)) == b"0123456789"
    assert [bytes(part) for part in made.get_ranges("t/a", [(0, 2), (8, 2)])] == [b"01", b"89"]
    assert made.head("t/a") is not None and made.head("t/none") is None
    assert [found.key for found in made.list("t")] == ["t/a", "t/b"]
    made.delete(["t/a", "t/b"])
    assert made.health().ok
    check_store(made, SystemRandomness()).require()


@pytest.mark.parametrize("missing", ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:ListBucket"])
def test_none_of_the_documented_permissions_is_superfluous(account: Account, missing: str) -> None:
    objects = {action for action in documented() if action.endswith("Object")} - {missing}
    buckets = {"s3:ListBucket"} - {missing}
    key = account.user(f"lacks-{missing[3:]}", [of_objects(objects)] + [of_buckets(buckets)] * bool(buckets))
    report = check_store(store(account, key), SystemRandomness())
    assert not all(ability.ok for ability in report.abilities)
