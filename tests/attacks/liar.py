"""A client that builds its drafts by hand, as no client of ours would."""

from __future__ import annotations

import random
from dataclasses import dataclass

from manifold_common.bootstrap.remote import RemoteManifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.history import Point
from manifold_common.domain.tree import FILE, Changes, Entry, directory
from manifold_common.engine.pack_writer import NewContent
from manifold_common.format.places import Block, Container, Place
from manifold_common.format.sealed import Payload
from manifold_common.ids import ChunkId, ProjectId, SessionId
from manifold_common.services.remote.draft_upload import DraftUpload
from manifold_common.services.remote.generation_source import PlannedGenerationSource
from manifold_common.services.sessions.commit import CommitRequest

from tests.support.remote import RemoteServer
from tests.support.work import S1, cat

NOW_NS = 1_700_000_000_000_000_000


def noise(seed: int) -> bytes:
    """Return 3 MiB that nothing compresses: more than travels inside a draft."""
    return random.Random(seed).randbytes(3 << 20)


@dataclass
class Liar:
    """A client that builds its draft by hand."""

    client: RemoteManifold
    upload: DraftUpload
    session: SessionId

    def entry(self, chunk: ChunkId, size: int) -> Changes:
        return Changes({b"": directory(NOW_NS), b"new": Entry(FILE, 0o644, NOW_NS, size, chunk)}, set())

    def name(self, data: bytes) -> ChunkId:
        return self.upload.keys.chunker.chunk_id(data)

    def inline(self, data: bytes, chunk: ChunkId | None = None, size: int | None = None) -> None:
        """Store a draft with one new file of its own content."""
        chunk, size = chunk or self.name(data), len(data) if size is None else size
        self.upload.store(self.entry(chunk, size), NewContent({chunk: (0, 0, size)}, {}, [Payload.of(data)]))

    def packed(self, data: bytes) -> Place:
        """Store a pack and a draft that refers to it; return where the data is."""
        with self.upload.writer() as writer:
            chunk = writer.add(data)
            content = writer.finish()
        assert content.packed
        self.upload.store(self.entry(chunk, len(data)), content)
        (block,) = content.packed.values()
        return Place(block, 0, len(data))

    def again(self) -> Liar:
        """Return the same client with another draft of the same session."""
        return make_liar(self.client, self.upload.base.project, self.session)

    def claim(self, claims: dict[ChunkId, Place]) -> None:
        """Store a draft with a file for each of these chunks, wherever they are said to be."""
        entries = {
            b"claimed%d" % number: Entry(FILE, 0o644, NOW_NS, place.length, chunk)
            for number, (chunk, place) in enumerate(claims.items())
        }
        self.upload.base.places.update(claims)
        self.upload.store(Changes({b"": directory(NOW_NS), **entries}, set()), NewContent({}, {}, []))

    def refer(self, container: Container, chunk: ChunkId, size: int) -> None:
        """Store a draft whose file is said to be in some object."""
        block = Block(container, 0, 40, size + 24, size)
        self.upload.base.places[chunk] = Place(block, 0, size)
        self.upload.store(self.entry(chunk, size), NewContent({}, {}, []))

    def publish(self) -> int:
        return self.upload.publish(CommitRequest()).generation


def make_liar(client: RemoteManifold, project: ProjectId, session: SessionId = S1) -> Liar:
    generations = PlannedGenerationSource(client.context)
    opened = generations.plan_session(session, project)
    base = Point(opened.plan.generation, opened.plan.commit)
    return Liar(client, DraftUpload(client.context, generations, session, base), session)


def unchanged(server: RemoteServer, project: ProjectId) -> bool:
    row = server.manifold.projects.get(LOCAL_PRINCIPAL, project)
    report = server.manifold.verify.run(LOCAL_PRINCIPAL, project, read_data=True)
    return (row.head.generation, report.ok, cat(server.manifold, project, b"a")) == (1, True, b"one")
