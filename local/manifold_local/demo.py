"""What ``make demo`` shows: one real tree through the whole of Manifold, encrypted, with working sets in RAM.

``python -m manifold_local.demo [FOLDER]``. Everything is made in temporary folders and removed at the end; FOLDER is
only read. Exits with 1 when something does not hold.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.tree import Difference
from manifold_common.domain.wording import plural
from manifold_common.errors import ManifoldError
from manifold_common.ids import Generation, ProjectId, SessionId
from manifold_common.settings import Settings, load_settings
from manifold_common.shapes.history import change_of
from manifold_common.shapes.intent import Intent
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from manifold_local.cli.output import human_bytes, human_time, safe, safe_path
from manifold_local.cli.views import LETTERS, summary
from manifold_local.embedded.postgres import ensure_embedded
from manifold_local.runtime import EMBEDDED_FOLDER, open_manifold

T = TypeVar("T")

REPOSITORY = Path(__file__).resolve().parents[2]
_NOT_OF_THE_REPOSITORY = (
    ".git",
    ".venv",
    ".manifold",
    ".working_sets",
    "bench-results",
    "__pycache__",
    ".*_cache",
    ".hypothesis",
)
_RAM = Path("/dev/shm")  # noqa: S108 - folders made in it have new names and mode 0700
_SHOWN_LINES = 9
_SEARCH_STEP_BYTES = 1 << 20
_SESSION, _OTHER_SESSION = SessionId("agent-1"), SessionId("agent-2")


class DemoFailed(Exception):
    """Something that has to hold did not."""


class Stage(NamedTuple):
    """The folders of one demonstration."""

    source: Path
    workdir: Path
    ram: Path
    scratch: Path
    """In RAM too: plaintext that is compared with what Manifold gives."""


@dataclass
class Demo:
    """The demonstration: what it works on, and what it has measured."""

    stage: Stage
    manifold: Manifold
    console: Console
    canary: str = field(default_factory=lambda: secrets.token_hex(16))
    """In the name and in the content of one file; it cannot be anywhere by chance."""
    timings: list[tuple[str, float, str]] = field(default_factory=list)

    def step(self, title: str) -> None:
        self.console.print(f"\n[bold cyan]{escape(title)}[/]")

    def say(self, text: str) -> None:
        self.console.print(f"  {text}", markup=False, soft_wrap=True)

    def timed(self, what: str, work: Callable[[], T], remark: Callable[[T], str] = lambda _: "") -> T:
        """Do ``work`` and note how long it took."""
        started = time.perf_counter()
        done = work()
        seconds = time.perf_counter() - started
        self.timings.append((what, seconds, remark(done)))
        return done

    def must(self, holds: bool, what: str) -> None:
        if not holds:
            raise DemoFailed(what)
        self.console.print(f"  [green]ok[/] {escape(what)}", soft_wrap=True)


def main(arguments: list[str]) -> int:
    """Run the demonstration; return the exit code."""
    console = Console(highlight=False)
    source = Path(arguments[0] if arguments else REPOSITORY).resolve()
    if not source.is_dir():
        console.print(f"error: {safe(str(source))} is not a folder", markup=False, soft_wrap=True)
        return 2
    started = time.perf_counter()
    try:
        with _stage(source) as (stage, settings), open_manifold(settings, linger_seconds=1.0) as manifold:
            demo = Demo(stage, manifold, console)
            demo.timings.append(("start", time.perf_counter() - started, "a new PostgreSQL, its schema, all services"))
            _play(demo)
            _show_timings(demo)
    except (ManifoldError, DemoFailed) as error:
        console.print(f"\nFAILED: {safe(str(error))}", markup=False, style="bold red", soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print("\ninterrupted")
        return 130
    seconds = time.perf_counter() - started
    console.print(f"\n[bold green]All of it held.[/] {seconds:.1f} s in all; the temporary data has been removed.")
    return 0


@contextmanager
def _stage(source: Path) -> Iterator[tuple[Stage, Settings]]:
    """Make a temporary WORKDIR with a database of its own, and folders in RAM; remove it all at the end."""
    workdir = Path(tempfile.mkdtemp(prefix="manifold-demo-"))
    in_ram = Path(tempfile.mkdtemp(prefix="manifold-demo-", dir=_RAM if _RAM.is_dir() else None))
    stage = Stage(source, workdir, in_ram / "sets", in_ram / "scratch")
    try:
        stage.scratch.mkdir()
        settings = load_settings(
            environ={
                "WORKDIR": str(workdir),
                "PROJECTS_ENCRYPT": "true",
                "PROJECTS_WORKSPACE_MODE": "ephemeral",
                "PROJECTS_WORKSPACE_TMPFS_DIR": str(stage.ram),
            },
            cwd=workdir,
        )
        server = ensure_embedded(workdir / EMBEDDED_FOLDER, linger_seconds=1.0)
        try:
            yield stage, settings
        finally:
            server.close(stop_now=True)
    finally:
        shutil.rmtree(in_ram, ignore_errors=True)
        shutil.rmtree(workdir, ignore_errors=True)


def _play(demo: Demo) -> None:
    for warning in demo.manifold.warnings:
        demo.say(f"warning: {warning}")
    project = _import(demo)
    work = _check_out(demo, project)
    _edit(demo, work)
    _commit(demo, project)
    _second_session(demo, project, work)
    _restore(demo, project)
    _verify(demo, project)
    _look_for_plaintext(demo)


def _import(demo: Demo) -> ProjectId:
    manifold, stage = demo.manifold, demo.stage
    demo.step("1. A real tree goes in, encrypted")
    tree = stage.source
    if tree == REPOSITORY:
        tree = stage.scratch / "source"
        shutil.copytree(REPOSITORY, tree, symlinks=True, ignore=shutil.ignore_patterns(*_NOT_OF_THE_REPOSITORY))
    project = manifold.projects.create(LOCAL_PRINCIPAL, "demo").id
    done = demo.timed(
        "import",
        lambda: manifold.transfer.import_folder(LOCAL_PRINCIPAL, project, tree, Intent("first import")),
        lambda result: f"{plural(result.entries, 'entry')}, {human_bytes(result.total_bytes)}",
    )
    stored = _folder_bytes(manifold.settings.projects.filesystem.root)
    demo.say(f"{safe(str(stage.source))}: {plural(done.entries, 'entry')}, {human_bytes(done.total_bytes)}")
    demo.say(
        f"is generation {done.generation} now, and takes {human_bytes(stored)} in the store, compressed and sealed"
    )
    return project


def _check_out(demo: Demo, project: ProjectId) -> Path:
    demo.step("2. An agent checks it out and gets a plain folder in RAM")
    done = demo.timed(
        "checkout, new session",
        lambda: demo.manifold.sessions.checkout(LOCAL_PRINCIPAL, _SESSION, project),
        lambda result: f"{plural(result.entries, 'entry')}, {human_bytes(result.total_bytes)}",
    )
    demo.say(done.path)
    demo.timed(
        "checkout again, nothing new",
        lambda: demo.manifold.sessions.checkout(LOCAL_PRINCIPAL, _SESSION, project),
        lambda result: result.kind.value,
    )
    return Path(done.path)


def _edit(demo: Demo, work: Path) -> None:
    demo.step("3. It works there with ordinary tools")
    files = [path for path in sorted(work.rglob("*")) if path.is_file() and not path.is_symlink()]
    usable = iter([path for path in files if os.access(path, os.W_OK)])
    for path in (next(usable, None), next(usable, None)):
        if path is not None:
            with path.open("ab") as file:
                file.write(b"# changed by the demonstration\n")
    if (path := next(usable, None)) is not None:
        path.unlink()
    if (path := next(usable, None)) is not None:
        path.rename(path.with_name("renamed-" + path.name))
    if (path := next(usable, None)) is not None:
        path.chmod(path.stat().st_mode ^ 0o100)
    notes = work / f"notes-{demo.canary[:6]}"
    notes.mkdir(exist_ok=True)
    (notes / f"{demo.canary}.txt").write_text(f"a secret that must not leave RAM: {demo.canary}\n")
    (notes / "latest").symlink_to(f"{demo.canary}.txt")

    status = demo.timed("status", lambda: demo.manifold.sessions.status(LOCAL_PRINCIPAL, _SESSION))
    _show_differences(demo, status.differences)


def _commit(demo: Demo, project: ProjectId) -> None:
    history = demo.manifold.history
    demo.step("4. It commits: all or nothing, one generation further")
    request = Intent("notes and fixes", {"agent": "demo", "model": "none", "cost": 0.0})
    done = demo.timed("commit", lambda: demo.manifold.commits.commit(LOCAL_PRINCIPAL, _SESSION, request))
    demo.must(done.generation == 2, "the commit is generation 2")
    for entry in demo.timed("log", lambda: history.log(LOCAL_PRINCIPAL, project)):
        demo.say(
            f"generation {entry.generation}  {human_time(entry.created_at)}  +{entry.added:,} ~{entry.modified:,} "
            f"-{entry.deleted:,}  {safe(entry.message)}"
        )
    found = demo.timed("diff", lambda: history.diff(LOCAL_PRINCIPAL, project, Generation(1), Generation(2)))
    demo.say(f"from 1 to 2: {summary(found)}")


def _second_session(demo: Demo, project: ProjectId, work: Path) -> None:
    demo.step("5. A second session sees it, and both go on")
    sessions, commits = demo.manifold.sessions, demo.manifold.commits
    done = demo.timed("checkout, second session", lambda: sessions.checkout(LOCAL_PRINCIPAL, _OTHER_SESSION, project))
    other = Path(done.path)
    demo.must(_identical(work, other), "both working sets are identical")
    (other / "from-the-second.txt").write_text("hello\n")
    commits.commit(LOCAL_PRINCIPAL, _OTHER_SESSION, Intent("from the second session"))
    (work / "from-the-first.txt").write_text("hello\n")
    merged = demo.timed("commit on top of others'", lambda: commits.commit(LOCAL_PRINCIPAL, _SESSION))
    demo.must(
        merged.rebased and (work / "from-the-second.txt").exists(),
        "changes of both sessions are merged",
    )
    demo.timed(
        "refresh",
        lambda: sessions.checkout(LOCAL_PRINCIPAL, _OTHER_SESSION, project),
        lambda result: f"to generation {result.generation}",
    )
    demo.must(_identical(work, other), "after a refresh they are identical again")


def _restore(demo: Demo, project: ProjectId) -> None:
    demo.step("6. The first generation comes back, and history stays")
    manifold, scratch = demo.manifold, demo.stage.scratch
    first, now = scratch / "first", scratch / "now"
    manifold.transfer.export(LOCAL_PRINCIPAL, project, first, Generation(1))
    done = demo.timed("restore", lambda: manifold.edits.restore(LOCAL_PRINCIPAL, project, Generation(1)))
    demo.timed(
        "export",
        lambda: manifold.transfer.export(LOCAL_PRINCIPAL, project, now),
        lambda result: f"{plural(result.entries, 'entry')}, {human_bytes(result.total_bytes)}",
    )
    demo.say(f"generation {done.generation} is like generation 1; 2 to {done.generation - 1} are still there")
    demo.must(_identical(first, now), "generations 1 and the newest are identical: content, permissions, times")


def _verify(demo: Demo, project: ProjectId) -> None:
    demo.step("7. Every stored byte is checked")
    found = demo.timed(
        "verify --read-data",
        lambda: demo.manifold.verify.run(LOCAL_PRINCIPAL, project, read_data=True),
        lambda result: f"{plural(result.chunks, 'chunk')}, {human_bytes(result.bytes_read)}",
    )
    demo.must(
        found.ok,
        f"{plural(found.commits, 'commit')}, {plural(found.objects, 'object')} and "
        f"{plural(found.chunks, 'chunk')} are sound",
    )


def _look_for_plaintext(demo: Demo) -> None:
    demo.step("8. Nothing readable has left RAM")
    needle = demo.canary.encode()
    in_ram = _places_of(needle, demo.stage.ram)
    demo.must(len(in_ram) >= 2, f"the search works: it finds the secret in {len(in_ram)} places in RAM")
    outside = demo.timed(
        "search",
        lambda: _places_of(needle, demo.stage.workdir),
        lambda _: human_bytes(_folder_bytes(demo.stage.workdir)),
    )
    for place in outside:
        demo.say(f"found in {safe(place)}")
    demo.must(not outside, "neither its text nor its file name is in the store, the cache, the database or the logs")


def _places_of(needle: bytes, folder: Path) -> list[str]:
    """Return the paths below ``folder`` whose name, target or content has ``needle``."""
    found = []
    for place, folders, files in os.walk(folder):
        for name in folders + files:
            path = os.path.join(place, name)
            target = os.readlink(path) if os.path.islink(path) else ""
            if needle in os.fsencode(name + target) or (os.path.isfile(path) and not target and _holds(path, needle)):
                found.append(path)
    return found


def _holds(path: str, needle: bytes) -> bool:
    kept = b""
    with open(path, "rb") as file:
        while part := file.read(_SEARCH_STEP_BYTES):
            if needle in kept + part:
                return True
            kept = part[-len(needle) :]
    return False


def _folder_bytes(folder: Path) -> int:
    return sum(os.lstat(os.path.join(place, name)).st_size for place, _, files in os.walk(folder) for name in files)


def _identical(one: Path, other: Path) -> bool:
    """Compare two trees: names, kinds, permissions, targets, content, and the times of files."""
    return _described(one) == _described(other)


def _described(folder: Path) -> dict[str, tuple[object, ...]]:
    found: dict[str, tuple[object, ...]] = {}
    for place, folders, files in os.walk(folder):
        for name in folders + files:
            path = os.path.join(place, name)
            status = os.lstat(path)
            if os.path.islink(path):
                facts: tuple[object, ...] = (os.readlink(path), status.st_mtime_ns)
            elif os.path.isfile(path):
                with open(path, "rb") as file:
                    facts = (hashlib.file_digest(file, "sha256").digest(), status.st_mtime_ns)
            else:
                facts = ()
            found[os.path.relpath(path, folder)] = (status.st_mode, *facts)
    return found


def _show_differences(demo: Demo, differences: list[Difference]) -> None:
    for difference in differences[:_SHOWN_LINES]:
        demo.say(f"{LETTERS[change_of(difference)]} {safe_path(difference.path)}")
    if len(differences) > _SHOWN_LINES:
        demo.say(f"... and {len(differences) - _SHOWN_LINES} more")


def _show_timings(demo: Demo) -> None:
    table = Table(title="\nTimings", title_justify="left", title_style="bold cyan", box=None, pad_edge=False)
    table.add_column("work")
    table.add_column("ms", justify="right")
    table.add_column("of what", style="dim")
    for what, seconds, remark in demo.timings:
        table.add_row(what, f"{seconds * 1000:,.1f}", remark)
    demo.console.print(table)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
