"""``manifold backup``: copies of the catalog that somebody may go back to, and that the store has to serve."""

from __future__ import annotations

from typing import Annotated

import typer
from manifold_common.domain.wording import plural

from manifold_local.cli.call import Call, command
from manifold_local.cli.output import human_time, print_line, print_table, safe

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Of the backup.")]


def declare(
    call: Call,
    name: NameArgument,
    days: Annotated[int, typer.Option("--days", help="For how long somebody may go back to it.")] = 30,
) -> None:
    """Keep in the store what a dump that is made from now on refers to. Declare it before the dump is begun."""
    with call.manifold() as manifold:
        made = manifold.backups.declare(name, days)
    call.answer(
        made,
        lambda: print_line(f"until {human_time(made.expires_at)} nothing that a dump of now refers to is removed"),
    )


def backups(call: Call) -> None:
    """List the backups that were declared."""
    from manifold_local.cli.documents import BackupList

    with call.manifold() as manifold:
        found = manifold.backups.all()

    def say() -> None:
        if not found:
            call.note("there are none; 'manifold backup declare NAME' declares one")
            return
        rows = [
            (safe(one.name), human_time(one.declared_at), human_time(one.expires_at), "over" if one.over else "held")
            for one in found
        ]
        print_table(("NAME", "DECLARED", "UNTIL", "STATE"), rows)

    call.answer(BackupList(backups=found), say)


def release(call: Call, names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Of the backups.")]) -> None:
    """Let go what only these backups refer to: it is removed with the next garbage."""
    from manifold_local.cli.documents import BackupsReleased

    with call.manifold() as manifold:
        manifold.backups.release(names)
    released = list(dict.fromkeys(names))
    call.answer(BackupsReleased(released=released), lambda: print_line(f"released {plural(len(released), 'backup')}"))


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(help="Dumps that somebody may go back to: declare, list, release.")
    command(group, "declare", changes=True, answers="Backup")(declare)
    command(group, "list", changes=False, answers="BackupList")(backups)
    command(group, "release", changes=True, answers="BackupsReleased")(release)
    app.add_typer(group, name="backup")
