"""``manifold project ...`` and ``manifold fork``."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer
from manifold_common.domain.listing import EVERY_PROJECT, ProjectFilter
from manifold_common.domain.wording import plural
from manifold_common.errors import NotFound
from manifold_common.ids import ProjectId, SessionId
from manifold_common.shapes.projects import Project, ProjectPage

from manifold_local.cli.arguments import GenerationOption, ProjectArgument, time_option
from manifold_local.cli.asking import ask
from manifold_local.cli.call import Call, command
from manifold_local.cli.output import human_bytes, human_time, print_line, print_table, safe

if TYPE_CHECKING:
    from manifold_local.cli.backend import Backend

_NAMED = 5
"""Sessions that a question names."""

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the new project.")]


def create(call: Call, name: NameArgument) -> None:
    """Make an empty project."""
    with call.backend(makes=True) as backend:
        made = backend.create(name)
    call.answer(made, lambda: print_line(f"created {safe(made.name)}  {made.id}"))


def show_all(
    call: Call,
    prefix: Annotated[str, typer.Option("--prefix", metavar="TEXT", help="Only those whose name begins so.")] = "",
    created_since: Annotated[datetime | None, time_option("--created-since", "Only those made then or later.")] = None,
    created_until: Annotated[datetime | None, time_option("--created-until", "Only those made before.")] = None,
    updated_since: Annotated[
        datetime | None, time_option("--updated-since", "Only those changed then or later.")
    ] = None,
    updated_until: Annotated[datetime | None, time_option("--updated-until", "Only those not changed since.")] = None,
    deleted: Annotated[
        bool, typer.Option("--deleted", help="Deleted ones that can be brought back, in place of the others.")
    ] = False,
) -> None:
    """List the projects, by name."""
    wanted = ProjectFilter(prefix, created_since, created_until, updated_since, updated_until)
    with call.backend() as backend:
        found = backend.deleted(wanted) if deleted else backend.projects(wanted)

    def say() -> None:
        if deleted:
            _print_deleted(call, found)
            return
        if not found:
            none = "there are no projects yet: 'manifold project create NAME' makes one"
            call.note(none if wanted == EVERY_PROJECT else "no project is like that")
            return
        print_table(
            ("NAME", "GENERATION", "ENTRIES", "SIZE", "CHANGED", "ID"),
            [
                (
                    safe(one.name),
                    str(one.generation),
                    f"{one.entries:,}",
                    human_bytes(one.total_bytes),
                    human_time(one.updated_at),
                    one.id,
                )
                for one in found
            ],
            right=frozenset({1, 2, 3}),
            spare=(4, 2),
        )

    call.answer(ProjectPage(items=found, next_cursor=None), say)


def _print_deleted(call: Call, found: list[Project]) -> None:
    if not found:
        call.note("no deleted project can be brought back")
        return
    print_table(
        ("NAME", "GENERATION", "ENTRIES", "SIZE", "DELETED", "UNTIL", "ID"),
        [
            (
                safe(one.name),
                str(one.generation),
                f"{one.entries:,}",
                human_bytes(one.total_bytes),
                _time(one.deleted_at),
                _time(one.restorable_until),
                one.id,
            )
            for one in found
        ],
        right=frozenset({1, 2, 3}),
        spare=(4, 2),
    )
    call.note("'manifold project undelete ID' brings one back, until the time in UNTIL")


def _time(moment: datetime | None) -> str:
    return "" if moment is None else human_time(moment)


def show(call: Call, project: ProjectArgument) -> None:
    """Show what is known about a project."""
    from manifold_local.cli.views import encryption_text

    with call.backend() as backend:
        found = backend.project(project, with_plain_objects=True)

    def say() -> None:
        for label, value in (
            ("name", safe(found.name)),
            ("id", found.id),
            ("generation", str(found.generation)),
            ("skills generation", str(found.skills_generation)),
            ("entries", f"{found.entries:,}"),
            ("size", f"{human_bytes(found.total_bytes)} ({plural(found.total_bytes, 'byte')})"),
            ("created", human_time(found.created_at)),
            ("changed", human_time(found.updated_at)),
            ("encrypted", encryption_text(found)),
        ):
            print_line(f"{label + ':':<20}{value}")

    call.answer(found, say)


def rename(
    call: Call, project: ProjectArgument, name: Annotated[str, typer.Argument(metavar="NAME", help="The new name.")]
) -> None:
    """Give a project another name. Its id, sessions and history stay."""
    with call.backend() as backend:
        old = backend.project(project)
        new = backend.rename(old.id, name)
    call.answer(new, lambda: print_line(f"renamed {safe(old.name)} to {safe(new.name)}"))


def delete(
    call: Call,
    project: ProjectArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete a project, its sessions and its history.

    For projects.retention.deletedProjectDays, 'manifold project undelete' brings it back, with the work that its
    sessions had saved.
    """
    with call.backend() as backend:
        found = backend.project(project)
        if not yes:
            ask(_what_goes(found, [one.session for one in backend.sessions(found.id)]), "add --yes")
        gone = backend.delete(found)

    def say() -> None:
        print_line(f"deleted {safe(gone.name)}")
        if gone.restorable_until is not None:
            call.note(
                f"until {human_time(gone.restorable_until)}, 'manifold project undelete {gone.id}' brings it back"
            )
        elif gone.deleted_at is not None:
            call.note("it cannot be brought back: projects.retention.deletedProjectDays is 0")

    call.answer(gone, say)


def undelete(
    call: Call,
    project: Annotated[
        str,
        typer.Argument(metavar="PROJECT", help="Id of a deleted project, or its name, if no other one had that."),
    ],
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="Give it this name.")] = None,
) -> None:
    """Bring a deleted project back.

    Its history and tags come back with it, and so do sessions that hold saved work.
    """
    with call.backend() as backend:
        living = _living(backend, project)
        back = backend.undelete(project, name)
        drafted = [one.session for one in backend.sessions(back.id) if one.shown.draft_saved_at is not None]

    def say() -> None:
        if living == back.id:
            print_line(f"{safe(back.name)} is not deleted: there is nothing to bring back  {back.id}")
            return
        print_line(f"brought back {safe(back.name)}  {back.id}")
        for session in drafted:
            call.note(f"session {session} holds saved work: manifold checkout {back.id} --session {session}")

    call.answer(back, say)


def _living(backend: Backend, name_or_id: str) -> ProjectId | None:
    """Return the id of a project that is not deleted; ``None``: there is none."""
    try:
        return backend.project(name_or_id).id
    except NotFound:
        return None


def _what_goes(project: Project, sessions: list[SessionId]) -> str:
    name, goes = safe(project.name), []
    if project.generation:
        goes.append(f"its {plural(project.generation, 'generation')}")
    if sessions:
        named = ", ".join(sessions[:_NAMED]) + (", ..." if len(sessions) > _NAMED else "")
        goes.append(f"its {plural(len(sessions), 'open session')} ({named}), and what is not committed there")
    return (
        f"delete the project {name} with {', '.join(goes)}?" if goes else f"delete the project {name}, which is empty?"
    )


def fork(call: Call, project: ProjectArgument, name: NameArgument, generation: GenerationOption = None) -> None:
    """Make a new project from a generation of another.

    Its content is not copied.
    """
    with call.manifold() as manifold:
        source = manifold.projects.resolve(call.principal, project)
        chosen = manifold.tags.resolve(call.principal, source.id, generation)
        made = manifold.forks.fork(call.principal, source.id, name, chosen)
    call.answer(made, lambda: print_line(f"forked {safe(source.name)} as {safe(made.name)}  {made.id}"))


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(help="Make, list, show, rename, delete and bring back projects.", no_args_is_help=False)
    command(group, "create", changes=True, answers="Project")(create)
    command(group, "list", changes=False, answers="ProjectPage")(show_all)
    command(group, "show", changes=False, answers="Project")(show)
    command(group, "rename", changes=True, answers="Project")(rename)
    command(group, "delete", changes=True, answers="Project")(delete)
    command(group, "undelete", changes=True, answers="Project")(undelete)
    app.add_typer(group, name="project")
    command(app, "fork", changes=True, answers="Project")(fork)
