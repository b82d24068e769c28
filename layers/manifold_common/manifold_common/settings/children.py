"""What a program that is started for a user is given of this process's environment: what is the user's, no setting."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

_OF_THE_USER = re.compile(
    r"PATH|HOME|SHELL|TERM|COLUMNS|LINES|USER|LOGNAME|TMPDIR|TZ|LANG|LC_\w+|PAGER|EDITOR|VISUAL|PSQL\w*|PG\w+"
)


def child_environment(more: Mapping[str, str]) -> dict[str, str]:
    """Return the user's own variables, and ``more``, which counts before them."""
    return {name: value for name, value in os.environ.items() if _OF_THE_USER.fullmatch(name)} | dict(more)
