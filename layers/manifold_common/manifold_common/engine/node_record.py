"""What a working folder says of itself: which installation it belongs to, and where it lay when that was written.

One file for each catalog that the folder was used with, in ``WORKDIR/.installation``. The folder's inode, and that of
``.installation``, tell a copy (which has others) from one that was renamed (which keeps them).
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from manifold_common.engine.working_set.folders import translate
from manifold_common.ids import CatalogId, IncarnationId
from manifold_common.ports.catalog import DatabaseIdentity

FOLDER = ".installation"


class FolderPlace(NamedTuple):
    """Where a working folder lies: kept by a rename, not by a copy."""

    inode: int
    """Of the folder."""
    record_inode: int
    """Of ``.installation`` in it. The root of a file system has the same inode as that of another one."""


class NodeRecord(msgspec.Struct, frozen=True):
    incarnation: IncarnationId
    node: str
    """What this machine is called."""
    place: FolderPlace
    database: DatabaseIdentity


_RECORD = msgspec.json.Decoder(NodeRecord)


def folder_place(workdir: Path) -> FolderPlace:
    """Return where a working folder lies. Raises Unavailable, NoSpace: it cannot be used."""
    folder = workdir / FOLDER
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return FolderPlace(workdir.stat().st_ino, folder.stat().st_ino)
    except OSError as error:
        raise translate(error, os.fsencode(folder)) from None


def read_record(workdir: Path, catalog: CatalogId) -> NodeRecord | None:
    """Return what the folder says, or ``None`` if it was never used with this catalog.

    A record that cannot be read counts as one that says something else: its place is nowhere.
    """
    try:
        return _RECORD.decode((workdir / FOLDER / catalog).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError):
        return NodeRecord(IncarnationId(""), "unknown", FolderPlace(0, 0), DatabaseIdentity("", 0))


def write_record(workdir: Path, catalog: CatalogId, record: NodeRecord, *, first: bool = False) -> None:
    """Write it, whole and durable.

    Args:
        first: leave one alone that another process has written meanwhile.

    Raises:
        NoSpace, Unavailable.
    """
    path = workdir / FOLDER / catalog
    try:
        aside = f"{path}~{os.getpid()}-{threading.get_ident()}"
        try:
            with open(aside, "wb") as file:
                file.write(msgspec.json.encode(record))
                file.flush()
                os.fsync(file.fileno())
            if first:
                with suppress(FileExistsError):
                    os.link(aside, path)
            else:
                os.replace(aside, path)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(aside)
    except OSError as error:
        raise translate(error, os.fsencode(path)) from None
