"""Secrets planted wherever there can be one, with servers that nobody reaches."""

from __future__ import annotations

import itertools

MARK = "planted"
"""Each secret begins with it and goes on with a number of its own."""
NOBODY = "127.0.0.1:1"
"""Where nobody listens."""


def planted(**more: str) -> dict[str, str]:
    """Return settings that use every server, with a secret wherever there can be one."""
    numbers = itertools.count(1)
    settings = {
        "PROJECTS_BACKEND": "s3",
        "S3_ENDPOINT": f"http://{NOBODY}",
        "S3_BUCKET": "bucket",
        "S3_USE_PATH_STYLE": "true",
        "S3_ACCESS_KEY_ID": "AKIDFORTESTS",
        "S3_SECRET_ACCESS_KEY": MARK,
        "S3_SESSION_TOKEN": MARK,
        "S3_MAX_RETRIES": "0",
        "PROJECTS_ENCRYPTION_PROVIDER": "vault",
        "VAULT_ADDR": f"http://{NOBODY}",
        "VAULT_TOKEN": MARK,
        "VAULT_AUTH_SECRET_ID": MARK,
        "VAULT_TIMEOUT_SECONDS": "1",
        "REDIS_ENABLED": "true",
        "REDIS_ADDR": NOBODY,
        "REDIS_USERNAME": "someone",
        "REDIS_PASSWORD": MARK,
        "KAFKA_ENABLED": "true",
        "KAFKA_BROKERS": NOBODY,
        "KAFKA_TIMEOUT_SECONDS": "0.5",
        "KAFKA_SASL_USERNAME": "someone",
        "KAFKA_SASL_PASSWORD": MARK,
        "WEBHOOKS_URLS": f"http://{NOBODY}/hooks/{MARK}?token={MARK}",
        "WEBHOOKS_SECRET": f"{MARK}-and-long-enough",
        "WEBHOOKS_TIMEOUT_SECONDS": "1",
        "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer {MARK}",
        "OPENAI_API_KEY": MARK,
        "CLICKHOUSE_DSN": f"tcp://user:{MARK}@{NOBODY}",
        "AWS_SECRET_ACCESS_KEY": MARK,
        "AWS_SESSION_TOKEN": MARK,
        "HTTP_PROXY": f"http://user:{MARK}@{NOBODY}",
        "HTTPS_PROXY": f"http://user:{MARK}@{NOBODY}",
        "ALL_PROXY": f"http://user:{MARK}@{NOBODY}",
        "SERVER_PATIENCE_SECONDS": "1",
        **more,
    }
    return {name: value.replace(MARK, f"{MARK}{next(numbers)}") for name, value in settings.items()}


def misplaced() -> dict[str, str]:
    """Return settings that each hold a secret in a place for which it is not: none of them is valid."""
    with_user, with_token = f"http://user:{MARK}@{NOBODY}", f"http://{NOBODY}/?token={MARK}"
    return {
        "VAULT_ADDR": with_user,
        "S3_ENDPOINT": with_token,
        "REDIS_ADDR": f"{NOBODY}:{MARK}",
        "KAFKA_BROKERS": f"{MARK}:{NOBODY},user:{MARK}@{NOBODY}",
        "WEBHOOKS_URLS": f"https://user:{MARK}@{NOBODY}/hooks,ftp://{NOBODY}/{MARK}",
        "MANIFOLD_REMOTE": with_user,
        "OTEL_EXPORTER_OTLP_ENDPOINT": with_token,
        "OPENAI_BASE_URL": with_user,
        "AWS_ENDPOINT_URL": with_user,
        "FUNCTIONS_NUDGE_QUEUE_URL": with_user,
        "FUNCTIONS_REENCRYPT_QUEUE_URL": with_user,
        "FUNCTIONS_MAINTENANCE_QUEUE_URL": with_user,
        "SERVER_PUBLIC_URL": with_token,
        "AUTH_ISSUER_URL": with_user,
        "DATABASE_URL": f"mysql://user:{MARK}@{NOBODY}/db",
    }


def around(text: str) -> str:
    """Return what stands around a secret in ``text``, for the message of a test; empty if there is none."""
    at = text.find(MARK)
    return "" if at < 0 else text[max(0, at - 200) : at + 50]
