"""What a store does not do is told at once, permission by permission; and a bucket can be made ready."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from manifold_common.adapters.aws.account import ChainedAccount
from manifold_common.adapters.filesystem.object_store import FilesystemObjectStore
from manifold_common.adapters.memory.object_store import MemoryObjectStore
from manifold_common.adapters.s3.bucket import RULE_NAME, prepare_bucket
from manifold_common.adapters.s3.object_store import S3ObjectStore
from manifold_common.adapters.s3.options import S3Options
from manifold_common.adapters.system.clock import SystemClock, SystemRandomness
from manifold_common.errors import ConfigError, StoreUnavailable
from manifold_common.ports.object_store import Buffer, ObjectStore
from manifold_common.ports.retry import RetryPolicy
from manifold_common.services.upkeep.store_check import FOLDER, StoreReport, check_store
from manifold_local.embedded.stack.seaweedfs import S3Endpoint

from tests.support.s3_proxy import Fault, S3Proxy, running_proxy

ONE_TRY = RetryPolicy(attempts=1, budget_seconds=2.0, base_seconds=0.01, cap_seconds=0.02)


@pytest.fixture
def options(s3_endpoint: S3Endpoint) -> S3Options:
    return S3Options(
        s3_endpoint.bucket,
        prefix=f"check/{uuid.uuid4().hex}",
        endpoint=s3_endpoint.url,
        access_key_id=s3_endpoint.access_key_id,
        secret_access_key=s3_endpoint.secret_access_key,
        connect_timeout_seconds=1.0,
        request_timeout_seconds=5.0,
        retries=ONE_TRY,
    )


@pytest.fixture
def proxy(s3_endpoint: S3Endpoint) -> Iterator[S3Proxy]:
    with running_proxy(s3_endpoint.url) as proxy:
        yield proxy


def open_s3(options: S3Options) -> S3ObjectStore:
    return S3ObjectStore(options, clock=SystemClock(), randomness=SystemRandomness())


def prepare(options: S3Options) -> list[str]:
    return prepare_bucket(options, ChainedAccount(options.keys()))


def check(store: ObjectStore) -> StoreReport:
    return check_store(store, SystemRandomness())


def test_every_store_does_what_is_needed_and_is_left_as_it_was(options: S3Options, tmp_path: Path) -> None:
    clock, randomness = SystemClock(), SystemRandomness()
    stores: list[ObjectStore] = [
        MemoryObjectStore(clock),
        FilesystemObjectStore(tmp_path, clock=clock, randomness=randomness),
        open_s3(options),
    ]
    for store in stores:
        report = check(store)
        assert report.ok, report
        assert len(report.abilities) == 7
        report.require()
        assert list(store.list(FOLDER)) == []


@pytest.mark.parametrize(
    ("method", "permission", "left_untried"),
    [
        ("GET", "s3:ListBucket", 0),
        ("PUT", "s3:PutObject", 5),
        ("POST", "s3:DeleteObject", 0),
    ],
)
def test_the_permission_that_is_missing_is_named(
    options: S3Options, proxy: S3Proxy, method: str, permission: str, left_untried: int
) -> None:
    proxy.inject(Fault("status", status=403, code="AccessDenied"), method=method)
    report = check(open_s3(dataclasses.replace(options, endpoint=proxy.url)))
    assert [one.permission for one in report.missing] == [permission]
    assert len(report.abilities) == 7 - left_untried
    with pytest.raises(ConfigError, match=permission) as caught:
        report.require()
    assert caught.value.details["missing"] == [permission]


def test_reading_that_is_forbidden_is_told_apart_from_listing(options: S3Options, proxy: S3Proxy) -> None:
    store = open_s3(dataclasses.replace(options, endpoint=proxy.url))
    list(store.list(FOLDER))

    class NoReading(S3ObjectStore):
        def get(self, key: str, *, max_bytes: int) -> Buffer:
            proxy.inject(Fault("status", status=403, code="AccessDenied"), method="GET")
            return super().get(key, max_bytes=max_bytes)

    report = check(NoReading(store.options, clock=SystemClock(), randomness=SystemRandomness()))
    assert [(one.name, one.permission) for one in report.missing] == [("read an object", "s3:GetObject")]


def test_a_store_that_ignores_conditions_is_refused() -> None:
    class Careless(MemoryObjectStore):
        def put(self, key: str, data: Buffer, *, if_absent: bool = False) -> None:
            super().put(key, data)

    report = check(Careless(SystemClock()))
    assert [one.permission for one in report.missing] == ["conditional writes"]
    with pytest.raises(ConfigError, match="If-None-Match"):
        report.require()


def test_a_store_that_is_away_is_no_fault_of_its_settings(options: S3Options, proxy: S3Proxy) -> None:
    proxy.inject(Fault("drop"), times=20)
    report = check(open_s3(dataclasses.replace(options, endpoint=proxy.url)))
    assert not report.ok
    assert report.missing == ()
    assert len(report.abilities) == 1
    report.require()


def client_of(s3_endpoint: S3Endpoint) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=s3_endpoint.url,
        region_name=s3_endpoint.region,
        aws_access_key_id=s3_endpoint.access_key_id,
        aws_secret_access_key=s3_endpoint.secret_access_key,
    )


def test_a_bucket_is_created_once_and_other_rules_stay(s3_endpoint: S3Endpoint, options: S3Options) -> None:
    fresh = dataclasses.replace(options, bucket=f"fresh-{uuid.uuid4().hex[:12]}", prefix="shared/manifold")
    client = client_of(s3_endpoint)
    assert not check(open_s3(fresh)).ok
    assert prepare(fresh)[0] == f"created bucket {fresh.bucket}"
    assert check(open_s3(fresh)).ok

    other = {"ID": "other", "Status": "Enabled", "Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 30}}
    client.put_bucket_lifecycle_configuration(Bucket=fresh.bucket, LifecycleConfiguration={"Rules": [other]})
    for said in ("are ended", "stands already"):
        (done,) = prepare(fresh)
        assert said in done
        rules = rules_of(client, fresh.bucket)
        assert rules.pop("other")
        ((rule_id, rule),) = rules.items()
        assert rule_id.startswith(RULE_NAME)
        assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}
        assert rule["Filter"] == {"Prefix": "shared/manifold/"}
    client.close()


def rules_of(client: Any, bucket: str) -> dict[str, dict[str, Any]]:
    found = client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    rules = {rule["ID"]: rule for rule in found}
    assert len(rules) == len(found)
    return rules


def test_each_prefix_of_a_bucket_has_a_rule_of_its_own(s3_endpoint: S3Endpoint, options: S3Options) -> None:
    bucket = f"shared-{uuid.uuid4().hex[:12]}"
    client = client_of(s3_endpoint)
    client.create_bucket(Bucket=bucket)
    older = {"Status": "Enabled", "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1}}
    client.put_bucket_lifecycle_configuration(
        Bucket=bucket,
        LifecycleConfiguration={
            "Rules": [
                {"ID": RULE_NAME, "Filter": {"Prefix": "a/"}, **older},
                {"ID": "theirs", "Filter": {"Prefix": "a/"}, "Status": "Enabled", "Expiration": {"Days": 400}},
            ]
        },
    )
    for prefix in ("b", "", "a/nested"):
        prepare(dataclasses.replace(options, bucket=bucket, prefix=prefix))
    assert {"theirs", RULE_NAME} < rules_of(client, bucket).keys()
    prepare(dataclasses.replace(options, bucket=bucket, prefix="a"))
    rules = rules_of(client, bucket)
    assert rules.pop("theirs")
    assert RULE_NAME not in rules
    assert sorted(rule["Filter"].get("Prefix", "") for rule in rules.values()) == ["", "a/", "a/nested/", "b/"]
    client.close()


def test_credentials_that_may_not_prepare_are_told_what_is_needed_and_not_shown(options: S3Options) -> None:
    wrong = dataclasses.replace(options, access_key_id="nobody", secret_access_key="canary-of-a-secret")
    with pytest.raises(ConfigError, match="s3:PutLifecycleConfiguration") as caught:
        prepare(wrong)
    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_server_that_is_away_cannot_be_prepared(options: S3Options) -> None:
    with pytest.raises(StoreUnavailable):
        prepare(dataclasses.replace(options, endpoint="http://127.0.0.1:9"))


@pytest.mark.parametrize(("mode", "key"), [("AES256", None), ("aws:kms", "alias/manifold")])
def test_the_server_is_asked_to_encrypt_each_object(
    options: S3Options, proxy: S3Proxy, mode: str, key: str | None
) -> None:
    asked = dataclasses.replace(options, endpoint=proxy.url, server_side_encryption=mode, kms_key_id=key)
    proxy.inject(Fault("status", status=400, code="InvalidArgument"), method="PUT")
    with pytest.raises(StoreUnavailable):
        open_s3(asked).put("one", b"x")
    headers = proxy.seen[-1].headers
    assert headers["x-amz-server-side-encryption"] == mode
    assert headers.get("x-amz-server-side-encryption-aws-kms-key-id") == key


def test_a_key_for_a_mode_that_has_none_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match="sseKmsKeyId"):
        S3Options("bucket", kms_key_id="alias/manifold")


def test_a_server_that_knows_no_checksum_headers_is_used_by_a_setting(options: S3Options, proxy: S3Proxy) -> None:
    proxy.unknown_headers = "x-amz-checksum"
    usual = dataclasses.replace(options, endpoint=proxy.url)
    with pytest.raises(StoreUnavailable) as caught:
        open_s3(usual).put("one", b"x")
    assert "S3_CHECKSUM=none" in str(caught.value.hint)
    plain = dataclasses.replace(usual, checksum=None)
    assert check(open_s3(plain)).ok
    assert prepare(plain)
    assert not any("checksum" in name for seen in proxy.seen[-3:] for name in seen.headers)


def test_a_server_that_wants_signed_bytes_and_single_deletes_is_used_by_settings(
    options: S3Options, proxy: S3Proxy
) -> None:
    asked = dataclasses.replace(options, endpoint=proxy.url, sign_payload=True, bulk_delete=False, checksum=None)
    store = open_s3(asked)
    store.put("one", b"x")
    store.delete(["one", "two"])
    assert [seen.method for seen in proxy.seen] == ["PUT", "DELETE", "DELETE"]
    digest = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
    assert proxy.seen[0].headers["x-amz-content-sha256"] == digest
