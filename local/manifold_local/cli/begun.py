"""What a command has to make before its work can begin: removed again if the work fails or is interrupted, or else
reported."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from manifold_common.errors import BadAnswer, ManifoldError, OutcomeUnknown

from manifold_local.cli.output import print_error, safe_lines


@contextmanager
def taken_back(take_back: Callable[[], bool], left: str) -> Iterator[None]:
    """Do the work within; whatever ends it early, have what was made for it taken back.

    Args:
        take_back: tells whether nothing is left.
        left: what a person has to know where something is: what there may be, and how to go on from it.
    """
    try:
        yield
    except BaseException:
        try:
            done = take_back()
        except ManifoldError:
            done = False
        if not done:
            say_left(left)
        raise


@contextmanager
def said_if_unknown(left: str) -> Iterator[None]:
    """Make something within; where nobody knows afterwards whether it was made, say what there may be.

    It is not taken back: what has its name may be another's.
    """
    try:
        yield
    except (KeyboardInterrupt, OutcomeUnknown, BadAnswer):
        say_left(left)
        raise


def say_left(left: str) -> None:
    """Say what a command leaves behind, and how to go on from it."""
    print_error(safe_lines(f"note: {left}"))
