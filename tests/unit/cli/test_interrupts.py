"""Signals that end a command: once in order, twice at once, and not where they are to be ignored."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

_PROGRAM = """
import time
from manifold_local.cli.interrupts import end_in_order, exit_code
end_in_order()
try:
    print("works", flush=True)
    time.sleep(60)
except KeyboardInterrupt as error:
    print(exit_code(error), flush=True)
    time.sleep(60)
"""


def program(*before: str) -> subprocess.Popen[str]:
    running = subprocess.Popen([*before, sys.executable, "-c", _PROGRAM], stdout=subprocess.PIPE, text=True)
    assert line(running) == "works"
    return running


def line(running: subprocess.Popen[str]) -> str:
    assert running.stdout is not None
    return running.stdout.readline().strip()


@pytest.mark.parametrize(("sign", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_is_an_exception_the_first_time_and_the_end_the_second_time(sign: signal.Signals, code: int) -> None:
    with program() as running:
        running.send_signal(sign)
        assert line(running) == str(code)
        running.send_signal(sign)
        assert running.wait(60) == -sign


def test_what_is_run_with_nohup_goes_on_when_its_terminal_is_closed() -> None:
    with program("/bin/sh", "-c", 'trap "" HUP; exec "$0" "$@"') as running:
        running.send_signal(signal.SIGHUP)
        running.send_signal(signal.SIGTERM)
        assert line(running) == "143"
        running.kill()


_DONE = """
import time
from manifold_local.cli.interrupts import end_in_order, pass_over_from_now_on
end_in_order()
pass_over_from_now_on()
print("works", flush=True)
input()
"""


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_no_signal_ends_a_command_that_is_over(sign: signal.Signals) -> None:
    command = [sys.executable, "-c", _DONE]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        assert line(running) == "works"
        running.send_signal(sign)
        assert running.stdin is not None
        running.stdin.write("\n")
        running.stdin.close()
        assert running.wait(60) == 0
