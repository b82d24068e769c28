"""Ports for servers that come up a while after they were chosen."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from manifold_common.errors import Unavailable
from manifold_local.embedded.stack import child
from manifold_local.embedded.stack.child import free_ports

OUTGOING = Path("/proc/sys/net/ipv4/ip_local_port_range")


def test_no_outgoing_connection_is_given_the_port_of_a_server_to_be() -> None:
    first, last = map(int, OUTGOING.read_text().split())
    if first < child._SERVER_PORTS.stop:
        pytest.skip(f"this system gives outgoing connections ports from {first} on")
    chosen = free_ports(50)
    assert len(set(chosen)) == 50
    assert not [port for port in chosen if first <= port <= last]


def test_a_port_that_is_in_use_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        (port,) = free_ports(1)
        taken.bind(("127.0.0.1", port))
        monkeypatch.setattr(child, "_SERVER_PORTS", range(port, port + 2))
        assert free_ports(1) == [port + 1]
        with pytest.raises(Unavailable, match="no free ports"):
            free_ports(2)


_CLAIMS = "import sys; from manifold_local.embedded.stack.child import usual_port; print(usual_port(int(sys.argv[1])))"


@pytest.mark.skipif(sys.platform != "linux", reason="claims are made on Linux")
def test_of_programs_that_start_together_one_gets_the_usual_port() -> None:
    (port,) = free_ports(1)
    command = [sys.executable, "-c", _CLAIMS + "; input()", str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert int(first.stdout.readline()) == port
        others = [int(subprocess.check_output([sys.executable, "-c", _CLAIMS, str(port)])) for _ in range(2)]
        assert port not in others
        first.communicate("\n")
    assert int(subprocess.check_output([sys.executable, "-c", _CLAIMS, str(port)])) == port
