"""What this process is allowed to do, found out by trying."""

from __future__ import annotations

import ctypes
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


def ignores_permissions() -> bool:
    """Say whether files that nobody may read can be read all the same, as root can."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "file")
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0))
        try:
            os.close(os.open(path, os.O_RDONLY))
        except PermissionError:
            return False
        return True


_DAC_OVERRIDE, _DAC_READ_SEARCH = 1, 2
_CAPABILITY_VERSION_3 = 0x20080522


@contextmanager
def bound_by_permissions() -> Iterator[None]:
    """Have permissions bind this thread as they bind ordinary users. What other threads do is as before."""
    if not ignores_permissions():
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    before = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; then the upper halves of each
    if libc.capget(header, before) != 0:
        raise OSError(ctypes.get_errno(), "capget")
    during = (ctypes.c_uint32 * 6)(*before)
    during[0] &= ~(1 << _DAC_OVERRIDE | 1 << _DAC_READ_SEARCH)
    _set_capabilities(libc, header, during)
    try:
        yield
    finally:
        _set_capabilities(libc, header, before)


def _set_capabilities(libc: ctypes.CDLL, header: object, data: object) -> None:
    if libc.capset(header, data) != 0:
        raise OSError(ctypes.get_errno(), "capset")
