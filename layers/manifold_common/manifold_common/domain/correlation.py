"""One id that ties together what a request does: log lines, the message that wakes the fan-out, events, error answers.

Who makes a request may choose it. It stands in logs and is handed to others, so it is taken only if it is a short word
of few characters, which can neither end a line nor be taken for anything else; an id of our own takes its place
otherwise. What serves a request says so once, with ``correlated``; whoever writes something down asks ``correlation``.
"""

from __future__ import annotations

import contextvars
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final, NamedTuple

ID_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._~:/=+-]{0,127}$"
"""Of an id that is taken. The ids of AWS, UUIDs and names such as ``run-17/step-4`` are such."""

TRACEPARENT_PATTERN: Final = r"^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$"
"""Of a trace that is taken."""

ID_HEADERS: Final = ("X-Request-Id", "X-Correlation-Id")
"""What may name a request over HTTP: the first that is well-formed does. An answer says its id in each of them, since
what stands between reads the one or the other."""

_ID: Final = re.compile(ID_PATTERN[:-1] + r"\Z")
_TRACEPARENT: Final = re.compile(TRACEPARENT_PATTERN[:-1] + r"\Z")


class Correlation(NamedTuple):
    id: str
    traceparent: str | None = None
    """Of the trace that the request belongs to, as W3C Trace Context has it."""

    @classmethod
    def of(cls, given: str | None, traceparent: str | None, own: str) -> Correlation:
        """Return that of a request.

        Args:
            given, traceparent: what the request says, if anything; left aside where it is malformed.
            own: the id that we gave it.
        """
        return cls(
            given if given is not None and _ID.match(given) else own,
            traceparent if traceparent is not None and _TRACEPARENT.match(traceparent) else None,
        )

    @classmethod
    def of_headers(cls, headers: Mapping[str, str], own: str) -> Correlation:
        """Return that of an HTTP request. Args: ``headers``: by their names in lower case."""
        given = (headers.get(name.lower(), "") for name in ID_HEADERS)
        return cls.of(next(filter(_ID.match, given), None), headers.get("traceparent"), own)

    @property
    def trace(self) -> str | None:
        """Return the trace's id."""
        return self.traceparent.split("-")[1] if self.traceparent else None

    def fields(self) -> dict[str, str]:
        """Return it as events carry it."""
        more = {"traceparent": self.traceparent} if self.traceparent else {}
        return {"correlationid": self.id, **more}


_current: contextvars.ContextVar[Correlation | None] = contextvars.ContextVar("correlation", default=None)


@contextmanager
def correlated(found: Correlation) -> Iterator[None]:
    """While this lasts, what is done is done for the request of that id."""
    token = _current.set(found)
    try:
        yield
    finally:
        _current.reset(token)


def correlation() -> Correlation | None:
    """Return that of the request that is being served; ``None``: nothing is known of one."""
    return _current.get()
