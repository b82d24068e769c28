"""Presigned requests to an S3 bucket (SigV4 in the query string).

obstore signs reads: a plan may have thousands, and it takes a tenth of botocore's time (measured: 0.04 ms against
0.4). A write carries a condition that the signature has to cover, or its holder could leave it out and replace what was
checked meanwhile, and its length, or its holder could store as much as a store takes; that is botocore's part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

import obstore
from obstore.exceptions import BaseError

from manifold_common.adapters.s3.client import make_client
from manifold_common.adapters.s3.options import S3Options
from manifold_common.domain.object_key import check_object_key
from manifold_common.errors import ConfigError
from manifold_common.ports.credentials import Credentials, Fixed
from manifold_common.ports.object_links import Link

if TYPE_CHECKING:
    from obstore.store import S3Store


class S3Links:
    """Safe for threads. Nothing is sent, so nothing is refused here: other keys are used once a store was refused."""

    def __init__(self, options: S3Options, credentials: Credentials[S3Options] | None = None) -> None:
        """
        Args:
            options: of the bucket, with the endpoint by which clients reach it.
            credentials: those of the bucket, instead of the options' own.
        """
        self._endpoint = options.endpoint
        self._credentials = credentials or Fixed(options)
        self._made: tuple[S3Options, S3Options, S3Store] | None = None

    def __reduce__(self) -> NoReturn:
        raise TypeError("links hold credentials and are never pickled or copied")

    def to_read(self, keys: Sequence[str], *, seconds: int) -> list[str]:
        for key in keys:
            check_object_key(key)
        if not keys:
            return []
        _, store = self._client()
        try:
            return list(obstore.sign(store, "GET", list(keys), timedelta(seconds=seconds)))
        except (BaseError, OSError):
            raise self._unsigned() from None

    def to_create(self, key: str, size: int, *, seconds: int) -> Link:
        from botocore.auth import S3SigV4QueryAuth
        from botocore.awsrequest import AWSRequest

        options, _ = self._client()
        headers = {"If-None-Match": "*", "Content-Length": str(size)}
        if options.server_side_encryption:
            headers["x-amz-server-side-encryption"] = options.server_side_encryption
        if options.kms_key_id:
            headers["x-amz-server-side-encryption-aws-kms-key-id"] = options.kms_key_id
        bare = self.to_read([key], seconds=seconds)[0].partition("?")[0]
        request = AWSRequest(method="PUT", url=bare, headers=headers)
        S3SigV4QueryAuth(self._keys(options), "s3", options.region, expires=seconds).add_auth(request)
        return Link(str(request.url), headers)

    def _client(self) -> tuple[S3Options, S3Store]:
        shown, made = self._credentials.current, self._made
        if made is None or made[0] != shown:
            options = replace(shown, endpoint=self._endpoint)
            store = make_client(options, timeout_seconds=options.request_timeout_seconds, retries=0)
            self._made = made = shown, options, store
        return made[1:]

    def _keys(self, options: S3Options) -> Any:
        """Return credentials that are good now: those of the chain are renewed by botocore."""
        from botocore.credentials import Credentials

        if options.access_key_id is not None:
            return Credentials(options.access_key_id, options.secret_access_key, options.session_token)
        found = self._chain.get_credentials()
        if found is None:
            raise self._unsigned()
        return found.get_frozen_credentials()

    @cached_property
    def _chain(self) -> Any:
        from botocore.session import Session

        return Session()

    def _unsigned(self) -> ConfigError:
        return ConfigError(
            f"there are no credentials to sign links to bucket {self._credentials.current.bucket!r} with",
            hint="set S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY, or provide them as AWS tools expect it",
        )
