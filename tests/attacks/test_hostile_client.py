"""A client that lies, or fails: nothing of it is published, and nothing that is published comes to harm."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn

import pytest
import urllib3
from blake3 import blake3
from manifold_common.adapters.system.clock import SystemClock
from manifold_common.bootstrap.remote import RemoteManifold
from manifold_common.domain.access import LOCAL_PRINCIPAL, Principal
from manifold_common.domain.conflict import Strategy
from manifold_common.domain.history import Point
from manifold_common.domain.tree import FILE, SYMLINK, Changes, Entry, directory
from manifold_common.engine import pack_writer
from manifold_common.engine.pack_writer import NewContent
from manifold_common.errors import (
    BadUpload,
    CatalogUnavailable,
    CommitConflict,
    ConfigError,
    CorruptObject,
    InvalidInput,
    NotFound,
    QuotaExceeded,
    StoreUnavailable,
)
from manifold_common.format.places import Block, Container, Place
from manifold_common.format.sealed import ObjectKind, Payload
from manifold_common.ids import (
    DEFAULT_TENANT,
    DEFAULT_USER,
    ChunkId,
    Generation,
    ObjectId,
    ProjectId,
    RequestId,
    SessionId,
    TenantId,
    UserId,
)
from manifold_common.ports.remote import RemoteServer as Server
from manifold_common.ports.remote import UploadReceipt
from manifold_common.ports.uploads import Upload as Row
from manifold_common.services import publish
from manifold_common.services.commit import CommitRequest
from manifold_common.services.remote.generations import PlannedGenerations
from manifold_common.services.remote.uploading import Upload
from manifold_common.services.uploaded import Receipt
from manifold_common.services.uploads import Room

from tests.support.api import MakeApi
from tests.support.remote import MakeClient, MakeServer, RemoteServer
from tests.support.work import S1, S2, cat, new_project, paths, put

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


@pytest.fixture
def project(server: RemoteServer) -> ProjectId:
    return new_project(server.manifold, a=b"one")


@pytest.fixture
def liar(server: RemoteServer, client: RemoteManifold, project: ProjectId) -> Liar:
    return make_liar(client, project)


def make_liar(client: RemoteManifold, project: ProjectId, session: SessionId = S1) -> Liar:
    generations = PlannedGenerations(client.context)
    opened = generations.plan_session(session, project)
    base = Point(opened.plan.generation, opened.plan.commit)
    return Liar(client, Upload(client.context, generations, session, base), session)


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


def test_chunks_that_overlap_do_not_make_a_server_hash_without_end(
    server: RemoteServer, liar: Liar, project: ProjectId
) -> None:
    """Each is what its id says. A block of 4 MiB has room for millions of them, of megabytes each."""
    data = b"three chunks of one block"
    chunks = {liar.name(data[at:]): (0, at, len(data) - at) for at in range(3)}
    entries = {
        b"new%d" % number: Entry(FILE, 0o644, NOW_NS, size, chunk)
        for number, (chunk, (_, _, size)) in enumerate(chunks.items())
    }
    changes = Changes({b"": directory(NOW_NS), **entries}, set())
    liar.upload.store(changes, NewContent(chunks, {}, [Payload.of(data)]))
    with pytest.raises(BadUpload, match="chunks in frame 2 are longer together than it is"):
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
    key = liar.upload._own.seal().key
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
    key = liar.upload._own.seal().key
    liar.upload._objects.receipts[key] = UploadReceipt(liar.upload._commit, 100, bytes(32))
    with pytest.raises(BadUpload, match="not stored"):
        liar.publish()
    assert unchanged(server, project)


def test_a_pack_that_was_proven_for_one_draft_vouches_for_nothing_in_another(
    server: RemoteServer, liar: Liar, project: ProjectId
) -> None:
    """Otherwise whoever commits the true content later would get what stands in the pack instead."""
    place = liar.packed(noise(1))
    draft, packs = liar.upload._receipts()
    assert liar.client.context.server.verify(S1, draft, packs) == 1
    innocent = b"what somebody else is going to commit"
    second = liar.again()
    second.claim({liar.name(innocent): Place(place.block, 7, len(innocent))})
    for receipts in (packs, []):
        second.upload._objects.receipts |= {f"packs/{one.name}": one for one in receipts}
        with pytest.raises(BadUpload, match="neither given out for it"):
            second.publish()
        with pytest.raises(BadUpload, match="neither given out for it"):
            second.upload.keep()
    assert unchanged(server, project)
    put(server.manifold, project, b"innocent", innocent)
    assert cat(server.manifold, project, b"innocent") == innocent


def test_a_pack_is_proven_for_what_was_read_and_for_nothing_else(
    server: RemoteServer, liar: Liar, project: ProjectId
) -> None:
    """Even where the store lets the draft be exchanged: the proof says what of, and not that there was one."""
    place = liar.packed(noise(1))
    draft, packs = liar.upload._receipts()
    ask = liar.client.context.server
    assert ask.verify(S1, draft, packs) == 1
    assert ask.verify(S1, draft, packs) == 0
    innocent = b"what somebody else is going to commit"
    store, key = server.manifold.context.store, liar.upload._own.seal().key
    objects = liar.upload._objects
    true = liar.upload.base.places.copy()
    for claims in (
        {liar.name(innocent): Place(place.block, 7, len(innocent))},
        {liar.name(noise(1)): place, liar.name(innocent): Place(place.block, 0, len(innocent))},
        {liar.name(noise(1)): place._replace(block=place.block._replace(frame=1))},
    ):
        objects.write = lambda key, data: (
            store.put(key, data)
            or objects.receipts.update(  # type: ignore[method-assign, func-returns-value]
                {key: UploadReceipt(liar.upload._commit, len(data), blake3(data).digest())}
            )
        )
        liar.claim(claims)
        forged = liar.upload._receipts()[0]
        assert forged != draft
        with pytest.raises(BadUpload, match="without a receipt"):
            ask.publish(
                S1, forged, [], message="", provenance={}, strategy="fail", expected=None, request=RequestId("a")
            )
        with pytest.raises(BadUpload, match=r"other content|not where the draft says|longer together"):
            ask.publish(
                S1, forged, packs, message="", provenance={}, strategy="fail", expected=None, request=RequestId("b")
            )
        liar.upload.base.places.clear()
        liar.upload.base.places.update(true)
    assert store.head(key) is not None
    assert unchanged(server, project)


def test_one_receipt_given_twice_is_one_pack(liar: Liar) -> None:
    liar.packed(noise(1))
    draft, packs = liar.upload._receipts()
    assert liar.client.context.server.verify(S1, draft, packs * 3) == 1


@pytest.mark.parametrize("end", ["publish", "keep"])
def test_a_draft_puts_nothing_where_there_is_no_folder(
    server: RemoteServer, liar: Liar, project: ProjectId, end: str
) -> None:
    """Through a link, into a file, or below nothing: not even for whoever takes the session over."""
    link = Entry(SYMLINK, 0o777, NOW_NS, 0, b"/tmp")
    for number, upserts in enumerate(
        (
            {b"link": link, b"link/file": Entry(FILE, 0o644, NOW_NS, 0, b"")},
            {b"a/file": Entry(FILE, 0o644, NOW_NS, 0, b"")},
            {b"nowhere/file": Entry(FILE, 0o644, NOW_NS, 0, b"")},
        )
    ):
        one = liar if not number else liar.again()
        one.upload.store(Changes({b"": directory(NOW_NS), **upserts}, set()), NewContent({}, {}, []))
        with pytest.raises(BadUpload, match="where there is no folder"):
            one.publish() if end == "publish" else one.upload.keep()
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
    links = liar.client.context.links._slots.values()  # type: ignore[attr-defined]
    assert len(links) == 2
    with urllib3.PoolManager(retries=False) as pool:
        for url, headers in links:
            length = int(headers["Content-Length"])
            # The draft's was for one time only and is over: its room may be filled again, with what nobody ever reads.
            assert pool.request("PUT", url, body=bytes(length), headers=dict(headers)).status in (200, 412)
            assert pool.request("PUT", url, body=bytes(length + 1)).status == 403
    assert server.manifold.verify.run(LOCAL_PRINCIPAL, project, read_data=True).ok


def test_a_link_is_for_one_length_which_cannot_be_changed(server: RemoteServer, liar: Liar) -> None:
    ask = liar.client.context.server
    draft = liar.upload._commit
    (link,) = ask.link_uploads(S1, {draft: 1000})
    assert [one.name for one in ask.link_uploads(S1, {draft: 1000})] == [link.name]
    for size in (999, 1001):
        with pytest.raises(BadUpload, match="another length"):
            ask.link_uploads(S1, {draft: size})
    with urllib3.PoolManager(retries=False) as pool:
        for size in (0, 999, 1001, 1 << 20):
            headers = {name: value for name, value in link.headers.items() if name != "Content-Length"}
            assert pool.request("PUT", link.url, body=bytes(size), headers=headers).status == 403
    assert server.manifold.context.store.head(liar.upload._own.seal().key) is None


@pytest.mark.parametrize(("kind", "size"), [("draft", (256 << 20) + 1), ("pack", 64 << 20)])
def test_no_link_is_given_for_more_than_such_an_object_can_be(liar: Liar, kind: str, size: int) -> None:
    name = liar.upload._commit if kind == "draft" else liar.upload._free[0]
    with pytest.raises(BadUpload, match="has 1 to"):
        liar.client.context.server.link_uploads(S1, {name: size})


def test_links_are_given_for_ones_own_uploads_alone(
    server: RemoteServer, make_client: MakeClient, project: ProjectId
) -> None:
    one, two = make_liar(make_client(), project, S1), make_liar(make_client(), project, S2)
    ask = one.client.context.server
    for name in (two.upload._commit, two.upload._free[0], "a" * 25 + "q"):
        with pytest.raises(BadUpload, match="has no upload"):
            ask.link_uploads(S1, {name: 10})
    with pytest.raises(NotFound):
        ask.link_uploads(SessionId("nobody"), {one.upload._commit: 10})
    with pytest.raises(BadUpload, match="has no upload"):
        ask.open_uploads(S1, Generation(1), 1, draft=two.upload._commit)
    with pytest.raises(BadUpload, match="made on generation"):
        ask.open_uploads(S1, Generation(0), 1, draft=one.upload._commit)
    for stranger in (Principal(DEFAULT_TENANT, UserId("another")), Principal(TenantId("another"), DEFAULT_USER)):
        with pytest.raises(NotFound):
            server.manifold.uploads.link(stranger, S1, {one.upload._commit: 10})


def test_room_for_uploads_is_bounded_and_publishing_makes_room_again(
    server: RemoteServer, liar: Liar, project: ProjectId
) -> None:
    ask = liar.client.context.server
    server.manifold.uploads._room = Room(session_slots=10, user_slots=12)
    ask.open_uploads(S1, Generation(1), 7)
    with pytest.raises(QuotaExceeded, match=r"the session would have 12 slots.*publish or save"):
        ask.open_uploads(S1, Generation(1), 1)
    make_liar(liar.client, project, S2)
    with pytest.raises(QuotaExceeded, match="the user would have 13 slots"):
        ask.open_uploads(S2, Generation(1), 0)
    server.manifold.uploads._room = Room(session_slots=10, user_bytes=8 << 20)
    liar.packed(noise(1))
    with pytest.raises(QuotaExceeded, match="bytes of uploads open"):
        ask.link_uploads(S2, {make_room(ask, S2): 6 << 20})
    assert liar.publish() == 2
    ask.link_uploads(S2, {make_room(ask, S2): 6 << 20})
    assert len(ask.open_uploads(S1, Generation(2), 1).packs) == 1  # the draft that was published, and what was its own


def make_room(ask: Server, session: SessionId) -> str:
    """Return a draft of the session that has no link yet."""
    return ask.open_uploads(session, Generation(1), 0).draft_commit


def test_an_import_of_more_packs_than_one_answer_has_room_for_goes_through(
    server: RemoteServer, client: RemoteManifold, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many times over, in a session that has hardly more room than one of them takes: each makes room again."""
    monkeypatch.setattr(pack_writer, "PACK_TARGET_BYTES", 1 << 20)
    server.manifold.uploads._room = Room(session_slots=40, user_slots=40)
    source = tmp_path / "source"
    source.mkdir()
    project = client.projects.create("large").project
    for turn in range(3):
        (source / "large").write_bytes(random.Random(turn).randbytes(20 << 20))
        assert client.transfer.import_folder(project, source, CommitRequest()).generation == turn + 1
        assert rows(server) == []
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


Sweep = Callable[[], int]


@pytest.fixture
def sweep_tomorrow(make_server: MakeServer, server: RemoteServer) -> Sweep:
    return make_server(node="later", clock=Tomorrow()).manifold.uploads.sweep


def rows(server: RemoteServer) -> list[Row]:
    """Return every row, whenever its time is over."""
    return server.manifold.context.catalog.ended_uploads(datetime.now(UTC) + timedelta(days=400))


def stored(server: RemoteServer, liar: Liar) -> list[bool]:
    """Say of each object that the client has stored, the draft first, whether it is there."""
    keys = sorted(liar.upload._objects.receipts, key=lambda key: "/packs/" in key)
    return [server.manifold.context.store.head(key) is not None for key in keys]


def test_what_nobody_publishes_is_swept_and_what_is_published_stays(
    server: RemoteServer, make_client: MakeClient, project: ProjectId, sweep_tomorrow: Sweep
) -> None:
    published, left = make_liar(make_client(), project, S1), make_liar(make_client(), project, S2)
    published.packed(noise(1))
    published.publish()
    left.packed(noise(2))
    draft, packs = left.upload._receipts()
    assert left.client.context.server.verify(S2, draft, packs) == 1  # proven, and still nobody's
    assert (stored(server, published), stored(server, left)) == ([False, True], [True, True])
    assert server.manifold.uploads.sweep() == 0
    assert sweep_tomorrow() == 2
    assert (stored(server, published), stored(server, left)) == ([False, True], [False, False])
    assert rows(server) == []
    assert server.manifold.verify.run(LOCAL_PRINCIPAL, project, read_data=True).ok
    with pytest.raises(BadUpload):
        left.publish()


def test_a_conflict_leaves_its_packs_to_the_saved_work_and_no_rows(
    server: RemoteServer, liar: Liar, project: ProjectId, sweep_tomorrow: Sweep, make_client: MakeClient
) -> None:
    liar.packed(noise(1))
    put(server.manifold, project, b"new", b"somebody else's")
    with pytest.raises(CommitConflict):
        liar.publish()
    assert rows(server) == []
    assert sweep_tomorrow() == 0
    assert stored(server, liar) == [False, True]
    there = make_client("another").sessions.checkout(S1, strategy=Strategy.OURS)
    assert (Path(there.path) / "new").read_bytes() == noise(1)


def test_a_refusal_leaves_packs_that_go_when_their_time_is_over(
    make_server: MakeServer, make_client: MakeClient, server: RemoteServer, project: ProjectId, sweep_tomorrow: Sweep
) -> None:
    liar = make_liar(make_client(), project)
    liar.packed(noise(1))
    small = make_server(node="small", PROJECTS_QUOTAS_MAX_PROJECT_BYTES="1000000")
    draft, packs = liar.upload._receipts()
    receipts = [Receipt(one.name, one.size, one.blake3) for one in (draft, *packs)]
    for end in (small.manifold.uploads.save, small.manifold.uploads.publish):
        more = () if end == small.manifold.uploads.save else (CommitRequest(),)
        with pytest.raises(QuotaExceeded):
            end(LOCAL_PRINCIPAL, S1, receipts[0], receipts[1:], *more)  # type: ignore[operator]
    assert stored(server, liar) == [True, True]
    assert sweep_tomorrow() == 2
    assert (stored(server, liar), rows(server)) == ([False, False], [])


def test_a_publication_that_does_not_happen_after_all_leaves_packs_that_go(
    server: RemoteServer, liar: Liar, project: ProjectId, sweep_tomorrow: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stopped between the note of what is about to refer to them and the commit point."""
    liar.packed(noise(1))
    monkeypatch.setattr(server.manifold.context.catalog, "publish_commit", failing(CatalogUnavailable("away")))
    monkeypatch.setattr(publish, "_ACKNOWLEDGEMENT_TRIES", 1)
    with pytest.raises(CatalogUnavailable):
        server.manifold.uploads.publish(LOCAL_PRINCIPAL, S1, *receipts_of(liar), CommitRequest())
    assert [len(one.commits) for one in rows(server) if one.proof] == [1]
    sweep_tomorrow()
    assert (stored(server, liar), rows(server)) == ([False, False], [])
    assert unchanged(server, project)


@pytest.mark.parametrize("end", ["publish", "save"])
def test_packs_that_are_referred_to_stay_though_the_end_was_not_noted(
    server: RemoteServer,
    liar: Liar,
    project: ProjectId,
    sweep_tomorrow: Sweep,
    make_client: MakeClient,
    monkeypatch: pytest.MonkeyPatch,
    end: str,
) -> None:
    """It stopped right after the commit point, or after the work was saved."""
    liar.packed(noise(1))
    monkeypatch.setattr(server.manifold.context.catalog, "forget_uploads", failing(CatalogUnavailable("away")))
    if end == "publish":
        server.manifold.uploads.publish(LOCAL_PRINCIPAL, S1, *receipts_of(liar), CommitRequest())
    else:
        server.manifold.uploads.save(LOCAL_PRINCIPAL, S1, *receipts_of(liar))
    monkeypatch.undo()
    assert len(rows(server)) == 2
    sweep_tomorrow()
    assert (stored(server, liar), rows(server)) == ([False, True], [])
    assert server.manifold.verify.run(LOCAL_PRINCIPAL, project, read_data=True).ok
    found = make_client("another").sessions.checkout(S1)
    assert (Path(found.path) / "new").read_bytes() == noise(1)


@pytest.mark.parametrize("noted", [True, False])
def test_packs_of_what_a_strategy_dropped_stay_with_the_session_that_keeps_it(
    server: RemoteServer,
    liar: Liar,
    project: ProjectId,
    sweep_tomorrow: Sweep,
    make_client: MakeClient,
    monkeypatch: pytest.MonkeyPatch,
    noted: bool,
) -> None:
    """No commit refers to them, and neither does the draft of the session that they were uploaded in."""
    liar.packed(noise(1))
    put(server.manifold, project, b"new", b"somebody else's")
    if not noted:
        monkeypatch.setattr(server.manifold.context.catalog, "forget_uploads", failing(CatalogUnavailable("away")))
    wanted = CommitRequest(strategy=Strategy.THEIRS)
    done = server.manifold.uploads.publish(LOCAL_PRINCIPAL, S1, *receipts_of(liar), wanted)
    monkeypatch.undo()
    sweep_tomorrow()
    assert (stored(server, liar), rows(server)) == ([False, True], [])
    found = make_client("another").sessions.checkout(done.kept[0])
    assert (Path(found.path) / "new").read_bytes() == noise(1)


def test_a_removal_that_failed_is_not_forgotten(
    server: RemoteServer, liar: Liar, make_server: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    liar.packed(noise(1))
    later = make_server(node="later", clock=Tomorrow()).manifold
    monkeypatch.setattr(later.context.store, "delete", failing(StoreUnavailable("away")))
    with pytest.raises(StoreUnavailable):
        later.uploads.sweep()
    with pytest.raises(BadUpload):  # one is going: whether the removal was done nobody knows
        liar.publish()
    monkeypatch.undo()
    later.uploads.sweep()
    assert (stored(server, liar), rows(server)) == ([False, False], [])


def test_what_others_had_committed_all_of_takes_no_room(
    server: RemoteServer, liar: Liar, project: ProjectId, sweep_tomorrow: Sweep
) -> None:
    other = make_liar(liar.client, project, S2)
    for one in (liar, other):
        one.packed(noise(1))
    other.publish()
    assert liar.upload.publish(CommitRequest()).commit is None
    sweep_tomorrow()
    assert (stored(server, liar), rows(server)) == ([False, False], [])
    assert server.manifold.verify.run(LOCAL_PRINCIPAL, project, read_data=True).ok


def failing(error: Exception) -> Callable[..., NoReturn]:
    def fail(*arguments: object, **words: object) -> NoReturn:
        raise error

    return fail


def receipts_of(liar: Liar) -> tuple[Receipt, list[Receipt]]:
    draft, packs = liar.upload._receipts()
    found = [Receipt(one.name, one.size, one.blake3) for one in (draft, *packs)]
    return found[0], found[1:]


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
        generations.block_reader(plan.tenant, other).read_one(block, snapshot.places)
