"""Running and looking after Manifold: ``up``, ``config``, ``store``, ``migrate-db`` and ``health``."""

from __future__ import annotations

import shlex
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import manifold_common
import typer
from manifold_common.domain.wording import plural
from manifold_common.errors import ErrorKind

from manifold_local.cli.call import Call, command, not_empty
from manifold_local.cli.exit_codes import EXIT_CODES
from manifold_local.cli.output import human_time, print_line, print_table, safe

if TYPE_CHECKING:
    from manifold_common.settings import Settings

    from manifold_local.embedded.stack.stack import Stack


def up(
    call: Call,
    host: Annotated[
        str | None, typer.Option("--host", metavar="ADDRESS", parser=not_empty, help="Address to listen on.")
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", metavar="PORT", min=0, max=65535, help="Port; 0 lets the system choose.")
    ] = None,
    enterprise: Annotated[
        bool,
        typer.Option(
            "--enterprise", help="Also run S3, Redis, Kafka and Vault servers, with data in WORKDIR/enterprise."
        ),
    ] = False,
) -> None:
    """Serve the HTTP API until Ctrl-C.

    The background work is done meanwhile: safety saves, the end of sessions, checkpoints.
    """
    from manifold_local.handover import handover
    from manifold_local.host.run import run_host
    from manifold_local.runtime import prepare_workdir

    settings = call.own_settings
    call.refuse_remote(settings)
    prepare_workdir(settings)
    with ExitStack() as stack:
        if enterprise:
            servers = _running_stack(call, settings, stack)
            settings, given = servers.settings, handover(servers.settings, config=servers.config, asked=settings)
        else:
            given = handover(settings)
        chosen = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
        settings = settings.model_copy(update={"server": settings.server.model_copy(update=chosen)})
        code = run_host(settings, given)
    if code:
        raise typer.Exit(code)


def _running_stack(call: Call, settings: Settings, stack: ExitStack) -> Stack:
    """Start the servers of enterprise mode, and say where they are."""
    from manifold_local.cli.documents import RunningServer, RunningServers
    from manifold_local.embedded.stack.stack import running_stack

    call.note("starting S3, Redis, Kafka and Vault servers ...")
    servers = stack.enter_context(running_stack(settings))
    for sentence in servers.overruled:
        call.warn(sentence)
    running = servers.table()

    def say() -> None:
        rows = [(one.what, one.address, str(one.pid or "-"), str(one.log)) for one in running]
        print_table(("SERVER", "ADDRESS", "PROCESS", "LOG"), rows)
        print_line(
            "For vault, redis-cli and mc, with the administrator's token and the passwords, in a shell of its own:"
        )
        print_line(f"  set -a; . {shlex.quote(str(servers.clients))}")

    call.answer(
        RunningServers(
            servers=[
                RunningServer(server=one.what, address=one.address, pid=one.pid, log=str(one.log)) for one in running
            ],
            config=str(servers.config),
            clients=str(servers.clients),
        ),
        say,
    )
    return servers


def config_check(call: Call) -> None:
    """Say what is wrong with the configuration, everything at once, and what has no effect yet.

    Nothing is connected to: ``manifold health`` does that.
    """
    from manifold_common.bootstrap import find_faults
    from manifold_common.errors import ConfigError

    from manifold_local.cli.documents import ConfigChecked, SettingWarning

    settings = call.settings
    faults = find_faults(settings)
    if faults:
        raise ConfigError(
            "\n".join(map(str, faults)), problems=[{"message": one.message, "hint": one.hint or ""} for one in faults]
        )
    count = sum(source != "default" for source in settings.sources.values())

    def say() -> None:
        for warning in settings.warnings:
            print_line(f"warning: {safe(str(warning))}")
        print_line(f"the configuration is valid; {plural(count, 'setting')} given")

    warnings = [SettingWarning(**one._asdict()) for one in settings.warnings]
    call.answer(ConfigChecked(ok=True, set=count, warnings=warnings), say)


def config_show(
    call: Call,
    changed: Annotated[bool, typer.Option("--changed", help="Only what is not at its default.")] = False,
) -> None:
    """Show each setting in force and where it comes from. Secrets are masked; what has no effect yet is left out."""
    from manifold_common.settings import describe_settings, masked

    from manifold_local.cli.documents import ConfigShown, SettingInForce

    settings = call.settings
    values = masked(settings)
    shown: dict[str, SettingInForce] = {}
    for setting in describe_settings():
        if setting.unserved is not None:
            continue
        value: Any = values
        for part in setting.key.split("."):
            value = value[part]
        source = settings.sources.get(setting.key, "default")
        if not changed or source != "default":
            shown[setting.key] = SettingInForce(value=value, source=source)

    def say() -> None:
        rows = [(key, safe(_as_text(item.value)), safe(item.source)) for key, item in shown.items()]
        if rows:
            print_table(("SETTING", "VALUE", "FROM"), rows)

    call.answer(ConfigShown(settings=shown), say)


def migrate_database(
    call: Call,
    keep_catalog: Annotated[
        bool,
        typer.Option("--keep-catalog", help="Go on with the catalog that is there, after a dump was refused."),
    ] = False,
    roles: Annotated[
        bool, typer.Option("--roles", help="Then make the database's roles and give each what it needs.")
    ] = False,
    print_roles: Annotated[
        bool, typer.Option("--print-roles", help="Only print what --roles would do, for an administrator's psql.")
    ] = False,
) -> None:
    """Bring the database's schema up to date."""
    from manifold_common import bootstrap
    from msgspec import UNSET

    from manifold_local.cli.documents import Migrated, RoleScript

    call.refuse_remote()
    if print_roles:
        script = bootstrap.role_script()
        replace(call, changes=False).answer(RoleScript(script=script), lambda: print_line(script.rstrip()))
        return
    with call.database(makes=True) as dsn:
        done = bootstrap.migrate_catalog(dsn, keep_catalog=keep_catalog)
        found = bootstrap.set_up_roles(dsn) if roles else []

    def say() -> None:
        for name in done:
            print_line(f"applied {name}")
        if not done:
            print_line("the schema is up to date")
        if found:
            print_line(f"roles: {', '.join(found)}")

    call.answer(Migrated(applied=done, roles=found if roles else UNSET), say)


def store_check(call: Call) -> None:
    """Try, one by one, each thing that Manifold does in its object store.

    With a small object of its own, which is removed again.
    """
    from manifold_common.services.upkeep.store_check import check_store
    from manifold_common.shapes.store import StoreChecked

    with call.manifold() as manifold:
        found = check_store(manifold.context.store, manifold.context.randomness)

    def say() -> None:
        print_table(
            ("ABILITY", "PERMISSION", "STATE"),
            [(one.name, one.permission, safe(one.problem) or "ok") for one in found.abilities],
        )

    call.answer(StoreChecked(ok=found.ok, abilities=found.abilities), say)
    if not found.ok:
        raise typer.Exit(EXIT_CODES[ErrorKind.UNAVAILABLE])


def store_prepare(call: Call) -> None:
    """Create the bucket where it is missing, and have unfinished uploads ended after a day.

    Needs more permissions than the rest of Manifold does. May be repeated.
    """
    from manifold_common.bootstrap import prepare_store

    from manifold_local.cli.documents import StorePrepared

    call.refuse_remote()
    done = prepare_store(call.settings)

    def say() -> None:
        for sentence in done:
            print_line(sentence)

    call.answer(StorePrepared(done=done), say)


def health(call: Call) -> None:
    """Say how everything is that Manifold depends on, what works without it, and where to read on."""
    from manifold_common.services.jobs.waiting import waiting_jobs
    from manifold_common.shapes.health import HealthHere, RunningHost, State, overall

    from manifold_local.host_lock import host_is_running

    with call.manifold() as manifold:
        found = manifold.health.look()
        waiting = waiting_jobs(manifold.context, found)
        warnings = [*manifold.warnings, *waiting]
        host = host_is_running(manifold.settings.workdir)

    def say() -> None:
        print_table(
            ("PART", "STATE", "TIME", "DETAIL"),
            [(one.name, one.state.value, f"{one.latency_ms:.1f} ms", safe(one.detail)) for one in found],
            right=frozenset({2}),
            spare=(2,),
        )
        for one in found:
            if one.state in (State.DEGRADED, State.FAILED):
                last = f" Last seen to work: {human_time(one.last_ok_at)}." if one.last_ok_at else ""
                print_line(f"{one.name} is {one.state.value}.{last} Still works: {one.without_it}. See {one.see}.")
        for sentence in waiting:
            print_line(sentence)
        print_line(f"host: running at {host.url} (process {host.pid})" if host else "host: not running")

    status = overall(found)
    shown = HealthHere(
        status=status,
        version=manifold_common.__version__,
        dependencies=found,
        warnings=warnings,
        host=RunningHost(url=host.url, pid=host.pid) if host else None,
    )
    call.answer(shown, say)
    if status is State.FAILED:
        raise typer.Exit(EXIT_CODES[ErrorKind.UNAVAILABLE])


def _as_text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def add_to(app: typer.Typer) -> None:
    command(app, "up", changes=True, answers="RunningServers")(up)
    group = typer.Typer(help="Check and show the configuration.")
    command(group, "check", changes=False, answers="ConfigChecked")(config_check)
    command(group, "show", changes=False, answers="ConfigShown")(config_show)
    app.add_typer(group, name="config")
    store = typer.Typer(help="Check and prepare the object store.")
    command(store, "check", changes=False, answers="StoreChecked")(store_check)
    command(store, "prepare", changes=True, answers="StorePrepared")(store_prepare)
    app.add_typer(store, name="store")
    command(app, "migrate-db", changes=True, answers=("Migrated", "RoleScript"))(migrate_database)
    command(app, "health", changes=False, answers="HealthHere")(health)
