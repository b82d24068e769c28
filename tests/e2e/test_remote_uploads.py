"""A client that lies, or fails: nothing of it is published, and nothing that is published comes to harm."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import urllib3
from blake3 import blake3
from manifold_common.adapters.system.clock import SystemClock
from manifold_common.bootstrap.remote import RemoteManifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.tree import FILE, Changes, Entry, directory
from manifold_common.engine.pack_writer import NewContent
from manifold_common.errors import BadUpload, ConfigError, CorruptObject, InvalidInput, NotFound, QuotaExceeded
from manifold_common.format.places import Block, Container, Place
from manifold_common.format.sealed import ObjectKind, Payload
from manifold_common.ids import ChunkId, Generation, ObjectId, ProjectId, RequestId, SessionId
from manifold_common.ports.remote import UploadReceipt
from manifold_common.services.commit import CommitRequest
from manifold_common.services.remote.generations import PlannedGenerations
from manifold_common.services.remote.uploading import Upload

from tests.support.api import MakeApi
from tests.support.remote import MakeClient, MakeServer, RemoteServer
from tests.support.work import S1, S2, cat, new_project, paths

NOW_NS = 1_700_000_000_000_000_000


def noise(seed: int) -> bytes:
    """Return 3 MiB that nothing compresses: more than travels inside a draft."""
    return random.Random(seed).randbytes(3 << 20)


@dataclass
class Liar:
    """A client that builds its draft by hand."""

    client: RemoteManifold
    upload: Upload
    session: SessionId

    def entry(self, chunk: ChunkId, size: int) -> Changes:
        return Changes({b"": directory(NOW_NS), b"new": Entry(FILE, 0o644, NOW_NS, size, chunk)}, set())

    def name(self, data: bytes) -> ChunkId:
        return self.upload.keys.chunker.chunk_id(data)

    def inline(self, data: bytes, chunk: ChunkId | None = None, size: int | None = None) -> None:
        """Store a draft with one new file of its own content."""
        chunk, size = chunk or self.name(data), len(data) if size is None else size
        self.upload.store(self.entry(chunk, size), NewContent({chunk: (0, 0, size)}, {}, [Payload.of(data)]))

    def packed(self, data: bytes) -> None:
        """Store a pack and a draft that refers to it."""
        with self.upload.writer() as writer:
            chunk = writer.add(data)
            content = writer.finish()
        assert content.packed
        self.upload.store(self.entry(chunk, len(data)), content)

    def refer(self, container: Container, chunk: ChunkId, size: int) -> None:
        """Store a draft whose file is said to be in some object."""
        block = Block(container, 0, 40, size + 24, size)
        self.upload.base.places[chunk] = Place(block, 0, size)
        self.upload.store(self.entry(chunk, size), NewContent({}, {}, []))

    def publish(self) -> int:
        return self.upload.publish(CommitRequest()).generation


@pytest.fixture
def project(server: RemoteServer) -> ProjectId:
    return new_project(server.manifold, a=b"one")


@pytest.fixture
def liar(server: RemoteServer, client: RemoteManifold, project: ProjectId) -> Liar:
    return make_liar(client, project)


def make_liar(client: RemoteManifold, project: ProjectId, session: SessionId = S1) -> Liar:
    generations = PlannedGenerations(client.context)
    opened = generations.enter(client.context.server.plan_session(session, project))
    return Liar(client, Upload(client.context, generations, session, opened.plan.generation), session)


def unchanged(server: RemoteServer, project: ProjectId) -> bool:
    row = server.manifold.projects.get(LOCAL_PRINCIPAL, project)
    report = server.manifold.verify.run(LOCAL_PRINCIPAL, project, read_data=True)
    return (row.head.generation, report.ok, cat(server.manifold, project, b"a")) == (1, True, b"one")


def test_what_is_honest_is_published(server: RemoteServer, liar: Liar, project: ProjectId) -> None:
    liar.inline(b"honest")
    assert liar.publish() == 2
    assert cat(server.manifold, project, b"new") == b"honest"
    assert server.manifold.verify.run(LOCAL_PRINCIPAL, project, read_data=True).ok


def test_content_that_its_id_does_not_name_is_refused(server: RemoteServer, liar: Liar, project: ProjectId) -> None:
    """Otherwise whoever commits the true content later would get this instead."""
    liar.inline(b"poison!", chunk=liar.name(b"innocent"))
    with pytest.raises(BadUpload, match="holds other content"):
        liar.publish()
    assert unchanged(server, project)


def test_a_chunk_that_the_base_has_stays_where_the_base_has_it(
    server: RemoteServer, liar: Liar, project: ProjectId
) -> None:
    liar.upload.base.places.clear()
    liar.inline(b"other bytes", chunk=liar.name(b"one"), size=3)
    assert liar.publish() == 2
    assert cat(server.manifold, project, b"new") == cat(server.manifold, project, b"a") == b"one"


def test_a_chunk_of_the_base_has_the_length_that_it_has(server: RemoteServer, liar: Liar, project: ProjectId) -> None:
    liar.upload.base.places.clear()
    liar.inline(b"longer than it is", chunk=liar.name(b"one"))
    with pytest.raises(BadUpload, match="chunk of 3 bytes"):
        liar.publish()
    assert unchanged(server, project)


@pytest.mark.parametrize("kind", [ObjectKind.PACK, ObjectKind.COMMIT])
def test_a_draft_refers_to_nothing_that_is_not_its_sessions(
    server: RemoteServer, liar: Liar, project: ProjectId, kind: ObjectKind
) -> None:
    """Neither to other projects' objects nor to packs of this one that it has no business with."""
    keys, name = liar.upload.keys, "a" * 25 + "q"
    for whose in (project, new_project(server.manifold, "other", b=b"two")):
        generation = Generation(0 if kind is ObjectKind.PACK else 1)
        container = Container(liar.upload.base.tenant, whose, kind, generation, name, ObjectId(name), keys.write_dek)
        liar.refer(container, ChunkId(b"c" * 32), 3)
        with pytest.raises(BadUpload):
            liar.publish()
        liar = make_liar(liar.client, project)
    assert unchanged(server, project)


def test_a_pack_of_another_session_cannot_be_used(
    server: RemoteServer, make_client: MakeClient, project: ProjectId
) -> None:
    one, two = make_liar(make_client(), project, S1), make_liar(make_client(), project, S2)
    data = noise(1)
    one.packed(data)
    stolen = next(key for key in one.upload._objects.receipts if "/packs/" in key).rpartition("/")[2]
    container = Container(
        two.upload.base.tenant, project, ObjectKind.PACK, Generation(0), stolen, ObjectId(stolen),
        two.upload.keys.write_dek,
    )  # fmt: skip
    two.refer(container, two.name(data), len(data))
    with pytest.raises(BadUpload, match="has no upload"):
        two.publish()
    assert unchanged(server, project)


def test_bytes_that_are_not_those_of_the_receipt_are_refused(
    server: RemoteServer, liar: Liar, project: ProjectId
) -> None:
    liar.inline(b"content")
    receipts = liar.upload._objects.receipts
    key = liar.upload._draft.key
    true = receipts[key]
    for false in (
        UploadReceipt(true.name, true.size + 1, true.blake3),
        UploadReceipt(true.name, true.size - 1, true.blake3),
        UploadReceipt(true.name, true.size, blake3(b"other").digest()),
    ):
        receipts[key] = false
        with pytest.raises(BadUpload, match="cannot be used"):
            liar.publish()
        assert unchanged(server, project)
    receipts[key] = true
    assert liar.publish() == 2


def test_what_was_never_stored_is_said_to_be_missing(server: RemoteServer, liar: Liar, project: ProjectId) -> None:
    key = liar.upload._draft.key
    liar.upload._objects.receipts[key] = UploadReceipt(liar.upload._commit, 100, bytes(32))
    with pytest.raises(BadUpload, match="not stored"):
        liar.publish()
    assert unchanged(server, project)


def test_a_draft_is_used_once(server: RemoteServer, liar: Liar, project: ProjectId) -> None:
    liar.inline(b"content")
    assert liar.publish() == 2
    assert liar.publish() == 2  # the same request is answered again
    with pytest.raises(BadUpload, match="has no upload"):
        liar.upload.publish(CommitRequest(request=RequestId("another")))
    assert server.manifold.projects.get(LOCAL_PRINCIPAL, project).head.generation == 2


def test_a_pack_without_a_receipt_is_not_published(server: RemoteServer, liar: Liar, project: ProjectId) -> None:
    liar.packed(noise(1))
    draft, packs = liar.upload._receipts()
    assert packs
    with pytest.raises(BadUpload, match="without a receipt"):
        liar.client.context.server.publish(
            S1, draft, [], message="", provenance={}, strategy="fail", expected=None, request=RequestId("r")
        )
    assert unchanged(server, project)
    assert liar.client.context.server.verify(S1, draft, packs) == len(packs)
    done = liar.client.context.server.publish(
        S1, draft, [], message="", provenance={}, strategy="fail", expected=None, request=RequestId("r")
    )
    assert done.generation == 2


def test_links_of_published_packs_change_nothing_any_more(server: RemoteServer, liar: Liar, project: ProjectId) -> None:
    liar.packed(noise(1))
    assert liar.publish() == 2
    with urllib3.PoolManager(retries=False) as pool:
        for url, headers in liar.client.context.links._slots.values():  # type: ignore[attr-defined]
            answer = pool.request("PUT", url, body=b"other bytes", headers=dict(headers))
            assert answer.status in (200, 412)  # slots that were not used may still be filled
    assert server.manifold.verify.run(LOCAL_PRINCIPAL, project, read_data=True).ok


def test_quotas_hold_for_uploads(make_server: MakeServer, make_client: MakeClient, tmp_path: Path) -> None:
    server = make_server(PROJECTS_QUOTAS_MAX_FILE_BYTES="1000", PROJECTS_QUOTAS_MAX_PROJECT_BYTES="3000")
    client = make_client(url=server.url)
    source = tmp_path / "source"
    source.mkdir()
    project = client.projects.create("small").project
    (source / "large").write_bytes(b"x" * 1001)
    with pytest.raises(QuotaExceeded):
        client.transfer.import_folder(project, source, CommitRequest())
    (source / "large").unlink()
    for number in range(4):
        (source / f"f{number}").write_bytes(bytes([number]) * 900)
    with pytest.raises(QuotaExceeded):
        client.transfer.import_folder(project, source, CommitRequest())
    assert server.manifold.projects.get(LOCAL_PRINCIPAL, project).head.generation == 0


def test_slots_are_given_for_ones_own_sessions_and_in_small_numbers(server: RemoteServer, liar: Liar) -> None:
    with pytest.raises(NotFound):
        liar.client.context.server.open_uploads(S2, Generation(1), 1)
    with pytest.raises(NotFound):
        liar.client.context.server.open_uploads(S1, Generation(99), 1)
    with pytest.raises(InvalidInput):
        liar.client.context.server.open_uploads(S1, Generation(1), 1000)


class Tomorrow(SystemClock):
    def now(self) -> datetime:
        return super().now() + timedelta(hours=26)


def test_what_nobody_publishes_is_swept_and_what_is_published_stays(
    make_server: MakeServer, server: RemoteServer, make_client: MakeClient, project: ProjectId
) -> None:
    published, left = make_liar(make_client(), project, S1), make_liar(make_client(), project, S2)
    published.packed(noise(1))
    published.publish()
    left.packed(noise(2))
    keys = list(left.upload._objects.receipts)
    assert all(server.manifold.context.store.head(key) for key in keys)
    assert server.manifold.uploads.sweep() == 0
    later = make_server(node="later", clock=Tomorrow())
    assert later.manifold.uploads.sweep() >= len(keys)
    assert not any(server.manifold.context.store.head(key) for key in keys)
    assert server.manifold.verify.run(LOCAL_PRINCIPAL, project, read_data=True).ok
    with pytest.raises(BadUpload):
        left.publish()


@pytest.mark.in_memory("the store of the stack gives links")
def test_a_server_whose_store_gives_no_links_says_so(make_api: MakeApi, make_client: MakeClient) -> None:
    api = make_api()
    new_project(api.manifold, a=b"one")
    client = make_client(url=f"http://127.0.0.1:{api.port}")
    with pytest.raises(ConfigError, match="cannot be reached by clients"):
        client.sessions.checkout(S1, client.projects.resolve("demo").project)
    assert api.manifold.sessions.all(LOCAL_PRINCIPAL) == []


def test_a_plan_has_nothing_that_came_after_its_generation(
    server: RemoteServer, client: RemoteManifold, project: ProjectId
) -> None:
    first = client.context.server.plan(project)
    new = make_liar(client, project)
    new.packed(noise(1))
    new.publish()
    again = client.context.server.plan(project, Generation(1))
    assert {grant.key for grant in again.objects} == {grant.key for grant in first.objects}
    newest = client.context.server.plan(project)
    assert {grant.key for grant in newest.objects} > {grant.key for grant in first.objects}
    assert paths(server.manifold, project) == {b"a", b"new"}


def test_a_granted_key_opens_its_own_object_alone(
    server: RemoteServer, client: RemoteManifold, project: ProjectId
) -> None:
    other = new_project(server.manifold, "other", b=b"secret of another project")
    mine = client.context.server.plan(project).objects[0]
    theirs = client.context.server.plan(other).objects[0]
    assert mine.object_key != theirs.object_key
    raw = bytes(server.manifold.context.store.get(theirs.key, max_bytes=1 << 20))
    assert b"secret" not in raw
    generations = PlannedGenerations(client.context)
    plan = client.context.server.plan(other)
    keys = generations.keyring(other)
    generations.take(plan)
    with pytest.raises(CorruptObject, match="fails authentication"):
        snapshot = generations.take(client.context.server.plan(other, content=False))
        keys.grant(theirs.object_id, mine.object_key)
        block = next(iter(snapshot.places.values())).block
        generations.block_reader(plan.tenant, other).read_one(block)
