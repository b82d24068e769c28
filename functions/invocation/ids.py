"""The ids by which an invocation is found: in Lambda's log, the access log of the HTTP API, traces, and by its
caller."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from manifold_common.domain.correlation import Correlation

from functions.invocation.http import headers_of, is_http

_XRAY = re.compile(r"(?:^|;) *Root=(1-[0-9a-f]{8}-[0-9a-f]{24})(?:;|\Z)")


class Ids(NamedTuple):
    correlation: Correlation
    request: str
    """Lambda's own, which its REPORT line has."""
    api_request: str | None
    """The HTTP API's, which its access log has as ``id``."""
    trace: str | None

    def log_keys(self) -> dict[str, str | None]:
        return {
            "correlation_id": self.correlation.id,
            "request_id": self.request,
            "api_request_id": self.api_request,
            "trace_id": self.trace,
        }


def ids_of(event: Any, request: str) -> Ids:
    """Return the ids of an invocation. What a caller chose is taken only where it is well-formed.

    Args:
        request: the invocation's id, from Lambda.
    """
    if not is_http(event):
        given = event.get("correlation_id") if isinstance(event, dict) else None
        return Ids(Correlation.of(given if isinstance(given, str) else None, None, request), request, None, None)
    headers = headers_of(event)
    said = event["requestContext"].get("requestId")
    # Whoever calls the function directly writes this one, too.
    api_request = Correlation.of(said if isinstance(said, str) else None, None, "").id or None
    correlation = Correlation.of_headers(headers, api_request or request)
    xray = _XRAY.search(headers.get("x-amzn-trace-id", ""))
    return Ids(correlation, request, api_request, correlation.trace or (xray[1] if xray else None))
