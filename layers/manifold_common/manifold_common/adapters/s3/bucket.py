"""Preparing a bucket, through botocore: what obstore cannot do, and a running Manifold never needs."""

from __future__ import annotations

import base64
import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from manifold_common.adapters.s3.options import S3Options
from manifold_common.domain.object_key import check_folder
from manifold_common.errors import ConfigError, StoreUnavailable
from manifold_common.ports.aws_account import AwsAccount, NoAwsKeys

RULE_NAME = "manifold-abort-unfinished-uploads"
"""What the ids of Manifold's rules begin with. An older version had one id for every prefix, this alone."""
ABANDONED_AFTER_DAYS = 1
"""No upload of Manifold takes an hour; what is older was left by a process that died."""
_NO_BUCKET = frozenset({"404", "NoSuchBucket"})
_NO_RULES = frozenset({"NoSuchLifecycleConfiguration", "404"})
_UNKNOWN_TO_SERVER = frozenset({"NotImplemented", "MethodNotAllowed", "501", "405"})
_ONE_REGION = "us-east-1"


def prepare_bucket(options: S3Options, account: AwsAccount) -> list[str]:
    """Create the bucket where it is missing, and have the server end uploads in parts that were never finished.

    Other lifecycle rules of the bucket stay as they are, those for other prefixes among them. May be repeated.

    Args:
        account: whose credentials are used.

    Returns:
        What was done, a sentence each.

    Raises:
        ConfigError: the credentials may not do it. StoreUnavailable: the server cannot be reached or refuses.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    done: list[str] = []
    with _client(options, account) as client:
        try:
            if not _bucket_exists(client, options):
                _create(client, options)
                done.append(f"created bucket {options.bucket}")
            done.append(_set_rule(client, options))
        except ClientError as error:
            raise _refused(error, options) from None
        except NoAwsKeys as error:
            raise ConfigError(f"{options.where} cannot be prepared: {error}", hint=error.hint) from None
        except BotoCoreError as error:
            raise StoreUnavailable(
                f"{options.where}: {type(error).__name__}",
                hint="check s3.endpoint, the credentials, the network, and that the server runs",
            ) from None
    return done


@contextmanager
def _client(options: S3Options, account: AwsAccount) -> Iterator[Any]:
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as authorities:
        authorities.write(options.ca_certificates or "")
        authorities.flush()
        trusted = authorities.name if options.ca_certificates else True
        client = account.client(
            "s3",
            region=options.region,
            endpoint=options.endpoint,
            verify=trusted if options.verify_tls else False,
            connect_timeout=options.connect_timeout_seconds,
            read_timeout=options.request_timeout_seconds,
            retries={"total_max_attempts": options.retries.attempts, "mode": "standard"},
            s3={"addressing_style": "path" if options.use_path_style else "virtual"},
            request_checksum_calculation="when_required",
        )
        client.meta.events.register("before-call.s3", _without_redirects)
        if options.checksum is None:
            client.meta.events.register("before-call.s3", _with_digest_instead_of_checksum)
        try:
            yield client
        finally:
            client.close()


def _without_redirects(params: dict[str, Any], **_: Any) -> None:
    """Keep botocore from looking for the bucket's region by itself: at an endpoint of one's own it asks for ever."""
    params["context"].setdefault("s3_redirect", {})["redirected"] = True


def _with_digest_instead_of_checksum(params: dict[str, Any], **_: Any) -> None:
    """For servers that refuse x-amz-checksum headers: what was asked for before there were any."""
    if params.get("context", {}).get("checksum", {}).pop("request_algorithm", None):
        digest = hashlib.md5(params["body"], usedforsecurity=False).digest()
        params["headers"]["Content-MD5"] = base64.b64encode(digest).decode()


def _bucket_exists(client: Any, options: S3Options) -> bool:
    from botocore.exceptions import ClientError

    try:
        client.head_bucket(Bucket=options.bucket)
    except ClientError as error:
        if _code(error) not in _NO_BUCKET:
            raise
        return False
    return True


def _create(client: Any, options: S3Options) -> None:
    elsewhere = options.endpoint is None and options.region != _ONE_REGION
    place = {"CreateBucketConfiguration": {"LocationConstraint": options.region}} if elsewhere else {}
    client.create_bucket(Bucket=options.bucket, **place)


def _set_rule(client: Any, options: S3Options) -> str:
    from botocore.exceptions import ClientError

    folder = check_folder(options.prefix)
    prefix = f"{folder}/" if folder else ""
    rule_id = f"{RULE_NAME}-{hashlib.sha256(prefix.encode()).hexdigest()[:16]}"
    wanted = {
        "ID": rule_id,
        "Status": "Enabled",
        "Filter": {"Prefix": prefix},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": ABANDONED_AFTER_DAYS},
    }
    try:
        rules = _rules(client, options)
        if wanted in rules:
            return f"rule {rule_id} stands already"
        kept = [rule for rule in rules if not _replaces(rule_id, prefix, rule)]
        client.put_bucket_lifecycle_configuration(
            Bucket=options.bucket, LifecycleConfiguration={"Rules": [*kept, wanted]}
        )
    except ClientError as error:
        if _code(error) not in _UNKNOWN_TO_SERVER:
            raise
        return "this server knows no rule for unfinished uploads: remove them by its own means"
    return f"rule {rule_id}: uploads in parts that are older than {ABANDONED_AFTER_DAYS} day are ended"


def _replaces(rule_id: str, prefix: str, old: dict[str, Any]) -> bool:
    """Say whether ``old`` is what an earlier run or version set for the same prefix."""
    its_prefix = old.get("Filter", {}).get("Prefix", old.get("Prefix", ""))
    return old.get("ID") == rule_id or (old.get("ID") == RULE_NAME and its_prefix == prefix)


def _rules(client: Any, options: S3Options) -> list[dict[str, Any]]:
    from botocore.exceptions import ClientError

    try:
        answer = client.get_bucket_lifecycle_configuration(Bucket=options.bucket)
    except ClientError as error:
        if _code(error) not in _NO_RULES:
            raise
        return []
    rules: list[dict[str, Any]] = answer.get("Rules", [])
    return rules


def _refused(error: Any, options: S3Options) -> ConfigError | StoreUnavailable:
    code, operation = _code(error), str(error.operation_name)
    text = f"{options.where}: {operation} was answered with {code}"
    if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") in (401, 403):
        return ConfigError(
            text,
            hint="allow s3:CreateBucket, s3:ListBucket, s3:GetLifecycleConfiguration and "
            "s3:PutLifecycleConfiguration to these credentials, or have an administrator prepare the bucket",
        )
    return StoreUnavailable(text, hint="look into the server's log")


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
