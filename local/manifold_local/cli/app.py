"""The tree of commands."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from manifold_local.cli import database, events, history, installation, keys, operations, projects, sessions, transfer
from manifold_local.cli.call import Call, ConfigOption, DebugOption, JsonOption, QuietOption, RemoteOption
from manifold_local.cli.output import print_line

_ORDER = ("up", "project", "import", "export", "checkout", "status", "save", "commit", "close", "sessions", "log",
          "show", "diff", "ls", "cat", "restore", "fork", "verify", "events", "keys", "health", "config", "store",
          "migrate-db", "adopt", "leftovers", "database", "stop")  # fmt: skip


class _Commands(TyperGroup):
    """Lists the commands in the order in which people meet them."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(super().list_commands(ctx), key=_ORDER.index)


app = typer.Typer(
    name="manifold",
    cls=_Commands,
    help="Encrypted, versioned project workspaces.",
    epilog="Exit codes and examples: docs/cli.md. PROJECT is a project's name or id.",
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # the plain help costs 0.1 s less
    context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 120},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print_line(version("manifold"))
        raise typer.Exit


@app.callback()
def start(
    ctx: typer.Context,
    json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
    config: ConfigOption = None,
    remote: RemoteOption = None,
    version: Annotated[  # noqa: ARG001 - its callback does the work
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    ctx.obj = Call(json=json, quiet=quiet, debug=debug, config=config, remote=remote)
    if ctx.invoked_subcommand is None:
        print_line(ctx.get_help())


projects.add_to(app)
transfer.add_to(app)
sessions.add_to(app)
history.add_to(app)
operations.add_to(app)
events.add_to(app)
keys.add_to(app)
installation.add_to(app)
database.add_to(app)
