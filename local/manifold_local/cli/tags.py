"""Names for generations: ``manifold tag``, ``tags`` and ``untag``."""

from __future__ import annotations

from typing import Annotated

import typer
from manifold_common.ids import parse_tag_name
from manifold_common.shapes.tags import Tag, TagPage

from manifold_local.cli.arguments import GenerationArgument, ProjectArgument
from manifold_local.cli.call import Call, command
from manifold_local.cli.completion import complete_tag
from manifold_local.cli.output import human_time, print_line, print_table

NameArgument = Annotated[
    str,
    typer.Argument(
        metavar="NAME", autocompletion=complete_tag, help="Name of the tag: letters, digits and . _ -, a letter first."
    ),
]


def tag(
    call: Call,
    project: ProjectArgument,
    generation: GenerationArgument,
    name: NameArgument,
    move: Annotated[bool, typer.Option("--move", help="Move the tag if it is there, at another generation.")] = False,
) -> None:
    """Give a generation a name, to use wherever its number can be.

    A tag that is there already is moved with --move only: from where it was seen, and not if others move it meanwhile.
    """
    wanted = parse_tag_name(name)
    with call.backend() as backend:
        known = backend.project(project).id
        seen = backend.find_tag(known, wanted) if move else None
        made = backend.set_tag(known, wanted, generation, expected=None if seen is None else seen.point)

    def say() -> None:
        if seen is None or seen.point == made.point:
            print_line(f"{made.name} is generation {made.generation}")
        else:
            print_line(f"moved {made.name} from generation {seen.generation} to {made.generation}")

    call.answer(made, say)


def show_all(call: Call, project: ProjectArgument) -> None:
    """List a project's tags, by name."""
    with call.backend() as backend:
        found = backend.tags(backend.project(project).id)

    def say() -> None:
        if not found:
            call.note("there are no tags: 'manifold tag PROJECT GENERATION NAME' makes one")
            return
        print_table(("NAME", "GENERATION", "COMMIT", "SET", "BY"), list(map(_row, found)), right=frozenset({1}))

    call.answer(TagPage(items=found, next_cursor=None), say)


def untag(call: Call, project: ProjectArgument, name: NameArgument) -> None:
    """Remove a tag. The generation stays."""
    wanted = parse_tag_name(name)
    with call.backend() as backend:
        gone = backend.remove_tag(backend.project(project).id, wanted)
    call.answer(gone, lambda: print_line(f"removed {gone.name}, which was generation {gone.generation}"))


def _row(one: Tag) -> tuple[str, ...]:
    return (one.name, str(one.generation), one.commit, human_time(one.moved_at), one.user)


def add_to(app: typer.Typer) -> None:
    command(app, "tag", changes=True, answers="Tag")(tag)
    command(app, "tags", changes=False, answers="TagPage")(show_all)
    command(app, "untag", changes=True, answers="Tag")(untag)
