"""What is somebody else's cannot be told from what does not exist: same error, same words, nothing changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL, Principal
from manifold_common.errors import AlreadyExists, InvalidInput, ManifoldError, NotFound, UnsafePath
from manifold_common.ids import (
    DEFAULT_TENANT,
    DEFAULT_USER,
    Generation,
    ProjectId,
    SessionId,
    TagName,
    TenantId,
    UserId,
)
from manifold_common.services.projects.edits import PutFile

from tests.support.manifold import MakeManifold
from tests.support.work import S1, cat, check_out, new_project, reader

ABSENT = ProjectId("b" * 25 + "a")
ONE = Generation(1)
TAG = TagName("release-1")
STRANGERS = [
    Principal(DEFAULT_TENANT, UserId("eve")),
    Principal(TenantId("other"), DEFAULT_USER),
    Principal(TenantId("other"), UserId("eve")),
]

ProjectCall = Callable[[Manifold, Principal, ProjectId, Path], object]
ON_PROJECTS: dict[str, ProjectCall] = {
    "get": lambda m, who, project, _: m.projects.get(who, project),
    "resolve": lambda m, who, project, _: m.projects.resolve(who, project),
    "rename": lambda m, who, project, _: m.projects.rename(who, project, "mine"),
    "delete": lambda m, who, project, _: m.projects.delete(who, project),
    "undelete": lambda m, who, project, _: m.deleted_projects.undelete(who, project),
    "resolve deleted": lambda m, who, project, _: m.deleted_projects.resolve(who, project),
    "snapshot": lambda m, who, project, _: m.history.snapshot(who, project),
    "old snapshot": lambda m, who, project, _: m.history.snapshot(who, project, ONE),
    "far snapshot": lambda m, who, project, _: m.history.snapshot(who, project, Generation(99)),
    "list": lambda m, who, project, _: m.history.list_tree(who, project),
    "open": lambda m, who, project, _: m.history.open_file(who, project, b"a"),
    "log": lambda m, who, project, _: m.history.log(who, project),
    "commit": lambda m, who, project, _: m.history.commit(who, project, ONE),
    "diff": lambda m, who, project, _: m.history.diff(who, project, Generation(0), ONE),
    "edit": lambda m, who, project, _: m.edits.apply(who, project, [PutFile(b"x", reader(b"x"))]),
    "restore": lambda m, who, project, _: m.edits.restore(who, project, Generation(0)),
    "restore by tag": lambda m, who, project, _: m.edits.restore(who, project, TAG),
    "tags": lambda m, who, project, _: m.tags.all(who, project),
    "page of tags": lambda m, who, project, _: m.tags.page(who, project),
    "find tag": lambda m, who, project, _: m.tags.find(who, project, TAG),
    "resolve tag": lambda m, who, project, _: m.tags.resolve(who, project, TAG),
    "tag": lambda m, who, project, _: m.tags.set(who, project, TAG, ONE),
    "untag": lambda m, who, project, _: m.tags.remove(who, project, TAG),
    "checkout": lambda m, who, project, _: m.sessions.checkout(who, SessionId("mine"), project),
    "fork": lambda m, who, project, _: m.forks.fork(who, project, "stolen"),
    "verify": lambda m, who, project, _: m.verify.run(who, project),
    "damage": lambda m, who, project, _: m.verify.damage(who, project),
    "is much damaged": lambda m, who, project, _: m.verify.is_full(who, project),
    "import": lambda m, who, project, folder: m.transfer.import_folder(who, project, folder),
    "export": lambda m, who, project, folder: m.transfer.export(who, project, folder / "out"),
}


@pytest.mark.parametrize("stranger", STRANGERS, ids=str)
def test_a_hint_names_nothing_of_another(make_manifold: MakeManifold, stranger: Principal) -> None:
    manifold = make_manifold()
    project = manifold.projects.create(LOCAL_PRINCIPAL, "their-project").id
    manifold.sessions.checkout(LOCAL_PRINCIPAL, SessionId("their-session"), project)
    own = manifold.projects.create(stranger, "their-own").id
    manifold.sessions.checkout(stranger, SessionId("their-own-session"), own)
    for look, meant in (
        (lambda who: manifold.projects.resolve(who, "their-projec"), "their-project"),
        (lambda who: manifold.sessions.view(who, SessionId("their-sessio")), "their-session"),
        (lambda who: manifold.leftovers.put_aside(who, SessionId("their-sessio")), "their-session"),
    ):
        for who in (stranger, LOCAL_PRINCIPAL):
            with pytest.raises(NotFound) as caught:
                look(who)
            assert (f"{meant!r}" in str(caught.value.hint)) == (who == LOCAL_PRINCIPAL)


@pytest.mark.parametrize("stranger", STRANGERS, ids=str)
@pytest.mark.parametrize("call", ON_PROJECTS)
def test_a_project_of_another_reads_like_one_that_does_not_exist(
    make_manifold: MakeManifold, tmp_path: Path, call: str, stranger: Principal
) -> None:
    manifold = make_manifold()
    project = new_project(manifold, a=b"secret")
    tagged, _ = manifold.tags.set(LOCAL_PRINCIPAL, project, TAG, ONE)
    folder = tmp_path / "folder"
    folder.mkdir()
    errors = []
    for wanted in (project, ABSENT):
        with pytest.raises(NotFound) as caught:
            ON_PROJECTS[call](manifold, stranger, wanted, folder)
        error = caught.value
        errors.append((type(error), str(error).replace(wanted, "ID"), error.hint, str(error.details)))
    assert errors[0] == errors[1]
    assert not (folder / "out").exists()
    assert manifold.projects.page(stranger) == []
    assert manifold.projects.get(LOCAL_PRINCIPAL, project).generation == 1
    assert manifold.tags.all(LOCAL_PRINCIPAL, project) == [tagged]
    assert cat(manifold, project, b"a") == b"secret"


SessionCall = Callable[[Manifold, Principal, SessionId], object]
ON_SESSIONS: dict[str, SessionCall] = {
    "view": lambda m, who, session: m.sessions.view(who, session),
    "owner": lambda m, who, session: m.sessions.owner(who, session),
    "checkout": lambda m, who, session: m.sessions.checkout(who, session),
    "status": lambda m, who, session: m.sessions.status(who, session),
    "save": lambda m, who, session: m.commits.save(who, session),
    "commit": lambda m, who, session: m.commits.commit(who, session),
}


@pytest.mark.parametrize("stranger", STRANGERS, ids=str)
@pytest.mark.parametrize("call", ON_SESSIONS)
def test_a_session_of_another_reads_like_one_that_does_not_exist(
    make_manifold: MakeManifold, call: str, stranger: Principal
) -> None:
    manifold = make_manifold()
    project = new_project(manifold, a=b"secret")
    work = check_out(manifold, project)
    (work / "a").write_bytes(b"mine")
    errors = []
    for wanted in (S1, SessionId("absent")):
        with pytest.raises(NotFound) as caught:
            ON_SESSIONS[call](manifold, stranger, wanted)
        errors.append((type(caught.value), str(caught.value).replace(wanted, "ID")))
    assert errors[0] == errors[1]
    manifold.sessions.close(stranger, S1)
    assert manifold.sessions.all(stranger) == []
    assert work.exists()
    assert manifold.commits.commit(LOCAL_PRINCIPAL, S1).generation == 2


def test_equal_ids_of_two_users_are_two_sessions(make_manifold: MakeManifold) -> None:
    manifold = make_manifold()
    folders = set()
    for who in (LOCAL_PRINCIPAL, *STRANGERS):
        project = manifold.projects.create(who, "demo").id
        folders.add(check_out(manifold, project, S1, who))
        manifold.edits.apply(who, project, [PutFile(b"of", reader(str(who).encode()))])
        assert check_out(manifold, None, S1, who) in folders
    assert sorted((folder / "of").read_bytes() for folder in folders) == sorted(
        str(who).encode() for who in (LOCAL_PRINCIPAL, *STRANGERS)
    )


def test_equal_content_has_unequal_names_in_two_projects(make_manifold: MakeManifold) -> None:
    """A chunk id must not tell one tenant that another has the same file."""
    manifold = make_manifold()
    chunks = []
    for who in (LOCAL_PRINCIPAL, STRANGERS[2]):
        project = manifold.projects.create(who, "demo").id
        manifold.edits.apply(who, project, [PutFile(b"f", reader(b"the same"))])
        chunks.append(manifold.history.snapshot(who, project).tree[b"f"].content)
    assert chunks[0] != chunks[1]


@pytest.mark.parametrize(
    "text", ["../evil", "../../evil", "/evil", "a/b", ".", "..", "a..b", "A", "a\0b", "x" * 65, "-"]
)
def test_a_session_id_that_is_no_plain_word_is_refused(make_manifold: MakeManifold, text: str) -> None:
    manifold = make_manifold()
    project = new_project(manifold, a=b"one")
    root = manifold.working_sets.folders.root
    before = sorted(Path(root).parent.rglob("*"))
    with pytest.raises(InvalidInput):
        manifold.sessions.checkout(LOCAL_PRINCIPAL, SessionId(text), project)
    assert sorted(Path(root).parent.rglob("*")) == before
    assert manifold.sessions.all(LOCAL_PRINCIPAL) == []


@pytest.mark.parametrize("name", ["", " x", "x ", "a/b", "..", ".hidden", "a\0b", "a\nb", "x" * 201, "\udcff", "a\\b"])
def test_a_project_name_that_could_be_taken_for_something_else_is_refused(
    make_manifold: MakeManifold, name: str
) -> None:
    manifold = make_manifold()
    project = new_project(manifold, a=b"one")
    for call in (
        lambda: manifold.projects.create(LOCAL_PRINCIPAL, name),
        lambda: manifold.projects.rename(LOCAL_PRINCIPAL, project, name),
        lambda: manifold.forks.fork(LOCAL_PRINCIPAL, project, name),
    ):
        with pytest.raises(InvalidInput):
            call()
    assert [row.name for row in manifold.projects.page(LOCAL_PRINCIPAL)] == ["demo"]


def test_a_name_is_taken_only_for_its_own_user(make_manifold: MakeManifold) -> None:
    manifold = make_manifold()
    new_project(manifold, "demo")
    with pytest.raises(AlreadyExists):
        new_project(manifold, "demo")
    for who in STRANGERS:
        assert manifold.projects.create(who, "demo").owner == who.user


@pytest.mark.parametrize("path", [b"../a", b"/etc/passwd", b"a/../../b", b"a\0", b"", b"."])
def test_no_read_leaves_the_project(make_manifold: MakeManifold, path: bytes) -> None:
    manifold = make_manifold()
    project = new_project(manifold, a=b"one")
    with pytest.raises(ManifoldError):
        manifold.history.open_file(LOCAL_PRINCIPAL, project, path)
    if path:
        with pytest.raises((NotFound, UnsafePath)):
            manifold.history.list_tree(LOCAL_PRINCIPAL, project, path)
        with pytest.raises(ManifoldError):
            manifold.edits.restore(LOCAL_PRINCIPAL, project, ONE, [path])
