"""``.ci/run`` takes what passes, and of what fails only the few tests that pass when they are asked again, alone."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
MAKEFILE = """
environment tools clients:
lint:
\t@{lint}
test:
\t@python3 first.py {arguments}
"""
# As pytest does: note the tests that failed, and end with 1 if all were run.
TESTS = """
import json, pathlib, sys
again = "--last-failed" in sys.argv
failed, status = ({again!r} if again else {first!r})
noted = pathlib.Path(".pytest_cache/v/cache/lastfailed")
noted.parent.mkdir(parents=True, exist_ok=True)
noted.write_text(json.dumps(dict.fromkeys(failed, True), indent=2))
sys.exit(status)
"""
ONE, FOUR = ['tests/a.py::one[x-"y"]'], [f"tests/a.py::test_{number}" for number in range(4)]
PASSED: tuple[list[str], int] = ([], 0)


def run(folder: Path, first: tuple[list[str], int], again: tuple[list[str], int] = PASSED, lint: str = "true") -> str:
    """Return what it prints last, of a project whose tests fail in this way."""
    (folder / ".ci").mkdir()
    shutil.copy(REPOSITORY / ".ci" / "run", folder / ".ci" / "run")
    (folder / "Makefile").write_text(MAKEFILE.format(lint=lint, arguments="$(PYTEST_ARGS)"))
    (folder / "first.py").write_text(TESTS.format(first=first, again=again))
    done = subprocess.run(["bash", folder / ".ci" / "run"], capture_output=True, text=True, timeout=60)
    said = done.stdout.splitlines()
    assert (done.returncode == 0) is (said[-1] == "PASSED"), done
    unstable = [line for line in said if line.startswith("UNSTABLE")]
    return "; ".join([*unstable, said[-1]])


def test_what_passes_is_taken(tmp_path: Path) -> None:
    assert run(tmp_path, PASSED) == "PASSED"


def test_one_that_passes_alone_is_named(tmp_path: Path) -> None:
    assert run(tmp_path, (ONE, 1)) == 'UNSTABLE: tests/a.py::one[x-\\"y\\"]; PASSED'


@pytest.mark.parametrize(
    ("first", "again"),
    [
        pytest.param((ONE, 1), (ONE, 1), id="alone, too"),
        pytest.param((FOUR, 1), PASSED, id="many"),
        pytest.param((ONE, 2), PASSED, id="interrupted"),
        pytest.param((ONE, 3), PASSED, id="broken"),
        pytest.param(([], 1), PASSED, id="nothing noted"),
        pytest.param((ONE, 1), ([], 5), id="not found again"),
    ],
)
def test_other_failures_are_refused(tmp_path: Path, first: tuple[list[str], int], again: tuple[list[str], int]) -> None:
    assert run(tmp_path, first, again) == "FAILED: test"


def test_style_is_never_asked_again(tmp_path: Path) -> None:
    assert run(tmp_path, PASSED, lint="false") == "FAILED: lint"
