"""Signs requests for an API that AWS guards (IAM authorization of API Gateway), by botocore."""

from __future__ import annotations

from collections.abc import Mapping

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials

from manifold_common.errors import ConfigError
from manifold_common.ports.aws_account import AwsAccount, NoAwsKeys

_SERVICE = "execute-api"


class AwsSigner:
    """Args: ``region``: of the API."""

    def __init__(self, region: str, account: AwsAccount) -> None:
        self._region = region
        self._account = account

    def __call__(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Mapping[str, str]:
        """Raises ConfigError: there are no credentials."""
        try:
            keys = self._account.keys()
        except NoAwsKeys as error:
            raise ConfigError(
                f"requests cannot be signed: {error}", hint=f"{error.hint}; or set remote.signing to none"
            ) from None
        request = AWSRequest(method=method, url=url, headers=dict(headers), data=body)
        SigV4Auth(ReadOnlyCredentials(*keys), _SERVICE, self._region).add_auth(request)
        return dict(request.headers.items())
