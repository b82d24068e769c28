"""What no adapter can work with is found without connecting to anything."""

from __future__ import annotations

from pathlib import Path

import pytest
from manifold_common.bootstrap import find_faults
from manifold_common.settings import load_settings

S3 = {"PROJECTS_BACKEND": "s3", "S3_BUCKET": "bucket"}
VAULT = {"VAULT_ADDR": "http://vault:8200", "VAULT_TOKEN": "secret-of-vault"}
KAFKA = {"KAFKA_ENABLED": "true", "KAFKA_BROKERS": "kafka:9092"}
WEBHOOK = {"WEBHOOKS_URLS": "https://h/x"}


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"DATABASE_URL": "postgresql://u@h/d?pasword=secret"}, "DATABASE_URL is not a valid"),
        ({**S3, "S3_BUCKET": "a/b"}, "s3.bucket: 'a/b'"),
        ({**S3, "S3_TLS_CA_FILE": "/absent"}, "projects.s3: /absent cannot be used: No such file"),
        ({**VAULT, "VAULT_KEY_NAME": "a/b"}, "vault.keyName: 'a/b'"),
        ({"AWSKMS_KEY_ID": "no key"}, "awskms.keyId: 'no key'"),
        ({**KAFKA, "KAFKA_TLS_ENABLED": "true", "KAFKA_TLS_CA_FILE": "/absent"}, "projects.events.tls: "),
        ({**WEBHOOK, "WEBHOOKS_SECRET": "whsec_secret-of-webhooks"}, "projects.events.webhooks.secret begins with"),
    ],
)
def test_each_fault_is_named_and_no_secret_is(tmp_path: Path, environ: dict[str, str], message: str) -> None:
    settings = load_settings(environ={**environ, "WORKDIR": str(tmp_path)}, cwd=tmp_path)
    (fault,) = find_faults(settings)
    assert message in str(fault)
    assert "secret-of" not in str(fault) and "pasword" not in str(fault)


def test_all_faults_are_found_together_and_nothing_is_made(tmp_path: Path) -> None:
    environ = {**S3, **VAULT, "S3_BUCKET": "a/b", "VAULT_KEY_NAME": "a/b", "WORKDIR": str(tmp_path / "work")}
    assert len(find_faults(load_settings(environ=environ, cwd=tmp_path))) == 2
    assert list(tmp_path.iterdir()) == []
