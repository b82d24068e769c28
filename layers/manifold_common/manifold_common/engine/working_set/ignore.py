"""``.manifoldignore``: what a scan leaves out. The syntax is gitignore's.

A file of that name counts for its own folder and those below it. Patterns hold for paths the project does not have
yet: what is in the project already stays tracked until it is deleted. As in git, nothing below an ignored folder can
be taken back by a ``!``. A line that is no pattern is passed over, as git does it: a commit never fails over it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress

from manifold_common.domain.paths import ROOT, ancestors_of, parent_of
from manifold_common.engine.working_set.pattern_syntax import BadPattern, Pattern, parse_pattern
from manifold_common.engine.working_set.patterns import Patterns

IGNORE_FILE = b".manifoldignore"
MAX_IGNORE_FILE_BYTES = 128 << 10
"""What is beyond is not read. It bounds the time that one name takes, at some milliseconds for the worst of names."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_REMEMBERED_FOLDERS = 4096


class IgnoreRules:
    """The rules in force in one folder: its own file's, and those of the folders above."""

    def __init__(self, patterns: Patterns, folder: bytes, above: IgnoreRules | None) -> None:
        self._patterns = patterns
        self._folder = folder
        self._prefix = len(folder) + 1 if folder else 0
        self._above = above
        self._hidden_itself = folder != ROOT and above is not None and above.ignores(folder, is_folder=True)
        self._hidden: dict[bytes, bool] = {}

    def ignores(self, path: bytes, *, is_folder: bool) -> bool:
        """Tell whether ``path``, which lies in or below this folder, is left out."""
        return self._hides(parent_of(path)) or self._decide(path, is_folder=is_folder)

    def _hides(self, folder: bytes) -> bool:
        """Tell whether everything in a folder is left out, because it is, or one above it."""
        asked = []
        hidden = self._hidden_itself
        for above in (folder, *ancestors_of(folder)):
            if len(above) <= len(self._folder):
                break
            known = self._hidden.get(above)
            if known is not None:
                hidden = known
                break
            asked.append(above)
        if len(self._hidden) + len(asked) > _REMEMBERED_FOLDERS:
            self._hidden.clear()
        for below in reversed(asked):
            hidden = hidden or self._decide(below, is_folder=True)
            self._hidden[below] = hidden
        return hidden

    def _decide(self, path: bytes, *, is_folder: bool) -> bool:
        """Tell what the nearest file says that has a pattern for ``path`` itself."""
        rules: IgnoreRules | None = self
        while rules is not None:
            rank = rules._patterns.last_match(path[rules._prefix :], is_folder=is_folder)
            if rank >= 0:
                return rules._patterns.includes[rank]
            rules = rules._above
        return False


def read_rules(folder_fd: int, folder: bytes, above: IgnoreRules | None) -> IgnoreRules | None:
    """Return the rules of a folder that has an ignore file; those above it where it has none that can be read."""
    try:
        fd = os.open(IGNORE_FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder_fd)
    except OSError:
        return above
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return above
        with open(fd, "rb", closefd=False) as file:
            data = file.read(MAX_IGNORE_FILE_BYTES + 1)
    finally:
        os.close(fd)
    if len(data) > MAX_IGNORE_FILE_BYTES:
        data = data[:MAX_IGNORE_FILE_BYTES].rpartition(b"\n")[0]
    return IgnoreRules(Patterns(_patterns(data.removeprefix(_BYTE_ORDER_MARK))), folder, above)


def _patterns(data: bytes) -> Iterator[Pattern]:
    for line in data.split(b"\n"):
        with suppress(BadPattern):
            pattern = parse_pattern(line.removesuffix(b"\r"))
            if pattern is not None:
                yield pattern
