"""Secrets of AWS Secrets Manager, on the stand-in for AWS."""

from __future__ import annotations

import http.server
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.aws import operator_client

ACCESS = {"AWS_ACCESS_KEY_ID": "AKIDFORTESTS", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "eu-central-1"}


class Secrets:
    """``reads`` counts how often functions have asked for a value."""

    def __init__(self, endpoint: str) -> None:
        self.reads = 0
        self._front = ""
        self._endpoint = endpoint
        self._client: Any = operator_client("secretsmanager", endpoint)

    def store(self, text: str) -> dict[str, str]:
        """Return the variables of a function that reads a secret with that text."""
        name = f"manifold/{time.monotonic_ns()}"
        self._client.create_secret(Name=name, SecretString=text)
        return {**ACCESS, "AWS_ENDPOINT_URL": self._front, "MANIFOLD_SECRETS_ID": name}

    def replace(self, variables: dict[str, str], text: str) -> None:
        """Put another text into the secret that ``store`` made."""
        self._client.put_secret_value(SecretId=variables["MANIFOLD_SECRETS_ID"], SecretString=text)

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Stand before the service, for functions, and count."""
        secrets = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                secrets.reads += self.headers["x-amz-target"] == "secretsmanager.GetSecretValue"
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
                request = urllib.request.Request(secrets._endpoint, body, headers)
                try:
                    answer = urllib.request.urlopen(request, timeout=30)
                except urllib.error.HTTPError as error:
                    answer = error
                with answer:
                    found = answer.read()
                    self.send_response(answer.status)
                self.send_header("content-length", str(len(found)))
                self.end_headers()
                self.wfile.write(found)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        self._front = f"http://127.0.0.1:{server.server_port}"
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


@pytest.fixture
def secrets(moto_url: str) -> Iterator[Secrets]:
    made = Secrets(moto_url)
    with made.counting():
        yield made
