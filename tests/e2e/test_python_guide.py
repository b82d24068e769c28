"""The program in docs/python.md runs as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

GUIDE = Path(__file__).parents[2] / "docs" / "python.md"


def test_the_guides_program_runs(tmp_path: Path, ram_folder: Path, empty_postgres_dsn: str) -> None:
    code = re.search(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert code is not None
    program = tmp_path / "program.py"
    program.write_text(code[1])
    environ = {
        **os.environ,
        "WORKDIR": str(tmp_path / "work"),
        "DATABASE_URL": empty_postgres_dsn,
        "PROJECTS_ENCRYPT": "true",
        "PROJECTS_WORKSPACE_MODE": "ephemeral",
        "PROJECTS_WORKSPACE_TMPFS_DIR": str(ram_folder),
    }
    (tmp_path / "work").mkdir()
    done = subprocess.run(
        [sys.executable, str(program)],
        env=environ,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["2 1", "2 a list", "1 first file"]
