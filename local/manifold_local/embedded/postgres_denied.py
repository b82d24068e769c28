"""The errors of somebody who may not use the folder of an embedded PostgreSQL: who it is, whose it is, what to do."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from manifold_common.errors import Denied

from manifold_local.accounts import me, name_of, owner_of


def denied(folder: Path, error: PermissionError) -> Denied:
    """Return what is to be raised. Args: ``folder``: of the database; ``error``: met at something in it."""
    path = folder / error.filename if isinstance(error.filename, str) else folder
    return Denied(
        f"{me()} may not use the database in {folder}: {path} belongs to {owner_of(path)} and is closed to others",
        hint=_what_to_do(folder),
    )


def _what_to_do(folder: Path) -> str:
    other = "set WORKDIR to a folder of your own, or DATABASE_URL to a server that lets you in"
    if os.geteuid() == 0:
        return (
            f"this is a root without CAP_DAC_OVERRIDE, which it needs to look after another account's files; or {other}"
        )
    owner = owner_of(folder)
    if owner == name_of(os.geteuid()):
        return f"take it over with: {shlex.join(['sudo', 'chown', '-R', owner, str(folder)])}; or {other}"
    as_owner = "sudo manifold" if owner == "root" else f"sudo -u {owner} manifold"
    return f"run the command as {owner}, with '{as_owner} ...'; or {other}"
