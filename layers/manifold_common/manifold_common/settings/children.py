"""The part of this process's environment that its child processes get."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping

_OF_THE_USER = re.compile(
    r"PATH|HOME|SHELL|TERM|COLUMNS|LINES|USER|LOGNAME|TMPDIR|TZ|LANG|LC_\w+|PAGER|EDITOR|VISUAL|PSQL\w*|PG\w+"
)


def child_environment(more: Mapping[str, str]) -> dict[str, str]:
    """For a program that is started for the user: the user's own variables, no setting, and ``more``, which counts
    before them."""
    return {name: value for name, value in os.environ.items() if _OF_THE_USER.fullmatch(name)} | dict(more)


def runtime_folder() -> str | None:
    """Return where the user's programs may keep what is of this session: the system says so, in no setting of ours."""
    return os.environ.get("XDG_RUNTIME_DIR")


def environment_with(more: Mapping[str, str], without: Collection[str]) -> dict[str, str]:
    """For ``load_settings``: all variables but ``without``, and ``more``, which counts before them."""
    return {name: value for name, value in os.environ.items() if name not in without} | dict(more)
