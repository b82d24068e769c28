"""Chunks of single files of a folder, as a commit of them would cut them. Others may work in the folder meanwhile."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from manifold_common.engine.working_set.folders import Folders
from manifold_common.format.buffers import Buffer
from manifold_common.format.chunker import WHOLE_FILE_BYTES, Chunker

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def chunks_of(opened: Folders, path: bytes, size: int, chunker: Chunker) -> Iterator[Buffer]:
    """Yield the chunks of a file, opened through no link; none, if it is not of this size or no file.

    Raises OSError.
    """
    folder, name = opened.split(path)
    fd = os.open(name, _FLAGS, dir_fd=folder)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_size != size:
            return
        if size <= WHOLE_FILE_BYTES:
            yield os.read(fd, size)
        else:
            yield from chunker.cut(lambda window: os.readv(fd, [window]))
    finally:
        os.close(fd)
