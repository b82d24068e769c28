"""The HTTP API as a function, behind an HTTP API or a function URL."""

from __future__ import annotations

from typing import Any

from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from starlette.types import ASGIApp

from functions.api.app import create_app
from functions.api.gateway import function_hosts, serve
from functions.invocation.decode import refusal_of
from functions.invocation.entry import Call, function
from functions.invocation.http import is_http


@function("api")
def handler(event: Any, call: Call) -> dict[str, Any]:
    """Answer one request."""
    if not is_http(event):
        raise refusal_of("requestContext.http", "expected an event of an HTTP API, payload format 2.0")
    call.enter(LOCAL_PRINCIPAL)
    return serve(call.kept(_app), event, call.context)


def _app(manifold: Manifold) -> ASGIApp:
    return create_app(manifold, hosts=function_hosts(manifold.settings), on_demand=True, is_buffered=True)
