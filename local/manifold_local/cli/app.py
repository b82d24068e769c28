"""The tree of commands: a line in ``COMMANDS`` for each, whose module adds it (docs/extending.md)."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from manifold_local.cli.call import Call, ConfigOption, DebugOption, JsonOption, QuietOption, RemoteOption
from manifold_local.cli.output import print_line

COMMANDS = {
    "up": "operations",
    "project": "projects",
    "import": "transfer",
    "export": "transfer",
    "checkout": "sessions",
    "status": "sessions",
    "save": "sessions",
    "commit": "sessions",
    "close": "sessions",
    "sessions": "sessions",
    "log": "history",
    "show": "history",
    "diff": "history",
    "ls": "history",
    "cat": "history",
    "restore": "history",
    "fork": "projects",
    "tag": "tags",
    "tags": "tags",
    "untag": "tags",
    "retention": "space",
    "garbage": "space",
    "usage": "space",
    "verify": "verification",
    "damage": "verification",
    "events": "events",
    "keys": "keys",
    "jobs": "jobs",
    "health": "operations",
    "config": "operations",
    "store": "operations",
    "migrate-db": "operations",
    "adopt": "installation",
    "leftovers": "installation",
    "backup": "backups",
    "database": "database",
    "stop": "database",
}
"""The module of each command, and of each group of commands, in the order in which people meet them."""


class _Commands(TyperGroup):
    """Lists the commands in the order in which people meet them."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(super().list_commands(ctx), key=list(COMMANDS).index)


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


for module in dict.fromkeys(COMMANDS.values()):
    import_module(f"manifold_local.cli.{module}").add_to(app)
