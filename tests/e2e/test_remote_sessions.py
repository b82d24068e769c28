"""Working sets of a server's projects on a client's machine: bytes go past the server, where they can."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from manifold_common.adapters.remote.object_store import LinkedObjects
from manifold_common.adapters.remote.server import HttpServer
from manifold_common.bootstrap.remote import RemoteManifold
from manifold_common.domain.access import LOCAL_PRINCIPAL, Principal
from manifold_common.domain.conflict import Strategy
from manifold_common.domain.named_request import NamedRequest
from manifold_common.errors import AlreadyExists, CommitConflict, GenerationMismatch, NotFound, SessionMoved
from manifold_common.ids import DEFAULT_TENANT, DEFAULT_USER, Generation, SessionId, TenantId, UserId, parse_request_id
from manifold_common.services.direct import plans
from manifold_common.services.sessions.session_files import SessionFiles
from manifold_common.shapes.access import Plan
from manifold_common.shapes.intent import Intent
from manifold_common.shapes.path import TreePath, listed
from manifold_common.shapes.requests import CheckoutRequest
from manifold_common.shapes.sessions import CheckedOut, CheckoutKind, Committed

from functions.invocation import size
from tests.support.remote import MakeClient, RemoteServer, on_every_store
from tests.support.work import S1, S2, cat, look, lose_ram, new_project, not_found_at_first, paths, put


@on_every_store
def test_a_folder_goes_in_and_comes_out_as_it_was(client: RemoteManifold, tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    (source / "deep" / "er").mkdir(parents=True)
    (source / "deep" / "er" / "a.txt").write_bytes(b"text\n" * 1000)
    (source / "run.sh").write_bytes(b"#!/bin/sh\n")
    (source / "run.sh").chmod(0o755)
    (source / "link").symlink_to("nowhere")
    (source / "empty").mkdir()
    project = client.projects.create("demo").id
    done = client.transfer.import_folder(project, source, Intent("first"))
    assert (done.generation, done.entries) == (1, 6)
    assert client.transfer.export(project, out).generation == 1
    assert look(out) == look(source)
    assert client.sessions.all() == []


@on_every_store
def test_a_session_is_checked_out_edited_and_committed(server: RemoteServer, client: RemoteManifold) -> None:
    project = new_project(server.manifold, a=b"one", b=b"two")
    found = client.sessions.checkout(S1, project)
    work = Path(found.path)
    assert (found.kind, found.generation, found.entries) == (CheckoutKind.NEW, 1, 2)
    assert (work / "a").read_bytes() == b"one"
    (work / "a").write_bytes(b"changed")
    (work / "b").unlink()
    (work / "c").write_bytes(b"new")
    assert [d.path for d in client.sessions.status(S1).differences] == [b"a", b"b", b"c"]
    done = client.sessions.commit(S1, Intent("edit", {"model": "x"}))
    assert (done.generation, done.added, done.modified, done.deleted) == (2, 1, 1, 1)
    assert (cat(server.manifold, project, b"a"), paths(server.manifold, project)) == (b"changed", {b"a", b"c"})
    entry = server.manifold.history.commit(LOCAL_PRINCIPAL, project, Generation(2))
    assert (entry.message, entry.provenance, entry.session) == ("edit", {"model": "x"}, S1)
    assert client.sessions.status(S1).differences == []
    assert client.sessions.commit(S1).commit is None
    assert client.sessions.checkout(S1).kind is CheckoutKind.WARM


def test_what_others_commit_comes_in_and_what_is_not_committed_stays(
    server: RemoteServer, client: RemoteManifold
) -> None:
    project = new_project(server.manifold, a=b"one", b=b"two")
    work = Path(client.sessions.checkout(S1, project).path)
    (work / "mine").write_bytes(b"not committed")
    put(server.manifold, project, b"b", b"theirs")
    found = client.sessions.checkout(S1)
    assert (found.kind, found.generation) == (CheckoutKind.REFRESHED, 2)
    assert {path.name: path.read_bytes() for path in work.iterdir()} == {
        "a": b"one", "b": b"theirs", "mine": b"not committed",
    }  # fmt: skip


def test_disjoint_work_of_two_clients_is_rebased_and_both_have_it(
    server: RemoteServer, make_client: MakeClient
) -> None:
    project = new_project(server.manifold, a=b"one")
    one, two = make_client("one"), make_client("two")
    here = Path(one.sessions.checkout(S1, project).path)
    there = Path(two.sessions.checkout(S2, project).path)
    (here / "x").write_bytes(b"x")
    (there / "y").write_bytes(b"y")
    assert one.sessions.commit(S1).generation == 2
    done = two.sessions.commit(S2)
    assert (done.generation, done.rebased) == (3, True)
    assert (there / "x").read_bytes() == b"x"
    assert paths(server.manifold, project) == {b"a", b"x", b"y"}


def test_a_conflict_names_its_paths_keeps_the_work_and_can_be_decided(
    server: RemoteServer, make_client: MakeClient
) -> None:
    project = new_project(server.manifold, a=b"one")
    one, two = make_client("one"), make_client("two")
    here = Path(one.sessions.checkout(S1, project).path)
    there = Path(two.sessions.checkout(S2, project).path)
    (here / "a").write_bytes(b"here")
    (there / "a").write_bytes(b"there")
    one.sessions.commit(S1)
    with pytest.raises(CommitConflict) as refused:
        two.sessions.commit(S2)
    assert refused.value.paths == ["a"]
    assert (there / "a").read_bytes() == b"there"
    # Its machine is lost: the work is on the server.
    third = make_client("three")
    with pytest.raises(CommitConflict):
        third.sessions.checkout(S2)
    done = two.sessions.commit(S2, Intent(strategy=Strategy.OURS))
    assert done.generation == 3
    assert cat(server.manifold, project, b"a") == b"there"


@on_every_store
def test_saved_work_comes_back_on_another_machine(server: RemoteServer, make_client: MakeClient) -> None:
    project = new_project(server.manifold, a=b"one", b=b"two")
    one, two = make_client("one"), make_client("two")
    work = Path(one.sessions.checkout(S1, project).path)
    (work / "a").write_bytes(b"saved")
    (work / "big").write_bytes(bytes(range(256)) * 20_000)
    saved = one.sessions.save(S1)
    assert (saved.changed, saved.base_generation) == (3, 1)  # with the folder that they are in
    put(server.manifold, project, b"b", b"theirs")
    lose_ram(work)
    found = two.sessions.checkout(S1)
    there = Path(found.path)
    assert (found.kind, found.generation) == (CheckoutKind.RESTORED, 2)
    assert ((there / "a").read_bytes(), (there / "b").read_bytes()) == (b"saved", b"theirs")
    assert [d.path for d in two.sessions.status(S1).differences] == [b"a", b"big"]
    assert two.sessions.commit(S1).generation == 3
    assert cat(server.manifold, project, b"a") == b"saved"


@pytest.mark.parametrize("command", ["save", "commit"])
def test_what_was_saved_and_undone_does_not_come_back(
    server: RemoteServer, make_client: MakeClient, command: str
) -> None:
    project = new_project(server.manifold, a=b"one")
    one, two = make_client("one"), make_client("two")
    new = Path(one.sessions.checkout(S1, project).path) / "new"
    new.write_bytes(b"saved")
    assert one.sessions.save(S1).draft is not None
    new.unlink()
    done = getattr(one.sessions, command)(S1)
    assert (done.draft if command == "save" else done.commit) is None
    assert one.context.server.session(S1).draft_saved_at is None
    found = two.sessions.checkout(S1)
    assert (found.kind, look(Path(found.path)).keys()) == (CheckoutKind.NEW, {b"a"})


def test_what_came_back_and_was_undone_does_not_come_back_again(server: RemoteServer, make_client: MakeClient) -> None:
    project = new_project(server.manifold, a=b"one")
    one, two = make_client("one"), make_client("two")
    work = Path(one.sessions.checkout(S1, project).path)
    (work / "new").write_bytes(b"saved")
    one.sessions.save(S1)
    lose_ram(work)
    there = Path(two.sessions.checkout(S1).path)
    (there / "new").unlink()
    assert two.sessions.save(S1).draft is None
    lose_ram(there)
    assert one.sessions.checkout(S1).kind is CheckoutKind.NEW


@pytest.mark.parametrize("command", ["save", "commit"])
def test_what_was_dropped_after_a_conflict_does_not_come_back(
    server: RemoteServer, make_client: MakeClient, command: str
) -> None:
    project = new_project(server.manifold, a=b"one")
    one, two = make_client("one"), make_client("two")
    (Path(one.sessions.checkout(S1, project).path) / "a").write_bytes(b"mine")
    put(server.manifold, project, b"a", b"theirs")
    with pytest.raises(CommitConflict):
        one.sessions.commit(S1)
    one.sessions.checkout(S1, project, CheckoutRequest(strategy=Strategy.THEIRS))
    done = getattr(one.sessions, command)(S1)
    assert (done.draft if command == "save" else done.commit) is None
    found = two.sessions.checkout(S1)
    assert (found.kind, (Path(found.path) / "a").read_bytes()) == (CheckoutKind.NEW, b"theirs")


def test_what_others_have_committed_as_well_does_not_come_back(server: RemoteServer, make_client: MakeClient) -> None:
    project = new_project(server.manifold, a=b"one")
    one, two = make_client("one"), make_client("two")
    file = Path(one.sessions.checkout(S1, project).path) / "a"
    file.write_bytes(b"of both")
    one.sessions.save(S1)
    put(server.manifold, project, b"a", b"of both", mtime_ns=file.stat().st_mtime_ns)
    assert (one.sessions.commit(S1).commit, one.context.server.session(S1).draft_saved_at) == (None, None)
    assert one.context.server.session(S1).base_generation == 2
    put(server.manifold, project, b"a", b"newer")
    assert two.sessions.checkout(S1).kind is CheckoutKind.NEW


@pytest.mark.parametrize("saved_before", [False, True])
def test_having_nothing_to_save_takes_nothing_from_what_another_saves_meanwhile(
    server: RemoteServer, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch, saved_before: bool
) -> None:
    """Whether or not something of this machine's was the session's draft."""
    project = new_project(server.manifold, a=b"one")
    one, two = make_client("one"), make_client("two")
    here, there = (Path(client.sessions.checkout(S1, project).path) for client in (one, two))
    if saved_before:
        (here / "new").write_bytes(b"saved here")
        one.sessions.save(S1)
        (here / "new").unlink()
    scan = SessionFiles.survey

    def scanned(self: SessionFiles, *arguments: Any, **words: Any) -> Any:
        monkeypatch.setattr(SessionFiles, "survey", scan)
        (there / "new").write_bytes(b"saved there")
        assert two.sessions.save(S1).draft is not None
        return scan(self, *arguments, **words)

    monkeypatch.setattr(SessionFiles, "survey", scanned)
    assert one.sessions.save(S1).draft is None
    lose_ram(there)
    two.sessions.checkout(S1)
    assert (there / "new").read_bytes() == b"saved there"
    assert one.sessions.save(S1).draft is None
    assert one.context.server.session(S1).draft_saved_at is not None


def test_saved_work_comes_back_also_where_another_opens_the_session_at_the_same_moment(
    server: RemoteServer, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = new_project(server.manifold, a=b"one")
    one, two = make_client("one"), make_client("two")
    (Path(one.sessions.checkout(S1, project).path) / "a").write_bytes(b"saved")
    assert one.sessions.save(S1).draft is not None
    not_found_at_first(server.manifold, monkeypatch)
    found = two.sessions.checkout(S1, project)
    assert (found.kind, (Path(found.path) / "a").read_bytes()) == (CheckoutKind.RESTORED, b"saved")


def test_saved_work_is_brought_to_the_generation_that_was_asked_for(
    server: RemoteServer, make_client: MakeClient
) -> None:
    project = new_project(server.manifold, a=b"one", b=b"one")
    one, two = make_client("one"), make_client("two")
    (Path(one.sessions.checkout(S1, project).path) / "a").write_bytes(b"saved")
    assert one.sessions.save(S1).draft is not None
    for content in (b"two", b"three"):
        put(server.manifold, project, b"b", content)
    found = two.sessions.checkout(S1, project, CheckoutRequest(Generation(2)))
    work = Path(found.path)
    assert (found.kind, found.generation) == (CheckoutKind.RESTORED, 2)
    assert ((work / "a").read_bytes(), (work / "b").read_bytes()) == (b"saved", b"two")


def test_a_sparse_session_has_only_its_paths_and_deletes_nothing_else(
    server: RemoteServer, client: RemoteManifold
) -> None:
    project = new_project(server.manifold, **{"src/a": b"one", "docs/b": b"two"})
    work = Path(client.sessions.checkout(S1, project, CheckoutRequest(paths=("/src",))).path)
    assert [path.name for path in work.iterdir()] == ["src"]
    (work / "src" / "a").write_bytes(b"changed")
    client.sessions.commit(S1)
    assert paths(server.manifold, project) == {b"src", b"src/a", b"docs", b"docs/b"}


def test_older_generations_can_be_checked_out(server: RemoteServer, client: RemoteManifold) -> None:
    project = new_project(server.manifold, a=b"one")
    put(server.manifold, project, b"a", b"two")
    found = client.sessions.checkout(S1, project, CheckoutRequest(Generation(1)))
    assert ((Path(found.path) / "a").read_bytes(), found.head_generation) == (b"one", 2)


@on_every_store
def test_large_files_travel_in_packs_and_an_insertion_sends_little(
    server: RemoteServer, client: RemoteManifold, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    data = b"".join(number.to_bytes(8, "big") * 4 for number in range(1_300_000))  # 40 MB
    (source / "large").write_bytes(data)
    project = client.projects.create("large").id
    client.transfer.import_folder(project, source, Intent())
    work = Path(client.sessions.checkout(S1, project).path)
    assert (work / "large").read_bytes() == data
    (work / "large").write_bytes(data[:1_000_000] + b"inserted" + data[1_000_000:])
    assert client.sessions.commit(S1).new_bytes < 5 << 20
    assert cat(server.manifold, project, b"large")[1_000_000:1_000_008] == b"inserted"


def test_closing_ends_the_session_on_both_sides(server: RemoteServer, client: RemoteManifold) -> None:
    project = new_project(server.manifold, a=b"one")
    work = Path(client.sessions.checkout(S1, project).path)
    assert [row.session for row in client.sessions.all()] == [S1]
    client.sessions.close(S1)
    client.sessions.close(S1)
    assert (work.exists(), client.sessions.all()) == (False, [])
    with pytest.raises(NotFound):
        client.sessions.commit(S1)


def test_a_session_that_was_reopened_elsewhere_starts_anew_once_nothing_is_lost_by_that(
    server: RemoteServer, make_client: MakeClient
) -> None:
    project = new_project(server.manifold, a=b"one")
    one, two = make_client("one"), make_client("two")
    work = Path(one.sessions.checkout(S1, project).path)
    (work / "left").write_bytes(b"behind")
    two.sessions.close(S1)
    two.sessions.checkout(S1, project)
    for _ in range(2):
        with pytest.raises(SessionMoved, match="holds changes of the earlier one"):
            one.sessions.checkout(S1)
        assert (work / "left").read_bytes() == b"behind"
    (work / "left").unlink()
    found = one.sessions.checkout(S1)
    assert [path.name for path in Path(found.path).iterdir()] == ["a"]


def test_a_session_that_was_closed_elsewhere_is_opened_again_only_once_nothing_is_lost_by_that(
    server: RemoteServer, make_client: MakeClient
) -> None:
    project = new_project(server.manifold, a=b"one")
    one, two = make_client("one"), make_client("two")
    work = Path(one.sessions.checkout(S1, project).path)
    (work / "left").write_bytes(b"behind")
    two.sessions.close(S1)
    for action in (one.sessions.status, one.sessions.save, one.sessions.commit):
        with pytest.raises(NotFound, match="its working set is still here") as refused:
            action(S1)
        assert f"close {S1} --discard" in (refused.value.hint or "")
    with pytest.raises(SessionMoved, match=r"was closed since .* may hold"):
        one.sessions.checkout(S1, project)
    assert (work / "left").read_bytes() == b"behind"
    assert two.sessions.all() == [], "looking at it opens none"
    (work / "left").unlink()
    with pytest.raises(SessionMoved, match="may hold"):  # a new process has no key to hold content against
        make_client("one").sessions.checkout(S1, project)
    assert one.sessions.checkout(S1, project).kind is CheckoutKind.NEW
    assert [path.name for path in work.iterdir()] == ["a"]


def test_closing_what_is_left_of_an_earlier_session_leaves_the_new_one_alone(
    server: RemoteServer, make_client: MakeClient
) -> None:
    project = new_project(server.manifold, a=b"one")
    one, two = make_client("one"), make_client("two")
    work = Path(one.sessions.checkout(S1, project).path)
    (work / "left").write_bytes(b"behind")
    two.sessions.close(S1)
    there = Path(two.sessions.checkout(S1, project).path)
    assert one.sessions.close(S1).has_newer
    assert (work.exists(), there.exists(), [row.session for row in one.sessions.all()]) == (False, True, [S1])
    assert one.sessions.checkout(S1, project).entries == 1


def test_an_export_does_not_go_into_a_folder_with_something_in_it(
    server: RemoteServer, client: RemoteManifold, tmp_path: Path
) -> None:
    project = new_project(server.manifold, a=b"one")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(AlreadyExists):
        client.transfer.export(project, tmp_path / "full")


LASTS = re.compile(r"(X-Amz-Expires|until)=\d+")


@on_every_store
def test_a_link_that_has_ended_is_renewed(server: RemoteServer, client: RemoteManifold, tmp_path: Path) -> None:
    project = new_project(server.manifold, a=b"one", b=b"two")
    ask, asked = client.context.server.plan, 0

    def ask_late(*arguments: Any, **words: Any) -> Plan:
        """The first plan is so old that its links have ended."""
        nonlocal asked
        asked += 1
        plan = ask(*arguments, **words)
        if asked > 1:
            return plan
        return msgspec.structs.replace(
            plan, objects=[msgspec.structs.replace(one, url=LASTS.sub(r"\1=1", one.url)) for one in plan.objects]
        )

    client.context.server.plan = ask_late  # type: ignore[method-assign]
    client.transfer.export(project, tmp_path / "out")
    assert ((tmp_path / "out" / "b").read_bytes(), asked) == (b"two", 2)


@pytest.mark.parametrize(("limit", "value"), [("MAX_OBJECTS", 2), ("PLAN_BYTES", 2000)])
@on_every_store
def test_many_objects_come_in_pages(
    server: RemoteServer,
    client: RemoteManifold,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    limit: str,
    value: int,
) -> None:
    monkeypatch.setattr(plans, limit, value)
    project = new_project(server.manifold)
    for number in range(5):
        put(server.manifold, project, b"f%d" % number, b"content %d" % number)
    assert 1 <= len(server.manifold.plans.plan(LOCAL_PRINCIPAL, project).objects) < 5
    client.transfer.export(project, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {f"f{number}" for number in range(5)}
    assert client.sessions.checkout(S1, project).entries == 5


def test_a_commit_is_answered_without_its_plan_where_a_function_would_not_pass_that_on(
    server: RemoteServer, client: RemoteManifold, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = new_project(server.manifold)
    here = Path(client.sessions.checkout(S1, project).path)
    answers, publish = [], HttpServer.publish

    def noted(self: HttpServer, *arguments: Any, **words: Any) -> Any:
        answers.append(publish(self, *arguments, **words))
        return answers[-1]

    monkeypatch.setattr(HttpServer, "publish", noted)
    for limit in (size.MAX_ANSWER_BYTES, 100):
        monkeypatch.setattr("functions.data_plane.answers.MAX_ANSWER_BYTES", limit)
        (here / "new").write_text(str(limit))
        client.sessions.commit(S1)
        assert client.sessions.status(S1).differences == []
    assert [one.plan is None for one in answers] == [False, True]


@on_every_store
def test_requests_depend_on_what_changed_and_never_on_the_number_of_files(
    server: RemoteServer, make_client: MakeClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: Counter[str] = Counter()
    request = LinkedObjects._request

    def counted(self: LinkedObjects, method: str, *arguments: Any, **words: Any) -> Any:
        sent[method] += 1
        return request(self, method, *arguments, **words)

    asked: list[str] = []
    send = HttpServer._send

    def noted(self: HttpServer, method: str, path: str, *arguments: Any) -> bytes:
        asked.append(path.rpartition("/")[2])
        return send(self, method, path, *arguments)

    monkeypatch.setattr(LinkedObjects, "_request", counted)
    monkeypatch.setattr(HttpServer, "_send", noted)
    one, two = make_client("one"), make_client("two")
    source = tmp_path / "source"
    source.mkdir()
    for number in range(500):
        (source / f"f{number}").write_text(f"content of {number}\n" * 20)
    project = one.projects.create("many").id
    one.transfer.import_folder(project, source, Intent())
    assert sent == {"PUT": 1}
    sent.clear()
    asked.clear()
    work = Path(two.sessions.checkout(S1, project).path)
    assert 1 <= sent.pop("GET") <= 2
    assert asked == ["plan"]
    assert two.sessions.checkout(S1).kind is CheckoutKind.WARM
    assert asked == ["plan"] * 2
    two.sessions.checkout(S2, project)  # from the cache
    assert sent == {}
    for number in range(10):
        (work / f"f{number}").write_text("changed\n")
    asked.clear()
    two.sessions.commit(S1)
    assert sent == {"PUT": 1}
    assert asked == ["uploads", "links", "publish"]
    sent.clear()
    put(server.manifold, project, b"theirs", b"x")
    two.sessions.checkout(S1)
    assert sent == {"GET": 1}


def test_nobody_plans_what_is_not_theirs(server: RemoteServer) -> None:
    project = new_project(server.manifold, a=b"one")
    server.manifold.session_plans.plan(LOCAL_PRINCIPAL, S1, project)
    for stranger in (Principal(TenantId("another"), DEFAULT_USER), Principal(DEFAULT_TENANT, UserId("another"))):
        with pytest.raises(NotFound):
            server.manifold.plans.plan(stranger, project)
        with pytest.raises(NotFound):
            server.manifold.session_plans.plan(stranger, S1, project)
        with pytest.raises(NotFound):
            server.manifold.uploads.open(stranger, S1, Generation(1), 1)


def test_a_session_that_one_client_has_claimed_is_no_other_ones(server: RemoteServer) -> None:
    project, claim = new_project(server.manifold, a=b"one"), CheckoutRequest(only_new=True)
    server.manifold.session_plans.plan(LOCAL_PRINCIPAL, S1, project, claim)
    with pytest.raises(AlreadyExists):
        server.manifold.session_plans.plan(LOCAL_PRINCIPAL, S1, project, claim)
    server.manifold.session_plans.plan(LOCAL_PRINCIPAL, S1, project)


def test_what_a_remote_strategy_decides_is_named_and_what_it_drops_is_kept(
    server: RemoteServer, make_client: MakeClient
) -> None:
    client, project = make_client(), new_project(server.manifold, a=b"base", b=b"base")
    large = bytes(range(256)) * 10_000
    kept: list[SessionId] = []
    done: Committed | CheckedOut
    for session, how in ((S1, "commit"), (S2, "checkout")):
        work = Path(client.sessions.checkout(session, project).path)
        (work / "a").write_bytes(large + how.encode())
        (work / "b").write_bytes(how.encode())
        put(server.manifold, project, b"a", b"theirs " + how.encode())
        if how == "commit":
            done = client.sessions.commit(session, Intent(strategy=Strategy.THEIRS))
            assert (done.conflicts, done.rebased) == (listed([b"a"]), True)
        else:
            done = client.sessions.checkout(session, request=CheckoutRequest(strategy=Strategy.THEIRS))
            assert done.conflicts == listed([b"a"])
        assert (work / "a").read_bytes() == b"theirs " + how.encode()
        kept += done.kept
    assert sorted(row.session for row in client.sessions.all() if row.draft_saved_at) == sorted(kept)
    for session, how, machine in zip(kept, ("commit", "checkout"), ("laptop", "another"), strict=True):
        other = make_client(machine)
        found = other.sessions.checkout(session, project, CheckoutRequest(strategy=Strategy.OURS))
        assert (Path(found.path) / "a").read_bytes() == large + how.encode()
        assert [one.path for one in other.sessions.status(session).differences] == [b"a"]
        other.sessions.commit(session, Intent(strategy=Strategy.OURS))
        assert cat(server.manifold, project, b"a") == large + how.encode()


def test_a_remote_commit_expects_the_newest_generation(server: RemoteServer, client: RemoteManifold) -> None:
    project = new_project(server.manifold, a=b"base", b=b"base")
    work = Path(client.sessions.checkout(S1, project).path)
    (work / "b").write_bytes(b"mine")
    put(server.manifold, project, b"a", b"theirs")
    for wrong in (1, 3):
        with pytest.raises(GenerationMismatch, match="the project is at generation 2"):
            client.sessions.commit(S1, Intent(expected=Generation(wrong)))
    assert client.sessions.commit(S1, Intent(expected=Generation(2))).generation == 3
    with pytest.raises(GenerationMismatch):
        client.sessions.commit(S1, Intent(expected=Generation(2)))
    assert client.sessions.commit(S1, Intent(expected=Generation(3))).commit is None


def test_a_restore_and_an_import_of_a_client_say_what_was_decided(
    server: RemoteServer, client: RemoteManifold, tmp_path: Path
) -> None:
    """Nothing is, here: what can be told comes over the wire all the same."""
    project = new_project(server.manifold, a=b"base")
    put(server.manifold, project, b"a", b"newer")
    done = client.projects.restore(project, Generation(1), [], Intent(strategy=Strategy.THEIRS))
    assert (done.paths, done.conflicts, done.kept) == ([TreePath.of(b"a")], [], [])
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_bytes(b"imported")
    taken = client.transfer.import_folder(project, tmp_path / "in", Intent(strategy=Strategy.THEIRS))
    assert (taken.generation, taken.conflicts, taken.kept) == (4, [], [])


def test_a_named_commit_is_answered_as_the_first_of_that_name(server: RemoteServer, client: RemoteManifold) -> None:
    project = new_project(server.manifold, a=b"one")
    work = Path(client.sessions.checkout(S1, project).path)
    intent = Intent(request=NamedRequest(parse_request_id("once")))
    (work / "a").write_bytes(b"first")
    done = client.sessions.commit(S1, intent)
    (work / "a").write_bytes(b"later")
    again = client.sessions.commit(S1, intent)
    assert (again.point, again.commit) == (done.point, done.commit)
    assert ((work / "a").read_bytes(), cat(server.manifold, project, b"a")) == (b"later", b"first")
