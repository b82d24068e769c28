"""The HTTP server: uvicorn, stopped by the host instead of by signals of its own."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from functools import partial
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp

from functions.api.traffic import Traffic
from manifold_local.host.connections import Connections
from manifold_local.host.protocol import HostProtocol

_BACKLOG = 1024


class HostServer(uvicorn.Server):
    """A server that leaves signals alone; set ``should_exit`` to stop it. Requests that wait for events, and
    parts of resumable uploads, end then."""

    def __init__(self, app: ASGIApp, traffic: Traffic, *, shutdown_seconds: float) -> None:
        self._traffic = traffic
        super().__init__(
            uvicorn.Config(
                app,
                http=cast(Any, partial(HostProtocol, connections=Connections(traffic))),
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=max(1, int(traffic.limits.idle_seconds)),
                timeout_graceful_shutdown=max(1, int(shutdown_seconds)),
                backlog=_BACKLOG,
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._traffic.end()
        await super().shutdown(sockets)
