"""Accounts of the operating system, as messages name them."""

from __future__ import annotations

import os
import pwd
from pathlib import Path


def name_of(uid: int) -> str:
    """Return the name of an account, or its id where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def me() -> str:
    """Return who this process is, such as ``ada (user id 1000)``."""
    uid = os.geteuid()
    return f"{name_of(uid)} (user id {uid})"


def owner_of(path: Path) -> str:
    """Return whose ``path`` is, or that of the nearest folder above it that can be seen."""
    for step in (path, *path.parents):
        try:
            return name_of(os.lstat(step).st_uid)
        except OSError:
            continue
    return "nobody that is known"
