"""Signals that end a command: Ctrl-C, ``kill``, a terminal that is closed. Each ends it in order, once.

What was begun is taken back, or said, on the way out. Who sends a signal again does not want to wait for that.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(KeyboardInterrupt):
    """A signal has come."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number
        """As a shell has it of a program that the signal has killed."""


def end_in_order() -> None:
    """Have the signals raise ``Interrupted`` in the main thread, but for those that this process is to ignore.

    ``nohup`` has SIGHUP ignored, and a shell SIGINT in its background jobs.
    """
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def pass_over_from_now_on() -> None:
    """Have no signal end the process any more: its command is over, and its exit code says how that went."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def interrupts_left_to_child() -> Iterator[None]:
    """Leave Ctrl-C to a program that is run within, which shares the terminal and gets it as well."""
    before = signal.signal(signal.SIGINT, _pass_over)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def exit_code(error: KeyboardInterrupt) -> int:
    return error.exit_code if isinstance(error, Interrupted) else 128 + signal.SIGINT


def _pass_over(number: int, frame: FrameType | None) -> None:
    """A handler, and not SIG_IGN, which the child would inherit."""


def _interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the shape of a handler
    signal.signal(number, signal.SIG_DFL)
    raise Interrupted(number)
