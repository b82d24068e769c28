"""Presigned requests to an S3 bucket (SigV4 in the query string).

obstore signs reads: a plan may have thousands, and it takes a tenth of botocore's time (measured: 0.04 ms against
0.4). A write carries a condition that the signature has to cover, or its holder could leave it out and replace what was
checked meanwhile, and its length, or its holder could store as much as a store takes; that is botocore's part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NoReturn

from manifold_common.adapters.s3.client import make_client
from manifold_common.adapters.s3.native import S3Client, S3Failure
from manifold_common.adapters.s3.options import S3Options
from manifold_common.domain.object_key import check_object_key
from manifold_common.errors import ConfigError
from manifold_common.ports.aws_account import NoAwsKeys
from manifold_common.ports.credentials import Credentials, Fixed
from manifold_common.ports.object_links import Link


class S3Links:
    """Safe for threads. Nothing is sent, so nothing is refused here: new keys are used once the store has refused the
    old ones."""

    def __init__(self, options: S3Options, credentials: Credentials[S3Options] | None = None) -> None:
        """
        Args:
            options: of the bucket, with the endpoint by which clients reach it.
            credentials: those of the bucket, instead of the options' own.
        """
        self._endpoint = options.endpoint
        self._credentials = credentials or Fixed(options)
        self._made: tuple[S3Options, S3Options, S3Client] | None = None

    def __reduce__(self) -> NoReturn:
        raise TypeError("links hold credentials and are never pickled or copied")

    def to_read(self, keys: Sequence[str], *, seconds: int) -> list[str]:
        for key in keys:
            check_object_key(key)
        if not keys:
            return []
        _, client = self._client()
        try:
            return client.links(keys, seconds=seconds)
        except S3Failure as error:
            raise self._unsigned(error.failure.reason, error.failure.hint) from None

    def to_create(self, key: str, size: int, *, seconds: int) -> Link:
        from botocore.auth import S3SigV4QueryAuth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import ReadOnlyCredentials

        options, _ = self._client()
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

    def _client(self) -> tuple[S3Options, S3Client]:
        shown, made = self._credentials.current, self._made
        if made is None or made[0] != shown:
            options = replace(shown, endpoint=self._endpoint)
            client = make_client(options, timeout_seconds=options.request_timeout_seconds, retries=0)
            self._made = made = shown, options, client
        return made[1:]

    def _unsigned(self, reason: str, hint: str) -> ConfigError:
        return ConfigError(
            f"links to bucket {self._credentials.current.bucket!r} cannot be signed: {reason}", hint=hint
        )
