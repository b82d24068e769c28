"""The process behind ``manifold up``."""

from __future__ import annotations

from manifold_local.host.lock import HostInfo, host_is_running
from manifold_local.host.run import run_host

__all__ = ["HostInfo", "host_is_running", "run_host"]
