"""Where the engine keeps what it has."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".containers"

HOST_NETWORK = "MANIFOLD_CONTAINERS_HOST_NETWORK"
"""The variable with the descriptor of the network namespace that reaches package registries. Set by ``__main__``."""
