"""Progress is shown while work goes on, also where nothing comes to an end for long."""

from __future__ import annotations

import os
import pty
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from manifold_local.cli import progress as bars
from manifold_local.cli.call import Call

from tests.support.waiting import wait_until


@contextmanager
def terminal() -> Iterator[int]:
    """Have standard error be a terminal; yield the end that shows it."""
    master, slave = pty.openpty()
    os.set_blocking(master, False)
    with open(slave, "w") as stream, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TERM", "xterm")
        patch.setattr(sys, "stderr", stream)
        yield master
    os.close(master)


def test_a_bar_appears_though_nothing_was_done_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bars, "PATIENCE_SECONDS", 0.01)
    shown = bytearray()
    with terminal() as screen:

        def has_appeared() -> bool:
            try:
                shown.extend(os.read(screen, 65536))
            except BlockingIOError:
                return False
            return b"importing" in shown

        with bars.progress(Call(), "importing"):
            wait_until(has_appeared)


def test_short_work_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bars, "PATIENCE_SECONDS", 60)
    with terminal() as screen:
        with bars.progress(Call(), "importing") as report:
            assert report is not None
            report(1, 1)
        with pytest.raises(BlockingIOError):
            os.read(screen, 1)
