"""How long somebody who waits for an answer lets it wait for one dependency.

Background work may be patient: an upload that takes a minute is better than none. A person or an agent who made a
request is not helped by an error that comes after a minute. What serves them says so once, with ``hurried``; whatever
waits below asks ``patience`` how long it may. Nothing is handed through the layers between, and threads that work for
the request take it over with ``bound``.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_longest_seconds: contextvars.ContextVar[float | None] = contextvars.ContextVar("longest_seconds", default=None)


@contextmanager
def hurried(seconds: float) -> Iterator[None]:
    """While this lasts, no wait for one dependency takes longer than ``seconds``; 0: as long as it usually may."""
    token = _longest_seconds.set(seconds or None)
    try:
        yield
    finally:
        _longest_seconds.reset(token)


def patience(usual_seconds: float) -> float:
    """Return how long a wait may take here, that may take ``usual_seconds`` where nobody is in a hurry."""
    longest = _longest_seconds.get()
    return usual_seconds if longest is None else min(longest, usual_seconds)


def in_a_hurry() -> bool:
    return _longest_seconds.get() is not None


def bound(work: Callable[P, T]) -> Callable[P, T]:
    """Return ``work`` such that it is in a hurry, in whatever thread, if its caller is."""
    if not in_a_hurry():
        return work
    context = contextvars.copy_context()

    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        return context.run(work, *args, **kwargs)

    return run
