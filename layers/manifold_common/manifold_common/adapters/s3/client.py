"""Makes obstore clients as the options say."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from obstore.exceptions import BaseError
from obstore.store import S3Store

from manifold_common.adapters.s3.options import S3Options
from manifold_common.domain.object_key import check_folder
from manifold_common.errors import ConfigError

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Config, S3Credential


def make_client(options: S3Options, *, timeout_seconds: float, retries: int) -> S3Store:
    """Return a client whose requests take at most ``timeout_seconds`` each, repeated up to ``retries`` times.

    Raises:
        ConfigError: the options cannot work together.
    """
    config: S3Config = {
        "region": options.region,
        "virtual_hosted_style_request": not options.use_path_style,
        "unsigned_payload": not options.sign_payload,
        "disable_bulk_delete": not options.bulk_delete,
    }
    if options.checksum:
        config["checksum_algorithm"] = options.checksum
    if options.server_side_encryption:
        config["server_side_encryption"] = options.server_side_encryption
    if options.kms_key_id:
        config["sse_kms_key_id"] = options.kms_key_id
    if options.endpoint:
        config["endpoint"] = _endpoint_url(options)
    client: ClientConfig = {
        "allow_http": bool(options.endpoint and options.endpoint.startswith("http://")),
        "allow_invalid_certificates": not options.verify_tls,
        "connect_timeout": timedelta(seconds=min(options.connect_timeout_seconds, timeout_seconds)),
        "timeout": timedelta(seconds=timeout_seconds),
    }
    if options.ca_certificates:
        client["root_certificate"] = options.ca_certificates
    policy = options.retries
    rule: RetryConfig = {
        "max_retries": retries,
        "retry_timeout": timedelta(seconds=policy.budget_seconds),
        "backoff": {
            "init_backoff": timedelta(seconds=policy.base_seconds),
            "max_backoff": timedelta(seconds=policy.cap_seconds),
            "base": 2,
        },
    }
    try:
        return S3Store(
            options.bucket,
            prefix=check_folder(options.prefix) or None,
            config=config,
            client_options=client,
            retry_config=rule,
            credential_provider=_fixed_credentials(options),
        )
    except (BaseError, ValueError):
        # Not chained: the text of either may show what was given.
        raise ConfigError(
            f"the S3 client for bucket {options.bucket!r} cannot be made",
            hint="check the s3 settings, above all the CA certificates",
        ) from None


def _fixed_credentials(options: S3Options) -> Callable[[], S3Credential] | None:
    """Return the keys of the settings as a provider, or ``None`` for the chain.

    As plain settings obstore would complete them with an AWS_SESSION_TOKEN of the environment, which belongs to other
    keys.
    """
    access_key_id, secret_access_key = options.access_key_id, options.secret_access_key
    if access_key_id is None or secret_access_key is None:
        return None
    credential: S3Credential = {
        "access_key_id": access_key_id,
        "secret_access_key": secret_access_key,
        "token": options.session_token,
        "expires_at": None,
    }
    return lambda: credential


def _endpoint_url(options: S3Options) -> str:
    assert options.endpoint is not None
    endpoint = options.endpoint.rstrip("/")
    if options.use_path_style:
        return endpoint
    # obstore takes the endpoint of a virtual-hosted bucket with the bucket's name in it.
    parts = urlsplit(endpoint)
    return f"{parts.scheme}://{options.bucket}.{parts.netloc}"
