"""Logs: one JSON line a record, with the ids that tie it to its invocation, to where Lambda collects them.

With encryption on, the text of exceptions is left out: it may hold file names or content. Where they happened stays.
"""

from __future__ import annotations

import logging
import sys
from types import TracebackType
from typing import TextIO

from aws_lambda_powertools.logging import Logger
from aws_lambda_powertools.logging.formatter import LambdaPowertoolsFormatter

_OURS = ("manifold", "manifold_common", "functions")


class _Formatter(LambdaPowertoolsFormatter):
    discreet = True
    """Until the settings say otherwise."""

    def formatException(  # noqa: N802 - the name is logging's
        self, ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
    ) -> str:
        return where_of(ei[1], discreet=self.discreet) if ei[1] is not None else ""


class _Stdout(logging.StreamHandler[TextIO]):
    """Writes to what is standard output now, whoever replaced it."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stdout


_formatter = _Formatter(utc=True, use_rfc3339=True, serialize_stacktrace=False)
logger = Logger(service="manifold", logger_formatter=_formatter, logger_handler=_Stdout(), level="INFO")


def set_up_logging(level: str, *, discreet: bool) -> None:
    """Send the records of all loggers through one formatter.

    Args:
        level: of Manifold's own records. Libraries are heard from warning up.
        discreet: leave out the text of exceptions.
    """
    _formatter.discreet = discreet
    root = logging.getLogger()
    root.handlers[:] = [logger.registered_handler]
    logging.getLogger(logger.name).propagate = False  # it has that handler itself
    root.setLevel(logging.WARNING)
    for name in _OURS:  # not by Powertools' own method, for which Lambda's level counts more than this one
        logging.getLogger(name).setLevel(level.upper())
    # An outage makes the Kafka client log dozens of lines a second; the relay says it in one.
    logging.getLogger("kafka").setLevel(logging.CRITICAL if level != "debug" else logging.INFO)
    logging.captureWarnings(True)


def where_of(error: BaseException, *, discreet: bool) -> str:
    """Return an exception's type, where it happened and, unless ``discreet``, its text, in one line."""
    frames = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        frames.append(f"{code.co_filename.rpartition('/')[2]}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    text = "" if discreet else f": {error}"
    return f"{type(error).__name__}{text} at {' < '.join(reversed(frames[-12:]))}"
