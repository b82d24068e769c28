"""A stand-in for AWS KMS that speaks its protocol over HTTP: moto's server, one process, on loopback.

Moto checks neither credentials nor the state of a key, and never throttles. For those, ``KmsFront`` stands before it
and gives the answers that AWS documents.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from manifold_local.embedded.stack.child import free_ports

from tests.support.aws import operator_client

START_SECONDS = 60.0
REGION = "eu-central-1"


class MotoKms:
    """The service, and what an operator does to it."""

    def __init__(self, url: str, region: str = REGION) -> None:
        from botocore.config import Config  # here, since every run of the tests imports this module

        self.url = url
        once = Config(retries={"total_max_attempts": 1, "mode": "standard"})
        self.client: Any = operator_client("kms", url, region, config=once)

    def key(self, alias: str) -> str:
        """Return the ARN of the key behind ``alias/<alias>``, made when it is not there."""
        try:
            return str(self.client.describe_key(KeyId=f"alias/{alias}")["KeyMetadata"]["Arn"])
        except self.client.exceptions.NotFoundException:
            made = self.client.create_key()["KeyMetadata"]
            self.client.create_alias(AliasName=f"alias/{alias}", TargetKeyId=made["KeyId"])
            return str(made["Arn"])

    def rotate(self, alias: str) -> None:
        self.client.rotate_key_on_demand(KeyId=self.key(alias))


@contextlib.contextmanager
def running_moto() -> Iterator[str]:
    """Yield the URL of a server of one's own."""
    (port,) = free_ports(1)
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        env={name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=_die_with_parent,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(process, url)
        yield url
    finally:
        process.terminate()
        process.wait(15)


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    """One service for the whole run. Tests use keys of their own."""
    with running_moto() as url:
        yield url


@pytest.fixture(scope="session")
def moto_operator(moto_url: str) -> MotoKms:
    return MotoKms(moto_url)


@pytest.fixture
def moto_kms(moto_operator: MotoKms, monkeypatch: pytest.MonkeyPatch) -> MotoKms:
    """The service; the test's environment has credentials for it, and none other."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDFORTESTS")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the-secret-of-the-tests")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return moto_operator


class KmsFront:
    """An HTTP server that gives prepared answers, one a request, and passes later requests on. Remembers operations."""

    def __init__(self, upstream: str) -> None:
        self._lock = threading.Lock()
        self._answers: list[tuple[int, bytes]] = []
        self.seen: list[str] = []
        self.signers: list[str] = []
        """The access key of each request."""
        self.upstream = upstream
        front = self

        class Handler(_Handler):
            owner = front

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def answer(self, status: int, code: str, message: str = "", *, times: int = 1) -> None:
        """Let the next ``times`` requests be answered as AWS answers errors."""
        body = json.dumps({"__type": code, "message": message}).encode()
        self.answer_bytes(status, body, times=times)

    def answer_bytes(self, status: int, body: bytes, *, times: int = 1) -> None:
        with self._lock:
            self._answers += [(status, body)] * times

    def take(self, operation: str) -> tuple[int, bytes] | None:
        with self._lock:
            self.seen.append(operation)
            return self._answers.pop(0) if self._answers else None

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def kms_front(moto_kms: MotoKms) -> Iterator[KmsFront]:
    front = KmsFront(moto_kms.url)
    yield front
    front.close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: KmsFront

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.owner.signers.append(self.headers.get("Authorization", "").partition("Credential=")[2].partition("/")[0])
        prepared = self.owner.take(self.headers.get("X-Amz-Target", "").rsplit(".", 1)[-1])
        status, data = prepared or self._pass_on(body)
        self.send_response_only(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _pass_on(self, body: bytes) -> tuple[int, bytes]:
        headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
        request = urllib.request.Request(self.owner.upstream + self.path, data=body, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()


def _wait(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/moto-api/", timeout=2):
                return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError("moto's server did not start; install the development dependencies (moto, flask, flask-cors)")


def _die_with_parent() -> None:
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
