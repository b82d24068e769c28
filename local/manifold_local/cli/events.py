"""Events and their delivery: ``manifold events tail``, ``list`` and ``redrive``."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from manifold_common.domain.event import is_of_job, user_of
from manifold_common.domain.event_place import Followed
from manifold_common.domain.wording import plural
from manifold_common.errors import InvalidInput

from manifold_local.cli.call import Call, command
from manifold_local.cli.completion import complete_project, complete_sink
from manifold_local.cli.output import flush, human_time, print_line, print_table, safe

if TYPE_CHECKING:
    from manifold_common.bootstrap import Manifold
    from manifold_common.ids import TenantProject
    from manifold_common.shapes.delivery import WaitingStream

_LOOK_SECONDS = 0.5

ProjectOption = Annotated[
    str | None,
    typer.Argument(
        metavar="PROJECT",
        autocompletion=complete_project,
        help="Name or id of a project; of a deleted one, its id. All by default.",
    ),
]
SinkOption = Annotated[
    str | None,
    typer.Option("--sink", metavar="SINK", autocompletion=complete_sink, help="As 'manifold events list' names it."),
]


def tail(
    call: Call,
    project: ProjectOption = None,
    count: Annotated[int, typer.Option("--count", "-n", metavar="N", min=0, max=10_000, help="How many.")] = 20,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with new ones until Ctrl-C. With --json: one document a line.")
    ] = False,
) -> None:
    """Show the newest events, delivered or not.

    With --follow none is missed, and each is shown once. Programs elsewhere follow them over the HTTP API, which has
    the same documents.
    """
    from manifold_common.shapes.events import RecentEvents

    with call.manifold() as manifold:
        only = call.resolve(manifold, project)
        if not follow:
            found = [event.document for event in manifold.events.recent(only, limit=count)]
            call.answer(RecentEvents.of(found), lambda: _print(call, found))
            return
        _follow(call, manifold, only, count)


def _follow(call: Call, manifold: Manifold, only: TenantProject | None, count: int) -> None:
    followed = Followed(*only) if only else Followed(call.principal.tenant, None)
    place = manifold.feed.end(followed)
    before = manifold.events.recent(only, limit=count)
    _print(call, [event.document for event in before if event.sequence <= place.sequence])
    while True:
        page = manifold.feed.page(followed, place)
        _print(call, [json.loads(event.document) for event in page.events])
        place = page.place
        if not page.has_more:
            time.sleep(_LOOK_SECONDS)


def _print(call: Call, documents: Sequence[Mapping[str, Any]]) -> None:
    for document in documents:
        if call.json:
            print_line(json.dumps(document))
        else:
            who = safe(user_of(document["data"]) or "-")
            what = document["type"].removeprefix("manifold.")
            at, data = human_time(datetime.fromisoformat(document["time"])), document["data"]
            more = f"generation {data.get('generation', int(document['sequence']))}"
            if is_of_job(document["type"]):
                more = f"kind {data['kind']}"
            elif "tag" in data:
                more = f"tag {safe(data['tag'])} of {more}"
            print_line(f"{at}  {what:16}  {document['partitionkey']}  {more}  by {who}")
    flush()


def show_waiting(call: Call, sink: SinkOption = None) -> None:
    """Show how the sinks do, and what waits to be delivered: parked first, then by age.

    One line of the second table is one project's events on their way to one sink. Nothing overtakes there: what is
    parked, or fails, holds back what came after it in that project.
    """
    from manifold_common.shapes.delivery import Delivery

    with call.manifold() as manifold:
        sinks = manifold.events.sink_status(sink)
        streams = manifold.events.streams(sink)

    def say() -> None:
        if not sinks:
            call.note("events go nowhere: neither projects.events.enabled nor projects.events.webhooks.urls is set")
            return
        print_table(
            ("SINK", "STATE", "DETAIL"),
            [(safe(one.sink), one.state, safe(one.detail)) for one in sinks],
        )
        print_line("")
        if not streams:
            print_line("nothing waits")
        else:
            print_table(
                ("SINK", "PROJECT", "WAITING", "SINCE", "STATE", "LAST ERROR"),
                [
                    (
                        safe(stream.sink),
                        stream.project,
                        str(stream.waiting),
                        human_time(stream.oldest_at),
                        _state(stream),
                        safe(stream.error or "-"),
                    )
                    for stream in streams
                ],
                right=frozenset({2}),
                title=1,
            )

    call.answer(Delivery(sinks=sinks, streams=streams), say)


def redrive(
    call: Call,
    project: ProjectOption = None,
    sink: SinkOption = None,
    skip: Annotated[
        bool, typer.Option("--skip", help="Leave out the event at which each stands: that sink will never get it.")
    ] = False,
) -> None:
    """Let parked events go on, and those that wait for their next attempt.

    Without PROJECT, sinks that are parked or rest are tried again as well. A running host sends within seconds.
    """
    if skip and project is None:
        raise InvalidInput("--skip needs a PROJECT", hint="'manifold events list' shows which ones are parked")
    with call.manifold() as manifold:
        done = manifold.events.redrive(sink=sink, project=call.resolve(manifold, project), skip=skip)
        idle = [one for one in manifold.events.sink_status(sink) if one.state in ("parked", "resting")]

    def say() -> None:
        print_line(f"{plural(done.redriven, 'stream')} and {plural(done.redriven_sinks, 'sink')} let go on")
        for one in idle:
            name = safe(one.sink)
            call.note(f"{name} gets nothing for now ({safe(one.detail)}): manifold events redrive --sink {name}")

    call.answer(done, say)


def _state(stream: WaitingStream) -> str:
    if stream.parked_at is not None:
        return f"parked after {plural(stream.refusals, 'refusal')}"
    return "waits to be sent again" if stream.error else "waits"


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(help="Show events, and what waits to be delivered.")
    command(group, "tail", changes=False, answers="RecentEvents")(tail)
    command(group, "list", changes=False, answers="Delivery")(show_waiting)
    command(group, "redrive", changes=True, answers="Redriven")(redrive)
    app.add_typer(group, name="events")
