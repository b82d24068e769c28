"""A real S3 server for tests: SeaweedFS from its wheel, one process, on loopback, its data in a temporary folder."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from manifold_local.embedded.stack.child import free_ports
from manifold_local.embedded.stack.seaweedfs import S3Endpoint, SeaweedFS


@contextlib.contextmanager
def running_seaweedfs() -> Iterator[SeaweedFS]:
    """Start a server of one's own; for tests that stop it."""
    folder = Path(tempfile.mkdtemp(prefix="s3-"))
    server = SeaweedFS(
        folder,
        port=free_ports(1)[0],
        bucket="manifold-test",
        access_key_id="test-" + secrets.token_hex(8),
        secret_access_key=secrets.token_hex(20),
    )
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def s3_variables(endpoint: S3Endpoint) -> dict[str, str]:
    """Return the settings of a store in its bucket, as variables."""
    return {
        "PROJECTS_BACKEND": "s3",
        "S3_ENDPOINT": endpoint.url,
        "S3_BUCKET": endpoint.bucket,
        "S3_ACCESS_KEY_ID": endpoint.access_key_id,
        "S3_SECRET_ACCESS_KEY": endpoint.secret_access_key,
        "S3_USE_PATH_STYLE": "true",
    }


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[S3Endpoint]:
    """One S3 server for the whole run. Each test keeps to a prefix of its own."""
    with running_seaweedfs() as server:
        yield server.endpoint
