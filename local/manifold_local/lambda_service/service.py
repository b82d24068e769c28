"""Puts this package into ministack: it runs the functions, and answers as Lambda and an HTTP API do.

The main program, with ``Places`` as JSON, which goes on as ministack.

What is replaced is named in ``_REPLACED`` and has to be there, so that another release of ministack is noticed at the
start and not by what it does.
"""

from __future__ import annotations

import importlib
import json
import runpy
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from manifold_local.lambda_service.limits import MAX_ASYNC_EVENT_BYTES, MAX_EVENT_BYTES
from manifold_local.lambda_service.pool import Function, Places, Pool
from manifold_local.lambda_service.runtime_api import Invocation

_REPLACED = (
    "_execute_function_warm",
    "lambda_execute_result_to_api_proxy_response",
    "handle_request",
    "_sqs_esm_concurrency",
)
_USED = ("_account_region_from_function_config", "_resolve_layer_zip", "_xray_trace_id_for_invocation", *_REPLACED)

Answer = tuple[int, dict[str, str], bytes]
Handle = Callable[[str, str, dict[str, str], bytes, dict[str, Any]], Awaitable[Answer]]


def main(places: Mapping[str, str]) -> None:
    endpoint = places["endpoint"]
    folders = {name: Path(value) for name, value in places.items() if name != "endpoint"}
    install(Pool(Places(endpoint=endpoint, python=Path(sys.executable), **folders)))
    runpy.run_module("ministack", run_name="__main__")


def install(pool: Pool) -> None:
    """Raises SystemExit: this release of ministack is another one than this was written for."""
    service = importlib.import_module("ministack.services.lambda_svc")
    missing = [name for name in _USED if not hasattr(service, name)]
    if missing:
        raise SystemExit(f"this release of ministack has no {', '.join(missing)}; infra/tools.lock names one that has")
    service._execute_function_warm = executor(service, pool)  # type: ignore[attr-defined]
    service.lambda_execute_result_to_api_proxy_response = http_answer  # type: ignore[attr-defined]
    service.handle_request = bounded(service.handle_request)  # type: ignore[attr-defined]
    service._sqs_esm_concurrency = numbered(service._sqs_esm_concurrency)  # type: ignore[attr-defined]


def executor(service: Any, pool: Pool) -> Callable[[dict[str, Any], Any, str], dict[str, Any]]:
    """Return what runs a function, in the shape that ministack wants to hear of it."""
    runtime = importlib.import_module("ministack.core.lambda_runtime")

    def execute(record: dict[str, Any], event: Any, request_id: str) -> dict[str, Any]:
        config = record.get("config") or record
        payload = json.dumps(event, ensure_ascii=False).encode("utf-8", "surrogatepass")
        if len(payload) > MAX_EVENT_BYTES:
            return {"error": True, "status": 413, "body": _refusal(len(payload), MAX_EVENT_BYTES, "RequestResponse")}
        layers = {
            (one if isinstance(one, str) else one["Arn"]): (lambda one=one: service._resolve_layer_zip(one))
            for one in config.get("Layers") or []
        }
        _, region = service._account_region_from_function_config(config)
        function = Function(config, record["code_zip"], layers, region, runtime.execution_credentials(config))
        invocation = Invocation(
            request_id,
            payload,
            str(config.get("FunctionArn", "")),
            time.time() + function.timeout_seconds,
            service._xray_trace_id_for_invocation(config),
        )
        done = pool.invoke(function, invocation)
        return {"body": done.body, "log": done.log, **({"error": True} if done.is_error else {})}

    return execute


def http_answer(result: dict[str, Any]) -> tuple[dict[str, Any], None]:
    """Return what an HTTP API answers when a function has come to ``result``."""
    if result.get("throttle"):
        return _message(503, "Service Unavailable"), None
    if result.get("error"):
        too_large = result.get("status") == 413
        return _message(413, "Request Entity Too Large") if too_large else _message(500, "Internal Server Error"), None
    body = result.get("body")
    if isinstance(body, dict) and "statusCode" in body:
        return body, None
    text = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)
    return {"statusCode": 200, "headers": {"content-type": "application/json"}, "body": text}, None


def numbered(concurrency: Callable[..., int]) -> Callable[..., int]:
    """Return what tells how many batches a queue's source runs at once, also if a parameter of the template says it:
    CloudFormation makes a number of its text, which ministack leaves as it is and cannot compare."""

    def numbered_concurrency(source: Mapping[str, Any], *more: Any) -> int:
        scaling = {name: int(value) for name, value in (source.get("ScalingConfig") or {}).items()}
        return concurrency({**source, "ScalingConfig": scaling}, *more)

    return numbered_concurrency


def bounded(handle: Handle) -> Handle:
    """Return Lambda's API, which refuses calls whose event is too large, or no JSON."""

    async def bounded_handle(
        method: str, path: str, headers: dict[str, str], body: bytes, query: dict[str, Any]
    ) -> Answer:
        if method == "POST" and path.rstrip("/").endswith("/invocations"):
            refused = refused_call({name.lower(): value for name, value in headers.items()}, body)
            if refused is not None:
                return refused
        return await handle(method, path, headers, body, query)

    return bounded_handle


def refused_call(headers: Mapping[str, str], body: bytes) -> Answer | None:
    """Args: ``headers``: by their names in lower case."""
    kind = headers.get("x-amz-invocation-type", "RequestResponse")
    limit = MAX_ASYNC_EVENT_BYTES if kind == "Event" else MAX_EVENT_BYTES
    if len(body) > limit:
        return _error(413, "RequestEntityTooLargeException", _refusal(len(body), limit, kind)["errorMessage"])
    try:
        json.loads(body or b"{}")
    except ValueError as error:
        text = f"Could not parse request body into json: {error}"
        return _error(400, "InvalidRequestContentException", text)
    return None


def _refusal(size: int, limit: int, kind: str) -> dict[str, str]:
    text = f"{size} byte payload is too large for the {kind} invocation type (limit {limit} bytes)"
    return {"errorType": "RequestEntityTooLargeException", "errorMessage": text}


def _error(status: int, code: str, text: str) -> Answer:
    headers = {"Content-Type": "application/json", "x-amzn-ErrorType": code}
    return status, headers, json.dumps({"Type": "User", "message": text, "Message": text}).encode()


def _message(status: int, text: str) -> dict[str, Any]:
    return {
        "statusCode": status,
        "headers": {"content-type": "application/json"},
        "body": json.dumps({"message": text}),
    }


if __name__ == "__main__":
    main(json.loads(sys.argv.pop(1)))
