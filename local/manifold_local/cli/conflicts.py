"""What commands say where others changed the same paths: how to settle it, what was decided, and where the rest is.

Each command that is named works as it is written, with the configuration and the server of the one before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from manifold_common.errors import CommitConflict

from manifold_local.cli.output import safe_path, shell_words

if TYPE_CHECKING:
    from manifold_common.domain.conflict import Strategy
    from manifold_common.shapes.path import TreePath

    from manifold_local.cli.call import Call

_WHERE = ("--config", "--remote")


def where_of(arguments: Sequence[str]) -> list[str]:
    """Return those of a command line's words that say which projects it works in."""
    found: list[str] = []
    words = iter(arguments)
    for word in words:
        if word == "--":
            break
        if word in _WHERE:
            found += [word, next(words, "")]
        elif word.startswith(tuple(f"{name}=" for name in _WHERE)):
            found.append(word)
    return found


def settling(error: CommitConflict, arguments: Sequence[str]) -> str:
    """Return the hint of a conflict. Args: ``arguments``: of the command that met it."""
    if error.session is None or not error.project:
        return (
            "do it again with --strategy ours (your versions of these paths) or --strategy theirs (the others' "
            "versions; yours are kept as the draft of a new session, which is named then)"
        )
    checkout = ("manifold", *where_of(arguments), "checkout", error.project, "--session", error.session, "--strategy")
    ours, theirs = shell_words(*checkout, "ours"), shell_words(*checkout, "theirs")
    commit = shell_words("manifold", *where_of(arguments), "commit", error.session)
    return (
        "choose whose versions of these paths to go on with:\n"
        f"  {ours}\n"
        f"    yours, on top of generation {error.details['head_generation']}\n"
        f"  {theirs}\n"
        "    the others'; yours are kept as the draft of a new session, which is named then\n"
        f"Edit the files where neither is right. Then: {commit}"
    )


def say_decided(
    call: Call, project: str, conflicts: Sequence[TreePath], kept: Sequence[str], strategy: Strategy
) -> None:
    """Tell a person what a strategy decided, where what it dropped is, and what can be done with that."""
    for path in conflicts:
        call.warn(f"{safe_path(path.exact) or '.'} was also changed by others: kept {strategy.value}")
    for session in kept:
        call.warn(
            f"what was dropped is kept as the draft of session {session}\n"
            f"  to see it:               {call.command('checkout', project, '--session', session)}\n"
            f"  then, to bring it back:  {call.command('commit', session)}\n"
            f"  or to throw it away:     {call.command('close', session, '--discard')}"
        )
