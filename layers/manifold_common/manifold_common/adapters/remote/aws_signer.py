"""Signs requests for an API that AWS guards (IAM authorization of API Gateway), by botocore."""

from __future__ import annotations

from collections.abc import Mapping

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.session import Session

from manifold_common.errors import ConfigError

_SERVICE = "execute-api"


class AwsSigner:
    """Args: ``region``: of the API. Credentials are those that AWS tools would take."""

    def __init__(self, region: str) -> None:
        self._region = region
        self._session = Session()

    def __call__(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Mapping[str, str]:
        """Raises ConfigError: there are no credentials."""
        found = self._session.get_credentials()
        if found is None:
            raise ConfigError(
                "there are no AWS credentials to sign requests with",
                hint="provide them as AWS tools expect it, such as AWS_PROFILE, or set remote.signing to none",
            )
        request = AWSRequest(method=method, url=url, headers=dict(headers), data=body)
        SigV4Auth(found.get_frozen_credentials(), _SERVICE, self._region).add_auth(request)
        return dict(request.headers.items())
