"""The program in docs/python.md runs as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from manifold_common.settings import load_settings
from manifold_local.embedded.postgres import stop_embedded

DEFAULT = load_settings(environ={}, cwd=Path("/")).workdir
GUIDE = Path(__file__).parents[2] / "docs" / "python.md"


def run(tmp_path: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the page's program, with nothing but a folder, which is not there yet, and no database."""
    program = tmp_path / "program.py"
    program.write_text("\n".join(re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)))
    user = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return subprocess.run(
        [sys.executable, str(program)],
        env={**user, **environ},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_guides_program_runs(tmp_path: Path, ram_folder: Path) -> None:
    done = run(
        tmp_path,
        WORKDIR=str(tmp_path / "work"),
        PROJECTS_ENCRYPT="true",
        PROJECTS_WORKSPACE_MODE="ephemeral",
        PROJECTS_WORKSPACE_TMPFS_DIR=str(ram_folder),
    )
    stop_embedded(tmp_path / "work" / ".postgres")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["2 1", "2 a list", "1 first file"]


@pytest.mark.skipif(DEFAULT.exists(), reason=f"{DEFAULT} is there")
def test_a_program_makes_no_installation_in_a_folder_that_nobody_has_named(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert "WORKDIR is not set, and there is no installation in the default folder" in done.stderr
    assert not DEFAULT.exists()
