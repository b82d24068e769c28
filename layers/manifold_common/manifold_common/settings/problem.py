"""What is wrong with a configuration: collected first, then reported all at once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from manifold_common.errors import ConfigError

SHOWN_CHARS = 80


class Problem(NamedTuple):
    """One thing that is wrong.

    Attributes:
        where: file and line, or variable; empty when nothing in particular set it.
        key: the setting, empty when it is about a file as a whole.
        message: what is wrong. Never holds the value of a secret.
        hint: what to do, or empty.
    """

    where: str
    key: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        subject = f"{self.key}: " if self.key else ""
        return f"{place}{subject}{self.message}" + (f" ({self.hint})" if self.hint else "")


def config_error(problems: Sequence[Problem]) -> ConfigError:
    """Return the one error that reports ``problems``; as ``details["problems"]`` for programs."""
    lines = [str(problem) for problem in problems]
    message = lines[0]
    if len(lines) > 1:
        message = "\n".join([f"{len(lines)} problems in the configuration:", *(f"  - {line}" for line in lines)])
    return ConfigError(message, problems=[problem._asdict() for problem in problems])


def shown(value: object) -> str:
    """Return ``value`` as it may stand in a message: on one line, printable, not too long, without credentials.

    What stands before an ``@`` may be a user and a password, what follows a ``?`` or ``#`` a token, and where there is
    more than one colon but in an IPv6 address, any part a password, so none of it is shown.
    """
    text = re.sub(r"(['\"]).*@", r"\1***@", repr(value))
    text = re.sub(r"([?#])[^'\",]+", r"\1***", text)
    text = re.sub(r"(?<=['\"])[^'\",/\[]*:[^'\",/]*:[^'\",/]*", "***", text)
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}... ({len(text)} characters)"
