"""Space: ``manifold retention``, ``garbage`` and ``usage``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from manifold_common.domain.job import JobState
from manifold_common.domain.wording import plural, span
from manifold_common.errors import InvalidInput

from manifold_local.cli.arguments import ProjectArgument
from manifold_local.cli.call import Call, command
from manifold_local.cli.completion import complete_project
from manifold_local.cli.job_views import error_text, print_state, print_trouble
from manifold_local.cli.output import human_bytes, human_time, print_line, print_table, safe, some_of
from manifold_local.cli.working import end_by, kinds_met, work_on

if TYPE_CHECKING:
    from manifold_common.bootstrap import Manifold
    from manifold_common.ids import TenantProject
    from manifold_common.shapes.garbage import CondemnedCount, GarbageOfProject, PinnedGeneration, ProjectRetention
    from manifold_common.shapes.jobs import Job, JobItem
    from manifold_common.shapes.usage import ProjectUsage, Stored, UsageTotal

_PAGE = 500
_SHOWN = 10
"""Pinned generations in a list for people."""


# --- retention ------------------------------------------------------------------------------------------------------


def retention(
    call: Call,
    project: ProjectArgument,
    generations: Annotated[
        int | None,
        typer.Option("--generations", metavar="N", min=0, help="Keep so many of the newest; 0 sets no number."),
    ] = None,
    days: Annotated[
        int | None,
        typer.Option("--days", metavar="D", min=0, help="Keep what is younger than so many days; 0 sets no age."),
    ] = None,
    default: Annotated[
        bool, typer.Option("--default", help="Have the project's history kept as the deployment says.")
    ] = False,
) -> None:
    """Show how long a project's history is kept, and what that comes to; or set it.

    A generation stays while the number or the age keeps it, a tag or a session stands on it, or it is younger than
    projects.maintenance.garbageGraceSeconds. The others go with the next collection, for good.
    """
    changes = generations is not None or days is not None
    if default and changes:
        raise InvalidInput("--default takes the project's own rules back", hint="leave it out, or all other options")
    with call.manifold() as manifold:
        settings = manifold.retention_settings
        known = manifold.projects.resolve(call.principal, project)
        found = settings.get(call.principal, known.id)
        if default or changes:
            wanted = (
                (None, None)
                if default
                else (
                    found.generations if generations is None else generations,
                    found.days if days is None else days,
                )
            )
            found = settings.set(call.principal, known.id, *wanted)
    call.answer(found, lambda: _say_retention(call, found, known.name))


def _say_retention(call: Call, found: ProjectRetention, name: str) -> None:
    own = found.generations is not None or found.days is not None
    print_line(f"keeps {_rules_text(found)}{'' if own else ', as the deployment says'}")
    if found.oldest is None:
        print_line("there are no generations yet")
        return
    print_line(f"{plural(found.kept, 'generation')} there now, the oldest is {found.oldest}")
    if found.in_force.generations or found.in_force.days:
        print_line(f"what is younger than {span(found.in_force.grace_seconds)} stays, too")
    if found.due:
        which = f"{found.first_due}" if found.due == 1 else f"from {found.first_due} to {found.last_due}"
        print_line(f"the next collection removes {plural(found.due, 'generation')}, {which}")
        call.note(f"{call.command('garbage', name, '--dry-run')}   says what else goes")
    for one in found.pinned[:_SHOWN]:
        print_line(f"generation {one.generation} stays for {_pins_text(one)}")
    if len(found.pinned) > _SHOWN:
        print_line(f"... and {len(found.pinned) - _SHOWN} more: --json has them all")


def _rules_text(found: ProjectRetention) -> str:
    rules = found.in_force
    number = f"the newest {plural(rules.generations, 'generation')}" if rules.generations else ""
    age = f"what is younger than {plural(rules.days, 'day')}" if rules.days else ""
    return " and ".join(filter(None, (number, age))) or "every generation"


def _pins_text(pinned: PinnedGeneration) -> str:
    named = [f"tag {name}" for name in pinned.tags] + [f"session {safe(one)}" for one in pinned.sessions]
    return some_of(named) or "what has just ended"


# --- garbage --------------------------------------------------------------------------------------------------------


def garbage(
    call: Call,
    project: Annotated[
        str | None,
        typer.Argument(
            metavar="[PROJECT]",
            autocompletion=complete_project,
            help="Of this project and its forks: name or id; of a deleted one, its id.",
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Of all projects of this installation.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go, and why.")] = False,
    background: Annotated[
        bool, typer.Option("--background", help="Only start it: a running host, or 'manifold jobs work', does it.")
    ] = False,
) -> None:
    """Remove the history that no rule keeps, and condemn what is stored and nothing refers to.

    What is condemned is removed from the store when it has been so for projects.maintenance.garbageGraceSeconds. It is
    a job (manifold jobs), which this command works on until it is over. Interrupted anywhere, run it again.
    """
    from manifold_common.shapes.garbage import Collected, CollectionPlan

    if (project is not None) == every:
        raise InvalidInput("say which project, or --all", hint="manifold garbage PROJECT --dry-run")
    if dry_run and background:
        raise InvalidInput("--background is about doing it", hint="leave out --background or --dry-run")
    with call.manifold() as manifold:
        only = call.resolve(manifold, project)
        if dry_run:
            found = [one for family in _families(manifold, only) for one in manifold.collector.plan(*family).projects]
            names = _names(manifold, call)
            call.answer(CollectionPlan(projects=found), lambda: _say_plan(call, found, names, project))
            return
        begun = manifold.jobs.start(call.principal, "collect", {} if project is None else {"project": project})
        if not begun.is_new:
            call.note(f"goes on with job {begun.job.id}, which was started {human_time(begun.job.created_at)}")
        if not background:
            work_on(call, manifold, call.principal, begun.job.id)
        job = manifold.jobs.get(call.principal, begun.job.id)
        troubles = list(manifold.jobs.troubles(call.principal, job.id))
        condemned = _condemned(manifold, only)
        grace = manifold.settings.projects.maintenance.garbage_grace_seconds
    answer = Collected(job=job, condemned=condemned)
    call.answer(answer, lambda: _say_collected(call, job, troubles, condemned, grace))
    if not background:
        end_by(kinds_met(job, troubles))


def _families(manifold: Manifold, only: TenantProject | None) -> Iterator[TenantProject]:
    catalog = manifold.context.catalog
    if only is not None:
        yield only[0], catalog.family_of(*only)
        return
    after: TenantProject | None = None
    while page := catalog.fork_families(after=after, limit=_PAGE):
        yield from page
        after = page[-1]


def _names(manifold: Manifold, call: Call) -> dict[str, str]:
    """Return the names of the user's projects, by id."""
    names: dict[str, str] = {}
    last = ""
    while page := manifold.projects.page(call.principal, after_name=last, limit=_PAGE):
        names |= {one.id: one.name for one in page}
        last = page[-1].name
    return names


def _condemned(manifold: Manifold, only: TenantProject | None) -> list[CondemnedCount]:
    """Return what is condemned and not removed yet, by reason."""
    from collections import Counter

    from manifold_common.domain.garbage import Cause
    from manifold_common.shapes.garbage import CondemnedCount

    objects, sizes = Counter[Cause](), Counter[Cause]()
    for tenant, leader in _families(manifold, only):
        members = [one.project for one in manifold.context.catalog.fork_family(tenant, leader)]
        for one in manifold.context.catalog.garbage_of(tenant, members):
            objects[one.reason] += one.objects
            sizes[one.reason] += one.bytes
    return [CondemnedCount(reason=one, objects=objects[one], bytes=sizes[one]) for one in Cause if objects[one]]


def _say_plan(call: Call, found: Sequence[GarbageOfProject], names: dict[str, str], project: str | None) -> None:
    if not found:
        print_line("there is nothing to be collected")
        return
    rows = []
    for one in found:
        name = safe(names.get(one.project, one.project))
        if one.generations:
            which = f"{one.first_generation} to {one.last_generation}"
            rows.append((name, plural(one.generations, "generation"), "-", f"no rule keeps {which}"))
        rows += [
            (name, plural(count, "object"), human_bytes(size), _why(reason)) for reason, count, size in _counts(one)
        ]
    print_table(("PROJECT", "WHAT", "SIZE", "WHY"), rows, right=frozenset({1, 2}))
    counts = [count for one in found for count in _counts(one)]
    objects, size = sum(count for _, count, _ in counts), sum(size for *_, size in counts)
    print_line(f"{plural(objects, 'object')}, {human_bytes(size)}, and {plural(_gone(found), 'generation')} would go")
    if any(one.moved for one in found):
        print_line("what is still in use of objects that are written anew is stored again")
    call.note(f"{call.command('garbage', '--all' if project is None else project)}   does it")


def _counts(found: GarbageOfProject) -> list[tuple[str, int, int]]:
    """Return why how many objects, of how many bytes, would go."""
    unneeded = [(one.reason.value, one.objects, one.bytes) for one in found.garbage]
    return unneeded + [(one.reason.value, one.objects, one.bytes) for one in found.moved]


def _gone(found: Sequence[GarbageOfProject]) -> int:
    return sum(one.generations for one in found)


def _why(reason: str) -> str:
    return {
        "history": "only removed generations need it",
        "orphan": "nothing ever referred to it",
        "deleted": "its project was deleted",
        "moved": "what was in use of it was written anew",
        "mostly_dead": "little of it is in use, which is written anew",
        "small": "small ones are put together",
        "checkpoint": "it says where content is that moves",
    }[reason]


def _say_collected(
    call: Call, job: Job, troubles: Sequence[JobItem], condemned: Sequence[CondemnedCount], grace_seconds: float
) -> None:
    if job.state is JobState.RUNNING:
        go_on = call.command("jobs", "work", job.id)
        print_line(f"job {job.id} is started")
        call.note(f"a running host works on it, or: {go_on}")
    elif job.done:
        print_line(f"collected in {plural(job.done, 'project')}, each with its forks")
    elif job.state is JobState.DONE:
        print_line("there was nothing to be collected")
    if job.state not in (JobState.RUNNING, JobState.DONE):
        print_state(job)
    if job.trouble is not None:
        print_line(f"nothing can be done for now: {error_text(job.trouble)}")
    for item in troubles:
        print_trouble(item)
    for one in condemned:
        print_line(f"{plural(one.objects, 'object')}, {human_bytes(one.bytes)}, condemned: {_why(one.reason.value)}")
    if condemned:
        print_line(f"each is removed {span(grace_seconds)} after it was condemned, by a running host")


# --- usage ----------------------------------------------------------------------------------------------------------


def usage(
    call: Call,
    project: Annotated[
        str | None,
        typer.Argument(metavar="[PROJECT]", autocompletion=complete_project, help="Name or id; all by default."),
    ] = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Measure it now: all that it has stored is listed and looked at.")
    ] = False,
) -> None:
    """Show what projects take: in the store, in this machine's cache, and in its RAM.

    What they have stored is as it was last measured, which collections do.
    """
    from manifold_common.shapes.usage import UsagePage

    if measure and project is None:
        raise InvalidInput("--measure is about one project", hint="manifold usage PROJECT --measure")
    with call.manifold() as manifold:
        service, principal = manifold.usage, call.principal
        if project is not None:
            known = manifold.projects.resolve(principal, project).id
            one = service.measure(principal, known) if measure else service.of(principal, known)
            call.answer(one, lambda: _say_usage(one))
            return
        items: list[ProjectUsage] = []
        last = ""
        while page := service.page(principal, after_name=last, limit=_PAGE):
            items += page
            last = page[-1].name
        found = UsagePage(
            items=items,
            next_cursor=None,
            user=service.of_user(principal),
            tenant=service.of_tenant(principal),
            machine=service.of_machine(principal),
        )

    def say() -> None:
        if items:
            columns = ("PROJECT", "LIVE", "HISTORY", "GARBAGE", "CACHE", "RAM", "MEASURED")
            print_table(columns, list(map(_usage_row, items)), right=frozenset(range(1, 6)), spare=(5, 4))
        for label, total in (("yours", found.user), ("of all users", found.tenant)):
            print_line(f"{label}: {_total_text(total)}")
        machine = found.machine
        print_line(f"this machine: {human_bytes(machine.cache_bytes)} cache, {human_bytes(machine.ram_bytes)} RAM")

    call.answer(found, say)


def _say_usage(one: ProjectUsage) -> None:
    for label, stored, about in (
        ("live", one.live, "to read the newest generation"),
        ("history", one.history, "older generations, saved work, uploads"),
        ("unreferenced", one.unreferenced, "nothing refers to it, as yet or any more"),
        ("condemned", one.condemned, "removed when its grace is over"),
    ):
        print_line(f"{label + ':':<14}{_stored_text(stored):<30}{about}")
    print_line(f"{'cache:':<14}{human_bytes(one.cache_bytes):<30}of this machine's disk")
    print_line(f"{'RAM:':<14}{human_bytes(one.ram_bytes):<30}of this machine")
    if one.measured_at is None:
        print_line("the store was not measured yet: a collection does that, and so does --measure")
        return
    since = one.generation - (one.measured_generation or 0)
    later = f"; {plural(since, 'generation')} made since" if since > 0 else ""
    print_line(f"the store was measured {human_time(one.measured_at)}{later}")


def _usage_row(one: ProjectUsage) -> tuple[str, ...]:
    garbage = one.condemned.bytes + (one.unreferenced.bytes if one.unreferenced else 0)
    return (
        safe(one.name),
        human_bytes(one.live.bytes) if one.live else "-",
        human_bytes(one.history.bytes) if one.history else "-",
        human_bytes(garbage),
        human_bytes(one.cache_bytes),
        human_bytes(one.ram_bytes),
        human_time(one.measured_at) if one.measured_at else "not yet",
    )


def _stored_text(stored: Stored | None) -> str:
    return "-" if stored is None else f"{human_bytes(stored.bytes)} in {plural(stored.objects, 'object')}"


def _total_text(total: UsageTotal) -> str:
    garbage = total.unreferenced.bytes + total.condemned.bytes
    sizes = f"{human_bytes(total.live.bytes)} live, {human_bytes(total.history.bytes)} history"
    text = f"{sizes}, {human_bytes(garbage)} garbage in {plural(total.projects, 'project')}"
    if total.deleted_projects:
        text += f" and {total.deleted_projects:,} deleted"
    return f"{text}; {total.unmeasured_projects:,} not measured yet" if total.unmeasured_projects else text


def add_to(app: typer.Typer) -> None:
    command(app, "retention", changes=True, answers="ProjectRetention")(retention)
    command(app, "garbage", changes=True, answers=("Collected", "CollectionPlan"))(garbage)
    command(app, "usage", changes=False, answers=("UsagePage", "ProjectUsage"))(usage)
