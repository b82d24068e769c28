"""``make test-containers`` where it cannot run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.templates import ROOT


def test_without_an_engine_it_says_what_to_install_and_is_no_failure(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.containers"],
        cwd=ROOT, env={"PATH": str(tmp_path), "HOME": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("skipped: ")
    assert "apt-get install --no-install-recommends podman runc" in done.stdout


def test_its_tests_are_no_part_of_others() -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("MANIFOLD_", "PYTEST"))}
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "tests/containers"]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    assert "no tests collected" in done.stdout
