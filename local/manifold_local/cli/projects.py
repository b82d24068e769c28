"""``manifold project ...`` and ``manifold fork``."""

from __future__ import annotations

from typing import Annotated

import typer
from manifold_common.domain.wording import plural

from manifold_local.cli.arguments import GenerationOption, ProjectArgument
from manifold_local.cli.asking import ask
from manifold_local.cli.call import Call, command
from manifold_local.cli.output import human_bytes, human_time, print_line, print_table, safe

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the new project.")]


def create(call: Call, name: NameArgument) -> None:
    """Make an empty project."""
    from manifold_local.cli.views import project_json

    with call.backend(makes=True) as backend:
        row = backend.create(name)
    call.answer(project_json(row), lambda: print_line(f"created {safe(row.name)}  {row.project}"))


def show_all(call: Call) -> None:
    """List the projects, by name."""
    from manifold_local.cli.views import project_json

    with call.backend() as backend:
        rows = backend.projects()

    def say() -> None:
        if not rows:
            call.note("there are no projects yet: 'manifold project create NAME' makes one")
            return
        print_table(
            ("NAME", "GENERATION", "FILES", "SIZE", "CHANGED", "ID"),
            [
                (
                    safe(row.name),
                    str(row.head.generation),
                    f"{row.tree_files:,}",
                    human_bytes(row.tree_bytes),
                    human_time(row.updated_at),
                    row.project,
                )
                for row in rows
            ],
            right=frozenset({1, 2, 3}),
            spare=(4, 2),
        )

    call.answer({"projects": [project_json(row) for row in rows]}, say)


def show(call: Call, project: ProjectArgument) -> None:
    """Show what is known about a project."""
    from manifold_common.domain.keys import Encryption

    from manifold_local.cli.views import encryption_text, project_json

    with call.backend() as backend:
        row = backend.project(project)
        plain = backend.plain_objects(row.project) if row.encryption is Encryption.PARTLY else None

    def say() -> None:
        for label, value in (
            ("name", safe(row.name)),
            ("id", row.project),
            ("generation", str(row.head.generation)),
            ("skills generation", str(row.head.skills_generation)),
            ("files", f"{row.tree_files:,}"),
            ("size", f"{human_bytes(row.tree_bytes)} ({plural(row.tree_bytes, 'byte')})"),
            ("created", human_time(row.created_at)),
            ("changed", human_time(row.updated_at)),
            ("encrypted", encryption_text(row, plain)),
        ):
            print_line(f"{label + ':':<20}{value}")

    unencrypted = {"objects": plain.objects, "bytes": plain.stored_bytes} if plain else None
    call.answer({**project_json(row), "unencrypted": unencrypted}, say)


def rename(
    call: Call, project: ProjectArgument, name: Annotated[str, typer.Argument(metavar="NAME", help="The new name.")]
) -> None:
    """Give a project another name. Its id, sessions and history stay."""
    from manifold_local.cli.views import project_json

    with call.backend() as backend:
        old = backend.project(project)
        row = backend.rename(old.project, name)
    call.answer(project_json(row), lambda: print_line(f"renamed {safe(old.name)} to {safe(row.name)}"))


def delete(
    call: Call,
    project: ProjectArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete a project, its sessions and its history."""
    with call.backend() as backend:
        row = backend.project(project)
        if not yes:
            ask(
                f"delete the project {safe(row.name)} with its {plural(row.head.generation, 'generation')}?",
                "add --yes",
            )
        backend.delete(row.project)
    call.answer({"project": row.project, "deleted": True}, lambda: print_line(f"deleted {safe(row.name)}"))


def fork(call: Call, project: ProjectArgument, name: NameArgument, generation: GenerationOption = None) -> None:
    """Make a new project from a generation of another.

    Its content is not copied.
    """
    from manifold_common.ids import Generation

    from manifold_local.cli.views import project_json

    with call.manifold() as manifold:
        source = manifold.projects.resolve(call.principal, project)
        chosen = None if generation is None else Generation(generation)
        row = manifold.forks.fork(call.principal, source.project, name, chosen)
    call.answer(
        project_json(row),
        lambda: print_line(f"forked {safe(source.name)} as {safe(row.name)}  {row.project}"),
    )


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(help="Make, list, show, rename and delete projects.", no_args_is_help=False)
    command(group, "create", changes=True)(create)
    command(group, "list", changes=False)(show_all)
    command(group, "show", changes=False)(show)
    command(group, "rename", changes=True)(rename)
    command(group, "delete", changes=True)(delete)
    app.add_typer(group, name="project")
    command(app, "fork", changes=True)(fork)
