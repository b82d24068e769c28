"""Uploads of a client that lies, or fails: they stay within what is its own, and go when nobody publishes them."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import pytest
import urllib3
from manifold_common.adapters.system.clock import SystemClock
from manifold_common.bootstrap.remote import RemoteManifold
from manifold_common.domain.access import LOCAL_PRINCIPAL, Principal
from manifold_common.domain.conflict import Strategy
from manifold_common.engine import pack_writer
from manifold_common.errors import (
    BadUpload,
    CatalogUnavailable,
    CommitConflict,
    InvalidInput,
    NotFound,
    QuotaExceeded,
    StoreUnavailable,
)
from manifold_common.ids import DEFAULT_TENANT, DEFAULT_USER, Generation, ProjectId, SessionId, TenantId, UserId
from manifold_common.ports.catalog import Upload as Row
from manifold_common.ports.remote import RemoteServer as Server
from manifold_common.services import commit_point
from manifold_common.services.direct.inspection import Inspector, UploadedDraft
from manifold_common.services.direct.uploads import Room
from manifold_common.shapes.intent import Intent
from manifold_common.shapes.requests import CheckoutRequest

from tests.attacks.liar import Liar, make_liar, noise, unchanged
from tests.support.remote import MakeClient, MakeServer, RemoteServer, on_every_store
from tests.support.work import S1, S2, new_project, put


@pytest.fixture
def project(server: RemoteServer) -> ProjectId:
    return new_project(server.manifold, a=b"one")


@pytest.fixture
def liar(server: RemoteServer, client: RemoteManifold, project: ProjectId) -> Liar:
    return make_liar(client, project)


@on_every_store
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


def test_a_repeat_that_comes_as_the_first_request_finishes_is_answered_like_it(
    server: RemoteServer, liar: Liar, project: ProjectId, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It finds no commit yet when it looks, and no draft any more when it reads."""
    liar.inline(b"new")
    read, first = Inspector.read, []

    def overtaken(self: Inspector, *arguments: Any) -> UploadedDraft:
        monkeypatch.setattr(Inspector, "read", read)
        first.append(liar.publish())
        return read(self, *arguments)

    monkeypatch.setattr(Inspector, "read", overtaken)
    assert (liar.publish(), first) == (2, [2])
    assert server.manifold.verify.run(LOCAL_PRINCIPAL, project, read_data=True).ok


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
    project = client.projects.create("large").id
    for turn in range(3):
        (source / "large").write_bytes(random.Random(turn).randbytes(20 << 20))
        assert client.transfer.import_folder(project, source, Intent()).generation == turn + 1
        assert rows(server) == []
    assert server.manifold.verify.run(LOCAL_PRINCIPAL, project, read_data=True).ok


def test_quotas_hold_for_uploads(make_server: MakeServer, make_client: MakeClient, tmp_path: Path) -> None:
    server = make_server(PROJECTS_QUOTAS_MAX_FILE_BYTES="1000", PROJECTS_QUOTAS_MAX_PROJECT_BYTES="3000")
    client = make_client(url=server.url)
    source = tmp_path / "source"
    source.mkdir()
    project = client.projects.create("small").id
    (source / "large").write_bytes(b"x" * 1001)
    with pytest.raises(QuotaExceeded):
        client.transfer.import_folder(project, source, Intent())
    (source / "large").unlink()
    for number in range(4):
        (source / f"f{number}").write_bytes(bytes([number]) * 900)
    with pytest.raises(QuotaExceeded):
        client.transfer.import_folder(project, source, Intent())
    assert server.manifold.projects.get(LOCAL_PRINCIPAL, project).generation == 0


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
    there = make_client("another").sessions.checkout(S1, request=CheckoutRequest(strategy=Strategy.OURS))
    assert (Path(there.path) / "new").read_bytes() == noise(1)


def test_a_refusal_leaves_packs_that_go_when_their_time_is_over(
    make_server: MakeServer, make_client: MakeClient, server: RemoteServer, project: ProjectId, sweep_tomorrow: Sweep
) -> None:
    liar = make_liar(make_client(), project)
    liar.packed(noise(1))
    small = make_server(node="small", PROJECTS_QUOTAS_MAX_PROJECT_BYTES="1000000")
    draft, packs = liar.upload._receipts()
    for end in (small.manifold.uploads.save, small.manifold.uploads.publish):
        more = () if end == small.manifold.uploads.save else (Intent(),)
        with pytest.raises(QuotaExceeded):
            end(LOCAL_PRINCIPAL, S1, draft, packs, *more)  # type: ignore[operator]
    assert stored(server, liar) == [True, True]
    assert sweep_tomorrow() == 2
    assert (stored(server, liar), rows(server)) == ([False, False], [])


def test_a_publication_that_does_not_happen_after_all_leaves_packs_that_go(
    server: RemoteServer, liar: Liar, project: ProjectId, sweep_tomorrow: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stopped between the note of what is about to refer to them and the commit point."""
    liar.packed(noise(1))
    monkeypatch.setattr(server.manifold.context.catalog, "publish_commit", failing(CatalogUnavailable("away")))
    monkeypatch.setattr(commit_point, "_ACKNOWLEDGEMENT_TRIES", 1)
    with pytest.raises(CatalogUnavailable):
        server.manifold.uploads.publish(LOCAL_PRINCIPAL, S1, *liar.upload._receipts(), Intent())
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
        server.manifold.uploads.publish(LOCAL_PRINCIPAL, S1, *liar.upload._receipts(), Intent())
    else:
        server.manifold.uploads.save(LOCAL_PRINCIPAL, S1, *liar.upload._receipts())
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
    wanted = Intent(strategy=Strategy.THEIRS)
    done = server.manifold.uploads.publish(LOCAL_PRINCIPAL, S1, *liar.upload._receipts(), wanted)
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
    assert liar.upload.publish(Intent()).commit is None
    sweep_tomorrow()
    assert (stored(server, liar), rows(server)) == ([False, False], [])
    assert server.manifold.verify.run(LOCAL_PRINCIPAL, project, read_data=True).ok


def failing(error: Exception) -> Callable[..., NoReturn]:
    def fail(*arguments: object, **words: object) -> NoReturn:
        raise error

    return fail


@pytest.mark.parametrize("forged", ["another's pack", "its own, given back", "a commit"])
def test_no_row_has_an_object_of_a_commit_removed(
    server: RemoteServer, liar: Liar, project: ProjectId, sweep_tomorrow: Sweep, make_client: MakeClient, forged: str
) -> None:
    """Whoever may change rows of uploads may not remove what is committed."""
    liar.packed(noise(1))
    liar.upload._receipts()
    own = {row.kind: row for row in rows(server)}
    assert liar.publish() == 2
    catalog: Any = server.manifold.context.catalog
    if forged == "its own, given back":
        row = replace(own["pack"], commits=())
    else:
        left = make_liar(make_client(), project, S2)
        left.packed(noise(2))
        left.upload._receipts()
        last = catalog.list_commits(DEFAULT_TENANT, project)[0]
        theirs = {one.kind: one for one in rows(server)}
        row = (
            replace(theirs["draft"], name=last.commit, draft=last.commit, generation=last.generation)
            if forged == "a commit"
            else replace(theirs["pack"], name=own["pack"].name, object_id=own["pack"].object_id)
        )
    assert row.stored_bytes is not None
    catalog.add_uploads([row])
    catalog.link_uploads([row])
    assert sweep_tomorrow() >= 1
    assert rows(server) == []
    assert server.manifold.verify.run(LOCAL_PRINCIPAL, project, read_data=True).ok
