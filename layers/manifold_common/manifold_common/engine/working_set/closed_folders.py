"""Folders that their owner may not write into (mode 0555, as package managers like them), changed all the same.

They are opened while a refresh works in them. Their modes are noted beside the working set first, so that after a crash
whoever opens the working set next gives them back, and nobody takes them for changed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

import msgspec

from manifold_common.domain.tree import MODE_MASK
from manifold_common.engine.working_set.folders import Folders, open_root, translate
from manifold_common.engine.working_set.location import Location
from manifold_common.engine.working_set.state import replace_file

_OPEN = stat.S_IWUSR | stat.S_IXUSR
_MODES = msgspec.msgpack.Decoder(dict[bytes, int])


def is_closed(mode: int) -> bool:
    """Tell whether the owner of a folder with this mode may not make or remove anything in it."""
    return mode & _OPEN != _OPEN


@contextmanager
def opened(location: Location, root: int, modes: Mapping[bytes, int]) -> Iterator[None]:
    """Have folders that are closed open until the block ends. Hold the lock.

    Args:
        modes: of each such folder, as it is now.

    Raises:
        NoSpace, Unavailable: it cannot be noted or done; nothing is open then.
    """
    if not modes:
        yield
        return
    try:
        replace_file(location.closed, msgspec.msgpack.encode(modes))
    except OSError as error:
        raise translate(error, os.fsencode(location.closed)) from None
    try:
        with Folders(root) as folders:
            for path in sorted(modes):
                try:
                    os.fchmod(folders.get(path), modes[path] | _OPEN)
                except OSError as error:
                    raise translate(error, path) from None
        yield
    finally:
        _close(location, root, modes)


def close_again(location: Location) -> None:
    """Give the folders back their modes that a process had open when it died. Hold the lock."""
    try:
        with open(location.closed, "rb") as file:
            modes = _MODES.decode(file.read())
    except FileNotFoundError:
        return
    except (OSError, ValueError, msgspec.DecodeError):
        modes = {}
    if not location.exists():
        _forget(location)
        return
    root = open_root(location.work)
    try:
        _close(location, root, modes)
    finally:
        os.close(root)


def _close(location: Location, root: int, modes: Mapping[bytes, int]) -> None:
    """Close what is still as it was opened, the lowest first: what is above may then be closed to us, too."""
    with Folders(root) as folders:
        for path in sorted(modes, reverse=True):
            with suppress(OSError):  # removed, or something else now
                folder = folders.get(path)
                if os.fstat(folder).st_mode & MODE_MASK == modes[path] | _OPEN:
                    os.fchmod(folder, modes[path])
    _forget(location)


def _forget(location: Location) -> None:
    with suppress(FileNotFoundError):
        os.unlink(location.closed)
