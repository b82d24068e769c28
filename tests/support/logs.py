"""What a process says in its log: every test finds it, and leaves it, as the run began."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

import pytest

OURS = ("manifold", "manifold_common", "manifold_local", "functions")


@contextlib.contextmanager
def logging_restored() -> Iterator[None]:
    """Give every logger its handlers, its level and what it passes on back, as after a host or a function was begun
    in this process."""
    names = {*logging.root.manager.loggerDict, *OURS}
    loggers = [logging.root, *map(logging.getLogger, names)]
    before = [(logger, logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    try:
        yield
    finally:
        for logger, handlers, level, propagate in before:
            logger.handlers[:] = handlers
            logger.propagate = propagate
            if logger.level != level:  # setting one empties what all loggers remember
                logger.setLevel(level)
        logging.captureWarnings(False)


@pytest.fixture(autouse=True)
def _logging_restored() -> Iterator[None]:
    with logging_restored():
        yield
