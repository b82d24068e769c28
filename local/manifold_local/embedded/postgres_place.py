"""Is a data folder where its last server ran, or is it a copy; and if it is one, is it whole?

A copy made while a server runs, starts or stops has files of different moments. PostgreSQL cannot tell: its control
file may say that all is well above files that are older, and what was acknowledged is gone without a word. So the
folder notes where it is, and a copy is started only if each of its files is as a server left it (the keeper's sums).
What merely crashed is where it was, and is recovered as ever. So is a snapshot of a whole file system.
"""

from __future__ import annotations

import os
from pathlib import Path

from manifold_common.errors import TornCopy

from manifold_local.embedded import postgres_keeper as keeper
from manifold_local.embedded.postgres_account import Account

PLACE = "manifold-place"
_WITNESS = "PG_VERSION"
"""Written once, when the database was made."""


def require_whole(data: Path, data_fd: int, account: Account) -> None:
    """Look at a data folder on which no server runs, before one is started. Raises TornCopy: it must not be."""
    seen = os.stat(_WITNESS, dir_fd=data_fd)
    here = (seen.st_ino, seen.st_ctime_ns)
    noted = _noted(data_fd)
    if noted == here:
        return
    # An inode may change with the mount, and a time with the owner. A copy has neither of the two.
    is_copy = noted is not None and noted[0] != here[0] and noted[1] != here[1]
    if is_copy and not keeper.is_as_left(data_fd):
        raise TornCopy(
            f"{data} was copied while its database was running, or had not been stopped in order: the copy may lack "
            "what was acknowledged, or be damaged",
            hint="copy it again after 'manifold stop' where it comes from, or dump the original and load the dump; if "
            f"there is nothing better, remove {data / PLACE}, try again, and for each project run "
            "'manifold verify PROJECT --read-data'",
        )
    _note(data_fd, here, account)


def _noted(data_fd: int) -> tuple[int, int] | None:
    try:
        with open(os.open(PLACE, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=data_fd), encoding="ascii") as file:
            inode, changed = file.read().split()
        return int(inode), int(changed)
    except (OSError, ValueError):
        return None


def _note(data_fd: int, here: tuple[int, int], account: Account) -> None:
    aside = f"{PLACE}.new"
    fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=data_fd)
    with open(fd, "w", encoding="ascii") as file:
        if os.geteuid() == 0:
            os.fchown(fd, account.uid, account.gid)
        file.write(f"{here[0]} {here[1]}\n")
        file.flush()
        os.fsync(fd)
    os.replace(aside, PLACE, src_dir_fd=data_fd, dst_dir_fd=data_fd)
