"""The program in docs/python.md runs as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from manifold_local.embedded.postgres import stop_embedded

GUIDE = Path(__file__).parents[2] / "docs" / "python.md"


def test_the_guides_program_runs(tmp_path: Path, ram_folder: Path) -> None:
    """With nothing but a folder, which is not there yet, and no database that somebody set up."""
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    program = tmp_path / "program.py"
    program.write_text("\n".join(blocks))
    environ = {
        **{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
        "WORKDIR": str(tmp_path / "work"),
        "PROJECTS_ENCRYPT": "true",
        "PROJECTS_WORKSPACE_MODE": "ephemeral",
        "PROJECTS_WORKSPACE_TMPFS_DIR": str(ram_folder),
    }
    done = subprocess.run(
        [sys.executable, str(program)],
        env=environ,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    stop_embedded(tmp_path / "work" / ".postgres")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["2 1", "2 a list", "1 first file"]
