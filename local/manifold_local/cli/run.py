"""Runs the program: one place where every error becomes a message and an exit code."""

from __future__ import annotations

import errno
import json
import sys
import traceback
from pathlib import Path

import typer
from manifold_common.domain.panic import panics_as_errors
from manifold_common.errors import (
    CommitConflict,
    Denied,
    InternalError,
    InvalidInput,
    ManifoldError,
    NoSpace,
    Unavailable,
)

from manifold_local.accounts import me, owner_of
from manifold_local.cli.app import app
from manifold_local.cli.conflicts import settling
from manifold_local.cli.exit_codes import CLOSED_PIPE, EXIT_CODES, INTERRUPTED, OK
from manifold_local.cli.output import flush, print_error, safe_lines
from manifold_local.streams import OutputLost, drop_output

UsageError = typer.BadParameter.__mro__[1]
"""What typer raises for a command line that it does not understand; it has no public name of its own."""


def run(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit code. Errors are printed, never raised.

    Args:
        arguments: those after the program's name; ``sys.argv`` when None.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    flags = set(arguments[: arguments.index("--")] if "--" in arguments else arguments)
    try:
        try:
            with panics_as_errors():
                code = typer.main.get_command(app).main(arguments, prog_name="manifold", standalone_mode=False)
            flush()
        except typer.TyperException as error:
            if not isinstance(error, UsageError):
                raise
            raise _usage_error(error) from None
        return code if isinstance(code, int) else OK
    except typer.Abort:
        return INTERRUPTED
    except OutputLost as lost:
        drop_output()
        return _report_lost(lost, flags)
    except CommitConflict as error:
        error.hint = settling(error, arguments)
        return _report(error, flags)
    except ManifoldError as error:
        return _report(error, flags)
    except OSError as error:
        return _report(_translate(error), flags)
    except Exception as error:
        return _report(
            InternalError(f"unexpected {type(error).__name__}: {error}", hint="add --debug for details"), flags
        )


def _report(error: ManifoldError, flags: set[str]) -> int:
    if "--debug" in flags:
        print_error(safe_lines("".join(traceback.format_exception(error))))
    if "--json" in flags:
        content = {
            "code": error.code,
            "kind": error.kind.value,
            "message": error.message,
            "hint": error.hint,
            "details": error.details,
        }
        print_error(json.dumps({"error": content}, indent=2, default=str))
    else:
        print_error(safe_lines(f"error: {error.message}"))
        if error.hint:
            print_error(safe_lines(f"hint: {error.hint}"))
    return EXIT_CODES[error.kind]


def _report_lost(lost: OutputLost, flags: set[str]) -> int:
    if lost.is_closed_pipe:
        if lost.hint:
            print_error(safe_lines(f"hint: {lost.hint}"))
        return CLOSED_PIPE
    return _report(Unavailable(str(lost), hint=lost.hint or "print it elsewhere"), flags)


def _usage_error(error: typer.TyperException) -> ManifoldError:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "manifold"
    message = getattr(error, "format_message", lambda: str(error))()
    return InvalidInput(message[:1].lower() + message[1:], hint=f"'{path} --help' shows how it is used")


def _translate(error: OSError) -> ManifoldError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpace(f"cannot write: {error.strerror}", hint="make room, then try again")
    if isinstance(error, PermissionError) and isinstance(error.filename, str):
        return Denied(
            f"{me()} may not use {error.filename}, which belongs to {owner_of(Path(error.filename))}",
            hint="run the command as its owner, or name a place of your own",
        )
    return _unexpected(error)


def _unexpected(error: Exception) -> InternalError:
    return InternalError(f"unexpected {type(error).__name__}: {error}", hint="add --debug to see where it arose")
