"""What the provider ``awskms`` has to know, but the credentials."""

from __future__ import annotations

import re
from dataclasses import dataclass

from manifold_common.errors import ConfigError
from manifold_common.ports.retry import RetryPolicy

_KEY_ID = re.compile(r"[A-Za-z0-9:/_-]{1,2048}")
_KEY_ARN = re.compile(r"arn:aws[a-z-]*:kms:([a-z0-9-]+):[0-9]{12}:key/[A-Za-z0-9-]{1,256}")


def region_of(arn: str) -> str | None:
    """Return the region that a key's ARN names, ``None`` if it is not the ARN of a key."""
    found = _KEY_ARN.fullmatch(arn)
    return found[1] if found else None


@dataclass(frozen=True, slots=True)
class KmsOptions:
    """Which key, and how to reach it.

    Attributes:
        key_id: id, ARN or alias of the symmetric key that wraps new data keys.
        region: unset: that of the key's ARN, or of the profile.
        endpoint: URL, if not AWS's own.
        timeout_seconds: longest wait for one request.
        attempts: of a request that fails for a passing reason, the first one included.
    """

    key_id: str
    region: str | None = None
    endpoint: str | None = None
    timeout_seconds: float = 5.0
    attempts: int = 4

    def __post_init__(self) -> None:
        """Raises ConfigError."""
        if not _KEY_ID.fullmatch(self.key_id):
            raise ConfigError(
                f"awskms.keyId: {self.key_id[:80]!r} cannot name a KMS key",
                hint="use the key's id, its ARN, or alias/NAME",
            )

    @property
    def retries(self) -> RetryPolicy:
        """No attempt begins later than one time-out after the first, so that a dead server costs two at most."""
        return RetryPolicy(attempts=self.attempts, budget_seconds=self.timeout_seconds, cap_seconds=1.0)

    @property
    def where(self) -> str:
        """The service, for messages."""
        return self.endpoint or f"AWS {self.region or ''}".rstrip()
