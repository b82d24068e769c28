"""The keystore directory: ``<key name>/<version>.key``, each file one master key.

A key file is made under a lock, written aside, synced, linked into place (which cannot replace a file that exists)
and its folder synced, in this order. A key is made only when the folder is certain to hold none: anything that cannot
be read is an error, because a new key in the place of one that is merely out of sight would strand every project.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import stat
from collections.abc import Iterator

from manifold_common.adapters.keyfile.key_file import (
    KEY_BYTES,
    MAX_FILE_BYTES,
    DamagedKeyFile,
    MasterKey,
    decode_key_file,
    encode_key_file,
)
from manifold_common.errors import KeyUnavailable
from manifold_common.ports.clock import Clock, Randomness

LOCK_SECONDS = 10.0
_LOCK_POLL_SECONDS = 0.02
_LOCK = "~lock"
_ASIDE = "~new-"
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?\Z")
_FILE = re.compile(r"([1-9][0-9]{0,8})\.key\Z")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def is_key_name(name: str) -> bool:
    """Say whether a master key may be called ``name``."""
    return bool(_NAME.match(name)) and ".." not in name


class Keystore:
    """Every method may raise KeyUnavailable. Safe for many threads and processes at once."""

    def __init__(self, path: str | os.PathLike[str], *, clock: Clock, randomness: Randomness) -> None:
        self.path = os.path.abspath(path)
        self._clock = clock
        self._randomness = randomness

    def __repr__(self) -> str:
        return f"Keystore({self.path!r})"

    def versions(self, name: str) -> list[int]:
        """Return the versions of the key ``name``, ascending; none if the keystore is certain to have none."""
        with self._translated(name), self._folder(name) as fd:
            return _versions(fd) if fd is not None else []

    def names(self) -> list[str]:
        """Return the names of the keys that have a version, in order."""
        with self._translated(""):
            try:
                found = os.listdir(self.path)
            except FileNotFoundError:
                if os.path.islink(self.path):
                    raise  # as for a key's folder
                return []
        folders = (name for name in found if is_key_name(name) and os.path.isdir(os.path.join(self.path, name)))
        return sorted(name for name in folders if self.versions(name))

    def load(self, name: str, version: int) -> MasterKey:
        """Return a version of the key ``name``. The caller wipes it.

        Raises:
            KeyUnavailable: also if the file may be read by others, or is damaged.
        """
        path = os.path.join(self.path, name, f"{version}.key")
        with self._translated(name), self._folder(name) as fd:
            if fd is None or version not in _versions(fd):
                raise KeyUnavailable(
                    f"the keystore {self.path} has no version {version} of the key {name!r}",
                    hint="restore the keystore from its backup, or point file.keystorePath at the one with this key",
                    key_name=name,
                    key_version=version,
                )
            try:
                return _load(fd, name, version)
            except DamagedKeyFile as error:
                raise KeyUnavailable(
                    f"the key file {path} cannot be used: {error}", hint="restore it from the keystore's backup"
                ) from error

    def settle(self, name: str) -> None:
        """Make sure that the key files of ``name`` that can be seen now survive a crash.

        Another process may have linked one in a moment ago, and not have synced the folder yet.
        """
        with self._translated(name), self._folder(name) as fd:
            if fd is not None:
                os.fsync(fd)

    def create(self, name: str, *, after: int) -> int:
        """Make the version after ``after``, unless it is there by now, and return the newest version."""
        with self._translated(name):
            self._make_folders(name)
            with self._locked(), self._folder(name) as fd:
                if fd is None:
                    raise OSError(errno.ENOENT, "vanished", os.path.join(self.path, name))
                versions = _versions(fd)
                newest = versions[-1] if versions else 0
                if newest <= after:
                    newest += 1
                    self._write(fd, name, newest)
                os.fsync(fd)
                return newest

    def probe(self) -> None:
        """Raises KeyUnavailable unless the keystore can be written to, or made."""
        with self._translated(""):
            folder = self.path
            while not os.path.lexists(folder):
                folder = os.path.dirname(folder)
            if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, "not writable", folder)

    # --- writing --------------------------------------------------------------------------------------------------

    def _make_folders(self, name: str) -> None:
        _make_durably(os.path.dirname(self.path))
        for folder in (self.path, os.path.join(self.path, name)):
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder, 0o700)
            # Also when it was there: whoever made it may have died before this.
            _sync(os.path.dirname(folder))

    def _write(self, fd: int, name: str, version: int) -> None:
        for leftover in os.listdir(fd):
            if leftover.startswith(_ASIDE):  # its maker died: this process holds the lock
                os.unlink(leftover, dir_fd=fd)
        aside = f"{_ASIDE}{self._randomness.token(8).hex()}"
        material = bytearray(self._randomness.token(KEY_BYTES))
        with MasterKey(name, version, self._clock.now(), material) as key:
            data = encode_key_file(key)
            try:
                out = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=fd)
                try:
                    _write_all(out, data)
                    os.fsync(out)
                finally:
                    os.close(out)
                os.link(aside, f"{version}.key", src_dir_fd=fd, dst_dir_fd=fd, follow_symlinks=False)
            finally:
                data[:] = bytes(len(data))
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(aside, dir_fd=fd)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        fd = os.open(os.path.join(self.path, _LOCK), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            deadline = self._clock.monotonic() + LOCK_SECONDS
            while True:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if self._clock.monotonic() >= deadline:
                        raise KeyUnavailable(
                            f"another process has held {self.path}/{_LOCK} for {LOCK_SECONDS:.0f} seconds",
                            hint="find out what it is (fuser, lsof); it may be stopped",
                        ) from error
                    self._clock.sleep(_LOCK_POLL_SECONDS)
            yield
        finally:
            os.close(fd)

    # --- reading --------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _folder(self, name: str) -> Iterator[int | None]:
        """Yield a descriptor of the key's folder, or ``None`` if it is certain that there is none."""
        try:
            keystore = os.open(self.path, _FOLDER)
        except FileNotFoundError:
            if os.path.islink(self.path):
                raise  # a link that leads nowhere: the keystore is somewhere else, not absent
            yield None
            return
        try:
            _check_folder(keystore, self.path)
            try:
                fd = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=keystore)
            except FileNotFoundError:
                yield None
                return
            try:
                _check_folder(fd, os.path.join(self.path, name))
                yield fd
            finally:
                os.close(fd)
        finally:
            os.close(keystore)

    @contextlib.contextmanager
    def _translated(self, name: str) -> Iterator[None]:
        if name and not is_key_name(name):
            raise KeyUnavailable(
                f"{name[:80]!r} cannot be the name of a key",
                hint="use 1 to 64 letters, digits and . _ -, beginning and ending with a letter or digit",
            )
        try:
            yield
        except OSError as error:
            where = error.filename if isinstance(error.filename, str) and os.path.isabs(error.filename) else self.path
            raise KeyUnavailable(
                f"the keystore cannot be used: {where}: {os.strerror(error.errno) if error.errno else error}",
                hint="check that file.keystorePath is right, its disk mounted, and its files owned by this user",
            ) from error


def _versions(fd: int) -> list[int]:
    return sorted(int(match[1]) for match in map(_FILE.match, os.listdir(fd)) if match)


def _check_folder(fd: int, path: str) -> None:
    mode = os.fstat(fd).st_mode
    if mode & 0o022:
        raise KeyUnavailable(
            f"the keystore folder {path} can be written to by others (mode {stat.S_IMODE(mode):04o})",
            hint=f"run: chmod 700 {path}",
        )


def _load(folder: int, name: str, version: int) -> MasterKey:
    path = f"{name}/{version}.key"
    fd = os.open(f"{version}.key", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    try:
        facts = os.fstat(fd)
        if not stat.S_ISREG(facts.st_mode):
            raise DamagedKeyFile("it is not a file")
        if facts.st_mode & 0o077:
            raise KeyUnavailable(
                f"the key file {path} of the keystore is open to others (mode {stat.S_IMODE(facts.st_mode):04o})",
                hint="run 'chmod 600' on it; if others could have read it, rotate the key and re-encrypt",
            )
        if facts.st_uid not in (0, os.geteuid()):
            raise KeyUnavailable(
                f"the key file {path} of the keystore belongs to user {facts.st_uid}",
                hint=f"run 'chown {os.geteuid()}' on it",
            )
        buffer = bytearray(MAX_FILE_BYTES)
        size = os.readv(fd, [buffer])
        data = buffer[:size]
        try:
            return decode_key_file(data, name, version)
        finally:
            buffer[:] = bytes(len(buffer))
            data[:] = bytes(len(data))
    finally:
        os.close(fd)


def _write_all(fd: int, data: bytearray) -> None:
    with memoryview(data) as view:
        written = 0
        while written < len(view):
            written += os.write(fd, view[written:])


def _make_durably(path: str) -> None:
    if not os.path.isdir(path):
        above = os.path.dirname(path)
        _make_durably(above)
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)
        _sync(above)


def _sync(path: str) -> None:
    fd = os.open(path, _FOLDER)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
