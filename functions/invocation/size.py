"""How large an answer may be: Lambda passes on 6 MiB, as the runtime writes them.

A larger one ends its container, and the caller hears of a crash. So each is looked at here before it leaves.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from functions.invocation.problems import AnswerTooLarge

MAX_ANSWER_BYTES = 6 * 2**20 - 64 * 2**10
"""With room for what Lambda and the gateway put around an answer."""
_SURELY_SMALL = MAX_ANSWER_BYTES // 12
"""Whatever JSON makes of so many characters passes: of one, a pair of escapes at most (``\\ud83d\\ude00``)."""
# The runtime's own choice (awslambdaric's Encoder).
_AS_ASCII = sys.version_info < (3, 12)


def written_bytes(answer: Any) -> int:
    """Return how long an answer is as the runtime writes it."""
    text = json.dumps(answer, ensure_ascii=_AS_ASCII)
    return len(text) if _AS_ASCII else len(text.encode("utf-8", "surrogatepass"))


def check_size(answer: Any) -> None:
    """Raises AnswerTooLarge."""
    body = answer.get("body") if isinstance(answer, Mapping) else None
    if isinstance(body, str) and len(body) < _SURELY_SMALL and "statusCode" in answer:
        return
    size = written_bytes(answer)
    if size > MAX_ANSWER_BYTES:
        raise answer_too_large(size)


def answer_too_large(size: int) -> AnswerTooLarge:
    return AnswerTooLarge(
        f"the answer takes {size} bytes, and a function passes on {MAX_ANSWER_BYTES} at most",
        hint="ask for less at a time: a part with the Range header, a smaller limit, one project; or read past the "
        "function by a plan, as 'manifold --remote URL' does (docs/direct-access.md)",
        size=size,
        limit=MAX_ANSWER_BYTES,
    )
