"""The environment that ``make tools`` has made: where ``MANIFOLD_TOOLS`` says, as ``make test`` does."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from manifold_local.functions_stack.tools import FOLDER, Tools, find_tools
from manifold_local.packaging.wheels import ROOT


def tools() -> Tools:
    return find_tools(Path(os.environ.get("MANIFOLD_TOOLS") or FOLDER))


def run_in_tools(program: str, *arguments: str | Path, home: Path, environ: dict[str, str] | None = None) -> str:
    """Run a Python program in the environment of sam, at the top of the repository; return what it prints."""
    variables = {"HOME": str(home), "AWS_DEFAULT_REGION": "us-east-1", "SAM_CLI_TELEMETRY": "0", **(environ or {})}
    command = [tools().python, "-c", program, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
