"""Panics of native libraries.

A library written in Rust raises ``pyo3_runtime.PanicException`` where its own code fails. It is not an ``Exception``,
so it gets past every handler that is meant to keep a thread or a server alive. But nobody asked the process to end: to
Manifold it is a failure like any other.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from manifold_common.errors import InternalError


def is_panic(error: BaseException) -> bool:
    """Say whether ``error`` is a panic, and not one of those by which a process or a task is told to end."""
    return any((kind.__module__, kind.__name__) == ("pyo3_runtime", "PanicException") for kind in type(error).__mro__)


@contextmanager
def panics_as_errors() -> Iterator[None]:
    """Let whoever catches ``Exception`` around this meet panics too.

    Raises:
        InternalError: in place of a panic, whose text may show what was given.
    """
    try:
        yield
        return
    except BaseException as error:
        if not is_panic(error):
            raise
        trace = error.__traceback__
    failure = InternalError("a native library failed (panic)", hint="its words are in this process's standard error")
    raise failure.with_traceback(trace)
