"""The database itself: ``manifold stop`` and ``manifold database``, for backups."""

from __future__ import annotations

import subprocess
from typing import Annotated

import typer
from manifold_common.errors import ConfigError, InvalidInput

from manifold_local.cli.call import Call, command
from manifold_local.cli.interrupts import interrupts_left_to_child
from manifold_local.cli.output import print_line

_PROGRAMS = ("psql", "pg_dump", "pg_restore", "createdb", "dropdb")
_OF_A_SESSION = ("psql", "pg_dump", "pg_restore")
_WRITING = ("psql", "pg_restore", "createdb")
"""A dump is loaded into a new installation by them."""


def stop(call: Call) -> None:
    """Stop the embedded database of WORKDIR at once.

    It would otherwise outlive the last command by half a minute. A copy of WORKDIR that is made then is whole. Refused
    while something uses the database: stop the host first.
    """
    from manifold_local.cli.documents import DatabaseStopped
    from manifold_local.runtime import stop_database

    stopped = stop_database(call.require_installation())

    def say() -> None:
        print_line("the database is stopped" if stopped else "DATABASE_URL is set: there is no embedded database")

    call.answer(DatabaseStopped(stopped=stopped), say)


def database(
    call: Call,
    program: Annotated[str, typer.Argument(metavar="PROGRAM", help=f"One of {', '.join(_PROGRAMS)}.")],
    arguments: Annotated[list[str] | None, typer.Argument(metavar="ARGUMENT", help="Its arguments.")] = None,
) -> None:
    """Run a PostgreSQL client program on the catalog's database.

    The programs are those of the embedded server's version, which also work with older servers. For instance:
    manifold database pg_dump > backup.sql
    """
    from manifold_common.bootstrap import client_environment, shares_sessions
    from manifold_common.settings import child_environment

    from manifold_local.embedded.postgres_cluster import binaries

    if program not in _PROGRAMS:
        raise InvalidInput(f"there is no program {program[:40]!r} here", hint=f"it is one of {', '.join(_PROGRAMS)}")
    with call.database(makes=program in _WRITING) as dsn:
        if program in _OF_A_SESSION and shares_sessions(dsn):
            raise ConfigError(
                f"{program} needs a session of its own, and DATABASE_URL leads to a pooler in transaction mode",
                hint="name the server itself for this command: DATABASE_URL=postgresql://user@server:5432/database "
                f"manifold database {program}",
            )
        environment = child_environment(client_environment(dsn))
        with interrupts_left_to_child():
            done = subprocess.run([binaries() / program, *(arguments or ())], env=environment, check=False)
    raise typer.Exit(done.returncode if done.returncode >= 0 else 128 - done.returncode)


def add_to(app: typer.Typer) -> None:
    command(app, "stop", changes=True, answers="DatabaseStopped")(stop)
    command(app, "database", changes=False, passes_options=True)(database)
