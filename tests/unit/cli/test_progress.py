"""Progress is shown while work goes on, also where nothing comes to an end for long."""

from __future__ import annotations

import os
import pty
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

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


def read_all(screen: int) -> bytes:
    """Return what a terminal shows; it gives it in pieces."""
    shown = b""
    with suppress(BlockingIOError):
        while piece := os.read(screen, 65536):
            shown += piece
    return shown


def test_a_bar_appears_though_nothing_was_done_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bars, "PATIENCE_SECONDS", 0.01)
    shown = bytearray()
    with terminal() as screen:

        def has_appeared() -> bool:
            shown.extend(read_all(screen))
            return b"importing" in shown

        with Call().progress("importing"):
            wait_until(has_appeared)


@pytest.mark.parametrize("columns", [40, 80])
def test_a_bar_fits_on_a_line_of_the_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bars, "PATIENCE_SECONDS", 0)
    monkeypatch.setenv("COLUMNS", str(columns))
    with terminal() as screen:
        with Call().progress("checking out", total_bytes=700 << 20) as report:
            assert report is not None
            report(1, 356 << 20)
        shown = read_all(screen).decode()
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown).replace("\r", "\n").splitlines()
    assert any("checking out" in line and "1 file, 356.0 MiB" in line for line in lines), lines
    assert all(len(line) <= columns and "…" not in line for line in lines), lines


@pytest.mark.parametrize("columns", [60, 80])
def test_counted_items_are_shown_as_they_are_told(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bars, "PATIENCE_SECONDS", 0)
    monkeypatch.setenv("COLUMNS", str(columns))
    with terminal() as screen:
        with Call().counting("working on rewrap") as reached:
            assert reached is not None
            reached(0, 0, "0 of 0+")
            reached(12, 340, "12 of 340, 35 a second, 9 seconds left")
        shown = read_all(screen).decode()
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown).replace("\r", "\n").splitlines()
    assert any("working on rewrap" in line and "12 of 340, 35 a second, 9 seconds left" in line for line in lines), (
        lines
    )
    assert all(len(line) <= columns and "…" not in line for line in lines), lines


def test_nobody_is_shown_a_count_who_does_not_look_at_it() -> None:
    with terminal() as screen:
        for call in (Call(json=True), Call(quiet=True)):
            with call.counting("working") as reached:
                assert reached is None
        assert read_all(screen) == b""


def test_short_work_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bars, "PATIENCE_SECONDS", 60)
    with terminal() as screen:
        with Call().progress("importing") as report:
            assert report is not None
            report(1, 1)
        assert read_all(screen) == b""
