"""The environment that ``make tools`` has made: where ``MANIFOLD_TOOLS`` says, as ``make test`` does."""

from __future__ import annotations

import os
from pathlib import Path

from manifold_local.functions_stack.tools import FOLDER, Tools, find_tools


def tools() -> Tools:
    return find_tools(Path(os.environ.get("MANIFOLD_TOOLS") or FOLDER))
