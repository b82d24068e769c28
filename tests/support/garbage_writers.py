"""What processes do that commit, save, upload, fork, tag, delete and bring back, and are killed at any instant.

What a process was about to do, and what it was told of, is on record. So whoever takes its place knows what has to be
there: what was committed, and what was saved.
"""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.conflict import Strategy
from manifold_common.engine.pack_writer import PackWriter
from manifold_common.errors import (
    AlreadyExists,
    CommitConflict,
    ContentCollected,
    ManifoldError,
    NotFound,
    QuotaExceeded,
    StoreUnavailable,
    UploadLocked,
)
from manifold_common.ids import Generation, ProjectId, SessionId, TagName
from manifold_common.services import publish
from manifold_common.services.projects.edits import Copy, Delete, Edit, PutFile, reading
from manifold_common.services.resumable.records import About
from manifold_common.services.resumable.uploads import Incoming
from manifold_common.shapes.requests import CheckoutRequest

from tests.support.garbage_load import (
    CONTENTS,
    FAILING_SHARE,
    HEADER_BYTES,
    LONGEST_SECONDS,
    PACKED_SHARE,
    SLOTS,
    Journal,
    Place,
    content,
)
from tests.support.garbage_model import INLINE_BYTES

MOST_PROJECTS = 8
_EXPECTED = (
    AlreadyExists, CommitConflict, ContentCollected, NotFound, QuotaExceeded, StoreUnavailable, UploadLocked,
)  # fmt: skip
Act = Callable[[ProjectId], None]


class Writer:
    """Changes only files of its own name, so that no two conflict."""

    def __init__(self, place: Place, name: str, seed: int, fails: float = FAILING_SHARE) -> None:
        self.name, self.dice = name, random.Random(seed)
        self.manifold = place.node(name, fails)
        self.journal = Journal(place.folder, name)
        self.begun = f"{time.time_ns():x}"
        """Tells its sessions from those of whoever had its name before."""
        self.number = 0

    def close(self) -> None:
        self.manifold.close()
        self.journal.close()

    def acts(self) -> list[tuple[Act, int]]:
        return [
            (self.put, 20), (self.drop, 12), (self.copy, 3), (self.restore, 2), (self.work, 8), (self.upload, 3),
            (self.tag, 2),
        ]  # fmt: skip

    def run(self) -> None:
        """Go on until killed."""
        while True:
            (act,) = self.dice.choices([one for one, _ in self.acts()], [weight for _, weight in self.acts()])
            with self.failures_noted(act.__name__):
                act(self.dice.choice(self.projects()))
            if self.dice.random() < 0.2:
                with self.failures_noted("recover"):
                    recover(self, most=1)

    def failures_noted(self, act: str) -> Noted:
        return Noted(self.journal, act)

    def projects(self) -> list[ProjectId]:
        return [one.id for one in self.manifold.projects.page(LOCAL_PRINCIPAL)]

    def slot(self) -> bytes:
        return f"{self.name}-{self.dice.randrange(SLOTS)}".encode()

    def generation(self, project: ProjectId) -> Generation:
        """Return one of the newest. Raises NotFound: there is none."""
        found = self.manifold.history.log(LOCAL_PRINCIPAL, project, limit=8)
        if not found:
            raise NotFound("it is empty")
        return self.dice.choice(found).generation

    def apply(self, project: ProjectId, edits: list[Edit], files: dict[bytes, int]) -> None:
        done = self.manifold.edits.apply(LOCAL_PRINCIPAL, project, edits)
        self.committed(project, done.generation if done.commit else None, files)

    def committed(self, project: ProjectId, generation: int | None, files: dict[bytes, int]) -> None:
        if generation is not None:
            named = {path.decode(): number for path, number in files.items()}
            self.journal.note("committed", project=project, generation=generation, files=named)

    def put(self, project: ProjectId) -> None:
        files = {self.slot(): self.dice.randrange(CONTENTS) for _ in range(self.dice.choice([1, 1, 3]))}
        self.apply(project, [PutFile(path, reading(content(one))) for path, one in files.items()], files)

    def drop(self, project: ProjectId) -> None:
        self.apply(project, [Delete(self.slot())], {})

    def copy(self, project: ProjectId) -> None:
        source, destination = self.dice.sample(range(SLOTS), 2)
        paths = [f"{self.name}-{slot}".encode() for slot in (source, destination)]
        self.apply(project, [Copy(*paths, True)], {})

    def restore(self, project: ProjectId) -> None:
        generation = self.generation(project)
        done = self.manifold.edits.restore(LOCAL_PRINCIPAL, project, generation, [self.slot()])
        self.committed(project, done.generation if done.commit else None, {})

    def work(self, project: ProjectId) -> None:
        """Work in a session for a while; leave it, save it, or commit it."""
        self.number += 1
        session = SessionId(f"{self.name}-s{self.number}-{self.begun}")
        folder = Path(self.manifold.sessions.checkout(LOCAL_PRINCIPAL, session, project).path)
        written: dict[bytes, int] = {}
        try:
            for _ in range(self.dice.randint(1, 3)):
                written[path := self.slot()] = number = self.dice.randrange(CONTENTS)
                (folder / path.decode()).write_bytes(content(number))
                named = {path.decode(): number for path, number in written.items()}
                self.journal.note("about to save", session=session, files=named)
                if self.dice.random() < 0.5:
                    if self.manifold.commits.save(LOCAL_PRINCIPAL, session).draft is not None:
                        self.journal.note("saved", session=session, files=named)
                    time.sleep(self.dice.random() * self.dice.choice([0.2, 0.2, 0.2, LONGEST_SECONDS]))
                if self.dice.random() < 0.6:
                    self.journal.note("about to commit", session=session)
                    done = self.manifold.commits.commit(LOCAL_PRINCIPAL, session)
                    self.committed(project, done.generation if done.commit else None, written)
                    written = {}
        finally:
            self.manifold.sessions.close(LOCAL_PRINCIPAL, session)

    def upload(self, project: ProjectId) -> None:
        """Send a file in parts, the last of which commits it; or leave it, or end it."""
        uploads, path, number = self.manifold.resumable_uploads, self.slot(), self.dice.randrange(CONTENTS)
        data = content(number if self.dice.random() < 0.5 else number % max(1, int(CONTENTS * PACKED_SHARE)))
        number = int.from_bytes(data[:HEADER_BYTES], "big")
        at = uploads.create(LOCAL_PRINCIPAL, project, About(path), len(data))
        cuts = sorted(self.dice.randrange(len(data)) for _ in range(self.dice.randrange(3)))
        for end in [*cuts, len(data)]:
            part = Incoming(at.offset, reading(data[at.offset : end]), lambda about: (None, False))
            at = uploads.append(LOCAL_PRINCIPAL, project, at.upload, part)
            if at.outcome is not None:
                self.committed(project, at.outcome.generation if at.outcome.commit else None, {path: number})
            elif self.dice.random() < 0.15:
                return
            elif self.dice.random() < 0.1:
                uploads.end(LOCAL_PRINCIPAL, project, at.upload)
                return

    def tag(self, project: ProjectId) -> None:
        name = TagName(f"{self.name}-{self.dice.randrange(2)}")
        with suppress(NotFound):
            self.manifold.tags.remove(LOCAL_PRINCIPAL, project, name)
        self.manifold.tags.set(LOCAL_PRINCIPAL, project, name, self.generation(project))


class Forker(Writer):
    """Makes projects of others, deletes them, and brings them back."""

    def acts(self) -> list[tuple[Act, int]]:
        return [(self.fork, 4), (self.remove, 2), (self.bring_back, 2), (self.tag, 1), (self.put, 2), (self.drop, 1)]

    def fork(self, project: ProjectId) -> None:
        if len(self.projects()) < MOST_PROJECTS:
            self.number += 1
            name = f"{self.name}-f{self.number}-{self.begun}"
            made = self.manifold.forks.fork(LOCAL_PRINCIPAL, project, name, self.generation(project))
            self.journal.note("forked", project=made.id)

    def remove(self, project: ProjectId) -> None:
        if len(self.projects()) > MOST_PROJECTS // 2:
            self.journal.note("about to delete", project=project)
            self.manifold.projects.delete(LOCAL_PRINCIPAL, project)
            self.journal.note("deleted", project=project)

    def bring_back(self, project: ProjectId) -> None:
        found = self.manifold.deleted_projects.page(LOCAL_PRINCIPAL)
        if found:
            made = self.manifold.deleted_projects.undelete(LOCAL_PRINCIPAL, self.dice.choice(found).id)
            self.journal.note("brought back", project=made.id)


class Noted:
    """Puts on record what an act has failed with."""

    def __init__(self, journal: Journal, act: str) -> None:
        self._journal, self._act = journal, act

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        if isinstance(error, _EXPECTED):
            self._journal.note("refused", code=error.code, act=self._act)
        elif isinstance(error, ManifoldError):
            self._journal.note("wrong", code=error.code, act=self._act, message=error.message)
        return isinstance(error, ManifoldError)


def recover(writer: Writer, most: int = 1000) -> None:
    """Find what was saved in sessions of those that had the name before, and were killed: all that they were told of.
    Then close these."""
    for row in writer.manifold.sessions.all(LOCAL_PRINCIPAL):
        if most and row.session.startswith(f"{writer.name}-s") and not row.session.endswith(writer.begun):
            most -= 1
            if row.draft is not None:
                _check_saved(writer, row.session)
            writer.manifold.sessions.close(LOCAL_PRINCIPAL, row.session)


def _check_saved(writer: Writer, session: SessionId) -> None:
    saved: dict[str, int] = {}
    since: dict[str, set[int]] = defaultdict(set)
    for line in writer.journal.lines():
        if line.get("session") != session:
            continue
        if line["what"] == "saved":
            saved, since = line["files"], defaultdict(set)
        elif line["what"] == "about to commit":
            saved = {}
        elif line["what"] == "about to save":
            for path, number in line["files"].items():
                since[path].add(number)
    ours = CheckoutRequest(strategy=Strategy.OURS)
    folder = Path(writer.manifold.sessions.checkout(LOCAL_PRINCIPAL, session, None, ours).path)
    for path, number in saved.items():
        found = (folder / path).read_bytes() if (folder / path).exists() else None
        if found not in {content(one) for one in since[path] | {number}}:
            writer.journal.note("wrong", code="lost work", act="recover", message=f"{session}: {path}")
    writer.journal.note("recovered")


def write(place: Place, name: str, seed: int, ready: Event, kind: type[Writer]) -> None:
    """Take the place of whoever had the name, on a machine that was restarted; go on until killed."""
    place.wipe(name)
    PackWriter.finish.__defaults__ = (INLINE_BYTES,)
    renewed = publish.renewed
    writer = kind(place, name, seed)

    def counted(*args: Any) -> Any:
        try:
            found = renewed(*args)
        except ContentCollected:
            writer.journal.note("had to store anew")
            raise
        writer.journal.note("brought to the present")
        return found

    publish.renewed = counted
    ready.set()
    writer.run()
