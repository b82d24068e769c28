"""Manifold: encrypted, versioned workspaces for AI agents.

The common layer shared by every function and by the host process. See ``docs/architecture.md`` for the layers
and for which package may import which.
"""

__version__ = "0.1.0"
