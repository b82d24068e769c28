"""The guide's step "enable encryption (new files only)", as an operator takes it, and what is told about it."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest
from manifold_common.errors import BadUpload, CorruptObject
from manifold_common.format.sealed import ObjectKind
from manifold_common.ids import DEFAULT_TENANT, DEFAULT_USER, PLAIN, ProjectId
from manifold_common.shapes.intent import Intent

from tests.attacks.begun import in_the_clear
from tests.attacks.forging import with_other_content
from tests.attacks.liar import make_liar
from tests.support.api import MakeApi
from tests.support.cli import Program
from tests.support.remote import MakeClient, MakeServer, RemoteServer
from tests.support.work import S1, S2, cat, new_project, put

OFF = {"PROJECTS_ENCRYPT": "false"}


def store_of(program: Program) -> Path:
    return Path(program.json("config", "show")["settings"]["projects.filesystem.root"]["value"])


def plain_objects(folder: Path) -> set[Path]:
    return {
        path
        for path in folder.rglob("*")
        if path.is_file() and path.read_bytes()[:4] == b"MNFD" and path.read_bytes()[6] != 1
    }


@pytest.mark.in_memory("looks at the folder of the store")
def test_a_store_made_in_the_clear_is_encrypted_from_the_first_change_on(program: Program, tmp_path: Path) -> None:
    secret = secrets.token_hex(30)
    source = tmp_path / "source"
    source.mkdir()
    (source / "old.txt").write_text("old\n")
    program("import", "notes", source, "--create", **OFF)
    work = Path(program.text("checkout", "notes", "--session", "writer", **OFF).strip())
    (work / "draft.txt").write_text("draft\n")
    program("save", "writer", **OFF)
    assert program.json("project", "show", "notes", **OFF)["encryption"] == "plain"

    shown = program.json("project", "show", "notes")
    assert (shown["encryption"], shown["unencrypted"]) == ("plain", None)
    assert "nothing; where projects.encrypt is on, it begins with the next change" in program.text(
        "project", "show", "notes"
    )
    assert "not encrypted: 2 objects, " in program.text("verify", "notes"), "the commit and the draft"
    folder = program.folder / "workdir"
    before = plain_objects(folder)
    assert before
    work = Path(program.text("checkout", "notes", "--session", "writer").strip())
    assert (work / "draft.txt").read_text() == "draft\n"
    (work / "new.txt").write_text(secret)
    program("commit", "writer", "-m", secret)
    assert plain_objects(folder) <= before
    assert not any(
        secret.encode() in path.read_bytes() for path in folder.rglob("*") if path.is_file() and not path.is_symlink()
    )

    shown = program.json("project", "show", "notes")
    assert shown["encryption"] == "partly"
    assert shown["unencrypted"]["objects"] == 1
    assert "1 object of commits and checkpoints from before" in program.text("project", "show", "notes")
    found = program.json("verify", "notes", "--read-data")
    assert (found["ok"], found["unencrypted_objects"]) == (True, 1)
    assert "not encrypted: 1 object from before the project was" in program.text("verify", "notes")
    health = {check["name"]: check for check in program.json("health")["dependencies"]}
    assert health["encryption"]["state"] == "ok"
    assert "1 project holds content from before that, in the clear" in health["encryption"]["detail"]

    program("import", "always", source, "--create")
    assert program.json("project", "show", "always")["encryption"] == "encrypted"
    (work / "again.txt").write_text("again\n")
    program("commit", "writer", **OFF)
    assert plain_objects(folder) <= before, "encryption belongs to the project"


def test_the_page_and_the_api_say_of_each_project_what_is_true(make_api: MakeApi) -> None:
    off = make_api(PROJECTS_ENCRYPT="false", node="off")
    new_project(off.manifold, "never", a=b"one")
    begun = new_project(off.manifold, "begun", a=b"one")
    on = make_api()
    put(on.manifold, begun, b"b", b"two")
    new_project(on.manifold, "always", a=b"one")
    for api in (off, on):
        states = {item["name"]: item["encryption"] for item in api.get("/api/v1/projects").json()["items"]}
        assert states == {"never": "plain", "begun": "partly", "always": "encrypted"}
        assert api.get("/api/v1/projects/begun").json()["unencrypted"]["objects"] == 1
        assert api.get("/api/v1/projects/always").json()["unencrypted"] is None
        page = api.get("/").text
        for row in (
            "as plaintext",
            "encrypted, but for 1 older commit objects and checkpoints, and their packs",
            '<td data-label="Stored">encrypted</td>',
        ):
            assert row in page
    assert (
        "Encryption is off: new projects are stored as plaintext. Those that are encrypted stay so."
        in off.get("/").text
    )
    assert "Encryption is off" not in on.get("/").text
    checks = {one["name"]: one for one in on.get("/health").json()["dependencies"]}
    assert "2 projects hold content from before that, in the clear" in checks["encryption"]["detail"]
    checks = {one["name"]: one for one in off.get("/health").json()["dependencies"]}
    assert checks["encryption"]["state"] == "off"


@pytest.fixture
def plain_server(make_server: MakeServer) -> RemoteServer:
    return make_server(PROJECTS_ENCRYPT="false", node="plain")


def clear(server: RemoteServer) -> set[str]:
    return in_the_clear(server.manifold.context.store)


def test_clients_of_a_server_seal_too_and_get_back_what_they_saved_before(
    plain_server: RemoteServer, server: RemoteServer, make_client: MakeClient
) -> None:
    project = new_project(plain_server.manifold, a=b"one")
    old = make_client("old", plain_server.url)
    for session in (S1, S2):
        work = Path(old.sessions.checkout(session, project).path)
        (work / "draft").write_bytes(session.encode() * 100)
        old.sessions.save(session)
    put(server.manifold, project, b"b", b"two")
    before = clear(server)
    new = make_client("new", server.url)
    work = Path(new.sessions.checkout(S1, project).path)
    assert (work / "draft").read_bytes() == S1.encode() * 100
    assert clear(server) == before, "the old draft was stored anew, sealed"
    view = server.manifold.context.catalog.view_session(DEFAULT_TENANT, DEFAULT_USER, S1)
    assert view is not None
    assert view.session.draft is not None
    assert view.session.draft.dek != PLAIN
    (work / "large").write_bytes(secrets.token_bytes(3 << 20))
    new.sessions.save(S1)
    (work / "c").write_bytes(b"three")
    assert new.sessions.commit(S1, Intent()).generation == 3
    assert clear(server) == before
    assert cat(server.manifold, project, b"c") == b"three"
    assert cat(server.manifold, project, b"draft") == S1.encode() * 100


def test_slots_from_before_the_encryption_are_not_taken_after_it(
    plain_server: RemoteServer, server: RemoteServer, make_client: MakeClient
) -> None:
    project = new_project(plain_server.manifold, a=b"one")
    liar = make_liar(make_client("old", plain_server.url), project)
    liar.packed(secrets.token_bytes(3 << 20))
    put(server.manifold, project, b"b", b"two")
    for client in (liar.client, make_client("new", server.url)):
        liar.upload._context = client.context
        with pytest.raises(BadUpload):
            liar.publish()


def test_a_client_proves_what_is_in_the_clear(
    plain_server: RemoteServer, server: RemoteServer, make_client: MakeClient
) -> None:
    project: ProjectId = new_project(plain_server.manifold, a=secrets.token_bytes(200))
    put(server.manifold, project, b"b", b"two")
    store = server.manifold.context.store
    (key,) = [key for key in clear(server) if "/commits/" in key]
    data = bytes(store.get(key, max_bytes=1 << 20))
    store.put(key, with_other_content(data, key, ObjectKind.COMMIT))
    with pytest.raises(CorruptObject):
        make_client("hostile", server.url).sessions.checkout(S1, project)
