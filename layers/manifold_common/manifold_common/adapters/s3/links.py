"""Presigned requests to an S3 bucket (SigV4 in the query string).

obstore signs reads: a plan may have thousands, and it takes a tenth of botocore's time (measured: 0.04 ms against
0.4). A write carries a condition that the signature has to cover, or its holder could leave it out and replace what was
checked meanwhile, and its length, or its holder could store as much as a store takes; that is botocore's part.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NoReturn

from manifold_common.adapters.s3.client import make_client
from manifold_common.adapters.s3.native import S3Client, S3Failure
from manifold_common.adapters.s3.options import S3Options
from manifold_common.domain.object_key import check_object_key
from manifold_common.errors import ConfigError
from manifold_common.ports.aws_account import NoAwsKeys
from manifold_common.ports.object_links import Link


class S3Links:
    """Args: ``options``: of the bucket, with the endpoint by which clients reach it. Safe for threads."""

    def __init__(self, options: S3Options) -> None:
        self._options = options

    def __reduce__(self) -> NoReturn:
        raise TypeError("links hold credentials and are never pickled or copied")

    def to_read(self, keys: Sequence[str], *, seconds: int) -> list[str]:
        for key in keys:
            check_object_key(key)
        if not keys:
            return []
        try:
            return self._client.links(keys, seconds=seconds)
        except S3Failure as error:
            raise self._unsigned(error.failure.reason, error.failure.hint) from None

    def to_create(self, key: str, size: int, *, seconds: int) -> Link:
        from botocore.auth import S3SigV4QueryAuth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import ReadOnlyCredentials

        options = self._options
        headers = {"If-None-Match": "*", "Content-Length": str(size)}
        if options.server_side_encryption:
            headers["x-amz-server-side-encryption"] = options.server_side_encryption
        if options.kms_key_id:
            headers["x-amz-server-side-encryption-aws-kms-key-id"] = options.kms_key_id
        bare = self.to_read([key], seconds=seconds)[0].partition("?")[0]
        request = AWSRequest(method="PUT", url=bare, headers=headers)
        try:
            keys = ReadOnlyCredentials(*options.keys())
        except NoAwsKeys as error:
            raise self._unsigned(str(error), error.hint) from None
        S3SigV4QueryAuth(keys, "s3", options.region, expires=seconds).add_auth(request)
        return Link(str(request.url), headers)

    @cached_property
    def _client(self) -> S3Client:
        return make_client(self._options, timeout_seconds=self._options.request_timeout_seconds, retries=0)

    def _unsigned(self, reason: str, hint: str) -> ConfigError:
        return ConfigError(f"links to bucket {self._options.bucket!r} cannot be signed: {reason}", hint=hint)
