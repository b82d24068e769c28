"""A bound on the time that one call of a foreign client takes, whatever its socket does."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from typing import TypeVar

from manifold_common.domain.wording import span

T = TypeVar("T")


def within(seconds: float, operation: Callable[[], T]) -> T:
    """Return what ``operation`` returns, or raise what it raises, if it ends within ``seconds``.

    The time-outs of HTTP clients are for one wait on a socket: a server that sends a byte now and then keeps them
    waiting for ever. So the call runs in a thread of its own. One that is late is abandoned, and its outcome dropped;
    it must therefore be an operation that may be done twice.

    Raises:
        TimeoutError: it has not ended.
    """
    results: list[T] = []
    errors: list[BaseException] = []
    ended = threading.Event()
    context = contextvars.copy_context()

    def run() -> None:
        try:
            results.append(context.run(operation))
        except BaseException as error:  # passed on to the caller
            errors.append(error)
        finally:
            ended.set()

    thread = threading.Thread(target=run, name="bounded-call", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # threads cannot be started while the interpreter shuts down, when last drafts are saved
        return operation()
    if not ended.wait(seconds):
        raise TimeoutError(f"not done within {span(seconds)}")
    if errors:
        raise errors.pop()
    return results[0]
