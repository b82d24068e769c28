"""Reading and restoring generations: ``manifold log``, ``show``, ``diff``, ``ls``, ``cat`` and ``restore``."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer
from manifold_common.domain.conflict import Strategy
from manifold_common.domain.history import Point
from manifold_common.domain.listing import CommitFilter, Fact, TreeFilter
from manifold_common.domain.tree import DIRECTORY, SYMLINK
from manifold_common.domain.unknown import empty_generation
from manifold_common.domain.wording import plural
from manifold_common.errors import ManifoldError
from manifold_common.ids import Generation, ProjectId, parse_session_id, parse_user_id
from manifold_common.shapes.history import Kind, kind_of

from manifold_local.cli.arguments import (
    ExpectOption,
    GenerationArgument,
    GenerationOption,
    MessageOption,
    Named,
    ProjectArgument,
    ProvenanceOption,
    StrategyOption,
    generation_argument,
    generation_option,
    parse_message,
    parse_provenance,
    time_option,
)
from manifold_local.cli.call import Call, command, project_path
from manifold_local.cli.completion import complete_session
from manifold_local.cli.conflicts import say_decided
from manifold_local.cli.exit_codes import DIFFERENT
from manifold_local.cli.job_views import print_job
from manifold_local.cli.output import (
    human_bytes,
    human_time_ns,
    print_line,
    print_table,
    safe_path,
    write_bytes,
)

if TYPE_CHECKING:
    from manifold_common.bootstrap import Manifold
    from manifold_common.domain.tree import Difference

    from manifold_local.cli.backend import Backend


PatchOption = Annotated[bool, typer.Option("--patch", "-p", help="Print a patch, as 'git apply' takes it.")]


def log(
    call: Call,
    project: ProjectArgument,
    limit: Annotated[int, typer.Option("--limit", "-n", metavar="COUNT", min=1, help="Most commits to show.")] = 50,
    before: Annotated[
        Named | None,
        generation_option("--before", help_text="Only those before this generation (number or tag)."),
    ] = None,
    author: Annotated[str | None, typer.Option("--author", metavar="USER", help="Only those of this user.")] = None,
    session: Annotated[
        str | None,
        typer.Option(
            "--session", "-s", metavar="SESSION", autocompletion=complete_session, help="Only those of this session."
        ),
    ] = None,
    since: Annotated[datetime | None, time_option("--since", "Only those of then or later.")] = None,
    until: Annotated[datetime | None, time_option("--until", "Only those of before.")] = None,
    path: Annotated[
        str | None,
        typer.Option("--path", "-p", metavar="PATH", help="Only those that changed it, or something below it."),
    ] = None,
    fact: Annotated[
        str | None,
        typer.Option(
            "--provenance", metavar="KEY[=VALUE]", help="Only those with this fact. Its value: text, or JSON."
        ),
    ] = None,
    cursor: Annotated[
        str | None,
        typer.Option("--cursor", metavar="CURSOR", help="Go on: next_cursor of --json before, with the same options."),
    ] = None,
) -> None:
    """Show a project's commits, newest first."""
    from manifold_local.cli.views import print_log_entry

    by = None if author is None else parse_user_id(author)
    of = None if session is None else parse_session_id(session)
    changed = None if path is None else project_path(path)
    known_fact = None if fact is None else Fact.of(fact)
    with call.backend() as backend:
        known = backend.project(project).id
        wanted = CommitFilter(by, of, since, until, backend.generation(known, before), changed, known_fact)
        shown = backend.log(known, wanted, limit, cursor)
        tags = {} if call.json else _tags(call, backend, known)

    def say() -> None:
        for entry in shown.items:
            print_log_entry(entry, tags.get(Point(entry.generation, entry.id), []))
        if not shown.items:
            call.note("there are no commits")

    call.answer(shown, say)


def _tags(call: Call, backend: Backend, project: ProjectId) -> dict[Point, list[str]]:
    """Return the names of each generation; none where they cannot be had: the log itself can."""
    names: dict[Point, list[str]] = {}
    try:
        for tag in backend.tags(project):
            names.setdefault(tag.point, []).append(tag.name)
    except ManifoldError as error:
        call.warn(f"tags cannot be shown: {error}")
    return names


def diff(
    call: Call,
    project: ProjectArgument,
    before: Annotated[Named, generation_argument("A", "Generation to start from, by number or tag.")],
    after: Annotated[
        Named | None, generation_argument("B", "Generation to compare with, by number or tag; the newest by default.")
    ] = None,
    patch: PatchOption = False,
    exit_code: Annotated[bool, typer.Option("--exit-code", help=f"Exit with {DIFFERENT} when they differ.")] = False,
) -> None:
    """Show what differs between two generations."""
    from manifold_common.shapes.history import DiffPage, TreeDifference

    from manifold_local.cli.views import summary

    with call.manifold() as manifold:
        known = manifold.projects.resolve(call.principal, project)
        first = manifold.tags.resolve(call.principal, known.id, before)
        second = known.generation if after is None else manifold.tags.resolve(call.principal, known.id, after)
        found = manifold.history.diff(call.principal, known.id, first, second)

        def say() -> None:
            call.note(f"generation {first} to {second}: {summary(found)}")
            _print_changes(call, manifold, known.id, first, second, found, patch=patch)

        items = list(map(TreeDifference.between, found)) if call.json else []
        call.answer(DiffPage(before=first, after=second, items=items, next_cursor=None), say)
    if exit_code and found:
        raise typer.Exit(DIFFERENT)


def show(call: Call, project: ProjectArgument, generation: GenerationArgument, patch: PatchOption = False) -> None:
    """Show a commit and what it changed."""
    from manifold_common.shapes.history import CommitWithDifferences, TreeDifference
    from msgspec import structs

    from manifold_local.cli.views import print_log_entry

    with call.manifold() as manifold:
        known = manifold.projects.resolve(call.principal, project)
        second = manifold.tags.resolve(call.principal, known.id, generation)
        if second == 0:
            raise empty_generation()
        first = Generation(second - 1)
        entry = manifold.history.commit(call.principal, known.id, second)
        found = manifold.history.diff(call.principal, known.id, first, second)

        def say() -> None:
            print_log_entry(entry)
            _print_changes(call, manifold, known.id, first, second, found, patch=patch)

        differences = list(map(TreeDifference.between, found)) if call.json else []
        call.answer(CommitWithDifferences(**structs.asdict(entry), differences=differences), say)


def list_folder(
    call: Call,
    project: ProjectArgument,
    path: Annotated[str | None, typer.Argument(metavar="PATH", help="Folder; the project's root by default.")] = None,
    generation: GenerationOption = None,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Everything below it as well.")] = False,
    glob: Annotated[
        str | None,
        typer.Option(
            "--glob", metavar="PATTERN", help="Only what matches, and all below that (gitignore syntax), from the root."
        ),
    ] = None,
    kind: Annotated[Kind | None, typer.Option("--kind", help="Only entries of this kind.")] = None,
) -> None:
    """List what a folder of a generation holds."""
    from manifold_common.domain.paths import ROOT
    from manifold_common.shapes.history import TreeEntry, TreePage

    folder = ROOT if path in (None, ".", "./") else project_path(path or "")
    with call.manifold() as manifold:
        known = manifold.projects.resolve(call.principal, project)
        chosen = manifold.tags.resolve(call.principal, known.id, generation)
        wanted = TreeFilter(glob, None if kind is None else kind_of(kind))
        found = manifold.history.list_tree(call.principal, known.id, folder, chosen, recursive=recursive, wanted=wanted)

    def say() -> None:
        rows = []
        for name, entry in found.entries:
            mark = (
                "/" if entry.kind == DIRECTORY else f" -> {safe_path(entry.content)}" if entry.kind == SYMLINK else ""
            )
            rows.append(
                (f"{entry.mode:04o}", f"{entry.size:,}", human_time_ns(entry.mtime_ns), f"{safe_path(name)}{mark}")
            )
        if rows:
            print_table(("MODE", "SIZE", "CHANGED", "PATH"), rows, right=frozenset({1}), title=3, spare=(2, 0))

    items = [TreeEntry.at(*entry) for entry in found.entries] if call.json else []
    call.answer(TreePage(generation=found.generation, items=items, next_cursor=None), say)


def cat(
    call: Call,
    project: ProjectArgument,
    path: Annotated[str, typer.Argument(metavar="PATH", help="File in the project.")],
    generation: GenerationOption = None,
) -> None:
    """Write a file to standard output, byte for byte.

    With --json: only what kind of file it is.
    """
    from manifold_common.shapes.history import FileFacts

    name = project_path(path)
    with call.manifold() as manifold:
        known = manifold.projects.resolve(call.principal, project)
        chosen = manifold.tags.resolve(call.principal, known.id, generation)
        file = manifold.history.open_file(call.principal, known.id, name, chosen)

        def say() -> None:
            for part in file.read():
                write_bytes(part)

        call.answer(FileFacts.of_file(name, file.entry, file.generation), say)


def restore(
    call: Call,
    project: ProjectArgument,
    generation: GenerationArgument,
    paths: Annotated[
        list[str] | None, typer.Argument(metavar="PATH", help="Files and folders; everything by default.")
    ] = None,
    message: MessageOption = "",
    expect: ExpectOption = None,
    strategy: StrategyOption = Strategy.FAIL,
    provenance: ProvenanceOption = None,
    background: Annotated[
        bool, typer.Option("--background", help="Have a job do it (manifold jobs), and do not wait for it.")
    ] = False,
) -> None:
    """Bring back what an earlier generation had.

    This makes a new generation in which everything, or some paths, are as they were.
    """
    from manifold_common.shapes.intent import Intent

    intent = Intent(
        message=parse_message(message),
        provenance=parse_provenance(provenance),
        expected=expect,
        strategy=strategy,
    )
    names = [project_path(path) for path in paths or ()]
    if background:
        with call.manifold() as manifold:
            found = manifold.projects.resolve(call.principal, project)
            begun = manifold.deferred.restore(call.principal, found.id, generation, names, intent)
        call.answer(begun, lambda: print_job(begun))
        call.note(f"{call.command('jobs', 'watch', begun.id)}   follows it; a running host works on it")
        call.note(f"{call.command('jobs', 'result', begun.id)}   says what came of it, when it is done")
        return
    with call.backend() as backend:
        known = backend.project(project)
        wanted = backend.generation(known.id, generation)
        done = backend.restore(known.id, wanted, names, intent)

    def say() -> None:
        if done.commit is None:
            print_line(f"nothing to restore; generation {done.generation}")
        else:
            print_line(
                f"restored {plural(done.paths_total, 'path')} of generation {wanted} as generation {done.generation}"
            )

    say_decided(call, done.project, done.conflicts, done.kept, strategy)
    call.answer(done, say)


def _print_changes(
    call: Call,
    manifold: Manifold,
    project: ProjectId,
    before: Generation,
    after: Generation,
    found: list[Difference],
    *,
    patch: bool,
) -> None:
    if not patch:
        from manifold_local.cli.views import print_differences

        print_differences(found)
        return
    from manifold_common.services.projects.history import OpenFile

    from manifold_local.cli.patch import print_patch
    from manifold_local.cli.patch_losses import MOST_APPLIED_BYTES, losses

    first = manifold.history.snapshot(call.principal, project, before)
    second = manifold.history.snapshot(call.principal, project, after)
    size = print_patch(
        found,
        lambda path, entry: OpenFile(manifold.context, first, path, entry).read(),
        lambda path, entry: OpenFile(manifold.context, second, path, entry).read(),
    )
    for loss in losses(found, first.tree, second.tree):
        call.note(f"note: {loss}")
    if size > MOST_APPLIED_BYTES:
        call.note(f"note: the patch has {human_bytes(size)}, and 'git apply' takes {human_bytes(MOST_APPLIED_BYTES)}")


def add_to(app: typer.Typer) -> None:
    command(app, "log", changes=False, answers="CommitPage")(log)
    command(app, "show", changes=False, answers="CommitWithDifferences")(show)
    command(app, "diff", changes=False, answers="DiffPage")(diff)
    command(app, "ls", changes=False, answers="TreePage")(list_folder)
    command(app, "cat", changes=False, answers="FileFacts")(cat)
    command(app, "restore", changes=True, answers=("Edited", "Job"))(restore)
