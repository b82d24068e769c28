"""A server that lies to its clients: nothing is written, read or removed outside, and nothing of the user's is lost."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
import urllib3
from manifold_common.bootstrap.remote import RemoteManifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.listing import EVERY_PROJECT, CommitFilter, Fact, ProjectFilter
from manifold_common.domain.object_key import is_object_key
from manifold_common.domain.tree import DIRECTORY, SYMLINK, Changes, Entry, Tree
from manifold_common.errors import (
    BadAnswer,
    CommitConflict,
    CorruptObject,
    InvalidInput,
    ManifoldError,
    SessionMoved,
    StaleStore,
)
from manifold_common.format.commit_object import build_checkpoint, read_checkpoint
from manifold_common.format.layout import checkpoint_name
from manifold_common.format.places import Container
from manifold_common.format.sealed import ObjectKind, Opener, Sealer
from manifold_common.ids import Generation, ProjectId, SessionId, TagName, UserId
from manifold_common.shapes.intent import Intent
from manifold_common.shapes.requests import CheckoutRequest

from functions.api.routes.projects import _CURSORS
from tests.support.lying_server import Answer, LyingServer, lie_about, setting, truth
from tests.support.remote import MakeClient, RemoteServer
from tests.support.work import S1, S2, cat, new_project, put

ELSEWHERE = ["../../../escaped", "..", "/tmp/escaped", "a/b", "a\0b", "a\nb", "", ".", "~", "x" * 300, "A", "%2e%2e"]
"""What could lead somewhere else, where it is taken for an id."""


@pytest.fixture
def outside(tmp_path: Path, ram_folder: Path) -> Iterator[Path]:
    """A folder that the server would like to write into: nothing happens there, nor beside the client's own."""
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "precious").write_bytes(b"precious")
    yield victim
    assert {path.name: path.read_bytes() for path in victim.iterdir()} == {"precious": b"precious"}
    assert {path.name for path in ram_folder.glob("client*")} == {"client-laptop-remote"}
    assert not [path for folder in (tmp_path, ram_folder) for path in folder.rglob("*escaped*")]
    assert not Path("/tmp/escaped").exists()


# --- ids, keys and names ------------------------------------------------------------------------------------------


def test_what_could_lead_elsewhere_is_no_id(
    client: RemoteManifold, lying_server: LyingServer, project: ProjectId, outside: Path
) -> None:
    for field in ("session", "plan.tenant", "plan.user", "plan.project", "plan.commit", "plan.objects.0.key"):
        for text in (*ELSEWHERE, f"../../../../..{outside}"):
            if field.endswith("key") and is_object_key(text):
                continue
            lying_server.lie = lie_about("/plan", setting(field, text))
            with pytest.raises(BadAnswer):
                client.sessions.checkout(S1, project)
    assert client.sessions.here() == []
    lying_server.lie = truth
    assert client.sessions.checkout(S1, project).entries == 3


@pytest.mark.usefixtures("new_file")
def test_what_could_lead_elsewhere_is_no_place_to_store_at(
    client: RemoteManifold, lying_server: LyingServer, outside: Path
) -> None:
    for field in ("draft.key", "draft.object_id", "packs.0.key", "packs.0.object_id", "draft_commit", "write_dek"):
        for text in (*ELSEWHERE, f"../../../../..{outside}/precious"):
            if field.endswith("key") and is_object_key(text):
                continue
            lying_server.lie = lie_about("/uploads", setting(field, text))
            with pytest.raises(BadAnswer):
                client.sessions.commit(S1)
    lying_server.lie = truth
    assert client.sessions.commit(S1).generation == 2


@pytest.mark.usefixtures("new_file")
def test_where_an_object_is_kept_follows_from_what_it_is_and_not_from_what_a_server_says(
    client: RemoteManifold, lying_server: LyingServer, server: RemoteServer, project: ProjectId, outside: Path
) -> None:
    lying_server.lie = lie_about("/uploads", setting("draft.key", "t/default/p/another/packs/object"))
    assert client.sessions.commit(S1).generation == 2
    assert not list((outside.parent / "client-laptop").rglob("another"))
    assert cat(server.manifold, project, b"new") == b"new"


def test_names_and_times_of_a_server_are_such_as_can_be_shown(
    client: RemoteManifold, lying_server: LyingServer, project: ProjectId
) -> None:
    for name in ("\x1b[2J", "a\nb", "../x", "a/b", "", "x" * 300, ".hidden"):
        lying_server.lie = lie_about("/api/v1/projects/demo", setting("name", name))
        with pytest.raises(BadAnswer):
            client.projects.resolve("demo")
    client.sessions.checkout(S1, project)
    for moment in ("9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "2025-01-01T00:00:00", "soon", 1e300, None, {}):
        for field in ("created_at", "expires_at"):
            lying_server.lie = lie_about("/api/v1/sessions", setting(f"items.0.{field}", moment))
            with pytest.raises(BadAnswer):
                client.sessions.all()
        lying_server.lie = lie_about("/plan", setting("opened_at", moment))
        with pytest.raises(BadAnswer):
            client.sessions.checkout(S1)
    for number in (-1, 10**12, 1e9, "1", None):
        lying_server.lie = lie_about("/plan", setting("plan.generation", number))
        with pytest.raises(BadAnswer):
            client.sessions.checkout(S1)


# --- answers about something else ---------------------------------------------------------------------------------


def test_an_answer_about_another_session_project_or_user_is_refused(
    client: RemoteManifold, lying_server: LyingServer, server: RemoteServer, project: ProjectId
) -> None:
    other = new_project(server.manifold, "other", b=b"two")
    mine = Path(client.sessions.checkout(S2, project).path)
    (mine / "precious").write_bytes(b"not committed")
    for field, value in (
        ("session", S2),
        ("plan.project", other),
        ("plan.user", "somebody"),
        ("plan.tenant", "another"),
        ("plan.head_generation", 0),
        ("paths", ["/src"]),
    ):
        if field == "paths":
            with pytest.raises((BadAnswer, InvalidInput)):
                lying_server.lie = lie_about("/plan", setting(field, value))
                client.sessions.checkout(SessionId("s3"), project, CheckoutRequest(paths=("/docs",)))
            continue
        lying_server.lie = lie_about("/plan", setting(field, value))
        with pytest.raises(BadAnswer):
            client.sessions.checkout(S1, project)
    lying_server.lie = truth
    assert {owner.session for owner in client.sessions.here()} == {S2}
    assert (mine / "precious").read_bytes() == b"not committed"


def about_another(server: RemoteServer, name: str = "other") -> dict[str, Any]:
    """Return the document of another project, which has something to lose."""
    new_project(server.manifold, name, b=b"precious")
    with urllib3.PoolManager() as pool:
        found: dict[str, Any] = pool.request("GET", f"{server.url}/api/v1/projects/{name}").json()
    return found


@pytest.mark.usefixtures("project")
def test_an_answer_about_another_project_is_refused_by_name_and_by_id(
    client: RemoteManifold, lying_server: LyingServer, server: RemoteServer, project: ProjectId
) -> None:
    other = about_another(server)
    lying_server.lie = lambda asked, answer: Answer(msgspec.json.encode(other))
    for asked in ("demo", project, "Other", "o\u0301ther"):
        with pytest.raises(BadAnswer, match="asked for project"):
            client.projects.resolve(asked)
    for asked in ("other", other["id"]):
        assert client.projects.resolve(asked).id == other["id"]


def test_a_new_project_and_a_renamed_one_are_what_was_asked_for(
    client: RemoteManifold, lying_server: LyingServer, server: RemoteServer, project: ProjectId
) -> None:
    other = about_another(server)
    for name, change in (
        ("new-1", lambda said: other),
        ("new-2", setting("name", "other")),
        ("new-3", setting("generation", 1)),
        ("new-4", setting("commit", "a" * 26)),
        ("new-5", setting("entries", 1)),
        ("new-6", setting("total_bytes", 1)),
    ):
        lying_server.lie = lie_about("/api/v1/projects", change)
        with pytest.raises(BadAnswer):
            client.projects.create(name)
    lying_server.lie = truth
    client.projects.all()
    lying_server.lie = lie_about("/api/v1/projects", setting("id", project))
    with pytest.raises(BadAnswer):
        client.projects.create("new-7")
    for field, value in (("name", "elsewhere"), ("id", other["id"])):
        lying_server.lie = lie_about(project, setting(field, value))
        with pytest.raises(BadAnswer):
            client.projects.rename(project, f"renamed-{field}")
    lying_server.lie = truth
    assert client.projects.rename(project, "renamed").name == "renamed"
    assert client.projects.create("new").generation == 0


@pytest.mark.parametrize(
    "change",
    [
        {"project": "a" * 26},
        {"generation": 0},
        {"generation": 1},
        {"commit": None},
        {"commit": None, "paths": [], "paths_total": 0, "generation": 0},
        {"paths_total": 0},
        {"conflicts": [{"path": "a"}]},
        {"kept": ["s9"]},
    ],
    ids=str,
)
def test_a_restore_that_contradicts_itself_or_what_was_asked_for_is_refused(
    client: RemoteManifold,
    lying_server: LyingServer,
    server: RemoteServer,
    project: ProjectId,
    change: dict[str, Any],
) -> None:
    put(server.manifold, project, b"a", b"newer")
    lying_server.lie = lie_about("/restore", lambda said: {**said, **change})
    with pytest.raises(BadAnswer):
        client.projects.restore(project, Generation(1))
    lying_server.lie = truth
    assert client.projects.restore(project, Generation(2)).commit is not None


@pytest.mark.parametrize(
    "change",
    [
        {"project": "a" * 26},
        {"generation": 999_999},
        {"generation": 999_999, "plan": None},
        {"generation": 1},
        {"generation": 0, "plan": None},
        {"commit": None},
        {"commit": None, "plan": None},
        {"commit": None, "rebased": True},
        {"commit": "a" * 26},
        {"rebased": True, "plan": None},
        {"conflicts": [{"path": "a"}]},
        {"kept": ["s9"]},
    ],
    ids=str,
)
def test_a_publication_that_contradicts_itself_or_what_was_asked_for_is_refused(
    client: RemoteManifold,
    lying_server: LyingServer,
    project: ProjectId,
    new_file: Path,
    tmp_path: Path,
    change: dict[str, Any],
) -> None:
    (tmp_path / "in").mkdir()
    lying_server.lie = lie_about("/publish", lambda said: {**said, **change})
    with pytest.raises(BadAnswer):
        client.sessions.commit(S1)
    assert new_file.read_bytes() == b"new"
    with pytest.raises(BadAnswer):
        client.transfer.import_folder(project, tmp_path / "in", Intent())


@pytest.mark.usefixtures("new_file")
def test_what_was_expected_is_what_it_was_done_on(
    client: RemoteManifold, lying_server: LyingServer, project: ProjectId
) -> None:
    def lie(asked: str, answer: Any) -> Any:
        if asked.endswith("/publish"):
            return {**answer, "plan": None, "generation": 3, "rebased": True}
        return {**answer, "generation": 3} if asked == f"GET /api/v1/projects/{project}" else answer

    lying_server.lie = lie
    with pytest.raises(BadAnswer, match="expected"):
        client.sessions.commit(S1, Intent(expected=Generation(1)))
    lying_server.lie = lie_about("/restore", setting("generation", 7))
    with pytest.raises(BadAnswer):
        client.projects.restore(project, Generation(0), (), Intent(expected=Generation(2)))


def test_an_answer_about_another_tag_or_generation_is_refused(
    client: RemoteManifold, lying_server: LyingServer, server: RemoteServer, project: ProjectId
) -> None:
    name = TagName("release-1")
    put(server.manifold, project, b"a", b"newer")
    client.tags.set(project, name, Generation(1))
    for field, value in (("name", "other"), ("name", "7"), ("generation", -1), ("commit", "../x"), ("user", "a/b")):
        lying_server.lie = lie_about("/tags/release-1", setting(field, value))
        for ask in (
            lambda: client.tags.get(project, name),
            lambda: client.tags.resolve(project, name),
            lambda: client.tags.remove(project, name),
            lambda: client.tags.set(project, name, Generation(1)),
        ):
            with pytest.raises(BadAnswer):
                ask()
    lying_server.lie = lie_about("/tags/release-1", setting("generation", 2))
    with pytest.raises(BadAnswer, match="asked for generation 1"):
        client.tags.set(project, name, Generation(1))
    lying_server.lie = truth
    assert client.tags.resolve(project, name) == 1


def test_a_list_holds_nothing_but_what_was_asked_for(
    client: RemoteManifold, lying_server: LyingServer, server: RemoteServer, project: ProjectId
) -> None:
    """Asked with some filter, the server answers as without: with everything, in another order, or twice."""
    other = ProjectId(about_another(server)["id"])
    put(server.manifold, project, b"a", b"newer")
    client.sessions.checkout(S1, other)
    client.sessions.checkout(S2, project)
    early, late = datetime(2001, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
    for name in ("release-1", "release-2"):
        client.tags.set(project, TagName(name), Generation(1))
    of_project = {f"/api/v1/projects/{project}/{kind}" for kind in ("commits", "tags")}
    lists = {"/api/v1/projects", "/api/v1/sessions", *of_project}
    with urllib3.PoolManager() as pool:
        true = {path: pool.request("GET", server.url + path).json()["items"] for path in lists}

    def everything(items: list[Any]) -> list[Any]:
        return items

    def backwards(items: list[Any]) -> list[Any]:
        return items[::-1]

    def twice(items: list[Any]) -> list[Any]:
        return [item for item in items for _ in range(2)]

    projects, sessions, log = client.projects.all, client.sessions.all, client.projects.log
    for how, ask in (
        (everything, lambda: projects(ProjectFilter("de"))),
        (everything, lambda: projects(ProjectFilter(created_until=early))),
        (everything, lambda: projects(ProjectFilter(updated_since=late))),
        (backwards, projects),
        (twice, projects),
        (everything, lambda: sessions(project)),
        (backwards, sessions),
        (twice, sessions),
        (everything, lambda: log(project, CommitFilter(author=UserId("somebody")))),
        (everything, lambda: log(project, CommitFilter(session=S1))),
        (everything, lambda: log(project, CommitFilter(since=late))),
        (everything, lambda: log(project, CommitFilter(until=early))),
        (everything, lambda: log(project, CommitFilter(before=Generation(2)))),
        (everything, lambda: log(project, CommitFilter(provenance=Fact("model")))),
        (everything, lambda: log(project, limit=1)),
        (backwards, lambda: log(project)),
        (twice, lambda: log(project)),
        (backwards, lambda: client.tags.all(project)),
        (twice, lambda: client.tags.all(project)),
    ):
        lying_server.lie = truth
        ask()
        lying_server.lie = lambda asked, answer, how=how: {
            "items": how(true[asked.split()[1].partition("?")[0]]),
            "next_cursor": None,
        }
        with pytest.raises(BadAnswer, match="list"):
            ask()


def test_a_project_did_not_come_back_because_a_server_answers_about_another(
    client: RemoteManifold, lying_server: LyingServer, project: ProjectId
) -> None:
    client.projects.delete(project)
    other = ProjectId("b" * 25 + "a")
    for field, value in (("deleted_at", None), ("name", "another")):
        lying_server.lie = lambda asked, answer, field=field, value=value: {
            **answer,
            "items": [{**one, field: value} for one in answer["items"]] * 2,
        }
        with pytest.raises(BadAnswer, match="list"):
            client.projects.deleted()
    for field, value in (("id", other), ("name", "another"), ("deleted_at", "2026-01-01T00:00:00Z")):
        lying_server.lie = lambda asked, answer, field=field, value=value: (
            {**answer, field: value} if asked.startswith("POST") else answer
        )
        with pytest.raises(BadAnswer):
            client.projects.undelete(project, "new")
    lying_server.lie = truth
    assert client.projects.undelete(project, "new").name == "new"


def test_what_says_that_something_is_gone_is_no_page_of_something_else(
    client: RemoteManifold, lying_server: LyingServer, project: ProjectId
) -> None:
    client.sessions.checkout(S1, project)
    for action in (lambda: client.projects.delete(project), lambda: client.sessions.close(S1)):
        lying_server.lie = lambda asked, answer: (
            Answer(b"<html>sign in</html>") if asked.startswith("DELETE") else answer
        )
        with pytest.raises(BadAnswer):
            action()


def test_a_working_set_is_not_removed_because_a_server_says_that_it_is_an_earlier_sessions(
    client: RemoteManifold, lying_server: LyingServer, server: RemoteServer, project: ProjectId
) -> None:
    other = new_project(server.manifold, "other", b=b"two")
    work = Path(client.sessions.checkout(S1, project).path)
    (work / "precious").write_bytes(b"not committed")
    for field, value in (
        ("opened_at", "2030-01-01T00:00:00Z"),
        ("opened_at", "2000-01-01T00:00:00Z"),
        ("plan.project", other),
        ("plan.user", "somebody"),
    ):
        lying_server.lie = lie_about("/plan", setting(field, value))
        with pytest.raises((SessionMoved, BadAnswer)):
            client.sessions.checkout(S1)
        for action in (client.sessions.status, client.sessions.save):
            with suppress(ManifoldError):
                action(S1)
            assert (work / "precious").read_bytes() == b"not committed"
    lying_server.lie = truth
    client.sessions.checkout(S1)
    assert (work / "precious").read_bytes() == b"not committed"


def test_another_generation_than_the_one_asked_for_is_not_exported(
    client: RemoteManifold, lying_server: LyingServer, server: RemoteServer, project: ProjectId, tmp_path: Path
) -> None:
    put(server.manifold, project, b"a", b"newer")
    out = tmp_path / "out"
    for number in (1, 3):
        lying_server.lie = lie_about("/plan", setting("generation", number))
        with pytest.raises(BadAnswer, match="generation"):
            client.transfer.export(project, out, Generation(2))
    lying_server.lie = lie_about("/plan", setting("project", "a" * 26))
    with pytest.raises(BadAnswer, match="project"):
        client.transfer.export(project, out)
    assert not out.exists()


def test_a_client_itself_refuses_less_than_it_has_seen(
    client: RemoteManifold, lying_server: LyingServer, server: RemoteServer, project: ProjectId
) -> None:
    old = lying_server_remembers(lying_server, client, project)
    put(server.manifold, project, b"a", b"newer")
    assert client.sessions.checkout(S2, project, CheckoutRequest(seen_generation=Generation(2))).generation == 2
    lying_server.lie = lie_about("/plan", lambda said: old)
    with pytest.raises(StaleStore):
        client.sessions.checkout(S1, project, CheckoutRequest(seen_generation=Generation(2)))


def lying_server_remembers(lying_server: LyingServer, client: RemoteManifold, project: ProjectId) -> Any:
    """Return what the plan of a session is now."""
    kept: list[Any] = []
    lying_server.lie = lie_about("/plan", lambda said: kept.append(said))
    client.sessions.checkout(S1, project)
    lying_server.lie = truth
    client.sessions.close(S1)
    return kept[0]


def test_what_was_committed_stays_here_when_the_server_has_dropped_it(
    client: RemoteManifold, lying_server: LyingServer, project: ProjectId
) -> None:
    work = Path(client.sessions.checkout(S1, project).path)
    (work / "a").write_bytes(b"work of hours")
    (work / "new").write_bytes(b"more of it")
    (work / "folder" / "b").unlink()

    def drop(said: Any) -> None:
        said.update(generation=1, commit=None, rebased=True, plan=None)

    lying_server.lie = lie_about("/publish", drop)
    with pytest.raises(BadAnswer):
        client.sessions.commit(S1)
    assert (work / "a").read_bytes() == b"work of hours"
    assert (work / "new").read_bytes() == b"more of it"
    assert not (work / "folder" / "b").exists()
    lying_server.lie = lie_about("/publish", setting("project", "a" * 26))
    (work / "new").write_bytes(b"and more")
    with pytest.raises((BadAnswer, CommitConflict)):
        client.sessions.commit(S1)
    assert (work / "new").read_bytes() == b"and more"


def test_an_encrypted_project_is_not_written_to_in_the_clear(
    client: RemoteManifold, lying_server: LyingServer, project: ProjectId, outside: Path
) -> None:
    work = Path(client.sessions.checkout(S1, project).path)
    (work / "new").write_bytes(b"secret that nobody may read")
    lying_server.lie = lie_about("/uploads", setting("write_dek", "a" * 26))
    for action in (client.sessions.commit, client.sessions.save):
        with pytest.raises(BadAnswer, match="without encryption"):
            action(S1)
    cached = (outside.parent / "client-laptop").rglob("*")
    assert not any(b"secret that nobody" in path.read_bytes() for path in cached if path.is_file())


def test_a_plan_that_does_not_end_is_given_up(
    client: RemoteManifold, lying_server: LyingServer, project: ProjectId, tmp_path: Path
) -> None:
    for change in (setting("objects_total", 10**9), lambda said: said.update(objects=[], objects_total=5)):
        lying_server.lie = lie_about("/plan", change)
        with pytest.raises(BadAnswer):
            client.transfer.export(project, tmp_path / "out")
    same = _CURSORS.write("a", LOCAL_PRINCIPAL, EVERY_PROJECT)
    lying_server.lie = lie_about("/api/v1/projects", lambda said: {"items": [], "next_cursor": same})
    with pytest.raises(BadAnswer, match="does not end"):
        client.projects.all()
    assert len(lying_server.asked) < 12


# --- trees --------------------------------------------------------------------------------------------------------


def with_tree(forge: Callable[[Tree, Entry], Tree]) -> Callable[[Any], None]:
    """Return a change of a plan's tree, sealed anew as only the server can."""

    def change(said: Any) -> None:
        plan = said.get("plan", said)
        grant, data = plan["tree"]["grant"], base64.b64decode(plan["tree"]["data"])
        own = Container(
            plan["tenant"], plan["project"], ObjectKind.CHECKPOINT, plan["generation"],
            checkpoint_name(plan["commit"], grant["object_id"]),
            grant["object_id"], grant["dek"],
        )  # fmt: skip
        key = base64.b64decode(grant["object_key"])
        found = read_checkpoint(data, own, Opener(own.seal(), object_key=key))
        tree = forge(found.changes.upserts, found.changes.upserts[b"a"])
        sealed = build_checkpoint(found.meta, Changes(tree, set()), found.places, Sealer(own.seal(), object_key=key))
        plan["tree"]["data"] = base64.b64encode(sealed).decode()

    return change


def link_to(target: str) -> Entry:
    return Entry(SYMLINK, 0o777, 0, 0, target.encode())


EVIL_TREES: dict[str, Callable[[Tree, Entry], Tree]] = {
    "up": lambda tree, file: {**tree, b"../escaped": file},
    "absolute": lambda tree, file: {**tree, b"/tmp/escaped": file},
    "up in the middle": lambda tree, file: {**tree, b"folder/../../escaped": file},
    "dot": lambda tree, file: {**tree, b"./escaped": file},
    "empty segment": lambda tree, file: {**tree, b"folder//escaped": file},
    "through a link": lambda tree, file: {**tree, b"link": link_to("/tmp"), b"link/escaped": file},
    "through a link to a folder": lambda tree, file: {
        **tree, b"link": link_to(".."), b"link/deep": Entry(DIRECTORY, 0o755, 0, 0, b""), b"link/deep/escaped": file,
    },
    "below a file": lambda tree, file: {**tree, b"a/escaped": file},
    "below nothing": lambda tree, file: {**tree, b"nowhere/escaped": file},
    "root is a link": lambda tree, file: {**tree, b"": link_to("/tmp")},
    "a name too long": lambda tree, file: {**tree, b"x" * 300: file},
    "set-uid": lambda tree, file: {**tree, b"a": file._replace(mode=0o4755)},
    "giant": lambda tree, file: {**tree, b"a": file._replace(size=1 << 60)},
    "content that is nowhere": lambda tree, file: {**tree, b"a": file._replace(content=b"", size=3)},
}  # fmt: skip


def test_a_tree_writes_nothing_outside(
    client: RemoteManifold,
    lying_server: LyingServer,
    server: RemoteServer,
    project: ProjectId,
    outside: Path,
    tmp_path: Path,
) -> None:
    work = Path(client.sessions.checkout(S2, project).path)
    (work / "mine").write_bytes(b"not committed")
    put(server.manifold, project, b"a", b"newer")
    for evil, forge in EVIL_TREES.items():
        lying_server.lie = lie_about("/plan", with_tree(forge))
        with pytest.raises(CorruptObject):
            client.sessions.checkout(S1, project)
            pytest.fail(f"a working set was made of a tree with a path {evil}")
        with pytest.raises(CorruptObject):
            client.transfer.export(project, tmp_path / "out")
        with pytest.raises(CorruptObject):
            client.sessions.checkout(S2)
        assert (work / "mine").read_bytes() == b"not committed"
        assert (work / "a").read_bytes() == b"one"


def test_names_that_differ_in_case_alone_are_two_files(
    client: RemoteManifold, lying_server: LyingServer, project: ProjectId
) -> None:
    lying_server.lie = lie_about("/plan", with_tree(lambda tree, file: {**tree, b"A": file}))
    work = Path(client.sessions.checkout(S1, project).path)
    assert {path.name for path in work.iterdir()} == {"a", "A", "folder"}


# --- between servers ----------------------------------------------------------------------------------------------


def test_what_one_server_gives_for_an_object_is_never_taken_for_another_servers(
    make_client: MakeClient, lying_server: LyingServer, server: RemoteServer, project: ProjectId
) -> None:
    """Both in one cache folder, with the very same object keys: what is unsealed would pass for the other's."""
    theirs, mine = make_client(url=lying_server.url), make_client(url=server.url)
    grant = mine.context.server.plan(project).objects[0]
    theirs.context.cache.put(grant.key, b"poison")
    assert mine.context.cache.get(grant.key, max_bytes=100) is None
    theirs.context.cache.drop(grant.key)
    mine.sessions.checkout(S1, project)
    assert mine.context.cache.has(grant.key)
    theirs.context.cache.put(grant.key, b"poison")
    theirs.context.cache.drop(grant.key)
    assert mine.context.cache.has(grant.key)


def test_no_key_makes_the_cache_leave_its_folder(client: RemoteManifold, outside: Path) -> None:
    cache = client.context.cache
    for key in ("../x", "/x", f"../../../..{outside}/precious", "a/../../x", ""):
        for use in (
            lambda: cache.put(key, b"x"),  # noqa: B023
            lambda: cache.put_ranges(key, [(0, 1)], [b"x"]),  # noqa: B023
            lambda: cache.get(key, max_bytes=10),  # noqa: B023
            lambda: cache.has(key),  # noqa: B023
            lambda: cache.drop(key),  # noqa: B023
        ):
            with pytest.raises(InvalidInput):
                use()


def test_notes_beside_working_sets_lead_to_no_other(
    client: RemoteManifold, project: ProjectId, ram_folder: Path
) -> None:
    """Whoever can write one, such as an earlier release that believed a server, has no say in what is removed."""
    mine = Path(client.sessions.checkout(S1, project).path)
    note = mine.parent / "owner"
    (mine / "precious").write_bytes(b"not committed")
    true = msgspec.json.decode(note.read_bytes())
    root = mine.parents[3]
    for number, change in enumerate(
        ({"tenant": "../../.."}, {"user": "a/b"}, {"session": ".."}, {"project": "../x"}, {"session": "another"})
    ):
        place = root / "default" / "local" / f"forged{number}"
        (place / "work").mkdir(parents=True)
        (place / "owner").write_bytes(msgspec.json.encode({**true, **change}))
    (root / "default" / "local" / "forged5").mkdir()
    (root / "default" / "local" / "forged5" / "owner").write_bytes(note.read_bytes())
    assert [owner.session for owner in client.sessions.here()] == [S1]
    assert (mine / "precious").read_bytes() == b"not committed"


@pytest.mark.usefixtures("new_file")
def test_a_commit_goes_on_where_the_server_gives_no_plan_with_its_answer(
    client: RemoteManifold, lying_server: LyingServer
) -> None:
    lying_server.lie = lie_about("/publish", setting("plan", None))
    assert client.sessions.commit(S1, Intent("message")).generation == 2
    assert client.sessions.status(S1).differences == []
