"""Data keys and the master keys that wrap them: ``manifold keys status``, ``rotate`` and ``rewrap``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from manifold_common.domain.job import MAX_RATE, MIN_RATE, JobState
from manifold_common.domain.wording import plural
from manifold_common.errors import InvalidInput

from manifold_local.cli.call import Call, command
from manifold_local.cli.completion import complete_project
from manifold_local.cli.job_views import became, error_text
from manifold_local.cli.output import human_time, print_line, print_table, safe
from manifold_local.cli.progress import Report
from manifold_local.cli.working import end_by, kinds_met, work_on

if TYPE_CHECKING:
    from manifold_common.bootstrap import Manifold
    from manifold_common.domain.keys import Kek, KeyRecord
    from manifold_common.services.keys.key_inventory import KeyInventory
    from manifold_common.shapes.jobs import JobItem
    from manifold_common.shapes.keys import RewrapPlan

_SHOWN = 20
"""Keys in a list for people."""
_PAGE = 500


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not MIN_RATE <= rate <= MAX_RATE:
        raise typer.BadParameter(f"{text!r} is no rate: give a number from {MIN_RATE:g} to {MAX_RATE:,.0f}")
    return rate


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
        for record, error in found.unreadable:
            _say_trouble(record, "cannot be opened", safe(str(error)))

    call.answer(found.answer(), say)
    errors = [*(trouble.error for trouble in found.unreadable), found.current_trouble]
    end_by({error.kind for error in errors if error is not None})


def rotate(call: Call) -> None:
    """Make a new version of the current master key, which wraps new data keys from now on.

    Older versions still open what they wrap. 'manifold keys rewrap' wraps that under the new one.
    """
    from manifold_common.shapes.keys import MasterKey, Rotated

    with call.manifold() as manifold:
        before, after = manifold.rewrap.required_kek(), manifold.rewrap.rotate()

    def say() -> None:
        print_line(f"new data keys are wrapped under {_kek_text(after)}")
        if after.key_version:
            call.note(f"{call.command('keys', 'rewrap')}   wraps the others under it")
        else:
            call.note("AWS KMS opens what its older versions wrap by itself: there is nothing to rewrap")

    call.answer(Rotated(before=MasterKey(**before._asdict()), current=MasterKey(**after._asdict())), say)


def rewrap(
    call: Call,
    project: ProjectOption = None,
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="PROVIDER[/KEY]",
            help="Under this provider's key, or this key of it, such as vault/manifold-kek-2, instead of the current.",
        ),
    ] = None,
    create: Annotated[
        bool,
        typer.Option("--create", help="With --to file/KEY: make that key if it is not there, which is refused else."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    rate: Annotated[
        float | None,
        typer.Option(
            "--rate",
            metavar="N",
            parser=_rate,
            help="Keys per second at most, of all workers together; also for a rewrap that is under way.",
        ),
    ] = None,
) -> None:
    """Wrap data keys anew that are not under the current master key.

    The data itself stays as it is. It is a job (manifold jobs), which this command works on until it is over, or until
    nothing can be done for now. Interrupted anywhere, run it again: it goes on with what is left. Others may work
    meanwhile, and several may run at once.
    """
    from manifold_common.shapes.keys import DataKey, MasterKey, Rewrapped, RewrapPlan

    with call.manifold() as manifold:
        if dry_run and rate is not None:
            raise InvalidInput("--rate is about doing it", hint="leave out --rate or --dry-run")
        target = manifold.rewrap.to(to, create=create)
        target.require_target_key()
        current = target.required_kek()
        if dry_run:
            pending = list(target.pending(only=call.resolve(manifold, project)))
            requests = sum(map(target.requests, pending), Counter[str]())
            plan = RewrapPlan(
                dry_run=True,
                current=MasterKey.of(current),
                projects=len({(key.tenant, key.project) for key in pending}),
                requests=dict(requests),
                would_rewrap=list(map(DataKey.of_record, pending)),
            )
            again = [*([] if to is None else ["--to", to]), *(["--create"] if create else [])]
            call.answer(plan, lambda: _say_plan(pending, plan, call, current, again))
            return
        given = (("project", project), ("to", to), ("create", create or None))
        params = {name: value for name, value in given if value is not None}
        begun = manifold.jobs.start(call.principal, "rewrap", params, rate=rate)
        if not begun.is_new:
            call.note(f"goes on with job {begun.job.id}, which was started {human_time(begun.job.created_at)}")
        work_on(call, manifold, call.principal, begun.job.id)
        job = manifold.jobs.get(call.principal, begun.job.id)
        troubles = list(manifold.jobs.troubles(call.principal, job.id))
        records = _records(manifold, troubles)
        if current.key_version == 0:  # by wrapping, its provider has made the first version
            current = target.required_kek()

    def say() -> None:
        print_line(f"{plural(job.done - begun.job.done, 'data key')} wrapped under {_kek_text(current)}")
        for item in troubles:
            if item.item in records:  # or else it is gone meanwhile
                _say_trouble(records[item.item], became(item, "stays as it was"), error_text(item))
        if job.trouble is not None:
            print_line(f"nothing can be done for now: {error_text(job.trouble)}")
        if job.state is JobState.RUNNING:
            go_on = call.command("jobs", "work", job.id)
            call.note(f"job {job.id} is not over; a running host goes on with it, or: {go_on}")

    call.answer(Rewrapped(current=MasterKey(**current._asdict()), job=job), say)
    end_by(kinds_met(job, troubles))


def _each(bar: Report | None) -> Callable[[], None]:
    return lambda: bar(1, 0) if bar is not None else None


def _records(manifold: Manifold, items: Sequence[JobItem]) -> dict[str, KeyRecord]:
    """Return the data keys that items are about, by what the items are called."""
    from manifold_common.services.keys.rewrap_job import item_of, key_of

    found: dict[str, KeyRecord] = {}
    for start in range(0, len(items), _PAGE):
        names = [key_of(item.item) for item in items[start : start + _PAGE]]
        for record in manifold.context.catalog.find_keys(names):
            found[item_of(record)] = record
    return found


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
        _say_first(pending)
    if pending:
        call.note("manifold keys rewrap   wraps them under it")


def _say_first(keys: list[KeyRecord]) -> None:
    _say_keys(keys[:_SHOWN])
    if len(keys) > _SHOWN:
        print_line(f"... and {len(keys) - _SHOWN} more: --json has them all")


def _say_plan(pending: list[KeyRecord], plan: RewrapPlan, call: Call, target: Kek, options: Sequence[str]) -> None:
    is_are = "is" if len(pending) == 1 else "are"
    of = f"of {plural(plan.projects, 'project')}" if pending else "of any project"
    print_line(f"{plural(len(pending), 'data key')} {of} {is_are} not under {_kek_text(target)}")
    if not pending:
        return
    _say_first(pending)
    asked = [f"{plural(count, 'request')} to {provider}" for provider, count in plan.requests.items() if count]
    print_line(f"wrapping them under it takes {' and '.join(asked) or 'no request to a key service'}")
    call.note(f"{call.command('keys', 'rewrap', *options)}   does it")


def _say_trouble(record: KeyRecord, what: str, error: str) -> None:
    print_line(f"data key {record.dek} of project {record.project} ({_kek_text(record.wrapped.kek)}) {what}: {error}")


def _kek_text(kek: Kek) -> str:
    return f"{kek.provider} {safe(kek.key_name)}" + (f" version {kek.key_version}" if kek.key_version else "")


def _kek_cells(kek: Kek) -> tuple[str, str, str]:
    return kek.provider, safe(kek.key_name), str(kek.key_version or "-")


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(help="Look after the keys of encrypted projects.")
    command(group, "status", changes=False, answers="KeyStatus")(status)
    command(group, "rotate", changes=True, answers="Rotated")(rotate)
    command(group, "rewrap", changes=True, answers=("Rewrapped", "RewrapPlan"))(rewrap)
    app.add_typer(group, name="keys")
