"""Environment variables, the ``.env`` file, and the expansion of ``${VAR}`` in text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from manifold_common.settings.problem import Problem

MAX_EXPANDED_CHARS = 64 * 1024
"""A longer value is refused, so that variables made of variables cannot fill the memory."""

_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)")
_DOUBLE_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"\s*(?:#.*)?')
_SINGLE_QUOTED = re.compile(r"'([^']*)'\s*(?:#.*)?")
_REFERENCE = re.compile(r"\$\$|\$\{([^{}]*)\}|\$\{")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Line(NamedTuple):
    """A variable of a ``.env`` file; ``literal`` when single quotes forbid expansion."""

    text: str
    literal: bool
    number: int


class CannotExpand(Exception):
    """A reference in a text has no value. ``message`` names the variable, never a value."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def parse_dotenv(text: str, name: str) -> tuple[dict[str, Line], list[Problem]]:
    """Read ``NAME=value`` lines; ``#`` starts a comment, quotes keep spaces, the last line for a name counts."""
    lines: dict[str, Line] = {}
    problems: list[Problem] = []
    for number, raw in enumerate(text.split("\n"), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            problems.append(Problem(f"{name}:{number}", "", "the line is not NAME=value"))
            continue
        variable, value = match.groups()
        quoted = None
        if value[:1] == '"':
            quoted = _DOUBLE_QUOTED.fullmatch(value)
        elif value[:1] == "'":
            quoted = _SINGLE_QUOTED.fullmatch(value)
        if quoted is not None:
            literal = value[0] == "'"
            content = quoted[1] if literal else re.sub(r'\\(["\\])', r"\1", quoted[1])
            lines[variable] = Line(content, literal, number)
        elif value[:1] in ("'", '"'):
            problems.append(Problem(f"{name}:{number}", variable, "the quotes around the value are not closed"))
        else:
            lines[variable] = Line(re.sub(r"(^|\s)#.*", "", value).rstrip(), False, number)
    return lines, problems


class Variables:
    """The variables that are seen by one load: those of the process, then those of ``.env``. Empty means unset."""

    def __init__(self, environ: Mapping[str, str], dotenv: Mapping[str, Line]) -> None:
        self._environ = environ
        self._dotenv = dotenv
        self._expanded: dict[str, str] = {}
        self._open: set[str] = set()

    def expand(self, text: str) -> str:
        """Replace ``${VAR}``, ``${VAR:-default}`` and ``$$`` in ``text``.

        Raises:
            CannotExpand: a variable is unset and has no default, or a reference is malformed.
        """
        expanded = _REFERENCE.sub(self._replace, text)
        if len(expanded) > MAX_EXPANDED_CHARS:
            raise CannotExpand(f"the value is longer than {MAX_EXPANDED_CHARS} characters", "")
        return expanded

    def _replace(self, match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        name, has_default, default = (match[1] or "").partition(":-")
        if _NAME.fullmatch(name) is None:
            raise CannotExpand("'${' does not start a reference ${NAME} or ${NAME:-default}", "write $$ for a plain $")
        value = self._look_up(name)
        if has_default:
            return value or default
        if value is None:
            raise CannotExpand(
                f"the variable {name} is not set", f"set {name}, or give a default: ${{{name}:-default}}"
            )
        return value

    def _look_up(self, name: str) -> str | None:
        value = self._environ.get(name)
        if value:
            return value
        line = self._dotenv.get(name)
        # A line that refers to itself (PATH=${PATH}:x) means the variable of the process.
        return value if line is None or name in self._open else self._expand_line(name, line)

    def _expand_line(self, name: str, line: Line) -> str:
        if line.literal:
            return line.text
        if name not in self._expanded:
            self._open.add(name)
            try:
                self._expanded[name] = self.expand(line.text)
            finally:
                self._open.discard(name)
        return self._expanded[name]
