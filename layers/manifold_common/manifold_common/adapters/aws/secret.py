"""Settings that are kept in AWS Secrets Manager."""

from __future__ import annotations

import json

from manifold_common.adapters.aws.service import AwsOptions, AwsService
from manifold_common.errors import ConfigError
from manifold_common.ports.clock import Clock


def read_secret(secrets_id: str, options: AwsOptions, *, clock: Clock) -> dict[str, str]:
    """Return the variables that a secret holds.

    Raises:
        Denied, Unavailable: it cannot be read. ConfigError: it is not a JSON object of texts, numbers and booleans.
    """
    service = AwsService("secretsmanager", "secretsmanager", "application/x-amz-json-1.1", options, clock=clock)
    try:
        text = service.call("GetSecretValue", {"SecretId": secrets_id}).get("SecretString")
    finally:
        service.close()
    try:
        found = json.loads(text) if isinstance(text, str) else None
    except ValueError:
        found = None  # the parser's message would quote the secret
    if not isinstance(found, dict):
        raise ConfigError(
            f"the secret {secrets_id} (variable MANIFOLD_SECRETS_ID) does not hold a JSON object",
            hint='store it as {"DATABASE_URL": "...", "VAULT_TOKEN": "..."}',
        )
    wrong = [name for name, value in found.items() if not isinstance(value, str | int | float | bool)]
    if wrong:
        raise ConfigError(
            f"the secret {secrets_id} has fields that are neither text nor number: {', '.join(sorted(wrong)[:5])}",
            hint="write each value as a variable would hold it; lists are separated by commas",
        )
    return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in found.items()}
