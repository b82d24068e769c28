"""A bucket as the object store."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from manifold_common.bootstrap.adapters import aws_account, revealed
from manifold_common.bootstrap.credentials import SettingsCredentials
from manifold_common.errors import ConfigError

if TYPE_CHECKING:
    from manifold_common.adapters.s3.options import S3Options
    from manifold_common.ports.aws_account import AwsAccount
    from manifold_common.ports.clock import Clock, Randomness
    from manifold_common.ports.credentials import Credentials
    from manifold_common.ports.object_links import ObjectLinks
    from manifold_common.ports.object_store import ObjectStore
    from manifold_common.settings import Settings


def open_store(settings: Settings, clock: Clock, randomness: Randomness) -> ObjectStore:
    from manifold_common.adapters.s3.object_store import S3ObjectStore

    options = _options(settings)
    credentials = _credentials(settings, options, clock)
    return S3ObjectStore(options, clock=clock, randomness=randomness, credentials=credentials)


def place_of(settings: Settings) -> str:
    s3 = settings.projects.s3
    return f"s3://{s3.bucket}/{s3.prefix}"


def open_links(settings: Settings, clock: Clock) -> ObjectLinks:
    from manifold_common.adapters.s3.links import S3Links

    s3, options = settings.projects.s3, _options(settings)
    return S3Links(replace(options, endpoint=s3.public_endpoint or s3.endpoint), _credentials(settings, options, clock))


def prepare(settings: Settings) -> list[str]:
    from manifold_common.adapters.s3.bucket import prepare_bucket

    options = _options(settings)
    return prepare_bucket(options, _account(settings, options))


def impatient(settings: Settings, seconds: float) -> Settings:
    s3 = settings.projects.s3.model_copy(update={"max_retries": 1, "retry_timeout_seconds": seconds})
    return settings.model_copy(update={"projects": settings.projects.model_copy(update={"s3": s3})})


def _credentials(settings: Settings, options: S3Options, clock: Clock) -> Credentials[S3Options]:
    def of(latest: Settings) -> S3Options:
        s3 = latest.projects.s3
        return replace(
            options,
            access_key_id=s3.access_key_id,
            secret_access_key=revealed(s3.secret_access_key),
            session_token=revealed(s3.session_token),
            account=aws_account(latest.aws),
        )

    return SettingsCredentials(settings, of, clock)


def _options(settings: Settings) -> S3Options:
    from manifold_common.adapters.s3.options import S3Options
    from manifold_common.ports.retry import RetryPolicy

    s3 = settings.projects.s3
    if s3.bucket is None:
        raise ConfigError("projects.s3.bucket is not set", hint="set S3_BUCKET")
    return S3Options(
        bucket=s3.bucket,
        prefix=s3.prefix,
        endpoint=s3.endpoint,
        region=s3.region,
        use_path_style=s3.use_path_style,
        access_key_id=s3.access_key_id,
        secret_access_key=revealed(s3.secret_access_key),
        session_token=revealed(s3.session_token),
        ca_certificates=s3.tls.ca_file.read_text() if s3.tls.ca_file else None,
        verify_tls=s3.tls.verify,
        server_side_encryption=None if s3.sse_mode == "none" else s3.sse_mode,
        kms_key_id=s3.sse_kms_key_id,
        account=aws_account(settings.aws),
        checksum=None if s3.checksum == "none" else s3.checksum,
        sign_payload=s3.sign_payload,
        bulk_delete=s3.bulk_delete,
        connect_timeout_seconds=s3.connect_timeout_seconds,
        health_timeout_seconds=s3.health_timeout_seconds,
        request_timeout_seconds=s3.request_timeout_seconds,
        max_connections=s3.max_connections,
        retries=RetryPolicy(attempts=s3.max_retries + 1, budget_seconds=s3.retry_timeout_seconds),
    )


def _account(settings: Settings, options: S3Options) -> AwsAccount:
    from manifold_common.adapters.aws.account import ChainedAccount

    return aws_account(settings.aws) if options.access_key_id is None else ChainedAccount(options.keys())
