"""One chain of credentials, for everything that asks AWS or what speaks as it does."""

from __future__ import annotations

import datetime
import json
import os
import pickle
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from manifold_common.adapters.aws.account import ChainedAccount
from manifold_common.adapters.s3.bucket import prepare_bucket
from manifold_common.adapters.s3.links import S3Links
from manifold_common.adapters.s3.object_store import S3ObjectStore
from manifold_common.adapters.s3.options import S3Options
from manifold_common.adapters.system.clock import SystemClock, SystemRandomness
from manifold_common.errors import ConfigError, StoreUnavailable
from manifold_common.ports.aws_account import AwsKeys, NoAwsKeys
from manifold_local.embedded.stack.seaweedfs import S3Endpoint

from tests.support.odd_server import odd_server

SECRET = "a-secret-that-is-never-shown"


@pytest.fixture(autouse=True)
def nothing_around(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No credentials, until a test gives some."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))


def bucket(s3_endpoint: S3Endpoint, account: ChainedAccount) -> S3Options:
    return S3Options(s3_endpoint.bucket, prefix="account", endpoint=s3_endpoint.url, account=account)


def open_store(options: S3Options) -> S3ObjectStore:
    return S3ObjectStore(options, clock=SystemClock(), randomness=SystemRandomness())


def keys_of(s3_endpoint: S3Endpoint) -> AwsKeys:
    return AwsKeys(s3_endpoint.access_key_id, s3_endpoint.secret_access_key)


def use_everything(options: S3Options, account: ChainedAccount) -> None:
    """Data, links both ways, and preparation."""
    store = open_store(options)
    store.put("k", b"x")
    assert store.health().ok
    links = S3Links(options)
    assert links.to_read(["k"], seconds=60)
    assert links.to_create("k", 1, seconds=60)
    assert prepare_bucket(options, account)


def of_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: AwsKeys) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", keys.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", keys.secret_access_key)


def of_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: AwsKeys) -> None:
    (tmp_path / "credentials").write_text(
        f"[work]\naws_access_key_id={keys.access_key_id}\naws_secret_access_key={keys.secret_access_key}\n"
    )
    monkeypatch.setenv("AWS_PROFILE", "work")


def of_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: AwsKeys) -> None:
    program(tmp_path, json.dumps(answer_of(keys)))
    (tmp_path / "config").write_text(f"[profile work]\ncredential_process = {tmp_path}/program\n")
    monkeypatch.setenv("AWS_PROFILE", "work")


def answer_of(keys: AwsKeys, *, minutes: float = 60) -> dict[str, object]:
    expiration = datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=minutes)
    found = {"Version": 1, "AccessKeyId": keys.access_key_id, "SecretAccessKey": keys.secret_access_key}
    return found | {"Expiration": expiration.isoformat()}


def program(folder: Path, answer: str, *, status: int = 0, errors: str = "") -> None:
    """Make ``folder/program``, which notes each run in ``folder/runs``."""
    (folder / "answer").write_text(answer)
    file = folder / "program"
    file.write_text(f"#!/bin/sh\necho >> {folder}/runs\necho '{errors}' >&2\ncat {folder}/answer\nexit {status}\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)


def runs(folder: Path) -> int:
    return len((folder / "runs").read_text().splitlines())


@pytest.mark.parametrize("give", [of_variables, of_profile, of_process])
def test_every_kind_of_credentials_works_for_data_links_and_preparation(
    s3_endpoint: S3Endpoint,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    give: Callable[[Path, pytest.MonkeyPatch, AwsKeys], None],
) -> None:
    give(tmp_path, monkeypatch, keys_of(s3_endpoint))
    account = ChainedAccount()
    use_everything(bucket(s3_endpoint, account), account)


def test_credentials_of_a_container_work(s3_endpoint: S3Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = keys_of(s3_endpoint)
    with odd_server() as metadata:
        answer = answer_of(keys)
        answer["Token"] = ""
        metadata.answer(200, json.dumps(answer).encode(), content_type="application/json")
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", metadata.url + "/keys")
        found = ChainedAccount().keys()
    assert found[:2] == keys[:2]


def test_the_keys_of_the_settings_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of_profile(tmp_path, monkeypatch, AwsKeys("other", "other"))
    assert ChainedAccount(AwsKeys("mine", SECRET)).keys().access_key_id == "mine"


def test_credentials_are_renewed_before_they_end_and_requests_use_the_new_ones(
    s3_endpoint: S3Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_process(tmp_path, monkeypatch, AwsKeys("another", SECRET))
    program(tmp_path, json.dumps(answer_of(AwsKeys("another", SECRET), minutes=5)))
    account = ChainedAccount()
    store = open_store(bucket(s3_endpoint, account))
    with pytest.raises(StoreUnavailable, match="403"):
        store.put("k", b"x")
    keys = keys_of(s3_endpoint)
    (tmp_path / "answer").write_text(json.dumps(answer_of(keys)))
    store.put("k", b"x")
    before = runs(tmp_path)
    store.put("k", b"x")
    assert runs(tmp_path) == before


def test_credentials_that_were_replaced_in_a_file_are_found_after_the_old_ones_were_refused(
    s3_endpoint: S3Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_profile(tmp_path, monkeypatch, AwsKeys("gone", SECRET))
    account = ChainedAccount()
    store = open_store(bucket(s3_endpoint, account))
    with pytest.raises(StoreUnavailable, match="InvalidAccessKeyId"):
        store.put("k", b"x")
    of_profile(tmp_path, monkeypatch, keys_of(s3_endpoint))
    store.put("k", b"x")


def test_many_threads_look_credentials_up_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of_process(tmp_path, monkeypatch, AwsKeys("key", SECRET))
    account = ChainedAccount()
    found: list[AwsKeys] = []
    threads = [threading.Thread(target=lambda: found.append(account.keys())) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [AwsKeys("key", SECRET)] * 16
    assert runs(tmp_path) == 1


def test_without_any_credentials_it_is_said_what_was_tried_and_what_to_set(s3_endpoint: S3Endpoint) -> None:
    account = ChainedAccount()
    options = bucket(s3_endpoint, account)
    store = open_store(options)
    with pytest.raises(StoreUnavailable) as of_data:
        store.get("k", max_bytes=1)
    with pytest.raises(ConfigError) as of_links:
        S3Links(options).to_read(["k"], seconds=60)
    with pytest.raises(ConfigError) as of_preparation:
        prepare_bucket(options, account)
    for error in (of_data.value, of_links.value, of_preparation.value):
        for said in ("credential_process", "SSO", "AWS_PROFILE", "aws sts get-caller-identity"):
            assert said in str(error)
    health = store.health()
    assert not health.ok
    assert "no AWS credentials" in health.detail


@pytest.mark.parametrize(
    ("answer", "status"), [("", 1), ("no JSON", 0), ('{"Version": 9}', 0), ('{"Version": 1, "AccessKeyId": "x"}', 0)]
)
def test_a_program_that_gives_no_credentials_is_told_without_what_it_printed(
    s3_endpoint: S3Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, status: int
) -> None:
    of_process(tmp_path, monkeypatch, AwsKeys("key", SECRET))
    program(tmp_path, answer, status=status, errors=SECRET)
    account = ChainedAccount()
    with pytest.raises(NoAwsKeys, match="cannot be had") as caught:
        account.keys()
    assert SECRET not in str(caught.value) + repr(caught.value.__cause__)
    store = open_store(bucket(s3_endpoint, account))
    with pytest.raises(StoreUnavailable, match="cannot be had"):
        store.put("k", b"x")
    keys = keys_of(s3_endpoint)
    program(tmp_path, json.dumps(answer_of(keys)))
    store.put("k", b"x")


@pytest.mark.parametrize("wrong", ["hunter2\n", "hunter 2", "", "hunter2\0"])
def test_keys_that_would_break_a_request_are_refused_and_not_shown(wrong: str) -> None:
    with pytest.raises(NoAwsKeys) as caught:
        ChainedAccount(AwsKeys("key", SECRET, wrong))
    assert "session_token" in str(caught.value)
    assert "hunter" not in str(caught.value)


def test_an_account_shows_nothing_and_is_not_pickled() -> None:
    account = ChainedAccount(AwsKeys("key", SECRET))
    assert SECRET not in repr(account) + repr(account.keys())
    with pytest.raises(TypeError):
        pickle.dumps(account)
