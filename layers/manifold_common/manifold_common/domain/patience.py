"""How long a request may wait for one dependency, and whether anybody still waits for its answer.

Background work may be patient: an upload that takes a minute is better than none. A person or an agent who made a
request is not helped by an error that comes after a minute. Whatever serves a request says so once, with ``hurried``;
whatever waits below asks ``patience`` how long it may. Nothing is passed through the layers in between, and threads
that work for the request inherit it with ``bound``.

In the same way, whatever serves a client that may go away says with ``wanted_while`` how to tell that it is still
there. Long work below asks at each of its steps, with ``check_wanted``, until it is about to change something for good;
from there on it runs to its end.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

from manifold_common.errors import Abandoned

P = ParamSpec("P")
T = TypeVar("T")

_longest_seconds: contextvars.ContextVar[float | None] = contextvars.ContextVar("longest_seconds", default=None)
_is_wanted: contextvars.ContextVar[Callable[[], bool] | None] = contextvars.ContextVar("is_wanted", default=None)


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


@contextmanager
def wanted_while(is_wanted: Callable[[], bool]) -> Iterator[None]:
    """While this lasts, long work ends early once ``is_wanted`` says no. It is asked often, by several threads."""
    token = _is_wanted.set(is_wanted)
    try:
        yield
    finally:
        _is_wanted.reset(token)


def check_wanted() -> None:
    """Raises Abandoned: nobody waits for this any more. Costs some tens of nanoseconds where nobody can go away."""
    is_wanted = _is_wanted.get()
    if is_wanted is not None and not is_wanted():
        raise Abandoned("nobody waits for the answer any more")


def bound(work: Callable[P, T]) -> Callable[P, T]:
    """Return ``work`` such that it is in a hurry, and stays wanted, in whatever thread, as its caller does."""
    if not in_a_hurry() and _is_wanted.get() is None:
        return work
    context = contextvars.copy_context()

    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        return context.run(work, *args, **kwargs)

    return run
