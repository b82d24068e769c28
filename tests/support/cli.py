"""The real program ``manifold``, in processes of its own, on a database and folders of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from manifold_local.embedded.postgres import ensure_embedded

from tests.support.stack import NewStack
from tests.support.zygote import Zygote

EXECUTABLE = Path(sys.executable).with_name("manifold")


@dataclass
class Program:
    """Runs ``manifold`` with settings of its own: encrypted, working sets in RAM."""

    folder: Path
    ram: Path
    zygote: Zygote | None
    """What commands are forked from. ``None``: they are started as anybody does it."""
    variables: dict[str, str] = field(default_factory=dict)

    def environ(self, **more: str) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        return {
            **kept,
            "WORKDIR": str(self.folder / "workdir"),
            "XDG_RUNTIME_DIR": str(self.folder),
            "PROJECTS_ENCRYPT": "true",
            "PROJECTS_WORKSPACE_MODE": "ephemeral",
            "PROJECTS_WORKSPACE_TMPFS_DIR": str(self.ram),
            "COLUMNS": "100",
            **self.variables,
            **more,
        }

    def __call__(
        self,
        *arguments: str | bytes | Path,
        code: int = 0,
        cwd: Path | None = None,
        stdin: bytes = b"",
        **variables: str,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command to its end and hold its exit code against ``code``."""
        how: dict[str, Any] = {"env": self.environ(**variables), "cwd": cwd or self.folder, "input": stdin}
        if self.zygote is not None:
            done = self.zygote.run(arguments, timeout=120, **how)
        else:
            done = subprocess.run([EXECUTABLE, *arguments], capture_output=True, timeout=120, check=False, **how)
        assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout!r}\n{done.stderr.decode()}"
        return done

    def text(self, *arguments: str | bytes | Path, **how: Any) -> str:
        """Return what a command prints."""
        return self(*arguments, **how).stdout.decode()

    def json(self, *arguments: str | bytes | Path, **how: Any) -> Any:
        """Return what a command prints with ``--json``."""
        done = self(*arguments, "--json", **how)
        assert done.stderr == b""
        return json.loads(done.stdout)

    def error(self, *arguments: str | bytes | Path, code: int) -> dict[str, Any]:
        """Return the error that a command ends with."""
        done = self(*arguments, "--json", code=code)
        assert done.stdout == b""
        error: dict[str, Any] = json.loads(done.stderr)["error"]
        return error

    def start(self, *arguments: str, **how: Any) -> subprocess.Popen[bytes]:
        """Start a command and do not wait for it."""
        return subprocess.Popen([EXECUTABLE, *arguments], env=self.environ(), cwd=self.folder, **how)

    def project(self, files: dict[str, bytes] | None = None) -> str:
        """Return the name of a new project that holds ``files``."""
        name = f"p-{uuid.uuid4().hex[:10]}"
        source = self.folder / f"source-{name}"
        source.mkdir()
        for path, content in (files or {"readme.txt": b"hello\n"}).items():
            (source / path).parent.mkdir(parents=True, exist_ok=True)
            (source / path).write_bytes(content)
        self("import", name, source, "--create")
        return name

    def checkout(self, project: str, session: str, *arguments: str) -> Path:
        """Return the folder of a session's working set."""
        done = self("checkout", project, "--session", session, *arguments)
        return Path(os.fsdecode(done.stdout.removesuffix(b"\n")))


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    made = Zygote()
    yield made
    made.close()


@pytest.fixture(scope="module")
def program(new_stack: NewStack, zygote: Zygote) -> Iterator[Program]:
    """The program, on a database that stays up for all tests of a module."""
    in_memory = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=in_memory, prefix="manifold-cli-") as name:
        folder = Path(name)
        ram = folder / "ram"
        made = Program(folder, ram, zygote, new_stack())
        (folder / "workdir").mkdir(mode=0o700)
        server = ensure_embedded(folder / "workdir" / ".postgres", linger_seconds=0.2)
        try:
            made("migrate-db")
            yield made
        finally:
            server.close(stop_now=True)
            shutil.rmtree(ram, ignore_errors=True)
