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
_OF_COMMANDS = ("sh", "bash", "python")
_COMMENT = re.compile(r" {2,}#.*$", re.MULTILINE)


class Block(NamedTuple):
    name: str
    """The page and the first line, without its comment."""
    section: str
    """The heading above it."""
    language: str
    text: str
    """Without the indentation of the fence."""


@cache
def blocks() -> tuple[Block, ...]:
    """Return every block of commands or of a program, of the README and the documents."""
    pages = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
    found = [block for page in pages for block in fenced(str(page.relative_to(ROOT)), page.read_text())]
    return tuple(block for block in found if block.language in _OF_COMMANDS or _is_of_ours(block))


def _is_of_ours(block: Block) -> bool:
    return not block.language and ": manifold " in block.name


def fenced(page: str, text: str) -> list[Block]:
    """Return every block between fences of a page."""
    found: list[Block] = []
    section = ""
    lines = iter(text.splitlines())
    for line in lines:
        if line.startswith("#"):
            section = line.lstrip("# ")
        elif fence := re.fullmatch(r"( *)```(\w*)", line):
            inside = [one.removeprefix(fence[1]) for one in iter(lambda: next(lines), f"{fence[1]}```")]
            first = _COMMENT.sub("", next(filter(None, inside), "")).strip()
            found.append(Block(f"{page}: {first}", section, fence[2], "\n".join(inside) + "\n"))
    return found


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
