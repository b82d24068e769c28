"""Makes clients as the options say.

obstore fills in whatever option it is not given from the AWS_* variables that it knows, some of which switch signatures
off. So every option is given, and the variables of the few that cannot be given as "none" are hidden from it while a
client is made.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from manifold_common.adapters.s3.failures import REDIRECT_TRAP
from manifold_common.adapters.s3.native import S3Client, S3Failure
from manifold_common.adapters.s3.options import S3Options
from manifold_common.domain.object_key import check_folder
from manifold_common.errors import ConfigError

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Config

_HIDDEN = (
    "AWS_CHECKSUM_ALGORITHM",
    "AWS_COPY_IF_NOT_EXISTS",
    "AWS_SERVER_SIDE_ENCRYPTION",
    "AWS_SSE_BUCKET_KEY_ENABLED",
    "AWS_SSE_CUSTOMER_KEY_BASE64",
    "AWS_SSE_KMS_KEY_ID",
)
"""Variables that nothing but obstore reads, for options whose "none" cannot be said."""
_environment = threading.Lock()


def make_client(options: S3Options, *, timeout_seconds: float, retries: int) -> S3Client:
    """Return a client whose requests take at most ``timeout_seconds`` each, repeated up to ``retries`` times.

    Raises:
        ConfigError: the options cannot work together.
    """
    config: S3Config = {
        "region": options.region,
        "endpoint": options.url,
        "aws_endpoint_url_s3": options.url,
        "virtual_hosted_style_request": not options.use_path_style,
        "unsigned_payload": not options.sign_payload,
        "disable_bulk_delete": not options.deletes_in_bulk,
        "skip_signature": False,
        "s3_express": False,
        "request_payer": False,
        "disable_tagging": False,
        "conditional_put": "etag",
        "imdsv1_fallback": False,
    }
    if options.checksum:
        config["checksum_algorithm"] = options.checksum
    if options.server_side_encryption:
        config["server_side_encryption"] = options.server_side_encryption
    if options.kms_key_id:
        config["sse_kms_key_id"] = options.kms_key_id
    client: ClientConfig = {
        "allow_http": options.url.startswith("http://"),
        "allow_invalid_certificates": not options.verify_tls,
        "connect_timeout": timedelta(seconds=min(options.connect_timeout_seconds, timeout_seconds)),
        "timeout": timedelta(seconds=timeout_seconds),
        # obstore follows redirects, and would take the session token along. The server is reached without a proxy;
        # what leads to another host, through one that cannot be.
        "proxy_url": f"http://{REDIRECT_TRAP}",
        "proxy_excludes": options.host,
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
    given = {
        "prefix": check_folder(options.prefix) or None,
        "config": config,
        "client_options": client,
        "retry_config": rule,
    }
    try:
        with _hidden():
            return S3Client(options.bucket, given, options.keys, lasting=options.lasting)
    except S3Failure:
        raise ConfigError(
            f"the S3 client for bucket {options.bucket!r} cannot be made",
            hint="check the s3 settings, above all the CA certificates",
        ) from None


@contextmanager
def _hidden() -> Iterator[None]:
    with _environment:
        found = {name: os.environ.pop(name) for name in _HIDDEN if name in os.environ}
        try:
            yield
        finally:
            os.environ.update(found)
