"""Which operating-system account the embedded PostgreSQL runs as, and how it gets there.

PostgreSQL refuses to run as root. An ordinary user's server runs as that user. Root's server runs as the account that
owns the data already, or else as ``manifold`` or ``postgres``; where neither is there, as in bare images, ``manifold``
is made. Folders above the data are never opened up for it: if the account cannot pass through one of them (a checkout
below /root), the server alone is given the capability to.

A process may read the memory and the files of any other that runs as the same account, and stop it. So no shared
account is accepted: ``nobody``, the daemons' common ones, and those of web servers, as which other people's scripts
run.
"""

from __future__ import annotations

import logging
import os
import pwd
import shlex
import shutil
import stat
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manifold_common.errors import CatalogUnavailable

_log = logging.getLogger(__name__)

_CANDIDATES = ("manifold", "postgres")
_MAKE_ACCOUNT = ("useradd", "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin")
_MAKE_SECONDS = 30.0
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_SHARED = frozenset(
    ("nobody", "nfsnobody", "daemon", "bin", "sys", "www-data", "www", "http", "httpd", "apache", "nginx")
)
_OVERFLOW_UID = 65534
"""What the kernel shows of every account that it cannot map."""
_CAPABILITY_BITS = {"dac_read_search": 2, "dac_override": 1}
"""Least power first. The first suffices; container engines often grant only the second."""
_HINT = "set DATABASE_URL to a PostgreSQL server of your own"


@dataclass(frozen=True, slots=True)
class Account:
    uid: int
    gid: int
    name: str
    prefix: tuple[str, ...] = ()
    """Command that becomes this account, where a plain change of user is not enough."""

    def command(self, argv: Sequence[str]) -> list[str]:
        return [*self.prefix, *argv]

    def process_options(self) -> dict[str, Any]:
        """Return arguments for ``subprocess`` that make the child this account and give it nothing of ours."""
        options: dict[str, Any] = {
            "cwd": "/",
            "env": {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"},
            "umask": 0o077,
        }
        if os.geteuid() == 0 and not self.prefix:
            options |= {"user": self.uid, "group": self.gid, "extra_groups": []}
        return options


def server_account(data: Path, must_reach: Sequence[Path]) -> Account:
    """Return the account for the server of the folder ``data`` (which may not exist yet).

    Args:
        must_reach: existing folders that the server has to be able to enter.

    Raises:
        CatalogUnavailable: no account will do. The hint says to set DATABASE_URL.
    """
    if os.geteuid() != 0:
        account = _own_account()
        if _is_shared(account):
            raise _refused(account, f"work as an account of your own, {_make_account()}")
        return account
    account = _owner_of(data) or _unprivileged()
    if _is_shared(account):
        raise _refused(account, f"give its files to one that is Manifold's alone: {_hand_over(data)}")
    if all(_can_pass(path, account) for path in must_reach):
        return account
    return Account(account.uid, account.gid, account.name, _with_capability(account, must_reach))


def _own_account() -> Account:
    uid = os.geteuid()
    try:
        return Account(uid, os.getegid(), pwd.getpwuid(uid).pw_name)
    except KeyError:
        raise CatalogUnavailable(
            f"the embedded PostgreSQL cannot run: user id {uid} has no entry in the system's account database",
            hint=f"add one, in the image for instance: RUN useradd --uid {uid} --no-create-home manifold; or {_HINT}",
        ) from None


def _is_shared(account: Account) -> bool:
    return account.name in _SHARED or account.uid == _OVERFLOW_UID


def _refused(account: Account, what_to_do: str) -> CatalogUnavailable:
    return CatalogUnavailable(
        f"the embedded PostgreSQL does not run as {account.name}: other software may run as that account too, and "
        "could read and change the database",
        hint=f"{what_to_do}; or {_HINT}",
    )


def _own_candidate() -> str | None:
    """Return an account that is there, and may run root's server."""
    for name in _CANDIDATES:
        try:
            if pwd.getpwnam(name).pw_uid != 0:
                return name
        except KeyError:
            continue
    return None


def _made_candidate() -> str | None:
    """Make a system account, in which nobody can sign in, for root's server."""
    name = _CANDIDATES[0]
    try:
        made = subprocess.run(
            [*_MAKE_ACCOUNT, name], env={"PATH": _PATH}, capture_output=True, timeout=_MAKE_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if made.returncode == 0:
        _log.warning(
            "made the system account %s: PostgreSQL refuses to run as root, and there was none to run it as", name
        )
    return _own_candidate()  # which another process may have made meanwhile


def _make_account() -> str:
    return f"made with: {shlex.join([*_MAKE_ACCOUNT, _CANDIDATES[0]])}"


def _hand_over(data: Path) -> str:
    name = _own_candidate()
    chown = ["chown", "-R", f"{name or _CANDIDATES[0]}:", str(data), str(data.with_name("run"))]
    return shlex.join(chown) + ("" if name else f" (an account {_make_account()})")


def _owner_of(data: Path) -> Account | None:
    try:
        found = data.stat()
        return Account(found.st_uid, found.st_gid, pwd.getpwuid(found.st_uid).pw_name) if found.st_uid else None
    except FileNotFoundError:
        return None
    except KeyError:
        raise CatalogUnavailable(
            f"the embedded PostgreSQL cannot run: the owner of {data}, user id {found.st_uid}, has no entry in the "
            "system's account database",
            hint=f"add an account for it, or {_HINT}",
        ) from None


def _unprivileged() -> Account:
    name = _own_candidate() or _made_candidate()
    if name is None:
        raise CatalogUnavailable(
            f"PostgreSQL refuses to run as root, there is no account {' or '.join(_CANDIDATES)} to run it as, and none "
            "could be made",
            hint=f"run manifold as an ordinary user, or as root with an account {_make_account()}; or {_HINT}",
        )
    entry = pwd.getpwnam(name)
    return Account(entry.pw_uid, entry.pw_gid, name)


def _can_pass(folder: Path, account: Account) -> bool:
    """Tell whether mode bits let the account enter ``folder`` and every folder above it."""
    resolved = folder.resolve()
    for step in (resolved, *resolved.parents):
        found = step.stat()
        if found.st_uid == account.uid:
            allowed = found.st_mode & stat.S_IXUSR
        elif found.st_gid == account.gid:
            allowed = found.st_mode & stat.S_IXGRP
        else:
            allowed = found.st_mode & stat.S_IXOTH
        if not allowed:
            return False
    return True


def _with_capability(account: Account, must_reach: Sequence[Path]) -> tuple[str, ...]:
    setpriv = shutil.which("setpriv")
    held = _held_capabilities()
    for name, bit in _CAPABILITY_BITS.items():
        if setpriv is not None and held >> bit & 1:
            become = (f"--reuid={account.uid}", f"--regid={account.gid}", "--clear-groups")
            return (setpriv, *become, f"--inh-caps=+{name}", f"--ambient-caps=+{name}", "--")
    raise CatalogUnavailable(
        f"the embedded PostgreSQL runs as the account {account.name}, which may not enter one of the folders above "
        f"{' or '.join(str(path) for path in must_reach)}",
        hint=f"move WORKDIR to a folder that it may enter (/var/lib/manifold), run as an ordinary user, or {_HINT}",
    )


def _held_capabilities() -> int:
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("CapPrm:"):
                return int(line.split()[1], 16)
    except OSError:
        pass
    return 0
