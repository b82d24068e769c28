"""Questions to whoever sits at the terminal."""

from __future__ import annotations

import sys

import typer
from manifold_common.errors import InvalidInput


def ask(question: str, otherwise: str) -> None:
    """Raises InvalidInput: there is nobody to ask, who is told to do ``otherwise``; Abort: the answer is no."""
    if not sys.stdin.isatty():
        raise InvalidInput(f"{question} Nobody is there to answer", hint=otherwise)
    typer.confirm(question, abort=True, err=True)
