"""Data keys and the master keys that wrap them: ``manifold keys status`` and ``manifold keys rewrap``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Annotated

import typer
from manifold_common.domain.wording import plural
from manifold_common.errors import ErrorKind, InvalidInput, ManifoldError

from manifold_local.cli.call import Call, command
from manifold_local.cli.completion import complete_project
from manifold_local.cli.exit_codes import EXIT_CODES
from manifold_local.cli.output import print_line, print_table, safe
from manifold_local.cli.progress import Report

if TYPE_CHECKING:
    from manifold_common.domain.keys import Kek, KeyRecord
    from manifold_common.services.keys.key_inventory import KeyInventory
    from manifold_common.services.keys.rewrap import KeyTrouble

_SHOWN = 20
"""Keys in a list for people."""

ProjectOption = Annotated[
    str | None,
    typer.Option(
        "--project",
        "-p",
        metavar="PROJECT",
        autocompletion=complete_project,
        help="Only this project's keys: name or id; of a deleted one, its id. All of this installation by default.",
    ),
]


def status(
    call: Call,
    project: ProjectOption = None,
    no_open: Annotated[bool, typer.Option("--no-open", help="Do not try whether each key can be opened.")] = False,
    every: Annotated[bool, typer.Option("--all", help="List every data key, too.")] = False,
) -> None:
    """Show which master key wraps which data keys.

    Says how many data keys are not under the current key, which cannot be opened, and which versions of a master key
    nothing refers to any more. Of all tenants, and of deleted projects as well.
    """
    with call.manifold() as manifold, call.progress("opening keys", thing="key") as bar:
        only = call.resolve(manifold, project)
        found = manifold.key_inventories.take(only=only, opens=not no_open, report=_each(bar))

    def say() -> None:
        _say_current(found)
        rows = [
            (*_kek_cells(use.kek), str(use.keys), str(use.projects), "current" if use.is_current else "-")
            for use in found.uses
        ]
        if rows:
            print_table(
                ("PROVIDER", "MASTER KEY", "VERSION", "KEYS", "PROJECTS", ""), rows, right=frozenset({2, 3, 4}), title=1
            )
        else:
            print_line("there are no data keys")
        if every:
            _say_keys(found.keys)
        if found.pending:
            _say_pending(found.pending, call, shown=not every)
        for key in found.retirable:
            print_line(
                f"no data key needs versions of {safe(key.key_name)} ({key.provider}) below {key.below}; "
                "older backups of the database and the bucket may"
            )
        _say_troubles(found.unreadable, "cannot be opened")

    call.answer(found.answer(), say)
    _exit(found.unreadable, found.current_trouble)


def rewrap(
    call: Call,
    project: ProjectOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
) -> None:
    """Wrap data keys anew that are not under the current master key.

    The data itself stays as it is. Interrupted anywhere, run it again: it goes on with what is left. Others may work
    meanwhile, and several may run at once.
    """
    from manifold_common.shapes.keys import DataKey, MasterKey, RewrapPlan

    with call.manifold() as manifold:
        only = call.resolve(manifold, project)
        current = manifold.rewrap.kek()
        if current is None:
            raise InvalidInput(
                "new projects are not encrypted, so there is no current master key to wrap under",
                hint="set projects.encrypt to true (PROJECTS_ENCRYPT)",
            )
        if dry_run:
            pending = list(manifold.rewrap.pending(only=only))
            plan = RewrapPlan(
                dry_run=True, current=MasterKey.of(current), would_rewrap=list(map(DataKey.of_record, pending))
            )
            call.answer(plan, lambda: _say_pending(pending, call, shown=True))
            return
        with call.progress("re-wrapping keys", thing="key") as bar:
            done = manifold.rewrap.run(only=only, report=_each(bar))

    def say() -> None:
        print_line(f"{plural(done.rewrapped, 'data key')} wrapped under {_kek_text(current)}")
        _say_troubles(done.troubles, "stays as it was")

    call.answer(done.answer(), say)
    _exit(done.troubles)


def _each(bar: Report | None) -> Callable[[], None]:
    return lambda: bar(1, 0) if bar is not None else None


def _exit(troubles: Iterable[KeyTrouble], other: ManifoldError | None = None) -> None:
    """Raises typer.Exit: something is wrong; of several, the worst decides."""
    kinds = {trouble.error.kind for trouble in troubles} | ({other.kind} if other is not None else set())
    for kind in (ErrorKind.INTERNAL, ErrorKind.CORRUPT):
        if kind in kinds:
            raise typer.Exit(EXIT_CODES[kind])
    if kinds:
        raise typer.Exit(max(EXIT_CODES[kind] for kind in kinds))


def _say_current(found: KeyInventory) -> None:
    if found.current_trouble is not None:
        print_line(f"the current master key cannot be told: {safe(str(found.current_trouble))}")
    elif found.current is None:
        print_line("new projects are not encrypted: there is no current master key")
    else:
        print_line(f"new data keys are wrapped under {_kek_text(found.current)}")


def _say_keys(keys: list[KeyRecord]) -> None:
    rows = [(key.project, key.dek, *_kek_cells(key.wrapped.kek)) for key in keys]
    print_table(("PROJECT", "DATA KEY", "PROVIDER", "MASTER KEY", "VERSION"), rows, right=frozenset({4}), title=1)


def _say_pending(pending: list[KeyRecord], call: Call, *, shown: bool) -> None:
    is_are = "is" if len(pending) == 1 else "are"
    print_line(f"{plural(len(pending), 'data key')} {is_are} not under the current master key")
    if shown and pending:
        _say_keys(pending[:_SHOWN])
        if len(pending) > _SHOWN:
            print_line(f"... and {len(pending) - _SHOWN} more: --json has them all")
    if pending:
        call.note("manifold keys rewrap   wraps them under it")


def _say_troubles(troubles: list[KeyTrouble], what: str) -> None:
    for record, error in troubles:
        print_line(
            f"data key {record.dek} of project {record.project} ({_kek_text(record.wrapped.kek)}) {what}: "
            f"{safe(str(error))}"
        )


def _kek_text(kek: Kek) -> str:
    return f"{kek.provider} {safe(kek.key_name)}" + (f" version {kek.key_version}" if kek.key_version else "")


def _kek_cells(kek: Kek) -> tuple[str, str, str]:
    return kek.provider, safe(kek.key_name), str(kek.key_version or "-")


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(help="Look after the keys of encrypted projects.")
    command(group, "status", changes=False, answers="KeyStatus")(status)
    command(group, "rewrap", changes=True, answers=("Rewrapped", "RewrapPlan"))(rewrap)
    app.add_typer(group, name="keys")
