"""What the exit code of every command means. This is the one table; ``docs/cli.md`` shows it."""

from __future__ import annotations

from collections.abc import Collection

from manifold_common.errors import ErrorKind

OK = 0
DIFFERENT = 8
"""``--exit-code`` was given and there are differences."""
HUNG_UP = 129
INTERRUPTED = 130
TERMINATED = 143
CLOSED_PIPE = 141

EXIT_CODES: dict[ErrorKind, int] = {
    ErrorKind.INTERNAL: 1,
    ErrorKind.INVALID: 2,
    ErrorKind.NOT_FOUND: 3,
    ErrorKind.CONFLICT: 4,
    ErrorKind.DENIED: 5,
    ErrorKind.UNAVAILABLE: 6,
    ErrorKind.CORRUPT: 7,
}

MEANINGS: dict[int, str] = {
    OK: "done",
    EXIT_CODES[ErrorKind.INTERNAL]: "a bug in Manifold; `--debug` shows where",
    EXIT_CODES[ErrorKind.INVALID]: "the command, its input or the configuration is wrong; nothing was changed",
    EXIT_CODES[ErrorKind.NOT_FOUND]: "no such project, session, generation, path or job",
    EXIT_CODES[ErrorKind.CONFLICT]: "others changed the same thing, the work is kept; a job is paused or cancelled",
    EXIT_CODES[ErrorKind.DENIED]: "not allowed",
    EXIT_CODES[ErrorKind.UNAVAILABLE]: "the database, the store, a key, disk space or RAM is missing; try again later",
    EXIT_CODES[
        ErrorKind.CORRUPT
    ]: "stored data is damaged, or a server answered with something else than was asked for",
    DIFFERENT: "there are differences, and `--exit-code` was given",
    HUNG_UP: "its terminal was closed (SIGHUP)",
    INTERRUPTED: "interrupted with Ctrl-C",
    CLOSED_PIPE: "the reader of the output closed it, as `head` does",
    TERMINATED: "ended by SIGTERM",
}


def worst(kinds: Collection[ErrorKind]) -> int:
    """Return the exit code of work that has met errors of these kinds."""
    if ErrorKind.INTERNAL in kinds:
        return EXIT_CODES[ErrorKind.INTERNAL]
    return max(EXIT_CODES[kind] for kind in kinds)
