"""AWS Signature Version 4, for the one kind of request that is made here: a POST to ``/`` with a JSON body.

botocore has a signer too, but importing it costs a cold start 80 ms and more of CPU; this costs none.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime

from manifold_common.ports.aws_account import AwsKeys

_ALGORITHM = "AWS4-HMAC-SHA256"


def signed(
    headers: Mapping[str, str], body: bytes, credentials: AwsKeys, *, region: str, service: str, now: datetime
) -> dict[str, str]:
    """Return ``headers``, which name the host, with the date and the signature of a POST to ``/``.

    Args:
        headers: lower-case names, values without spaces around them. All are signed.
        now: in UTC.
    """
    timestamp = f"{now:%Y%m%dT%H%M%SZ}"
    all_headers = {**headers, "x-amz-date": timestamp}
    if credentials.session_token:
        all_headers["x-amz-security-token"] = credentials.session_token
    names = sorted(all_headers)
    request = "\n".join(
        [
            "POST",
            "/",
            "",
            *(f"{name}:{all_headers[name]}" for name in names),
            "",
            ";".join(names),
            hashlib.sha256(body).hexdigest(),
        ]
    )
    scope = f"{timestamp[:8]}/{region}/{service}/aws4_request"
    text = "\n".join([_ALGORITHM, timestamp, scope, hashlib.sha256(request.encode()).hexdigest()])
    key = f"AWS4{credentials.secret_access_key}".encode()
    for part in scope.split("/"):
        key = _hmac(key, part)
    all_headers["authorization"] = (
        f"{_ALGORITHM} Credential={credentials.access_key_id}/{scope}, SignedHeaders={';'.join(names)}, "
        f"Signature={_hmac(key, text).hex()}"
    )
    return all_headers


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")
