"""``manifold import`` and ``manifold export``."""

from __future__ import annotations

import os
import time
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from manifold_common.domain.conflict import Strategy
from manifold_common.domain.wording import plural

from manifold_local.cli.arguments import (
    ExpectOption,
    GenerationOption,
    MessageOption,
    ProjectArgument,
    ProvenanceOption,
    StrategyOption,
    folder_argument,
    parse_message,
    parse_provenance,
)
from manifold_local.cli.begun import said_if_unknown, taken_back
from manifold_local.cli.call import Call, command
from manifold_local.cli.conflicts import say_decided
from manifold_local.cli.output import human_bytes, print_line, safe, safe_path

if TYPE_CHECKING:
    from manifold_common.shapes.projects import Project

    from manifold_local.cli.backend import Backend


def import_folder(
    call: Call,
    project: ProjectArgument,
    folder: Annotated[Path, folder_argument("DIR", "Folder whose content the project takes on.")],
    message: MessageOption = "",
    create: Annotated[bool, typer.Option("--create", help="Make the project if there is none of that name.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Keep what the project has and the folder has not.")] = False,
    expect: ExpectOption = None,
    strategy: StrategyOption = Strategy.FAIL,
    provenance: ProvenanceOption = None,
) -> None:
    """Take in a folder as one new generation.

    The project's tree becomes equal to the folder. What Manifold keeps for itself, such as WORKDIR, is left out.
    """
    from manifold_common.errors import InvalidInput, NotFound
    from manifold_common.ids import Generation
    from manifold_common.shapes.intent import Intent
    from msgspec import structs

    from manifold_local.cli.views import loss_sentences

    intent = Intent(
        message=parse_message(message),
        provenance=parse_provenance(provenance),
        expected=expect,
        strategy=strategy,
    )
    if not folder.is_dir():
        raise InvalidInput(f"{folder} is not a folder", hint="name a folder that exists")
    with call.backend(makes=create) as backend, ExitStack() as stack:
        try:
            known = backend.project(project)
        except NotFound:
            if not create:
                raise
            with said_if_unknown(_may_be_made(call, project)):
                known = backend.create(project)
            stack.enter_context(_withdrawn(call, backend, known))
            if expect is None:
                intent = structs.replace(intent, expected=Generation(0))  # a new project has nothing that is replaced
        started = time.perf_counter()
        report = stack.enter_context(call.progress("importing"))
        done = backend.import_folder(known.id, folder, intent, keep=keep, progress=report)
        seconds = time.perf_counter() - started

    def say() -> None:
        took = f"{plural(done.entries, 'entry')}, {human_bytes(done.total_bytes)} in {seconds:.2f} s"
        if done.commit is None:
            print_line(f"nothing to import: generation {done.generation} is like the folder ({took})")
        else:
            print_line(
                f"imported {took} as generation {done.generation} of {safe(known.name)} "
                f"({human_bytes(done.new_bytes)} not stored before)"
            )

    for path in done.skipped:
        call.warn(f"skipped {safe_path(path.exact)}: not a file, a folder or a link")
    for path in done.left_out:
        call.warn(f"left out {safe_path(path.exact)}: Manifold keeps its own data there")
    for sentence in loss_sentences(done.not_kept):
        call.warn(sentence)
    say_decided(call, done.project, done.conflicts, done.kept, strategy)
    for path in done.unstable:
        call.warn(f"{safe_path(path.exact)} was being written to while it was read")
    call.answer(done, say)


def _may_be_made(call: Call, name: str) -> str:
    return (
        f"the project {safe(name)} may have been made\n"
        f"  to see whether it is there:  {call.command('project', 'show', name)}\n"
        f"  to delete it:                {call.command('project', 'delete', name)}"
    )


def _withdrawn(call: Call, backend: Backend, made: Project) -> AbstractContextManager[None]:
    return taken_back(
        lambda: backend.withdraw(made.id),
        f"the project {safe(made.name)} was made\n"
        f"  to see what is in it:  {call.command('log', made.id)}\n"
        f"  to delete it:          {call.command('project', 'delete', made.id, '--yes')}",
    )


def export_folder(
    call: Call,
    project: ProjectArgument,
    destination: Annotated[Path, folder_argument("DEST", "A new or empty folder.")],
    generation: GenerationOption = None,
) -> None:
    """Write a generation into a new folder."""
    from manifold_common.errors import AlreadyExists

    if os.path.lexists(destination) and not destination.is_dir():
        raise AlreadyExists(f"{destination} is there already, and is not a folder", hint="name a new folder")
    with call.backend() as backend:
        known = backend.project(project)
        wanted = backend.generation(known.id, generation)
        total = known.total_bytes if generation is None else None
        started = time.perf_counter()
        with call.progress("exporting", total_bytes=total) as report:
            done = backend.export(known.id, destination, wanted, progress=report)
        seconds = time.perf_counter() - started
    call.answer(
        done,
        lambda: print_line(
            f"exported {plural(done.entries, 'entry')}, {human_bytes(done.total_bytes)} of generation "
            f"{done.generation} to {safe(str(destination))} in {seconds:.2f} s"
        ),
    )


def add_to(app: typer.Typer) -> None:
    command(app, "import", changes=True, answers="ImportedFolder")(import_folder)
    command(app, "export", changes=True, answers="ExportedFolder")(export_folder)
