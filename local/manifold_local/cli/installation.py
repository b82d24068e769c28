"""This installation beside others: ``manifold adopt`` and ``manifold leftovers``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from manifold_common.domain.wording import plural
from manifold_common.errors import InvalidInput
from manifold_common.ids import parse_session_id

from manifold_local.cli.arguments import SessionArgument
from manifold_local.cli.call import Call, command
from manifold_local.cli.output import human_time, print_line, print_table, safe, shell_words

if TYPE_CHECKING:
    from manifold_common.services.sessions.leftovers import Origin


def adopt(
    call: Call,
    same: Annotated[bool, typer.Option("--same", help="It is the installation itself: the original is gone.")] = False,
    new: Annotated[bool, typer.Option("--new", help="It is one of its own: the original goes on.")] = False,
) -> None:
    """Say what a copy is: of a working folder, or of a database that a dump was loaded into.

    Until then a copy can be read, and changes nothing. Stop the host first.
    """
    from manifold_common.services.upkeep.installation import Adoption

    from manifold_local.cli.documents import Adopted
    from manifold_local.host_lock import HostLock
    from manifold_local.runtime import open_manifold

    if same == new:
        raise InvalidInput("say either --same or --new", hint="--same: the original is gone. --new: it goes on")
    lock = HostLock(call.require_installation().workdir)
    try:
        with open_manifold(call.settings) as manifold:
            before, own = manifold.standing, manifold.working_sets.folders
            left = len(own.found()) if new else 0
            done = manifold.installations.adopt(Adoption.NEW if new else Adoption.SAME)
    finally:
        lock.close()

    def say() -> None:
        if before.doubt is not None:
            call.note(f"before: {safe(before.doubt)}")
        if left:
            call.warn(f"{plural(left, 'working set')} in {safe(own.own)} stay with the installation of before")
        print_line(f"this is installation {done.incarnation} now, and this machine its node {safe(done.node)}")

    call.answer(Adopted(catalog=done.catalog, incarnation=done.incarnation, node=done.node), say)


def leftovers(call: Call) -> None:
    """List working sets on this machine that are no session's: set aside, or of other installations."""
    from manifold_local.cli.documents import Leftovers, StrangeFolder, WorkingSetAside

    with call.manifold() as manifold:
        found = manifold.leftovers
        aside, others, removing = found.set_aside(), found.strangers(), found.being_removed()
        ways_back = {one.name: _way_back(call, found.origin(one)) for one in aside}

    def say() -> None:
        if not (aside or others or removing):
            call.note("there are none")
        if aside:
            print_table(
                ("NAME", "SESSION", "SINCE", "WHY", "FOLDER"),
                [
                    (
                        safe(one.name),
                        one.owner.session if one.owner else "unknown",
                        human_time(one.at),
                        safe(one.reason),
                        safe(one.folder),
                    )
                    for one in aside
                ],
            )
            call.note("'manifold leftovers remove NAME' removes one for good")
            for name, way in ways_back.items():
                what = safe(name)
                if way is None:
                    call.note(f"nobody knows what {what} was made from: copy from its folder what is needed")
                else:
                    call.note(f"to have the files of {what} in a new session, where 'commit' merges them:\n  {way}")
        for folder, count in others:
            print_line(f"{safe(folder)}: {plural(count, 'working set')} of another installation or an older release")
        for path in removing:
            print_line(f"{safe(path)}: is being removed")

    call.answer(
        Leftovers(
            set_aside=[
                WorkingSetAside(
                    name=one.name,
                    session=one.owner.session if one.owner else None,
                    project=one.owner.project if one.owner else None,
                    since=one.at,
                    reason=one.reason,
                    path=one.folder,
                    bring_back=ways_back[one.name],
                )
                for one in aside
            ],
            others=[StrangeFolder(path=folder, working_sets=count) for folder, count in others],
            being_removed=removing,
        ),
        say,
    )


def _way_back(call: Call, origin: Origin | None) -> str | None:
    """Return a command that makes a session of what is set aside: on the generation that it was made from, and with the
    same paths. Otherwise what others changed since, or what it never had, would be taken for changes of its own."""
    if origin is None:
        return None
    base = origin.base
    seen = str(base.generation) if base.commit is None else str(base)
    paths = [word for pattern in origin.paths for word in ("--path", pattern)]
    where = ["--generation", str(base.generation), "--seen-generation", seen, *paths]
    made = call.command("checkout", origin.project, *where)
    return f'work="$({made})" && {shell_words("cp", "-a", "--remove-destination", f"{origin.folder}/.")} "$work"'


def remove(
    call: Call,
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME...", help="As the list has them.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All that are set aside.")] = False,
) -> None:
    """Remove working sets that were set aside, for good."""
    from manifold_local.cli.documents import LeftoversRemoved

    if bool(names) == every:
        raise InvalidInput("name what to remove, or say --all", hint="'manifold leftovers list' shows what there is")
    with call.manifold() as manifold:
        chosen = [one.name for one in manifold.leftovers.set_aside()] if every else list(dict.fromkeys(names or ()))
        manifold.leftovers.remove(chosen)
    call.answer(LeftoversRemoved(removed=chosen), lambda: print_line(f"removed {plural(len(chosen), 'working set')}"))


def set_aside(call: Call, session: SessionArgument = None) -> None:
    """Put the working set of a session aside, as it is. Its next checkout begins anew from what is stored."""
    from manifold_local.cli.documents import SetAside

    if session is None:
        raise InvalidInput("no session is named", hint="'manifold sessions' lists them")
    with call.manifold() as manifold:
        done = manifold.leftovers.put_aside(call.principal, parse_session_id(session))
    call.answer(
        SetAside(name=done.name, path=done.folder),
        lambda: print_line(f"set aside as {done.name}: {safe(done.folder)}"),
    )


def add_to(app: typer.Typer) -> None:
    command(app, "adopt", changes=True, answers="Adopted")(adopt)
    group = typer.Typer(help="Working sets that are no session's: list, remove, set aside.")
    command(group, "list", changes=False, answers="Leftovers")(leftovers)
    command(group, "remove", changes=True, answers="LeftoversRemoved")(remove)
    command(group, "set-aside", changes=True, answers="SetAside")(set_aside)
    app.add_typer(group, name="leftovers")
