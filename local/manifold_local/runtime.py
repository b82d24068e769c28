"""A whole Manifold for one program: its working folder, its database, its services; closed in the reverse order."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from manifold_common import bootstrap
from manifold_common.descriptors import occupy_descriptors
from manifold_common.errors import ConfigError, SchemaMismatch, Unavailable
from manifold_common.settings import Settings

from manifold_local.accounts import me, owner_of
from manifold_local.host_lock import host_is_running

EMBEDDED_FOLDER = ".postgres"
LINGER_SECONDS = 30.0
"""How long the embedded server outlives a command, so that the next one finds it running."""


@contextmanager
def open_manifold(
    settings: Settings, *, linger_seconds: float = LINGER_SECONDS, makes_default: bool = False
) -> Iterator[bootstrap.Manifold]:
    """Yield every service, wired to the configured database or to an embedded one, whose schema is brought up to date.

    Args:
        makes_default: whether an installation may be made in the default folder, which nobody has named.

    Raises:
        ConfigError: the working folder cannot be used, or is the default and holds nothing yet.
        SchemaMismatch: ``DATABASE_URL`` names a database whose schema is another than this program's. Others as
            ``bootstrap.build``.
    """
    if settings.sources.get("workdir") == "default" and not makes_default and not has_database(settings):
        raise ConfigError(
            f"WORKDIR is not set, and there is no installation in the default folder {settings.workdir}",
            hint="set WORKDIR to the folder of one, or to where one is to be made",
        )
    with open_database(settings, linger_seconds=linger_seconds) as dsn:
        manifold = _build(settings, dsn)
        try:
            yield manifold
        finally:
            manifold.close()


@contextmanager
def open_database(settings: Settings, *, linger_seconds: float = LINGER_SECONDS) -> Iterator[str]:
    """Yield the connection string of the catalog; an embedded server runs meanwhile, where none is configured."""
    prepare_workdir(settings)
    if settings.database_url is not None:
        yield settings.database_url.get_secret_value()
        return
    from manifold_local.embedded.postgres import ensure_embedded

    with ensure_embedded(settings.workdir / EMBEDDED_FOLDER, linger_seconds=linger_seconds) as server:
        yield server.dsn


def has_database(settings: Settings) -> bool:
    """Tell whether there is a database to open: one that is configured, or an embedded one that was made."""
    return settings.database_url is not None or os.path.isdir(settings.workdir / EMBEDDED_FOLDER / "data")


def stop_database(settings: Settings) -> bool:
    """Stop the embedded server; return whether there is one, by the settings. Raises Unavailable: it is in use."""
    if settings.database_url is not None:
        return False
    from manifold_local.embedded.postgres import stop_embedded

    if not stop_embedded(settings.workdir / EMBEDDED_FOLDER):
        host = host_is_running(settings.workdir)
        raise Unavailable(
            f"the database of {settings.workdir} is in use"
            + (f" by the host at {host.url} (process {host.pid})" if host else ""),
            hint="stop the host" if host else "wait until the commands that run are done",
        )
    return True


def prepare_workdir(settings: Settings) -> None:
    """Make the working folder, closed to others, where it does not exist. Raises ConfigError.

    The process's descriptors are seen to as well, before there is a file of ours.
    """
    occupy_descriptors()
    folder, set_by = settings.workdir, settings.sources.get("workdir", "default")
    hint = "set WORKDIR to a folder that you may write to, such as ~/manifold"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise ConfigError(f"the working folder {folder} ({set_by}) cannot be made: {reason}", hint=hint) from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(
            f"the working folder {folder} ({set_by}) cannot be written to by {me()}: it belongs to {owner_of(folder)}",
            hint=hint,
        )


def _build(settings: Settings, dsn: str) -> bootstrap.Manifold:
    try:
        return bootstrap.build(settings, dsn)
    except SchemaMismatch:
        # The schema of an embedded server is nobody else's business: it follows the program.
        if settings.database_url is not None:
            raise
    bootstrap.migrate_catalog(dsn)
    return bootstrap.build(settings, dsn)
