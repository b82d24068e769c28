"""Logging to stderr: lines for people on a terminal, JSON lines otherwise.

With encryption on, the text of unforeseen exceptions is left out: it may hold file names or content. Where they
happened stays. What is logged while a request is served names the request.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from manifold_common.domain.correlation import correlation

_QUIET = ("asyncio", "uvicorn.error", "psycopg.pool")


def set_up_logging(level: str, *, discreet: bool, json_lines: bool | None = None) -> None:
    """Send every log record of this process to stderr.

    Args:
        level: of Manifold's own records: debug, info, warning or error. Libraries are heard from warning up.
        discreet: leave out the text of exceptions.
        json_lines: ``None``: unless stderr is a terminal.
    """
    as_json = not sys.stderr.isatty() if json_lines is None else json_lines
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines(discreet) if as_json else _Lines(discreet))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in ("manifold", "manifold_common", "manifold_local"):
        logging.getLogger(name).setLevel(level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.ERROR if level != "debug" else logging.INFO)
    # An outage makes the Kafka client log dozens of lines a second; the relay says it in one.
    logging.getLogger("kafka").setLevel(logging.CRITICAL if level != "debug" else logging.INFO)
    logging.captureWarnings(True)


class _Lines(logging.Formatter):
    def __init__(self, discreet: bool) -> None:
        super().__init__()
        self._discreet = discreet

    def format(self, record: logging.LogRecord) -> str:
        when = datetime.fromtimestamp(record.created, UTC)
        text = " ".join(record.getMessage().split("\n"))
        known = correlation()
        if known is not None and known.id not in text:
            text = f"[{known.id}] {text}"
        problem = _problem(record, self._discreet)
        return f"{when:%H:%M:%S} {record.levelname.lower():7} {text}{f' ({problem})' if problem else ''}"


class _JsonLines(logging.Formatter):
    def __init__(self, discreet: bool) -> None:
        super().__init__()
        self._discreet = discreet

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if known := correlation():
            line["correlation_id"] = known.id
        if problem := _problem(record, self._discreet):
            line["exception"] = problem
        return json.dumps(line)


def _problem(record: logging.LogRecord, discreet: bool) -> str:
    """Return an exception's type, text and place in one line; ``""`` where there is none."""
    if not record.exc_info or record.exc_info[1] is None:
        return ""
    error = record.exc_info[1]
    place, trace = "", error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        place = f"{code.co_filename.rpartition('/')[2]}:{trace.tb_lineno} {code.co_name}"
        trace = trace.tb_next
    text = "" if discreet else f": {error}"
    return f"{type(error).__name__}{text} at {place}"
