"""Commands that documents show: found, named by their page and first line, and run as they stand."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tests.support.cli import EXECUTABLE

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_OF_COMMANDS = ("sh", "bash", "python")
_COMMENT = re.compile(r" {2,}#.*$", re.MULTILINE)


class Block(NamedTuple):
    name: str
    """The page and the first line, without its comment."""
    language: str
    text: str


@cache
def blocks() -> tuple[Block, ...]:
    """Return every block of commands or of a program, of the README and the documents."""
    found = []
    for page in sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")]):
        for _, language, text in _FENCE.findall(page.read_text()):
            first = _COMMENT.sub("", text.lstrip().partition("\n")[0]).strip()
            if language in _OF_COMMANDS or (not language and first.startswith("manifold ")):
                found.append(Block(f"{page.relative_to(ROOT)}: {first}", language, text))
    return tuple(found)


def run_shown(begin: str, *, environ: Mapping[str, str], cwd: Path, **names: str) -> subprocess.CompletedProcess[str]:
    """Run the block whose name begins so; each command has to succeed.

    Args:
        names: what stands for the names in capitals, and for other words of the page.
    """
    (block,) = (block for block in blocks() if block.name.startswith(begin))
    script = block.text
    for word, meant in names.items():
        assert word in script
        script = re.sub(rf"\b{re.escape(word)}\b", meant, script)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        env={**environ, "PATH": f"{EXECUTABLE.parent}:{environ['PATH']}"},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
    return done
