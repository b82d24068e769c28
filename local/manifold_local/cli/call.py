"""One run of a command: its common options, its settings, its Manifold, and what every command does alike."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, ParamSpec, get_type_hints

import typer

from manifold_local.cli.interrupts import exit_code
from manifold_local.cli.output import flush, print_error, print_json, safe_lines, shell_words
from manifold_local.cli.progress import Reached, Report, counting, progress
from manifold_local.streams import OutputLost, drop_output

if TYPE_CHECKING:
    from manifold_common.bootstrap import Manifold
    from manifold_common.domain.access import Principal
    from manifold_common.ids import SessionId, TenantProject
    from manifold_common.settings import Settings
    from msgspec import Struct

    from manifold_local.cli.backend import Backend

P = ParamSpec("P")

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document; errors too, on standard error.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print results and errors only.")]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show where in the program an error arose.")]


def not_empty(text: str) -> str:
    """Return what an option is given. Nothing, as of a variable that is not set, is a mistake, and not its absence."""
    if not text:
        raise typer.BadParameter("it is empty: give a value, or leave the option out")
    return text


RemoteOption = Annotated[
    str | None,
    typer.Option(
        "--remote",
        metavar="URL",
        parser=not_empty,
        help="Work in the projects of this server (or MANIFOLD_REMOTE).",
    ),
]
ConfigOption = Annotated[Path | None, typer.Option("--config", metavar="FILE", help="Configuration file.")]

COMMON_OPTIONS: dict[str, Any] = {
    "json": JsonOption,
    "quiet": QuietOption,
    "debug": DebugOption,
    "config": ConfigOption,
    "remote": RemoteOption,
}
_COMMON_DEFAULTS: dict[str, Any] = {"json": False, "quiet": False, "debug": False, "config": None, "remote": None}


@dataclass(frozen=True)
class Call:
    """The common options, and what follows from them."""

    json: bool = False
    quiet: bool = False
    debug: bool = False
    config: Path | None = None
    remote: str | None = None
    changes: bool = False
    """The command is there for what it changes, not for what it prints."""
    answers: tuple[str, ...] = ()
    """Names of the shapes that it answers."""

    @cached_property
    def settings(self) -> Settings:
        """The configuration, of the installation that is meant. Raises ConfigError, InvalidInput."""
        from manifold_local.which_installation import find_settings

        settings, server = find_settings(self.config, self._overrides)
        if server is not None:
            self.note(f"in {server.workdir}, with the settings of the server at {server.url}: WORKDIR is not set")
        return settings

    @cached_property
    def own_settings(self) -> Settings:
        """The configuration as it is here, whatever else runs. Raises ConfigError."""
        from manifold_common.settings import load_settings

        return load_settings(self.config, overrides=self._overrides)

    @property
    def _overrides(self) -> dict[str, str]:
        return {} if self.remote is None else {"remote.url": self.remote}

    @property
    def server(self) -> str | None:
        """The address of the server to work with; ``None``: this machine."""
        return self.settings.remote.url

    @cached_property
    def principal(self) -> Principal:
        """On whose behalf the command works."""
        from manifold_common.domain.access import LOCAL_PRINCIPAL

        return LOCAL_PRINCIPAL

    def refuse_remote(self, settings: Settings | None = None) -> None:
        """Raises InvalidInput: a server is to be worked with, and the command is about this machine."""
        from manifold_common.errors import InvalidInput

        server = (settings or self.settings).remote.url
        if server is not None:
            raise InvalidInput(
                f"this command works on its own machine alone, and not at the server {server}",
                hint="leave out --remote, unset MANIFOLD_REMOTE, or use the server's HTTP API",
            )

    def require_installation(self, *, makes: bool = False) -> Settings:
        """Return the settings of an installation that is there, or of one that is about to be made.

        Args:
            makes: the command may make one.

        Raises:
            InvalidInput: a server is to be worked with, or nobody has said where to make one. NotFound: there is none.
        """
        from manifold_local.cli.asking import ask
        from manifold_local.which_installation import require_installation

        self.refuse_remote()
        if require_installation(self.settings, makes=makes, ask=ask):
            self.note(f"making a new installation in {self.settings.workdir}")
        return self.settings

    @contextmanager
    def database(self, *, makes: bool = False) -> Iterator[str]:
        """Yield the connection string of the catalog. Raises as ``require_installation``."""
        from manifold_local.runtime import open_database

        with open_database(self.require_installation(makes=makes)) as dsn:
            yield dsn

    @contextmanager
    def manifold(self, *, makes: bool = False) -> Iterator[Manifold]:
        """Yield every service, for the time of the command. Raises as ``require_installation``."""
        from manifold_local.runtime import open_manifold

        with open_manifold(self.require_installation(makes=makes), makes_default=True) as manifold:
            for warning in manifold.warnings:
                self.warn(warning)
            yield manifold

    def resolve(self, manifold: Manifold, project: str | None) -> TenantProject | None:
        """Return the project of that name or id, by its id also a deleted one. ``None`` stays: all projects.

        Raises NotFound.
        """
        return None if project is None else manifold.projects.resolve_even_deleted(self.principal, project)

    @contextmanager
    def backend(self, *, makes: bool = False) -> Iterator[Backend]:
        """Yield what can be done with projects here, or at the server that was named. Raises as
        ``require_installation``."""
        from manifold_local.cli.backend import LocalBackend, RemoteBackend

        if self.server is None:
            with self.manifold(makes=makes) as manifold:
                yield LocalBackend(manifold, self.principal)
            return
        from manifold_common.bootstrap.remote import connect

        from manifold_local.runtime import prepare_workdir

        prepare_workdir(self.settings)
        remote = connect(self.settings, self.server)
        try:
            for warning in remote.warnings:
                self.warn(warning)
            yield RemoteBackend(remote, self._say_left_open)
        finally:
            remote.close()

    def _say_left_open(self, session: SessionId) -> None:
        from manifold_local.cli.begun import say_left

        close = self.command("close", session, "--discard")
        say_left(f"session {session}, which was opened for this, may be open\n  to end it:  {close}")

    def command(self, *words: str) -> str:
        """Return a command that works with the same projects as this one, as a shell takes it."""
        where = [
            *([] if self.config is None else ["--config", str(self.config)]),
            *([] if self.remote is None else ["--remote", self.remote]),
        ]
        return shell_words("manifold", *where, *words)

    def answer(self, document: Struct, say: Callable[[], None]) -> None:
        """Print ``document`` where JSON was asked for, and what ``say`` prints otherwise.

        A command that changes something has done so by then: that it cannot be told is no failure.
        """
        assert any(kind.__name__ in self.answers for kind in type(document).__mro__), "not what it is said to answer"
        try:
            if self.json:
                print_json(document)
            else:
                say()
            flush()
        except OutputLost as lost:
            if not self.changes:
                raise
            drop_output()
            print_error(f"warning: it is done, and could not be told: {lost}")

    @property
    def _talks(self) -> bool:
        """Whether a person is to be told more than results and errors."""
        return not (self.quiet or self.json)

    def progress(
        self, what: str, *, total_bytes: int | None = None, thing: str = "file"
    ) -> AbstractContextManager[Report | None]:
        """Show how work goes on, as ``progress.progress``. Only for people: never with ``--quiet`` or ``--json``."""
        return progress(what, wanted=self._talks, total_bytes=total_bytes, thing=thing)

    def counting(self, what: str) -> AbstractContextManager[Reached | None]:
        """As ``progress``, for ``progress.counting``."""
        return counting(what, wanted=self._talks)

    def note(self, text: str) -> None:
        """Tell a person something on standard error. Only for people: never with ``--quiet`` or ``--json``."""
        if self._talks:
            print_error(safe_lines(text))

    def warn(self, text: str) -> None:
        self.note(f"warning: {text}")


def command(
    app: typer.Typer, name: str, *, changes: bool, answers: str | tuple[str, ...] = (), passes_options: bool = False
) -> Callable[[Callable[Concatenate[Call, P], None]], Callable[..., None]]:
    """Register a function as a command that also takes the common options, and gets them as its first argument.

    Args:
        changes: it is there for what it changes, not for what it prints: its exit code says what became of that.
        answers: name of the shape of its document, or of each that it may answer (docs/cli-documents.md).
        passes_options: what follows its first argument is another program's, options too.
    """
    shapes = (answers,) if isinstance(answers, str) else answers
    parsing = {"ignore_unknown_options": True, "allow_interspersed_args": False} if passes_options else None

    def register(function: Callable[Concatenate[Call, P], None]) -> Callable[..., None]:
        hints = get_type_hints(function, include_extras=True)
        first, *own = inspect.signature(function).parameters.values()
        del hints[first.name]

        def run(ctx: typer.Context, **values: Any) -> None:
            given = {option: values.pop(option) for option in COMMON_OPTIONS}
            before: Call = ctx.find_root().obj or Call()
            try:
                function(_merged(before, given, changes, shapes), **values)  # type: ignore[call-arg]
            except KeyboardInterrupt as error:
                # Here, because typer makes the same of all of them.
                drop_output()  # the buffer may still hold what was just written
                if changes:
                    print_error("note: interrupted; each change is there as a whole, or not at all")
                raise typer.Exit(exit_code(error)) from None

        run.__doc__ = function.__doc__
        run.__name__ = function.__name__
        run.answers = shapes  # type: ignore[attr-defined]
        run.__annotations__ = {"ctx": typer.Context, **hints, **COMMON_OPTIONS}
        keyword = inspect.Parameter.KEYWORD_ONLY
        run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [
                inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context),
                *(p.replace(kind=keyword, annotation=hints[p.name]) for p in own),
                *(
                    inspect.Parameter(option, keyword, annotation=kind, default=_COMMON_DEFAULTS[option])
                    for option, kind in COMMON_OPTIONS.items()
                ),
            ]
        )
        app.command(name, context_settings=parsing)(run)
        return run

    return register


def _merged(before: Call, given: dict[str, Any], changes: bool, answers: tuple[str, ...]) -> Call:
    """Return the options of a command, with those given before its name."""
    return Call(
        json=before.json or given["json"],
        quiet=before.quiet or given["quiet"],
        debug=before.debug or given["debug"],
        config=before.config if given["config"] is None else given["config"],
        remote=before.remote if given["remote"] is None else given["remote"],
        changes=changes,
        answers=answers,
    )


def project_path(argument: str) -> bytes:
    """Return the project path that a command-line argument names; any bytes are possible. Raises UnsafePath."""
    from manifold_common.domain.paths import check_path

    path = os.fsencode(argument)
    while path.startswith(b"./"):
        path = path[2:].lstrip(b"/")
    return check_path(path.rstrip(b"/") or path)
