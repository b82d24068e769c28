"""RAM means RAM: whether a folder lies in memory, and what could still bring its bytes to a disk."""

from __future__ import annotations

import os
import re
import resource
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from manifold_common.errors import RamUnavailable

_RAM_TYPES = frozenset({"tmpfs", "ramfs"})
_OCTAL = re.compile(r"\\([0-7]{3})")


class Mount(NamedTuple):
    path: str
    type: str
    options: frozenset[str]


def mount_of(folder: Path, mounts: str | None = None) -> Mount | None:
    """Return the mount that ``folder`` lies on, or ``None`` where the system does not tell.

    Args:
        mounts: the text of ``/proc/self/mounts``, given by tests.
    """
    if mounts is None:
        try:
            mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="surrogateescape")
        except OSError:
            return None
    real = os.path.realpath(folder)
    best: Mount | None = None
    for line in mounts.splitlines():
        _, path, kind, options, *_ = line.split(" ")
        path = _OCTAL.sub(lambda match: chr(int(match[1], 8)), path)
        inside = real == path or real.startswith(path.rstrip("/") + "/")
        # Of two mounts on one path the later one covers the earlier.
        if inside and (best is None or len(path) >= len(best.path)):
            best = Mount(path, kind, frozenset(options.split(",")))
    return best


def prepare_ram_folder(folder: Path, *, require_ram: bool) -> list[str]:
    """Make ``folder`` (0700) and return warnings about how its content could reach a disk.

    Args:
        require_ram: refuse a folder that is not in memory. False only where the platform has none and encrypts and
            drops its temporary storage itself (AWS Lambda), or where nothing is encrypted anyway.

    Raises:
        RamUnavailable: the folder cannot be made, is another user's, or is not in memory.
    """
    hint = "mount a tmpfs there, or point projects.workspace.tmpfsDir at one, such as a folder of /dev/shm"
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        status = os.lstat(folder)
        if status.st_uid != os.geteuid() or not os.path.isdir(folder) or os.path.islink(folder):
            raise RamUnavailable(f"{folder} is not a folder of this user's own", hint="choose another tmpfsDir")
        os.chmod(folder, 0o700)
    except OSError as error:
        raise RamUnavailable(f"the RAM folder {folder} cannot be made: {error.strerror}", hint=hint) from None
    mount = mount_of(folder)
    if mount is None or not is_memory(mount):
        what = f"lies on {mount.type} ({mount.path})" if mount else "lies on a file system of unknown type"
        if require_ram:
            raise RamUnavailable(f"the RAM folder {folder} {what}, not in memory", hint=hint)
        return [f"working sets are not in memory: {folder} {what}"]
    if mount.type == "tmpfs" and "noswap" not in mount.options and _swap_is_on():
        return [
            f"swap is on and {mount.path} is mounted without 'noswap': its content may be written to the swap device"
        ]
    return []


def is_memory(mount: Mount | None) -> bool:
    """Tell whether what lies on a mount is certain to lie in memory."""
    return mount is not None and mount.type in _RAM_TYPES


def _swap_is_on() -> bool:
    try:
        return len(Path("/proc/swaps").read_text().splitlines()) > 1
    except OSError:
        return False


def forbid_core_dumps() -> None:
    """Keep this process's memory from being dumped to a disk when it crashes."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def memory_bytes(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the machine's memory, or what this process's control group leaves of it."""
    sizes = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):  # not in a group, or in one without a limit, which reads "max"
            sizes.append(int((cgroup / name).read_text()))
    return min(sizes)


def free_bytes(folder: Path | str | int) -> int:
    """Return how many bytes an ordinary user may still write there. A folder may be given as a descriptor."""
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def total_bytes(folder: Path | str) -> int:
    """Return the size of the file system that ``folder`` lies on."""
    status = os.statvfs(folder)
    return status.f_blocks * status.f_frsize


def disk_bytes(folder: str) -> int:
    """Return how much room everything below a folder takes: 0 where there is none. What goes meanwhile is left out."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += os.lstat(f"{place}/{name}").st_blocks * 512
    return total
