"""Whether projects are whole: ``manifold verify`` and ``manifold damage``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from manifold_common.domain.keys import Encryption
from manifold_common.domain.wording import plural
from manifold_common.errors import ErrorKind

from manifold_local.cli.arguments import ProjectArgument
from manifold_local.cli.call import Call, command
from manifold_local.cli.exit_codes import EXIT_CODES
from manifold_local.cli.job_views import print_job
from manifold_local.cli.output import human_bytes, human_time, print_line, print_table, safe

if TYPE_CHECKING:
    from manifold_common.shapes.projects import Project
    from manifold_common.shapes.verification import Damage, DamagedObject, RepairReport, VerifyReport

_PAGE = 500
_SOURCES = {
    "cache": "as it was, from this machine's cache",
    "catalog": "from the database",
    "log": "another checkpoint of the same tree takes its place",
    "rebuilt": "made anew from the trees before and after it and the database",
    "moved": "what it held stands elsewhere now, and it is not needed any more",
}


def _percentage(text: str) -> float:
    try:
        percentage = float(text.removesuffix("%"))
    except ValueError:
        percentage = 0.0
    if not 0 < percentage <= 100:
        raise typer.BadParameter(f"{text!r} is no percentage: give a number over 0, and 100 at most")
    return percentage


def verify(
    call: Call,
    project: ProjectArgument,
    read_data: Annotated[bool, typer.Option("--read-data", help="Also read and check every byte of content.")] = False,
    sample: Annotated[
        float | None,
        typer.Option(
            "--sample",
            metavar="PERCENT",
            parser=_percentage,
            help="Also read and check the content of so many of the objects, chosen by chance each time.",
        ),
    ] = None,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Bring back what this machine's cache and working sets, the database, forks and the rest of the "
            "project still have. Damaged bytes that are replaced are kept aside.",
        ),
    ] = False,
    background: Annotated[
        bool, typer.Option("--background", help="Have a job do it (manifold jobs), and do not wait for it.")
    ] = False,
) -> None:
    """Check that a project is whole.

    All that it refers to must be in the store, and be what was written. Nothing of it is changed without --repair; what
    is damaged is kept for 'manifold damage' until it is found whole.
    """
    import msgspec
    from manifold_common.services.verification.verify import percentage
    from manifold_common.shapes.jobs import VerifyParams

    percentage(read_data=read_data, sample=sample, field="--sample")
    with call.manifold() as manifold:
        known = manifold.projects.resolve(call.principal, project)
        if background:
            params = VerifyParams(project=known.id, read_data=read_data, sample=sample, repair=repair)
            begun = manifold.jobs.start(call.principal, "verify", msgspec.to_builtins(params))
            call.answer(begun.job, lambda: print_job(begun.job))
            call.note(f"{call.command('jobs', 'watch', begun.job.id)}   follows it; a running host works on it")
            return
        if repair:
            with call.progress("verifying", thing="object") as report:
                done = manifold.repair.run(
                    call.principal, known.id, read_data=read_data, sample=sample, progress=report, logs=False
                )
            call.answer(done, lambda: _say_repair(done))
            if not done.ok:
                raise typer.Exit(EXIT_CODES[ErrorKind.CORRUPT])
            return
        with call.progress("verifying", thing="object") as report:
            found = manifold.verify.run(
                call.principal, known.id, read_data=read_data, sample=sample, progress=report, logs=False
            )

    call.answer(found, lambda: _say(found, known, is_read=read_data or sample is not None))
    if not found.ok:
        raise typer.Exit(EXIT_CODES[ErrorKind.CORRUPT])


def _say(found: VerifyReport, known: Project, *, is_read: bool) -> None:
    for problem in found.problems:
        _say_problem(problem)
    what = (
        f"content of {found.objects_read:,} of {plural(found.objects, 'object')} read, "
        f"{human_bytes(found.stored_bytes_read)} of {human_bytes(found.stored_bytes)}"
        if is_read or found.objects_read
        else "content not read; --read-data reads it"
    )
    verdict = f"damage found in {plural(found.damaged, 'object')}" if found.damaged else "all is well"
    print_line(
        f"{verdict}: {plural(found.commits, 'commit')}, {plural(found.tags, 'tag')}, {plural(found.drafts, 'draft')}, "
        f"{plural(found.objects, 'object')}, {plural(found.chunks, 'chunk')}, {human_bytes(found.bytes_read)} read "
        f"({what})"
    )
    if found.unencrypted_objects:
        since = "" if known.encryption is Encryption.NONE else " from before the project was"
        print_line(
            f"not encrypted: {plural(found.unencrypted_objects, 'object')}{since}, "
            f"{human_bytes(found.unencrypted_bytes)}"
        )


def _say_repair(done: RepairReport) -> None:
    for one in done.repaired:
        print_line(f"repaired {safe(one.object)}: {_SOURCES[one.by.value]}")
    for kept in done.quarantined:
        print_line(f"kept aside as {safe(kept)}")
    for problem in done.left:
        _say_problem(problem)
    if not done.found:
        print_line("no damage found, nothing to repair")
        return
    print_line(
        f"{plural(done.found, 'damaged object')}: {len(done.repaired):,} repaired, {done.damaged:,} left, "
        f"{len(done.quarantined):,} kept aside"
    )
    if done.rescued_bytes:
        print_line(f"{human_bytes(done.rescued_bytes)} of content is read from elsewhere now")


def _say_problem(problem: Damage) -> None:
    print_line(f"DAMAGED {safe(problem.object)}: {safe(problem.reason)}{_generations(problem)}")
    for tag in problem.tags:
        print_line(f"    affects the tag {safe(tag)}")
    for session in problem.sessions:
        print_line(f"    affects the saved work of session {safe(session)}")
    for path in problem.paths:
        print_line(f"    affects {safe(path)}")


def _generations(problem: Damage) -> str:
    first, last = problem.first_generation, problem.last_generation
    if not first:
        return ""
    if last is None or last == first:
        return f" (generation {first})"
    return f" (generations {first} to {last})"


def damage(call: Call, project: ProjectArgument) -> None:
    """List what verifications have found damaged in a project, and none has found whole since."""
    from manifold_common.shapes.verification import DamagePage

    found: list[DamagedObject] = []
    with call.manifold() as manifold:
        known = manifold.projects.resolve(call.principal, project)
        while True:
            page = manifold.verify.damage(
                call.principal, known.id, after=found[-1].object if found else "", limit=_PAGE
            )
            found += page
            if len(page) < _PAGE:
                break
        is_full = manifold.verify.is_full(call.principal, known.id)

    def say() -> None:
        if not found:
            call.note("no damage is known: 'manifold verify PROJECT' looks for some")
            return
        print_table(("OBJECT", "SINCE", "FOUND", "SEEN", "REASON"), list(map(_row, found)), right=frozenset({1}))
        if is_full:
            call.note("as many are known as are kept of a project: there may be more")

    call.answer(DamagePage(items=found, full=is_full, next_cursor=None), say)


def _row(one: DamagedObject) -> tuple[str, ...]:
    since = "-" if one.first_generation is None else str(one.first_generation)
    return safe(one.object), since, human_time(one.found_at), human_time(one.seen_at), safe(one.reason)


def add_to(app: typer.Typer) -> None:
    command(app, "verify", changes=False, answers=("VerifyReport", "RepairReport", "Job"))(verify)
    command(app, "damage", changes=False, answers="DamagePage")(damage)
