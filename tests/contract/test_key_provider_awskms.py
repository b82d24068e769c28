"""What is particular to AWS KMS: its errors, regions, encryption context, credentials. Over HTTP to moto's server."""

from __future__ import annotations

import base64
import logging
import socket
import time
import traceback
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from manifold_common.adapters.aws.account import ChainedAccount
from manifold_common.adapters.kms.options import KmsOptions
from manifold_common.adapters.kms.provider import KmsKeyProvider
from manifold_common.adapters.system.clock import SystemClock, SystemRandomness
from manifold_common.bootstrap.adapters import build_key_providers
from manifold_common.domain.keys import KeyContext
from manifold_common.errors import ConfigError, CorruptObject, KeyUnavailable
from manifold_common.ids import DekId, ProjectId, TenantId
from manifold_common.ports.credentials import Fixed
from manifold_common.settings import load_settings

from tests.support.kms import REGION, KmsFront, MotoKms
from tests.support.s3_proxy import Fault, running_proxy

MATERIAL = bytes(range(64))
CONTEXT = KeyContext(TenantId("acme"), ProjectId("p" * 26), DekId("d" * 26))


@pytest.fixture
def arn(moto_kms: MotoKms) -> str:
    return moto_kms.key("manifold")


@pytest.fixture
def provider(kms_front: KmsFront, arn: str) -> KmsKeyProvider:
    return provider_for(kms_front.url, "alias/manifold")


def provider_for(url: str | None, key_id: str, region: str | None = REGION, **options: Any) -> KmsKeyProvider:
    made = KmsOptions(key_id, region=region, endpoint=url, **options)
    return KmsKeyProvider(made, Fixed(ChainedAccount()), clock=SystemClock(), randomness=SystemRandomness())


def failure_of(operation: Callable[[], object]) -> KeyUnavailable:
    with pytest.raises(KeyUnavailable) as caught:
        operation()
    return caught.value


# --- what a record holds ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["id", "arn", "alias", "alias-arn"])
def test_every_way_to_name_a_key_gives_records_that_name_its_arn(moto_kms: MotoKms, arn: str, name: str) -> None:
    alias_arn = arn.split(":key/")[0] + ":alias/manifold"
    key_id = {"id": arn.rsplit("/", 1)[1], "arn": arn, "alias": "alias/manifold", "alias-arn": alias_arn}[name]
    provider = provider_for(moto_kms.url, key_id)
    wrapped = provider.wrap(MATERIAL, CONTEXT)
    assert (wrapped.key_name, wrapped.key_version) == (arn, 0)
    assert provider.unwrap(wrapped, CONTEXT) == MATERIAL


def test_an_alias_that_is_pointed_at_another_key_strands_nothing(moto_kms: MotoKms) -> None:
    old_arn, new_arn = moto_kms.key("moving"), moto_kms.key("target")
    provider = provider_for(moto_kms.url, "alias/moving")
    old = provider.wrap(MATERIAL, CONTEXT)
    moto_kms.client.update_alias(AliasName="alias/moving", TargetKeyId=new_arn)
    new = provider.rewrap(old, CONTEXT)
    assert (old.key_name, new.key_name) == (old_arn, new_arn)
    assert provider.unwrap(old, CONTEXT) == provider.unwrap(new, CONTEXT) == MATERIAL


def test_an_operator_can_open_a_record_by_hand_as_documented(moto_kms: MotoKms, arn: str) -> None:
    wrapped = provider_for(moto_kms.url, arn).wrap(MATERIAL, CONTEXT)
    context = {
        "manifold:record": "wrapped key 1",
        "manifold:tenant": "acme",
        "manifold:project": "p" * 26,
        "manifold:dek": "d" * 26,
    }
    blob = wrapped.ciphertext[1:-4]
    answer = moto_kms.client.decrypt(KeyId=arn, CiphertextBlob=blob, EncryptionContext=context)
    assert answer["Plaintext"] == MATERIAL


def test_a_checksum_that_fits_opens_nothing(moto_kms: MotoKms, arn: str) -> None:
    """It is there to say what is wrong; what protects the key is KMS."""
    provider = provider_for(moto_kms.url, arn)
    wrapped = provider.wrap(MATERIAL, CONTEXT)
    named = f"{wrapped.provider}\0{wrapped.key_name}\0{wrapped.key_version}\0".encode()
    for position in (40, 60, -6):
        body = bytearray(wrapped.ciphertext[:-4])
        body[position] ^= 1
        forged = bytes(body) + zlib.crc32(named + body).to_bytes(4, "big")
        for operation in (provider.unwrap, provider.rewrap):
            with pytest.raises(CorruptObject, match="did not wrap it"):
                operation(wrapped._replace(ciphertext=forged), CONTEXT)


def test_rewrapping_leaves_the_material_in_kms(kms_front: KmsFront, provider: KmsKeyProvider) -> None:
    wrapped = provider.wrap(MATERIAL, CONTEXT)
    kms_front.seen.clear()
    provider.rewrap(wrapped, CONTEXT)
    assert kms_front.seen == ["ReEncrypt"]


# --- regions ----------------------------------------------------------------------------------------------------------


def test_a_record_is_opened_in_the_region_that_it_names(moto_kms: MotoKms, arn: str) -> None:
    """So that the settings may move to a key in another region."""
    old = provider_for(moto_kms.url, arn).wrap(MATERIAL, CONTEXT)
    elsewhere = MotoKms(moto_kms.url, "us-west-2").key("manifold")
    provider = provider_for(moto_kms.url, "alias/manifold", "us-west-2")
    assert provider.unwrap(old, CONTEXT) == MATERIAL
    new = provider.rewrap(old, CONTEXT)
    assert new.key_name == elsewhere != arn
    assert provider.unwrap(new, CONTEXT) == MATERIAL


def test_without_a_region_that_of_the_arn_is_used(moto_kms: MotoKms, arn: str) -> None:
    provider = provider_for(moto_kms.url, arn, None)
    assert provider.unwrap(provider.wrap(MATERIAL, CONTEXT), CONTEXT) == MATERIAL


def test_a_region_that_nothing_tells_is_asked_for(
    moto_kms: MotoKms, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    provider = provider_for(moto_kms.url, "alias/manifold", None)
    error = failure_of(lambda: provider.wrap(MATERIAL, CONTEXT))
    assert error.details["reason"] == "region"
    assert "AWSKMS_REGION" in str(error)
    assert not provider.health().ok


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "reason", "hint"),
    [
        ("DisabledException", "disabled", "enable-key"),
        ("KMSInvalidStateException", "disabled", "cancel-key-deletion"),
        ("AccessDeniedException", "forbidden", "docs/keys.md"),
        ("NotFoundException", "missing_key", "describe-key"),
        ("ExpiredTokenException", "credentials", "get-caller-identity"),
        ("UnrecognizedClientException", "credentials", "get-caller-identity"),
        ("InvalidKeyUsageException", "refused", "SYMMETRIC_DEFAULT"),
    ],
)
def test_a_refusal_is_told_and_not_tried_again(
    kms_front: KmsFront, provider: KmsKeyProvider, arn: str, code: str, reason: str, hint: str
) -> None:
    wrapped = provider.wrap(MATERIAL, CONTEXT)
    for operation in (provider.unwrap, provider.rewrap):
        kms_front.seen.clear()
        kms_front.answer(400, code, "a text of the service")
        error = failure_of(lambda operation=operation: operation(wrapped, CONTEXT))  # type: ignore[misc]
        assert error.details["reason"] == reason
        assert hint in str(error)
        assert "a text of the service" not in str(error)
        assert "retryable" not in error.details
        assert len(kms_front.seen) == 1
    assert provider.unwrap(wrapped, CONTEXT) == MATERIAL


def test_keys_that_were_replaced_are_read_again_when_kms_refuses_the_old_ones(
    kms_front: KmsFront, arn: str, tmp_path: Path
) -> None:
    def write(name: str) -> None:
        (tmp_path / ".env").write_text(f"AWS_ACCESS_KEY_ID={name}\nAWS_SECRET_ACCESS_KEY={name}-secret\n")

    write("OLD")
    variables = {"AWSKMS_KEY_ID": arn, "AWSKMS_REGION": REGION, "AWSKMS_ENDPOINT": kms_front.url}
    settings = load_settings(environ={"WORKDIR": str(tmp_path), **variables}, cwd=tmp_path)
    provider = build_key_providers(settings, SystemClock(), SystemRandomness())["awskms"]
    wrapped = provider.wrap(MATERIAL, CONTEXT)
    write("NEW")
    kms_front.answer(400, "UnrecognizedClientException")
    assert provider.unwrap(wrapped, CONTEXT) == MATERIAL
    assert kms_front.signers == ["OLD", "OLD", "NEW"]
    assert provider.health().ok
    assert kms_front.signers[3:] == ["NEW"]


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "ThrottlingException"), (429, "TooManyRequestsException"), (500, "KMSInternalException"),
     (503, "DependencyTimeoutException"), (500, "KeyUnavailableException"), (503, "")],
)  # fmt: skip
def test_a_passing_failure_is_tried_again(
    kms_front: KmsFront, provider: KmsKeyProvider, status: int, code: str
) -> None:
    wrapped = provider.wrap(MATERIAL, CONTEXT)
    kms_front.answer(status, code, times=2)
    kms_front.seen.clear()
    assert provider.unwrap(wrapped, CONTEXT) == MATERIAL
    assert kms_front.seen == ["Decrypt"] * 3


def test_throttling_that_lasts_is_given_up_after_the_set_attempts(
    kms_front: KmsFront, provider: KmsKeyProvider
) -> None:
    kms_front.answer(400, "ThrottlingException", times=100)
    error = failure_of(lambda: provider.wrap(MATERIAL, CONTEXT))
    assert (error.details["reason"], error.details["retryable"]) == ("throttled", True)
    assert len(kms_front.seen) == 4


@pytest.mark.parametrize("body", [b"{}", b"<html>", b"[]", b'{"KeyMetadata": {}}'])
def test_what_is_not_kms_is_told(kms_front: KmsFront, provider: KmsKeyProvider, body: bytes) -> None:
    kms_front.answer_bytes(200, body)
    failure_of(lambda: provider.wrap(MATERIAL, CONTEXT))
    kms_front.answer_bytes(200, body)
    assert not provider.health().ok


def test_a_missing_key_is_named_by_wrap_and_health(moto_kms: MotoKms) -> None:
    provider = provider_for(moto_kms.url, "alias/mistyped")
    error = failure_of(lambda: provider.wrap(MATERIAL, CONTEXT))
    assert error.details["reason"] == "missing_key"
    health = provider.health()
    assert not health.ok
    assert "alias/mistyped" in health.detail


@pytest.mark.parametrize("state", ["Disabled", "PendingDeletion"])
def test_health_sees_a_key_that_cannot_be_used(moto_kms: MotoKms, state: str) -> None:
    arn = moto_kms.key(f"going-{state}")
    provider = provider_for(moto_kms.url, arn)
    assert provider.health().ok
    key_id = arn.rsplit("/", 1)[1]
    if state == "Disabled":
        moto_kms.client.disable_key(KeyId=key_id)
    else:
        moto_kms.client.schedule_key_deletion(KeyId=key_id)
    health = provider.health()
    assert not health.ok
    assert state in health.detail


def test_health_refuses_a_key_that_is_not_symmetric(moto_kms: MotoKms) -> None:
    key = moto_kms.client.create_key(KeySpec="RSA_2048", KeyUsage="ENCRYPT_DECRYPT")["KeyMetadata"]["Arn"]
    health = provider_for(moto_kms.url, key).health()
    assert not health.ok
    assert "RSA_2048" in health.detail


@pytest.mark.parametrize("key_id", ["", "a b", "ключ", "k\0", "x" * 3000, "../x?y"])
def test_a_key_id_that_cannot_be_is_refused_at_once(key_id: str) -> None:
    with pytest.raises(ConfigError, match="keyId"):
        KmsOptions(key_id)


def test_missing_credentials_are_told(moto_kms: MotoKms, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    provider = provider_for(moto_kms.url, "alias/manifold")
    error = failure_of(lambda: provider.wrap(MATERIAL, CONTEXT))
    assert error.details["reason"] == "credentials"
    assert "aws sts get-caller-identity" in str(error)


# --- bad networks -----------------------------------------------------------------------------------------------------


def test_a_server_that_is_not_there_is_unreachable() -> None:
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        provider = provider_for(f"http://127.0.0.1:{taken.getsockname()[1]}", "alias/manifold")
        error = failure_of(lambda: provider.wrap(MATERIAL, CONTEXT))
    assert error.details["reason"] in ("unreachable", "credentials")


@pytest.mark.parametrize("kind", ["drop", "lost_ack"])
def test_a_broken_connection_is_tried_again(moto_kms: MotoKms, arn: str, kind: Any) -> None:
    with running_proxy(moto_kms.url) as proxy:
        provider = provider_for(proxy.url, arn)
        wrapped = provider.wrap(MATERIAL, CONTEXT)
        proxy.inject(Fault(kind), times=2)
        assert provider.unwrap(wrapped, CONTEXT) == MATERIAL


@pytest.mark.alone("measures time-outs")
@pytest.mark.parametrize("kind", ["hang", "stall"])
def test_a_server_that_hangs_costs_two_time_outs_at_most(moto_kms: MotoKms, arn: str, kind: Any) -> None:
    with running_proxy(moto_kms.url) as proxy:
        provider = provider_for(proxy.url, arn, timeout_seconds=0.6)
        wrapped = provider_for(moto_kms.url, arn).wrap(MATERIAL, CONTEXT)
        while not provider.health().ok:  # the client is loaded, and the server, which is slow at first, is warm
            pass
        proxy.inject(Fault(kind, keep_bytes=3), times=1000)
        begun = time.monotonic()
        error = failure_of(lambda: provider.unwrap(wrapped, CONTEXT))
        assert time.monotonic() - begun < 5
        assert error.details["reason"] == "unreachable"
        begun = time.monotonic()
        health = provider.health()
        assert time.monotonic() - begun < 4
        assert not health.ok


# --- secrets ----------------------------------------------------------------------------------------------------------


def test_no_secret_is_shown_by_anything(kms_front: KmsFront, arn: str, caplog: pytest.LogCaptureFixture) -> None:
    """botocore logs the bodies of requests and answers, key material in the clear, when the root logger is at DEBUG."""
    caplog.set_level(logging.DEBUG)
    provider = provider_for(kms_front.url, arn)
    shown = [repr(provider), repr(vars(provider))]
    for code in ("", "AccessDeniedException", "ThrottlingException"):
        if code:
            kms_front.answer(400, code, "the-secret-of-the-tests", times=4)
        try:
            wrapped = provider.wrap(MATERIAL, CONTEXT)
            assert provider.unwrap(provider.rewrap(wrapped, CONTEXT), CONTEXT) == MATERIAL
        except KeyUnavailable as error:
            assert error.__traceback__ is not None
            assert error.__cause__ is None
            assert error.__context__ is None, "a foreign exception holds the request"
            own = error.with_traceback(error.__traceback__.tb_next)
            shown += [repr(own), str(own), repr(vars(own)), *traceback.format_exception(own)]
    text = "\n".join([*shown, caplog.text])
    assert "KeyUnavailable" in text
    for secret in ("the-secret-of-the-tests", base64.b64encode(MATERIAL).decode(), repr(MATERIAL)):
        assert secret not in text
