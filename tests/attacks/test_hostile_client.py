"""A client that lies, or fails: nothing of it is published, and nothing that is published comes to harm."""

from __future__ import annotations

import pytest
from blake3 import blake3
from manifold_common.bootstrap.remote import RemoteManifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.arguments import optional_request
from manifold_common.domain.tree import FILE, SYMLINK, Changes, Entry, directory
from manifold_common.engine.pack_writer import NewContent
from manifold_common.errors import BadUpload, ConfigError, CorruptObject
from manifold_common.format.places import Container, Place
from manifold_common.format.sealed import ObjectKind, Payload
from manifold_common.ids import ChunkId, Generation, ObjectId, ProjectId
from manifold_common.services.remote.generation_source import PlannedGenerationSource
from manifold_common.shapes.access import UploadReceipt
from manifold_common.shapes.intent import Intent

from tests.attacks.liar import NOW_NS, Liar, make_liar, noise, unchanged
from tests.support.api import MakeApi
from tests.support.remote import MakeClient, RemoteServer
from tests.support.work import S1, S2, cat, new_project, paths, put


@pytest.fixture
def project(server: RemoteServer) -> ProjectId:
    return new_project(server.manifold, a=b"one")


@pytest.fixture
def liar(server: RemoteServer, client: RemoteManifold, project: ProjectId) -> Liar:
    return make_liar(client, project)


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
            ask.publish(S1, forged, [], Intent(request=optional_request("a")))
        with pytest.raises(BadUpload, match=r"other content|not where the draft says|longer together"):
            ask.publish(S1, forged, packs, Intent(request=optional_request("b")))
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
        liar.upload.publish(Intent(request=optional_request("another")))
    assert server.manifold.projects.get(LOCAL_PRINCIPAL, project).generation == 2


def test_a_pack_without_a_receipt_is_not_published(server: RemoteServer, liar: Liar, project: ProjectId) -> None:
    liar.packed(noise(1))
    draft, packs = liar.upload._receipts()
    assert packs
    with pytest.raises(BadUpload, match="without a receipt"):
        liar.client.context.server.publish(S1, draft, [], Intent(request=optional_request("r")))
    assert unchanged(server, project)
    assert liar.client.context.server.verify(S1, draft, packs) == len(packs)
    done = liar.client.context.server.publish(S1, draft, [], Intent(request=optional_request("r")))
    assert done.generation == 2


@pytest.mark.in_memory("the store of the stack gives links")
def test_a_server_whose_store_gives_no_links_says_so(make_api: MakeApi, make_client: MakeClient) -> None:
    api = make_api()
    new_project(api.manifold, a=b"one")
    client = make_client(url=f"http://127.0.0.1:{api.port}")
    with pytest.raises(ConfigError, match="cannot be reached by clients"):
        client.sessions.checkout(S1, client.projects.resolve("demo").id)
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
    generations = PlannedGenerationSource(client.context)
    plan = client.context.server.plan(other)
    keys = generations.keyring(other)
    generations.take(plan)
    with pytest.raises(CorruptObject, match="fails authentication"):
        snapshot = generations.take(client.context.server.plan(other, content=False))
        keys.grant(theirs.object_id, mine.object_key)
        block = next(iter(snapshot.places.values())).block
        generations.block_reader(plan.tenant, other).read_one(block, snapshot.places)
