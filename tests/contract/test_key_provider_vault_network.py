"""The Vault provider on bad networks, behind TLS, and before servers that misbehave."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from manifold_common.adapters.vault import client
from manifold_common.adapters.vault.provider import VaultKeyProvider
from manifold_common.errors import CorruptObject, KeyUnavailable
from manifold_common.ids import TenantId

from tests.contract.vault_fixtures import CONTEXT, KEY, MATERIAL, assert_says, failure_of, provider_for, timed
from tests.support.certificates import Authority
from tests.support.openbao import OpenBao, TlsFiles, running_openbao
from tests.support.s3_proxy import Fault, S3Proxy

# --- bad networks -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [Fault("status", 500), Fault("status", 502), Fault("status", 503), Fault("status", 429), Fault("drop"),
     Fault("lost_ack"), Fault("cut", keep_bytes=10)],
    ids=lambda fault: f"{fault.kind}-{fault.status}",
)  # fmt: skip
def test_a_passing_failure_is_tried_again(openbao: OpenBao, mount: str, vault_proxy: S3Proxy, fault: Fault) -> None:
    provider = provider_for(vault_proxy.url, openbao.root_token, mount)
    wrapped = provider.wrap(MATERIAL, CONTEXT)
    for operation in (
        lambda: provider.unwrap(wrapped, CONTEXT),
        lambda: provider.unwrap(provider.rewrap(wrapped, CONTEXT), CONTEXT),
        lambda: provider.unwrap(provider.wrap(MATERIAL, CONTEXT), CONTEXT),
    ):
        vault_proxy.inject(fault)
        assert operation() == MATERIAL


def test_a_failure_that_lasts_is_given_up(openbao: OpenBao, mount: str, vault_proxy: S3Proxy) -> None:
    provider = provider_for(vault_proxy.url, openbao.root_token, mount)
    wrapped = provider.wrap(MATERIAL, CONTEXT)
    vault_proxy.inject(Fault("status", 503), times=1000)
    error = failure_of(lambda: provider.unwrap(wrapped, CONTEXT))
    assert_says(error, "failing", "503")


def test_a_refusal_is_not_tried_again(openbao: OpenBao, mount: str, vault_proxy: S3Proxy) -> None:
    provider = provider_for(vault_proxy.url, openbao.root_token, mount)
    wrapped = provider.wrap(MATERIAL, CONTEXT)
    vault_proxy.seen.clear()
    with pytest.raises(CorruptObject):
        provider.unwrap(wrapped, CONTEXT._replace(tenant=TenantId("other")))
    assert len(vault_proxy.seen) == 1


@pytest.mark.alone("measures time-outs")
@pytest.mark.parametrize("kind", ["hang", "stall"])
def test_a_server_that_hangs_costs_two_time_outs_at_most(
    openbao: OpenBao, mount: str, vault_proxy: S3Proxy, kind: Any
) -> None:
    provider = provider_for(vault_proxy.url, openbao.root_token, mount, timeout_seconds=0.4)
    wrapped = provider_for(openbao, openbao.root_token, mount).wrap(MATERIAL, CONTEXT)
    vault_proxy.inject(Fault(kind, keep_bytes=3), times=1000)
    error, seconds = timed(lambda: failure_of(lambda: provider.unwrap(wrapped, CONTEXT)))
    assert isinstance(error, KeyUnavailable)
    assert_says(error, "unreachable", "no answer within 0.4 seconds")
    assert seconds < 4
    health, seconds = timed(provider.health)
    assert not health.ok  # type: ignore[attr-defined]
    assert seconds < 3


@pytest.mark.alone("measures time-outs")
def test_a_server_that_dribbles_is_bounded_too(openbao: OpenBao) -> None:
    """One byte now and then satisfies the time-out of every single read."""
    with dribbling_server() as url:
        provider = provider_for(url, "t", timeout_seconds=0.5)
        error, seconds = timed(lambda: failure_of(lambda: provider.wrap(MATERIAL, CONTEXT)))
        assert isinstance(error, KeyUnavailable)
        assert_says(error, "unreachable", "no answer within 0.5 seconds")
        assert seconds < 5
        health, seconds = timed(provider.health)
        assert not health.ok  # type: ignore[attr-defined]
        assert seconds < 4


def test_an_answer_without_end_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = 0

    def handle(request: BaseHTTPRequestHandler) -> None:
        nonlocal sent
        request.send_response(200)
        request.end_headers()
        with suppress(OSError):
            for _ in range(1000):
                request.wfile.write(b" " * 65_536)
                sent += 65_536

    monkeypatch.setattr(client, "MAX_ANSWER_BYTES", 1 << 20)
    with _Server(handle) as url:
        assert_says(failure_of(lambda: provider_for(url, "t").wrap(MATERIAL, CONTEXT)), "not_vault", "vault.address")
    assert sent < 16 << 20


@pytest.mark.alone("measures time-outs")
def test_waiting_threads_do_not_wait_for_each_others_time_outs(
    openbao: OpenBao, vault_proxy: S3Proxy, mount: str
) -> None:
    vault_proxy.inject(Fault("hang"), times=1000)
    provider = provider_for(vault_proxy.url, openbao.root_token, mount, timeout_seconds=0.5)
    threads = [threading.Thread(target=lambda: failure_of(lambda: provider.wrap(MATERIAL, CONTEXT))) for _ in range(12)]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - begun < 5, "twelve in a row would take twelve times as long"


def test_the_token_follows_no_redirect(openbao: OpenBao) -> None:
    heard: list[str] = []
    with redirecting_server(heard) as url:
        provider = provider_for(url, "s.a-token-to-be-kept")
        assert_says(failure_of(lambda: provider.wrap(MATERIAL, CONTEXT)), "unreachable", "vault.address")
    assert heard
    assert not [path for path in heard if "elsewhere" in path]


# --- TLS --------------------------------------------------------------------------------------------------------------


def test_tls_checks_both_sides(tmp_path: Path) -> None:
    servers, clients, strangers = (Authority(tmp_path, name) for name in ("servers", "clients", "strangers"))
    cert, key = servers.issue("vault")
    mine, theirs = clients.issue("manifold"), strangers.issue("stranger")
    files = TlsFiles(cert, key, client_ca=clients.file, trusted=servers.file)
    with running_openbao(files, mine) as server:
        server.mount_transit()
        server.make_key(KEY, derived=True)

        def connect(**options: Any) -> VaultKeyProvider:
            return provider_for(server, server.root_token, **options)

        trusted = {"ca_file": str(servers.file)}
        shown = {"cert_file": str(mine[0]), "key_file": str(mine[1])}
        provider = connect(**trusted, **shown)
        assert provider.unwrap(provider.wrap(MATERIAL, CONTEXT), CONTEXT) == MATERIAL

        for wrong in (
            shown,  # the system does not trust the server
            {"ca_file": str(strangers.file), **shown},
            {**trusted, "cert_file": str(theirs[0]), "key_file": str(theirs[1])},
            {**trusted, **shown, "ca_file": str(tmp_path / "missing.pem")},
        ):
            health = connect(**wrong).health()
            assert not health.ok
            assert "vault.tls" in health.detail or "vault.address" in health.detail
        with pytest.warns(match="Unverified HTTPS request"):
            connect(verify_tls=False, **shown).wrap(MATERIAL, CONTEXT)


# --- servers that misbehave -------------------------------------------------------------------------------------------


class _Server:
    """An HTTP server with one answer, ``handle``, for every request. A context manager that gives its URL."""

    def __init__(self, handle: Callable[[BaseHTTPRequestHandler], None]) -> None:
        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

            def do_GET(self) -> None:
                handle(self)

            def do_POST(self) -> None:
                handle(self)

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, request: object, client_address: object) -> None:
                """Clients give up here."""

        self._server = Quiet(("127.0.0.1", 0), Handler)

    def __enter__(self) -> str:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def dribbling_server() -> _Server:
    def handle(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "1000")
        request.end_headers()
        for _ in range(100):
            request.wfile.write(b" ")
            request.wfile.flush()
            time.sleep(0.1)

    return _Server(handle)


def redirecting_server(heard: list[str]) -> _Server:
    def handle(request: BaseHTTPRequestHandler) -> None:
        heard.append(request.path)
        request.send_response(307)
        request.send_header("Location", f"http://{request.headers['Host']}/elsewhere")
        request.send_header("Content-Length", "0")
        request.end_headers()

    return _Server(handle)
