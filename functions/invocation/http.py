"""Events of API Gateway and of function URLs, brought to one form and answered without a web framework.

That form is payload format 2.0, which HTTP APIs and function URLs send. Format 1.0 is what REST APIs send, and
HTTP APIs that ask for it; an answer to it looks the same, since none of ours has a cookie.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import quote, unquote, urlencode

import msgspec
from manifold_common.domain.api_address import API
from manifold_common.domain.correlation import ID_HEADERS, correlation
from manifold_common.errors import ManifoldError, UnsafePath

from functions.invocation.content import JSON, JSON_HINT, check_content, check_media_type, check_message
from functions.invocation.decode import json_of, refusal_of, request_of
from functions.invocation.problems import MEDIA_TYPE, MethodNotAllowed, ProblemAnswer, answer_to, internal_answer

_ACTION = re.compile(r"[a-z_]+\Z")
_GENERATION = re.compile(r'"[0-9]{1,15}(?:-[a-z2-7]{26})?"\Z')
_ENCODED = "rawPathIsEncoded"
_LOST = "\ufffd"
"""What a gateway that decodes puts in the place of bytes that are no text."""
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def is_http(event: object) -> bool:
    if not isinstance(event, dict) or not isinstance(event.get("requestContext"), dict):
        return False
    return "http" in event["requestContext"] or _is_format_1(event)


def _is_format_1(event: Mapping[str, Any]) -> bool:
    of_another_kind = {"http", "elb"} & event["requestContext"].keys() or "methodArn" in event
    return "httpMethod" in event and not of_another_kind


class _Http(msgspec.Struct):
    method: str
    path: str
    sourceIp: str  # noqa: N815 - the names are Amazon's


class _RequestContext(msgspec.Struct):
    http: _Http
    stage: str = "$default"
    domainName: str = ""  # noqa: N815


class _HttpEvent(msgspec.Struct):
    """The part of an event that is used."""

    version: Literal["2.0"]
    rawPath: str  # noqa: N815
    requestContext: _RequestContext  # noqa: N815
    rawQueryString: str = ""  # noqa: N815
    headers: dict[str, str] | None = None
    cookies: list[str] | None = None
    body: str | None = None
    isBase64Encoded: bool = False  # noqa: N815


class _Identity(msgspec.Struct):
    sourceIp: str = ""  # noqa: N815


class _Context1(msgspec.Struct):
    identity: _Identity
    stage: str = "$default"
    domainName: str = ""  # noqa: N815


class _HttpEvent1(msgspec.Struct):
    httpMethod: str  # noqa: N815
    path: str
    requestContext: _Context1  # noqa: N815
    version: Literal["1.0"] | None = None
    """Said by HTTP APIs only."""
    headers: dict[str, str] | None = None
    multiValueHeaders: dict[str, list[str]] | None = None  # noqa: N815
    queryStringParameters: dict[str, str] | None = None  # noqa: N815
    multiValueQueryStringParameters: dict[str, list[str]] | None = None  # noqa: N815
    body: str | None = None
    isBase64Encoded: bool = False  # noqa: N815


def normal(event: dict[str, Any]) -> dict[str, Any]:
    """Return an event of either format as one of format 2.0. Raises MalformedEvent: it is of neither."""
    if not _is_format_1(event):
        request_of(_HttpEvent, event)
        return event
    old = request_of(_HttpEvent1, event)
    context = old.requestContext
    http = {"method": old.httpMethod, "path": old.path, "sourceIp": context.identity.sourceIp}
    single = old.queryStringParameters or {}
    query = urlencode(old.multiValueQueryStringParameters or single, doseq=True)
    if quote(_LOST) in query:
        raise refusal_of("multiValueQueryStringParameters", "it holds bytes that are not UTF-8")
    return {
        "version": "2.0",
        "rawPath": old.path,
        _ENCODED: old.version is None,  # a REST API passes a path on as it was sent
        "rawQueryString": query,
        "headers": (old.headers or {}) | {name: ",".join(all_) for name, all_ in (old.multiValueHeaders or {}).items()},
        "requestContext": {**event["requestContext"], "http": http},
        "body": old.body,
        "isBase64Encoded": old.isBase64Encoded,
    }


def headers_of(event: Mapping[str, Any]) -> dict[str, str]:
    """Return headers by their names in lower case. The host is the one that AWS was asked for, if no header says it."""
    found = event.get("headers")
    headers = {str(name).lower(): str(value) for name, value in found.items()} if isinstance(found, dict) else {}
    host = str(event["requestContext"].get("domainName") or "")
    return {"host": host, **headers} if host else headers


def raw_path_of(event: Mapping[str, Any]) -> str:
    """Return the path as a client would write it, percent-encoded, without the stage's name.

    A function URL passes on what was sent. An HTTP API decodes it first: then what it says is encoded again, so that it
    is decoded once in all. What its decoding loses is lost, such as a slash in a name; where it has lost bytes that are
    not UTF-8, the address is refused, since what is left of them is the name of another file.

    Raises:
        UnsafePath: see above.
    """
    context = event["requestContext"]
    path, stage = str(event.get("rawPath") or "/"), context.get("stage", "$default")
    if stage != "$default" and (path == f"/{stage}" or path.startswith(f"/{stage}/")):
        path = path[len(stage) + 1 :] or "/"
    is_encoded = event.get(_ENCODED) is True or ".lambda-url." in str(context.get("domainName", ""))
    if is_encoded:
        return path
    if _LOST in path:
        raise UnsafePath(
            "the address cannot be used: its gateway has replaced bytes of it that are not UTF-8",
            hint="say the path in JSON, as path_base64, or use a function URL",
        )
    return quote(path, safe="/")


def body_of(event: Mapping[str, Any]) -> bytes:
    """Raises InvalidInput."""
    body = event.get("body") or ""
    if not isinstance(body, str):
        raise refusal_of("body", "expected `str`")
    if not event.get("isBase64Encoded"):
        return body.encode()
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        raise refusal_of("body", "it is not base64, as isBase64Encoded says") from None


def direct_event(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a program would have sent directly to say the same: the session and the action of the path, and the
    fields of the body. Who asks is not among them: that is not for a body to say.

    Raises:
        InvalidInput: also where it says more than that, such as in its query, or says it in another way than JSON.
    """
    session, action = _route_of(raw_path_of(event))
    method = event["requestContext"]["http"]["method"]
    if method != "POST":
        raise MethodNotAllowed(method, ["POST"])
    if event.get("rawQueryString"):
        raise refusal_of("rawQueryString", "there are no parameters here")
    headers, content = headers_of(event), body_of(event)
    check_message(headers)
    digests = check_content(headers)
    if content:
        check_media_type(headers, JSON, JSON_HINT)
    digests.update(content)
    digests.verify()
    body = json_of(content or b"{}")
    if not isinstance(body, dict):
        raise refusal_of("body", "expected an object")
    for name in ("tenant", "user", "session", "action", "errors", "correlation_id"):
        if name in body:
            raise refusal_of(f"body.{name}", "there is no such field")
    return {**body, **_conditions(headers), "session": session, "action": action}


def _route_of(raw_path: str) -> tuple[str, str]:
    """Return the session and the action that a path names. Raises InvalidInput."""
    match [_text_of(name) for name in raw_path.split("/")]:
        case ["", "api", "v1", "sessions", session, action] if session and _ACTION.match(action):
            return session, action
    raise refusal_of("rawPath", f"expected {API}/sessions/<session>/<action>")


def _text_of(name: str) -> str:
    try:
        return unquote(name, errors="strict")
    except UnicodeDecodeError:
        raise refusal_of("rawPath", "it holds bytes that are not UTF-8") from None


def _conditions(headers: Mapping[str, str]) -> dict[str, Any]:
    """Return what headers say that bodies can say too: If-Match, Idempotency-Key. Raises InvalidInput: other
    conditions, which nothing here would look at."""
    found: dict[str, Any] = {}
    for header in ("if-none-match", "if-unmodified-since"):
        if header in headers:
            raise refusal_of(f"headers.{header}", "only If-Match is taken here")
    match = headers.get("if-match", "*").strip()
    if match != "*":
        if not _GENERATION.match(match):
            raise refusal_of("headers.if-match", 'expected a generation in quotes, such as "7"')
        point = match.strip('"')
        found["expected_generation"] = point if "-" in point else int(point)
    if "idempotency-key" in headers:
        found["request_id"] = headers["idempotency-key"].strip().strip('"')
    return found


def answer(result: Any) -> dict[str, Any]:
    """Return the answer of a request that was served."""
    return _answer(200, {"Content-Type": "application/json"}, msgspec.json.encode(result))


def problem(error: Exception, event: Mapping[str, Any]) -> dict[str, Any]:
    """Return the answer of a request that was not."""
    found = internal_answer()
    if isinstance(error, ManifoldError):
        found = answer_to(error, headers_of(event))
    return problem_answer(found)


def outcome_of(answer: Mapping[str, Any]) -> str:
    """Return what became of a request that was answered: ``ok``, or the code of the problem that its answer tells."""
    if answer["statusCode"] < 400:
        return "ok"
    try:
        return str(json_of(answer["body"])["code"])
    except (ManifoldError, KeyError, TypeError):
        return f"http_{answer['statusCode']}"  # HEAD has no body


def problem_answer(found: ProblemAnswer) -> dict[str, Any]:
    return _answer(found.status, {"Content-Type": MEDIA_TYPE, **found.headers}, found.encode())


def _answer(status: int, headers: dict[str, str], body: bytes) -> dict[str, Any]:
    found = correlation()
    ours = {**_HEADERS, **dict.fromkeys(ID_HEADERS, found.id)} if found else _HEADERS
    return {"statusCode": status, "headers": {**ours, **headers}, "body": body.decode(), "isBase64Encoded": False}
