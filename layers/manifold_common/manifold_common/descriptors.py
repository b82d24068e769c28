"""Keeps the descriptors 0 to 2 of a process occupied.

In a program that was started without one of them, the next file to be opened gets its number: a pack or a socket, into
which messages are then printed.
"""

from __future__ import annotations

import os

_WRONG_WAY = {0: os.O_WRONLY, 1: os.O_RDONLY, 2: os.O_RDONLY}
"""How /dev/null is opened in the place of a closed descriptor: reading or writing there fails as it did before, in
programs that are started from here too."""


def occupy_descriptors() -> None:
    """Open those of the descriptors 0 to 2 that are closed, on /dev/null. For the start of a program."""
    for fd, flags in _WRONG_WAY.items():
        try:
            os.fstat(fd)
        except OSError:
            opened = os.open(os.devnull, flags)
            if opened != fd:
                os.dup2(opened, fd)
                os.close(opened)
            os.set_inheritable(fd, True)
