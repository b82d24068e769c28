"""Which installation a command means, and whether it may make one.

Whoever names a folder (``WORKDIR``) or a database (``DATABASE_URL``) means that one. Without either, the one server
that runs for this user is meant, with all its settings; with no server running, the default folder. Only commands that
put something in make an installation, and only in a folder that was named, or after a question.

A client of a server far away has no installation. Unless ``WORKDIR`` says so, its folder is one of the user's own.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path

from manifold_common.errors import ConfigError, InvalidInput, NotFound
from manifold_common.settings import Settings, environment_with, load_settings

from manifold_local.running import RunningServer, running_servers
from manifold_local.runtime import has_database, prepare_workdir

FOLDER_OF_A_CLIENT = "~/.local/state/manifold"


def find_settings(config: Path | None, overrides: Mapping[str, str]) -> tuple[Settings, RunningServer | None]:
    """Return the settings of the installation that is meant, and the running server that it was found by, if any.

    Raises:
        ConfigError: as ``load_settings``; or the server has secrets that are not known here.
        InvalidInput: several servers run.
    """
    settings = load_settings(config, overrides=overrides)
    if settings.remote.url is not None and settings.sources["workdir"] == "default":
        return load_settings(config, overrides={**overrides, "workdir": FOLDER_OF_A_CLIENT}), None
    if _names_one(settings):
        return settings, None
    servers = running_servers()
    if not servers:
        return settings, None
    if len(servers) > 1:
        raise InvalidInput(
            "WORKDIR is not set, and several servers run: "
            + ", ".join(f"{one.workdir} at {one.url}" for one in servers),
            hint=f"say which one is meant, such as: export WORKDIR={shlex.quote(servers[0].workdir)}",
        )
    (server,) = servers
    given = server.handover
    settings = load_settings(config, environ=environment_with(given.variables, given.unset), overrides=overrides)
    missing = [name for name, key in given.secrets.items() if settings.sources[key] == "default"]
    if missing:
        raise ConfigError(
            f"the server at {server.url} was started with {', '.join(missing)}, and this shell does not have it",
            hint=f"set {' and '.join(missing)} here too, or set WORKDIR if another installation is meant",
        )
    return settings, server


def require_installation(settings: Settings, *, makes: bool, ask: Callable[[str, str], None]) -> bool:
    """See that there is an installation to work with. Returns whether a new one is about to be made.

    Args:
        makes: whether the command may make one.
        ask: given a question and what to do where nobody can answer; raises unless the answer is yes.

    Raises:
        NotFound: there is none. ConfigError: its folder cannot be used. Others as ``ask``.
    """
    folder = settings.workdir
    if has_database(settings):
        return False
    if os.path.lexists(folder) and not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        prepare_workdir(settings)  # says why it cannot be one
    if not makes:
        raise NotFound(
            f"there is no installation in {folder}"
            + ("" if _names_one(settings) else ", which is the default: WORKDIR is not set, and no server runs"),
            hint="set WORKDIR to the folder of one; or make one there: manifold project create NAME",
        )
    if not _names_one(settings):
        ask(
            f"WORKDIR is not set: make a new installation in {folder}?",
            f"say where: export WORKDIR={shlex.quote(str(folder))}, or another folder",
        )
    return True


def _names_one(settings: Settings) -> bool:
    named = any(settings.sources[key] != "default" for key in ("workdir", "databaseUrl"))
    return named or settings.remote.url is not None
