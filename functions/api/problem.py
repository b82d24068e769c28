"""Problem documents as the HTTP application answers them. What they say: ``functions/invocation/problems.py``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import Request, Response
from manifold_common.errors import ManifoldError
from manifold_common.shapes.problem import Problem

from functions.api.references import content_of
from functions.invocation.problems import MEDIA_TYPE, ProblemAnswer, answer_to, document_of, internal_answer


def problem_of(error: ManifoldError, request: Request) -> Response:
    """Return the answer to a request that met ``error``."""
    return _response(answer_to(error, request.headers))


def internal_problem() -> Response:
    return _response(internal_answer())


def problem(
    status: int, code: str, detail: str, *, hint: str | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    return _response(ProblemAnswer(status, dict(headers or {}), document_of(status, code, detail, hint=hint)))


def _response(answer: ProblemAnswer) -> Response:
    return Response(answer.encode(), status_code=answer.status, media_type=MEDIA_TYPE, headers=answer.headers)


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the description of an operation's problems, for OpenAPI.

    They refer to the shape by its name (openapi.py adds it). Given as a class, the framework would build a validator of
    it for each status of each route, which took a quarter of the time that the application takes to start.
    """
    return {
        status: {"description": _MEANINGS[status], "content": content_of(Problem, MEDIA_TYPE)}
        for status in sorted({400, 403, 413, 417, 429, 431, 500, 501, 503, 507, *statuses})
    }


_MEANINGS = {
    400: "The request is wrong; `detail` and `hint` say how.",
    403: "Refused: another site's page, or a Host header that is not this server's.",
    404: "No such project, generation, path, session or job.",
    408: "The body stopped before its end. Nothing was changed.",
    409: "The state moved on: see `code`.",
    410: "What the cursor goes through is not there any more: see `code`. Begin again without a cursor.",
    412: "A condition in `If-Match`, `If-None-Match` or `If-Unmodified-Since` does not hold. Nothing was changed.",
    413: "Over a limit. Nothing was changed.",
    415: "The content is of a type or in an encoding that is not taken; `Accept` or `Accept-Encoding` says what is.",
    416: "The range lies outside the content.",
    417: "`Expect` asks for something else than `100-continue`.",
    422: "The `Idempotency-Key` was that of another request. Nothing was changed.",
    423: "Another request is writing to the upload. Nothing more of this one is kept.",
    429: "This client has too much under way; try again after `Retry-After`.",
    431: "The request line, or the headers, are longer than the server takes.",
    460: "The part is not the one that `Upload-Checksum` names. Nothing of it was kept.",
    500: "Stored data is damaged, or there is a bug.",
    501: "`Transfer-Encoding` has another coding than `chunked`.",
    503: "A dependency does not answer, or there is too much under way; the same request may succeed later.",
    507: "A disk is full: the server's, the store's, the database's, or the RAM folder. Nothing was changed.",
}
