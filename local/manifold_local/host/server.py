"""The HTTP server: uvicorn, stopped by the host instead of by signals of its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

_BACKLOG = 1024
_KEEP_ALIVE_SECONDS = 30
_RETRY_SECONDS = 0.01


class PatientProtocol(H11Protocol):
    """Hands over a request that has arrived whole, even when the client has hung up meanwhile.

    Otherwise the same bytes would be a commit, or none, depending on which of two events the loop saw first: a closed
    browser tab would cancel the commit that it had sent.
    """

    def connection_lost(self, exc: Exception | None) -> None:
        cycle = self.cycle
        if cycle is not None and cycle.body and not cycle.more_body and not cycle.response_complete:
            asyncio.get_running_loop().call_later(_RETRY_SECONDS, self.connection_lost, exc)
            return
        super().connection_lost(exc)


class HostServer(uvicorn.Server):
    """A server that leaves signals alone; set ``should_exit`` to stop it."""

    def __init__(self, app: ASGIApp, *, shutdown_seconds: float) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=PatientProtocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=max(1, int(shutdown_seconds)),
                backlog=_BACKLOG,
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
