"""``.manifoldignore``: what a scan leaves out. The syntax is gitignore's.

A file of that name counts for its own folder and those below it. Patterns hold for paths the project does not have
yet: what is in the project already stays tracked until it is deleted. As in git, nothing below an ignored folder can
be taken back by a ``!``. A line that is no pattern is passed over, as git does it: a commit never fails over it.

What all ignore files of one scan take is bounded: their bytes, where the same content counts once and is compiled once,
and the steps of matching.
"""

from __future__ import annotations

import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress

from manifold_common.domain.paths import ROOT, ancestors_of, parent_of, to_display
from manifold_common.engine.working_set.pattern_syntax import BadPattern, Pattern, parse_pattern
from manifold_common.engine.working_set.patterns import Matcher, Patterns, Steps
from manifold_common.errors import QuotaExceeded

IGNORE_FILE = b".manifoldignore"
MAX_IGNORE_FILE_BYTES = 128 << 10
"""What is beyond is not read. It bounds the time that one name takes, at some milliseconds for the worst of names."""
MAX_IGNORE_BYTES = 1 << 20
"""Of all ignore files that one scan meets, each content counted once. The worst of them take 5 microseconds a byte to
compile, and 32 bytes of memory; git's own sources have 8 KiB in all."""
COMPILED_BYTES = 512 << 10
"""Of ignore files that a process keeps compiled for its next scans."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_REMEMBERED_FOLDERS = 4096


class IgnoreRules:
    """The rules in force in one folder: its own file's, and those of the folders above."""

    def __init__(self, patterns: Patterns, folder: bytes, above: IgnoreRules | None, steps: Steps) -> None:
        self._matcher = Matcher(patterns, steps, folder)
        self._folder = folder
        self._prefix = len(folder) + 1 if folder else 0
        self._above = above
        self._hidden_itself = folder != ROOT and above is not None and above.ignores(folder, is_folder=True)
        self._hidden: dict[bytes, bool] = {}

    def ignores(self, path: bytes, *, is_folder: bool) -> bool:
        """Tell whether ``path``, which lies in or below this folder, is left out. Raises QuotaExceeded, Abandoned."""
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
            rank = rules._matcher.last_match(path[rules._prefix :], is_folder=is_folder)
            if rank >= 0:
                return rules._matcher.includes[rank]
            rules = rules._above
        return False


class IgnoreFiles:
    """The ignore files of one scan. Not for several threads."""

    def __init__(self) -> None:
        self.steps = Steps(
            f"the patterns of {IGNORE_FILE.decode()} files",
            f"use fewer of them, or plain names in place of wildcards, or ignore whole folders, as in 'folder/', in "
            f"the {IGNORE_FILE.decode()} at the top",
        )
        self._met: dict[bytes, Patterns] = {}
        self.met_bytes = 0

    def rules(self, folder_fd: int, folder: bytes, above: IgnoreRules | None) -> IgnoreRules | None:
        """Return the rules of a folder that has an ignore file; those above it where it has none that can be read.

        Raises:
            QuotaExceeded: there are more of them than one scan may meet. Abandoned.
        """
        data = _read(folder_fd)
        if data is None:
            return above
        patterns = self._met.get(data)
        if patterns is None:
            self.met_bytes += len(data)
            if self.met_bytes > MAX_IGNORE_BYTES:
                name = folder + b"/" + IGNORE_FILE if folder else IGNORE_FILE
                raise QuotaExceeded(
                    f"the {IGNORE_FILE.decode()} files up to {to_display(name)!r} have {self.met_bytes} bytes "
                    f"together, over the limit of {MAX_IGNORE_BYTES}",
                    hint="use fewer patterns, or the same file in several folders, which counts once",
                    path=to_display(name),
                    limit=MAX_IGNORE_BYTES,
                )
            patterns = self._met[data] = _compiled.of(data)
        return IgnoreRules(patterns, folder, above, self.steps)


class _Compiled:
    """What ignore files were compiled to, those that were used last. Safe for several threads."""

    def __init__(self) -> None:
        self._patterns: OrderedDict[bytes, Patterns] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def of(self, data: bytes) -> Patterns:
        with self._lock:
            found = self._patterns.get(data)
            if found is not None:
                self._patterns.move_to_end(data)
                return found
        made = Patterns(_patterns(data))
        with self._lock:
            if data not in self._patterns:
                self._patterns[data] = made
                self._bytes += len(data)
            while self._bytes > COMPILED_BYTES:
                self._bytes -= len(self._patterns.popitem(last=False)[0])
        return made


_compiled = _Compiled()


def _read(folder_fd: int) -> bytes | None:
    """Return a folder's ignore file, or ``None`` where it has none that can be read."""
    try:
        fd = os.open(IGNORE_FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder_fd)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        with open(fd, "rb", closefd=False) as file:
            data = file.read(MAX_IGNORE_FILE_BYTES + 1)
    finally:
        os.close(fd)
    if len(data) > MAX_IGNORE_FILE_BYTES:
        data = data[:MAX_IGNORE_FILE_BYTES].rpartition(b"\n")[0]
    return data.removeprefix(_BYTE_ORDER_MARK)


def _patterns(data: bytes) -> Iterator[Pattern]:
    for line in data.split(b"\n"):
        with suppress(BadPattern):
            pattern = parse_pattern(line.removesuffix(b"\r"))
            if pattern is not None:
                yield pattern
