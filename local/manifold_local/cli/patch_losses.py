"""The differences between two trees that a patch in git's form cannot carry."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from manifold_common.domain.paths import ancestors_of
from manifold_common.domain.tree import DIRECTORY, FILE, SYMLINK, Difference, Entry
from manifold_common.domain.wording import plural

from manifold_local.cli.output import safe_path

MOST_APPLIED_BYTES = 1023 << 20
"""``git apply`` takes no larger patch."""
_RUN = 0o111
_READ = 0o444
_GITS_OWN = re.compile(rb"(?:\.git|git~1)[. ]*(?:[\\:].*)?", re.IGNORECASE | re.DOTALL)
_GITS_OWN_LINK = re.compile(rb"(?:\.gitmodules|gitmod~[1-4]|gi7eba~[0-9])[. ]*(?:[\\:].*)?", re.IGNORECASE | re.DOTALL)


def git_refuses(path: bytes, *, is_link: bool) -> bool:
    """Tell whether a name in ``path`` is one that git, on some system, keeps for itself: it refuses the whole patch."""
    names = path.split(b"/")
    return any(_GITS_OWN.fullmatch(name) or (is_link and _GITS_OWN_LINK.fullmatch(name)) for name in names)


def losses(found: Iterable[Difference], before: Mapping[bytes, Entry], after: Mapping[bytes, Entry]) -> Iterator[str]:
    """Yield a sentence for each kind of difference between two trees that no patch carries."""
    refused, modes, times = [], [], []
    for path, old, new in found:
        if git_refuses(path, is_link=any(entry is not None and entry.kind == SYMLINK for entry in (old, new))):
            refused.append(path)
        elif old is not None and new is not None and old.same_but_time(new):
            times.append(path)
        elif _loses_mode(old, new):
            modes.append(path)
    hollow = sorted(_hollow(before) ^ _hollow(after))
    for what, paths in (
        ("whose name git keeps for itself", refused),
        ("that is a folder without files in one of the generations", hollow),
        ("with permissions that git does not keep", modes),
        ("of which only the modification time differs", times),
    ):
        if paths:
            yield f"the patch leaves out {plural(len(paths), 'path')} {what}, such as {safe_path(paths[0]) or '.'}"


def _loses_mode(old: Entry | None, new: Entry | None) -> bool:
    """Tell whether more of the permissions counts than git has: whether the owner may run a file."""
    if old is not None and new is not None and old.kind == new.kind:
        differ = old.mode ^ new.mode
        if differ and (old.kind != FILE or differ != _RUN):
            return old.kind != SYMLINK
    return any(_is_unusual(entry) for entry in (old, new) if entry is not None)


def _is_unusual(entry: Entry) -> bool:
    """Tell whether git would not make these permissions, whatever the umask leaves of the right to write."""
    if entry.kind == FILE:
        return entry.mode & _READ != _READ or entry.mode & _RUN not in (0, _RUN)
    return entry.kind == DIRECTORY and entry.mode & (_READ | _RUN) != _READ | _RUN


def _hollow(tree: Mapping[bytes, Entry]) -> set[bytes]:
    """Return the folders with no file and no link below them."""
    hollow = {path for path, entry in tree.items() if path and entry.kind == DIRECTORY}
    for path, entry in tree.items():
        if entry.kind != DIRECTORY:
            for folder in ancestors_of(path):
                if folder not in hollow:
                    break
                hollow.discard(folder)
    return hollow
