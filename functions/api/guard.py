"""What every request passes first: an unambiguous path, a Host that is this server's, no write from another site's
page, not too many requests at once, a body that is not too large and does not come too slowly; and what every answer
carries.

There is no sign-in yet, so whoever reaches the port may do anything. A browser on this machine reaches it on behalf of
any page it shows: by a request across sites, or under a name that the page's owner points at 127.0.0.1 (DNS rebinding).
Both are refused here.
"""

from __future__ import annotations

import ipaddress
import logging
import re
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from urllib.parse import urlsplit
from uuid import uuid4

from fastapi import Request
from manifold_common.domain.api_address import API
from manifold_common.domain.correlation import ID_HEADERS, Correlation, correlated, correlation
from manifold_common.domain.panic import panics_as_errors
from manifold_common.domain.patience import hurried, wanted_while
from manifold_common.domain.served_link import PATH
from manifold_common.errors import Abandoned, Denied, ManifoldError, Overloaded
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from functions.api.json_bound import MAX_CHANGE_VALUES, MAX_JSON_VALUES, JsonBound
from functions.api.pace import Pace
from functions.api.paths import check_raw_path, raw_path_of
from functions.api.problem import internal_problem, problem_of
from functions.api.request_body import length_of, too_large
from functions.api.request_names import digested, marked
from functions.api.traffic import Room, Traffic, Transfer
from functions.invocation.problems import status_of

_log = logging.getLogger("manifold.api")

_COUNTED = (Overloaded, Abandoned)
"""What ``Traffic`` sums up in the log, and what nobody is there to hear."""
_ALWAYS_ANSWERED = frozenset({"/health", "/livez", "/readyz"})
_READS = frozenset({"GET", "HEAD", "OPTIONS"})
RESUMABLE = re.compile(rf"{API}/projects/[^/]+/resumable-uploads(/|\Z)")
_STREAMED = re.compile(rf"{API}/projects/[^/]+/(files/|archive\Z)|{RESUMABLE.pattern}|{PATH}")
_MANY_CHANGES = re.compile(rf"{API}/projects/[^/]+/commits\Z")
_JSON_BYTES = 1 << 20
MANY_CHANGES_BYTES = 64 << 20

_ANSWER_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}
TUS = {"Tus-Resumable": "1.0.0", "Tus-Version": "1.0.0"}
"""What every answer about resumable uploads says, errors included: which version of the protocol is spoken here."""
_NOTHING_RUNS = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; sandbox"

HostRule = Callable[[str], bool]
"""Tells whether a name or address, without its port, is this server's."""


def local_hosts(names: Iterable[str] = (), *, any_address: bool = False) -> HostRule:
    """Return a rule for a server without sign-in.

    Args:
        names: further names that are this server's.
        any_address: the server is reached from other machines: take any IP address, and names without a dot, which no
            stranger can register. A page cannot be rebound to either.
    """
    known = {"localhost", *(name.lower() for name in names)}

    def is_ours(host: str) -> bool:
        if host in known:
            return True
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return any_address and bool(host) and "." not in host
        return any_address or address.is_loopback

    return is_ours


class Guard:
    """The outermost ASGI layer.

    Args:
        hosts: ``None`` where something else checks them, as on Lambda.
        patience_seconds: how long a request waits for one dependency; 0: as long as background work.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: HostRule | None,
        public_origin: str | None,
        discreet: bool,
        patience_seconds: float,
        traffic: Traffic,
    ) -> None:
        self._app = app
        self._hosts = hosts
        self._public_origin = public_origin
        self._discreet = discreet
        self._patience_seconds = patience_seconds
        self._traffic = traffic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {})
        headers = Headers(scope=scope)
        found = correlation() or Correlation.of_headers(headers, uuid4().hex)
        with correlated(found):
            await self._serve(scope, receive, send, found.id)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, correlation_id: str) -> None:
        started = time.monotonic()
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _add_headers(MutableHeaders(scope=message), correlation_id)
                if RESUMABLE.match(scope["path"]):
                    MutableHeaders(scope=message).update(TUS)
            elif scope["method"] == "HEAD":
                message = {**message, "body": b""}
            await send(message)

        request = Request(scope, receive)
        try:
            check_raw_path(raw_path_of(scope))
            self._check_host(Headers(scope=scope))
            self._check_site(scope["method"], Headers(scope=scope))
            with hurried(self._patience_seconds), panics_as_errors(), self._admitted(scope) as transfer, _wanted(scope):
                transfer.end = scope["state"].get("cut_off")
                scope["state"]["transfer"] = transfer
                received = digested(scope, self._received(scope, receive, transfer))
                await self._app(scope, received, marked(scope, answer))
        except ManifoldError as error:
            if status_of(error, request.headers) >= 500 and not isinstance(error, _COUNTED):
                log_failure(error, correlation_id, discreet=self._discreet)
            if status:
                raise AnswerCutShort from None
            response = problem_of(error, request)
            if error is scope["state"].get("refusal"):
                response.headers["Connection"] = "close"
            await response(scope, receive, answer)
        except Exception as error:
            # Nothing of it may reach the client; and its text may name files, which a log must not.
            log_failure(error, correlation_id, discreet=self._discreet)
            if status:
                raise AnswerCutShort from None
            await internal_problem()(scope, receive, answer)
        finally:
            route = getattr(scope.get("route"), "path", "(no route)")
            taken_ms = (time.monotonic() - started) * 1000
            _log.debug("%s %s %s %.1f ms", scope["method"], route, status or "-", taken_ms)

    def _admitted(self, scope: Scope) -> AbstractContextManager[Transfer]:
        """Count the request, unless it is one that is answered whatever else goes on. Raises Overloaded,
        TooManyRequests: also for the connection that it came on, where the server has found that one too many."""
        address = (scope.get("client") or ("",))[0]
        peer = self._traffic.peer_of(address, Headers(scope=scope).getlist("x-forwarded-for"))
        if scope["path"] in _ALWAYS_ANSWERED:
            return nullcontext(Transfer(peer))
        refusal: ManifoldError | None = scope["state"].get("refusal")
        if refusal is not None:
            raise refusal
        return self._traffic.request(peer)

    def _received(self, scope: Scope, receive: Receive, transfer: Transfer) -> Receive:
        """Return ``receive`` for a client that keeps up, and with a bound on bodies that are read whole. Streamed ones
        have a bound of their own."""
        limits = self._traffic.limits
        on_slow = partial(self._traffic.refused, "slow_body")
        pace = Pace(limits.stall_seconds, int(limits.min_bytes_per_second * limits.stall_seconds), on_slow)
        paced = pace.over(receive)
        path = scope["path"]
        if scope["method"] in _READS or _STREAMED.match(path):
            return paced
        most, values = (
            (MANY_CHANGES_BYTES, MAX_CHANGE_VALUES) if _MANY_CHANGES.match(path) else (_JSON_BYTES, MAX_JSON_VALUES)
        )
        return _limited(paced, Headers(scope=scope), most, values, self._traffic.room, transfer)

    def _check_host(self, headers: Headers) -> None:
        if self._hosts is None:
            return
        if not headers.get("host"):
            raise Denied("the request does not say which server it is for", hint="send a Host header")
        host = _name_of(headers["host"])
        if not self._hosts(host):
            raise Denied(
                f"this server is not {host[:80]!r}",
                hint="use http://127.0.0.1, or set server.publicUrl to the address under which clients reach it",
            )

    def _check_site(self, method: str, headers: Headers) -> None:
        if method in _READS:
            return
        origin = headers.get("origin")
        if origin is not None and origin in (self._public_origin, f"http://{headers.get('host', '')}"):
            return
        site = headers.get("sec-fetch-site")
        if origin is not None or site not in (None, "none", "same-origin"):
            raise Denied(
                "a page of another site cannot change anything here", hint="use curl, the CLI, or this server's page"
            )


class AnswerCutShort(Exception):
    """An answer had begun and cannot be finished: the connection is closed, so that the client notices."""


def log_failure(error: Exception, correlation_id: str, *, discreet: bool) -> None:
    """Log an error with where it happened; with ``discreet``, without its text."""
    frames = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        frames.append(f"{code.co_filename.rpartition('/')[2]}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    text = f" {error.code}" if isinstance(error, ManifoldError) else ""
    text += "" if discreet else f": {error}"
    _log.error("[%s] %s%s at %s", correlation_id, type(error).__name__, text, " < ".join(reversed(frames[-12:])))


def _add_headers(headers: MutableHeaders, correlation_id: str) -> None:
    for name in ID_HEADERS:
        headers[name] = correlation_id
    for name, value in _ANSWER_HEADERS.items():
        headers[name] = value
    headers.setdefault("Content-Security-Policy", _NOTHING_RUNS)
    headers.setdefault("Cache-Control", "no-store")


def _name_of(host: str) -> str:
    """Return the name or address of a Host header: lower case, no port, no brackets; ``""`` for a malformed one."""
    if set(host) & set("/?#@ \\"):
        return ""
    try:
        parts = urlsplit(f"//{host}")
        return "" if parts.port == 0 else parts.hostname or ""
    except ValueError:
        return ""


def _limited(
    receive: Receive, headers: Headers, limit: int, most_values: int, room: Room, transfer: Transfer
) -> Receive:
    bound = JsonBound(most_values)
    seen = 0
    expected = length_of(headers) or 0

    async def bounded() -> Message:
        nonlocal seen
        if expected > limit:
            raise too_large(limit)
        if expected > transfer.held_bytes:
            await room.take(transfer, expected - transfer.held_bytes, large=expected > _JSON_BYTES)
        since = transfer.waits_since = transfer.waits_since or time.monotonic()
        message = await receive()
        transfer.waits_since = None
        body = message.get("body", b"")
        seen += len(body)
        if seen > limit:
            raise too_large(limit)
        bound.feed(body)
        if seen > transfer.held_bytes:
            await room.take(transfer, min(limit, 2 * seen) - transfer.held_bytes, large=seen > _JSON_BYTES)
        if message.get("more_body"):
            transfer.waits_since = since
        return message

    return bounded


def _wanted(scope: Scope) -> AbstractContextManager[None]:
    """Work that only reads is wanted while its client is there, where the server can tell."""
    is_there: Callable[[], bool] | None = scope["state"].get("client_is_there")
    return nullcontext() if is_there is None or scope["method"] not in _READS else wanted_while(is_there)
