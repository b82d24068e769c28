"""What the builders of adapters make of settings."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
from manifold_common.adapters.kms.provider import KmsKeyProvider
from manifold_common.adapters.s3.links import S3Links
from manifold_common.adapters.s3.object_store import S3ObjectStore
from manifold_common.adapters.s3.options import S3Options
from manifold_common.adapters.system.clock import SystemClock, SystemRandomness
from manifold_common.bootstrap.adapters import build_key_providers
from manifold_common.bootstrap.stores import build_links, build_served_store, build_store
from manifold_common.errors import ConfigError
from manifold_common.settings import Settings, load_settings

S3 = {"PROJECTS_BACKEND": "s3", "S3_BUCKET": "bucket", "S3_ENDPOINT": "http://127.0.0.1:9", "S3_USE_PATH_STYLE": "true"}


def settings_of(**variables: str) -> Settings:
    return load_settings(environ={**S3, **variables})


def options_of(**variables: str) -> S3Options:
    store = build_store(settings_of(**variables), SystemClock(), SystemRandomness())
    return cast(S3ObjectStore, store).options


def test_every_option_of_the_store_has_its_setting() -> None:
    usual = options_of()
    assert (usual.checksum, usual.sign_payload, usual.bulk_delete) == ("CRC64NVME", False, True)
    changed = options_of(
        S3_CHECKSUM="none", S3_SIGN_PAYLOAD="true", S3_BULK_DELETE="false", S3_HEALTH_TIMEOUT_SECONDS="2",
        S3_SSE_MODE="aws:kms", S3_SSE_KMS_KEY_ID="alias/k", S3_REGION="eu-west-1", S3_PREFIX="here",
    )  # fmt: skip
    assert (changed.checksum, changed.sign_payload, changed.bulk_delete) == (None, True, False)
    assert (changed.health_timeout_seconds, changed.region, changed.prefix) == (2.0, "eu-west-1", "here")
    assert (changed.server_side_encryption, changed.kms_key_id) == ("aws:kms", "alias/k")
    assert options_of(S3_CHECKSUM="SHA256").checksum == "SHA256"


def test_store_links_and_keys_have_one_account() -> None:
    settings = settings_of(AWSKMS_KEY_ID="alias/k", AWSKMS_REGION="eu-west-1")
    clock, randomness = SystemClock(), SystemRandomness()
    store = cast(S3ObjectStore, build_store(settings, clock, randomness))
    links = cast(S3Links, build_links(settings, clock))
    keys = cast(KmsKeyProvider, build_key_providers(settings, clock, randomness)["awskms"])
    assert store.options.account is links._credentials.current.account is keys._accounts.current


def test_a_host_hands_on_the_objects_of_a_folder_and_nothing_hands_on_those_of_a_bucket(tmp_path: Path) -> None:
    clock, randomness = SystemClock(), SystemRandomness()
    folder = {"PROJECTS_BACKEND": "filesystem", "WORKDIR": str(tmp_path)}
    for variables, hands_on in (
        (S3, False), (folder, True), ({**folder, "AWS_LAMBDA_FUNCTION_NAME": "manifold-api"}, False)
    ):  # fmt: skip
        settings = load_settings(environ=variables, cwd=tmp_path)
        assert (build_served_store(settings, clock, randomness) is not None) is hands_on
        assert (build_links(settings, clock) is None) is (variables is not S3)


def test_keys_of_the_store_come_before_those_of_aws() -> None:
    of_aws = {"AWS_ACCESS_KEY_ID": "aws", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "t"}
    assert options_of(**of_aws).keys() == ("aws", "s", "t")
    own = options_of(**of_aws, S3_ACCESS_KEY_ID="own", S3_SECRET_ACCESS_KEY="x")
    assert own.keys() == ("own", "x", None)


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"S3_USE_PATH_STYLE": "false"}, "S3_USE_PATH_STYLE"),
        ({"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "hunter2 x"}, "secret_access_key"),
        ({"S3_ACCESS_KEY_ID": "k", "S3_SECRET_ACCESS_KEY": "hunter2 "}, "secretAccessKey"),
        ({"S3_CHECKSUM": "MD5"}, "S3_CHECKSUM"),
    ],
    ids=str,
)
def test_what_cannot_work_is_told_before_anything_starts(variables: dict[str, str], named: str) -> None:
    with pytest.raises(ConfigError, match=named) as caught:
        options_of(**variables)
    assert "hunter2" not in str(caught.value)
