"""A load of commits, saves, checkouts and reads by several clients of one node, and a record of all they were told.

Every commit's message names its client and the number of the try, and each client changes only a folder of its own. So
any generation's tree follows from the history's messages and the record (``load_model``). Clients go on after an error
that a fault may cause; anything else ends the load.
"""

from __future__ import annotations

import hashlib
import os
import random
import threading
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.tree import FILE
from manifold_common.errors import CatalogUnavailable, ManifoldError
from manifold_common.ids import Generation, ProjectId, SessionId
from manifold_common.services.projects.edits import PutFile
from manifold_common.shapes.intent import Intent

from tests.support.work import committed, look, reader

Files = dict[str, str]
"""Digests of files by path."""


@dataclass(frozen=True)
class Tried:
    """A client is about to give its folder this content, and to commit or save it."""

    client: str
    number: int
    files: Files


@dataclass(frozen=True)
class Acknowledged:
    client: str
    number: int
    generation: int | None
    """``None``: it was saved, not committed."""


@dataclass(frozen=True)
class Failed:
    client: str
    code: str
    message: str
    number: int | None
    """Of the commit; ``None``: it was no commit."""
    in_doubt: bool


@dataclass(frozen=True)
class Saw:
    client: str
    generation: int
    floor: int
    """The newest generation of which any client of the process had been told before."""
    files: Files


Record = Tried | Acknowledged | Failed | Saw
Tell = Callable[[Record], object]


@dataclass(frozen=True)
class Mix:
    """What clients of a node do."""

    writers: int = 1
    editors: int = 0
    """Commit without a session."""
    readers: int = 0
    save_chance: float = 0.15
    look_chance: float = 0.4
    large_chance: float = 0.03
    """Of a file that is stored in packs."""


def digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=12).hexdigest()


def session_of(project: ProjectId, client: str) -> SessionId:
    return SessionId(f"{project}-{client}")


def folder_of(client: str) -> str:
    return f"own/{client}/"


def files_in(folder: Path) -> Files:
    return {path.decode(): digest(node.content) for path, node in look(folder).items() if node.kind == "file"}


class Floor:
    """The newest generation of which anybody has been told."""

    def __init__(self) -> None:
        self.generation = 0
        self._lock = threading.Lock()

    def rise(self, generation: int) -> None:
        with self._lock:
            self.generation = max(self.generation, generation)


class Load:
    """Clients of one node, each in a thread of its own."""

    def __init__(
        self,
        manifold: Manifold,
        project: ProjectId,
        name: str,
        mix: Mix,
        *,
        seed: int,
        passing: Collection[str],
        tell: Tell,
        floor: Floor,
    ) -> None:
        """
        Args:
            name: of the node; the names of its clients begin with it.
            passing: codes of the errors that faults may cause.
            floor: shared by all loads of the project in this process.
        """
        self.manifold, self.project, self.mix, self.tell = manifold, project, mix, tell
        self.passing, self.floor = passing, floor
        self.stop = threading.Event()
        self.done: Counter[str] = Counter()
        """How often each client succeeded."""
        self.errors: list[BaseException] = []
        clients: list[_Client] = [_Writer(self, f"{name}{number}", seed) for number in range(mix.writers)]
        clients += [_Editor(self, f"{name}e{number}", seed) for number in range(mix.editors)]
        clients += [_Reader(self, f"{name}r{number}", seed) for number in range(mix.readers)]
        self.clients = [client.name for client in clients]
        self._threads = [threading.Thread(target=client.run, name=client.name, daemon=True) for client in clients]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def end(self, timeout_seconds: float) -> None:
        """Let every client finish what it is doing. Raises what none of them may be told."""
        self.stop.set()
        for thread in self._threads:
            thread.join(timeout_seconds)
            assert not thread.is_alive(), f"{thread.name} hangs"
        if self.errors:
            raise self.errors[0]


@dataclass
class _Client:
    load: Load
    name: str
    seed: int
    rng: random.Random = field(init=False)
    session: SessionId = field(init=False)

    def __post_init__(self) -> None:
        self.rng = random.Random(f"{self.seed} {self.name}")
        self.session = session_of(self.load.project, self.name)

    def run(self) -> None:
        load = self.load
        try:
            while not load.stop.is_set():
                if self.attempt(self.step):
                    load.done[self.name] += 1
                else:
                    load.stop.wait(0.02)
        except BaseException as error:
            load.errors.append(error)
            load.stop.set()

    def step(self) -> None:
        raise NotImplementedError

    def attempt(self, work: Callable[[], object], number: int | None = None) -> bool:
        """Do it; say whether it was done. What may fail for a passing reason is recorded."""
        try:
            work()
        except ManifoldError as error:
            if error.code not in self.load.passing:
                raise
            in_doubt = number is not None and isinstance(error, CatalogUnavailable)
            self.load.tell(Failed(self.name, error.code, str(error), number, in_doubt))
            return False
        return True

    def acknowledged(self, number: int, generation: int | None) -> None:
        self.load.tell(Acknowledged(self.name, number, generation))
        if generation is not None:
            self.load.floor.rise(generation)

    def saw(self, generation: int, floor: int, files: Files) -> None:
        self.load.tell(Saw(self.name, generation, floor, files))
        self.load.floor.rise(generation)

    def content(self) -> bytes:
        size = 2_500_000 if self.rng.random() < self.load.mix.large_chance else self.rng.choice((30, 3000, 60_000))
        return self.rng.randbytes(size)


class _Writer(_Client):
    """Edits its folder in a session's working set, and commits or saves it."""

    number = 0
    work: Path | None = None

    def step(self) -> None:
        if self.work is None:
            self._look()
        assert self.work is not None
        self.number += 1
        self._edit(self.work / folder_of(self.name))
        commits = self.load.manifold.commits
        number = self.number
        if self.rng.random() < self.load.mix.save_chance:
            if self.attempt(lambda: commits.save(LOCAL_PRINCIPAL, self.session)):
                self.acknowledged(number, None)
        else:
            request = Intent(f"{self.name}/{number}")
            self.attempt(lambda: self._commit(request, number), number)
        if self.rng.random() < self.load.mix.look_chance:
            self._look()

    def _commit(self, request: Intent, number: int) -> None:
        done = self.load.manifold.commits.commit(LOCAL_PRINCIPAL, self.session, request)
        assert done.commit is not None, f"{request.message} was not seen as a change"
        self.acknowledged(number, done.generation)

    def _look(self) -> None:
        floor = self.load.floor.generation
        found = self.load.manifold.sessions.checkout(LOCAL_PRINCIPAL, self.session, self.load.project)
        self.work = Path(found.path)
        self.saw(found.generation, floor, files_in(self.work))

    def _edit(self, folder: Path) -> None:
        """Write one file, and perhaps remove or move another."""
        folder.mkdir(parents=True, exist_ok=True)
        there = sorted(path.name for path in folder.iterdir())
        name, data = f"f{self.rng.randrange(5)}", self.content()
        gone = self.rng.choice(there) if there and self.rng.random() < 0.3 else None
        own = folder_of(self.name)
        after = {f"{own}{path.name}": digest(path.read_bytes()) for path in folder.iterdir() if path.name != gone}
        after[f"{own}{name}"] = digest(data)
        self.load.tell(Tried(self.name, self.number, after))
        if gone is not None:
            (folder / gone).unlink()
        (folder / name).write_bytes(data)


class _Editor(_Client):
    """Commits a file without a session."""

    number = 0

    def step(self) -> None:
        self.number += 1
        number, data, path = self.number, self.content(), f"{folder_of(self.name)}file"
        self.load.tell(Tried(self.name, number, {path: digest(data)}))
        self.attempt(lambda: self._put(path, data, number), number)

    def _put(self, path: str, data: bytes, number: int) -> None:
        options = Intent(f"{self.name}/{number}")
        edits = [PutFile(path.encode(), reader(data))]
        done = self.load.manifold.edits.apply(LOCAL_PRINCIPAL, self.load.project, edits, options)
        self.acknowledged(number, done.generation)


class _Reader(_Client):
    """Reads whole trees: in its session, in new ones, and without one; at times what its node has cached is gone."""

    def step(self) -> None:
        kind = self.rng.random()
        if kind < 0.2:
            self._lose_cache()
        if kind < 0.4:
            self._read()
            return
        if kind < 0.6:
            self.load.manifold.sessions.close(LOCAL_PRINCIPAL, self.session)
        floor = self.load.floor.generation
        found = self.load.manifold.sessions.checkout(LOCAL_PRINCIPAL, self.session, self.load.project)
        self.saw(found.generation, floor, files_in(Path(found.path)))

    def _read(self) -> None:
        manifold, project, floor = self.load.manifold, self.load.project, self.load.floor.generation
        head = manifold.history.snapshot(LOCAL_PRINCIPAL, project).head.generation
        self.saw(head, floor, committed_files(manifold, project, head))

    def _lose_cache(self) -> None:
        for where, _, names in os.walk(self.load.manifold.settings.projects.workspace.cache_dir):
            for name in names:
                with suppress(FileNotFoundError):  # others use it
                    os.unlink(os.path.join(where, name))


def committed_files(
    manifold: Manifold, project: ProjectId, generation: int, known: dict[bytes, bytes] | None = None
) -> Files:
    """``known``: as of ``committed``."""
    found = committed(manifold, project, Generation(generation), known)
    return {path.decode(): digest(data) for path, (kind, data) in found.items() if kind == FILE}
