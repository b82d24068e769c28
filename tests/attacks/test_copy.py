"""A working folder is copied, a catalog is restored from a dump: the copy touches nothing that is the original's."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from manifold_common.adapters.memory.object_store import MemoryObjectStore
from manifold_common.adapters.system.clock import SystemClock
from manifold_common.adapters.wrappers.read_only import CATALOG_READS, STORE_READS
from manifold_common.bootstrap import Manifold, build_catalog
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.errors import Conflict, ErrorKind, NotAdopted, PartlyDone
from manifold_common.ports.catalog import Catalog
from manifold_common.ports.object_store import ObjectStore
from manifold_common.services.upkeep.installation import Adoption
from manifold_local.cli.exit_codes import EXIT_CODES
from manifold_local.embedded.postgres import ensure_embedded

from tests.support.cli import Program
from tests.support.manifold import MakeManifold, settings_for
from tests.support.postgres import database_of, direct_dsn, with_database
from tests.support.work import S1, cat, check_out, new_project, put
from tests.support.zygote import Zygote

CONFLICT = EXIT_CODES[ErrorKind.CONFLICT]


@pytest.fixture
def program(tmp_path: Path, ram_folder: Path, zygote: Zygote) -> Program:
    """The program, on a folder of its own."""
    (tmp_path / "original").mkdir()
    return Program(tmp_path / "original", ram_folder, zygote)


def stopped(program: Program) -> Path:
    """Return the working folder, with no process at work in it."""
    workdir = program.folder / "workdir"
    ensure_embedded(workdir / ".postgres", linger_seconds=0).close(stop_now=True)
    return workdir


def copy_of(program: Program, name: str) -> Program:
    made = replace(program, folder=program.folder.with_name(name))
    made.folder.mkdir()
    subprocess.run(["cp", "-a", stopped(program), made.folder / "workdir"], check=True)
    return made


@pytest.fixture
def edited(program: Program) -> tuple[str, Path]:
    """A project with a session whose working set holds what is not saved."""
    name = program.project({"a": b"one"})
    work = Path(program.text("checkout", name, "--session", "s1").strip())
    (work / "mine").write_bytes(b"not saved")
    return name, work


def test_a_copied_working_folder_can_be_read_and_changes_nothing(program: Program, edited: tuple[str, Path]) -> None:
    name, work = edited
    copy = copy_of(program, "copy")
    (copy.folder / "x").write_bytes(b"x")
    before = sorted(path.name for path in work.parent.parent.iterdir())
    assert copy("cat", name, "a").stdout == b"one"
    assert copy.json("sessions")["items"][0]["session"] == "s1"
    for refused in (
        ["commit", "s1"], ["save", "s1"], ["close", "s1", "--discard"], ["checkout", name, "--session", "s1"],
        ["checkout", name], ["import", name, str(copy.folder)], ["project", "delete", name, "--yes"],
        ["project", "create", "another"], ["fork", name, "another"], ["up", "--port", "0"],
    ):  # fmt: skip
        error = copy.error(*refused, code=CONFLICT)
        assert error["code"] == "not_adopted", refused
        assert "manifold adopt --same" in error["hint"]
    assert sorted(path.name for path in work.parent.parent.iterdir()) == before
    assert (work / "mine").read_bytes() == b"not saved"

    said = copy.json("adopt", "--new")
    theirs = Path(copy.text("checkout", name, "--session", "s1").strip())
    assert theirs.is_relative_to(program.ram / said["incarnation"])
    assert not (theirs / "mine").exists()
    copy("close", "s1", "--discard")
    assert program.json("commit", "s1")["added"] == 1
    assert program("cat", name, "mine").stdout == b"not saved"
    copy("cat", name, "mine", code=EXIT_CODES[ErrorKind.NOT_FOUND])


def test_a_copy_of_a_working_folder_that_takes_over_goes_on_with_its_sessions(
    program: Program, edited: tuple[str, Path]
) -> None:
    name, work = edited
    taken = copy_of(program, "taken")
    shutil.rmtree(program.folder / "workdir")
    assert taken.error("commit", "s1", code=CONFLICT)["code"] == "not_adopted"
    taken("adopt", "--same")
    assert taken.json("status", "s1")["path"] == str(work)
    assert taken.json("commit", "s1")["added"] == 1
    assert taken("cat", name, "mine").stdout == b"not saved"


def test_a_renamed_working_folder_is_the_same_installation(program: Program, edited: tuple[str, Path]) -> None:
    _, work = edited
    renamed = replace(program, folder=program.folder.with_name("renamed"))
    renamed.folder.mkdir()
    stopped(program).rename(renamed.folder / "workdir")
    assert renamed.json("status", "s1")["path"] == str(work)
    assert renamed.json("commit", "s1")["added"] == 1


Restored = Callable[[], Manifold]


@pytest.fixture
def postgres_dsn(postgres_dsn: str) -> str:
    """The server itself, however the tests are run: a pooler would stay connected to what is copied."""
    return direct_dsn(postgres_dsn)


@pytest.fixture
def restored(
    make_manifold: MakeManifold, postgres_dsn: str, tmp_path: Path, ram_folder: Path, request: pytest.FixtureRequest
) -> tuple[Manifold, Restored]:
    """An installation on PostgreSQL, and a function that moves its node to a copy of its database."""
    clock, store = SystemClock(), MemoryObjectStore(SystemClock())
    settings = settings_for(tmp_path / "node-a", ram_folder / "a")
    (tmp_path / "node-a").mkdir()
    catalog = build_catalog(settings, postgres_dsn, clock)
    root = request.node.callspec.params.get("root", "store") if hasattr(request.node, "callspec") else "store"
    variables: dict[str, Any] = {"PROJECTS_FILESYSTEM_ROOT": str(tmp_path / root)}
    original = make_manifold(catalog=catalog, store=store, clock=clock, **variables)

    def restore() -> Manifold:
        name = database_of(postgres_dsn)
        catalog.close()
        with psycopg.connect(with_database(postgres_dsn, "template1"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}_copy TEMPLATE {name} STRATEGY FILE_COPY")
            request.addfinalizer(lambda: _drop(postgres_dsn, f"{name}_copy"))
        copy = build_catalog(settings, with_database(postgres_dsn, f"{name}_copy"), clock)
        request.addfinalizer(copy.close)
        return make_manifold(catalog=copy, store=store, clock=clock, **variables)

    return original, restore


def _drop(dsn: str, name: str) -> None:
    with psycopg.connect(with_database(dsn, "template1"), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.in_memory("copies a database of its own")
def test_a_restored_catalog_is_read_only_until_it_is_adopted_and_sweeps_nothing(
    restored: tuple[Manifold, Restored],
) -> None:
    original, restore = restored
    project = new_project(original, "demo", a=b"one")
    work = check_out(original, project)
    (work / "mine").write_bytes(b"not saved")
    copy = restore()
    assert cat(copy, project, b"a") == b"one"
    assert any("restored from a dump" in warning for warning in copy.warnings)
    refused: list[Callable[[], object]] = [
        lambda: put(copy, project, b"b", b"two"),
        lambda: copy.sessions.checkout(LOCAL_PRINCIPAL, S1),
        lambda: copy.commits.commit(LOCAL_PRINCIPAL, S1),
        lambda: copy.sessions.close(LOCAL_PRINCIPAL, S1),
        lambda: copy.projects.delete(LOCAL_PRINCIPAL, project),
        lambda: copy.context.writer.write_checkpoint(copy.context.log.load(LOCAL_PRINCIPAL.tenant, project)),
        lambda: copy.context.store.delete(["x"]),
        lambda: copy.events.settle(),
        copy.maintenance.sweep_sessions,
    ]
    for change in refused:
        with pytest.raises(NotAdopted):
            change()
    for sweep in (copy.maintenance.sweep_working_sets, copy.maintenance.save_drafts):
        with pytest.raises(PartlyDone, match="not_adopted"):
            sweep()
    assert (work / "mine").read_bytes() == b"not saved"

    copy.installations.adopt(Adoption.SAME)
    standing = copy.installations.look()
    assert standing.doubt is None
    assert standing.incarnation == original.standing.incarnation


@pytest.mark.in_memory("copies a database of its own")
def test_a_new_installation_does_not_write_to_the_store_of_the_original(restored: tuple[Manifold, Restored]) -> None:
    original, restore = restored
    new_project(original, "demo", a=b"one")
    copy = restore()
    with pytest.raises(Conflict, match="cannot share the object store"):
        copy.installations.adopt(Adoption.NEW)
    assert copy.installations.look().doubt is not None


@pytest.mark.in_memory("copies a database of its own")
@pytest.mark.parametrize("root", ["node-a/.store"])
def test_a_copied_database_alone_is_no_new_installation_of_the_folder_that_the_store_lies_in(
    restored: tuple[Manifold, Restored], root: str
) -> None:
    """What the copy would let go of after its grace, the original still refers to."""
    original, restore = restored
    new_project(original, "demo", a=b"one")
    copy = restore()
    with pytest.raises(Conflict, match="only the database is a copy"):
        copy.installations.adopt(Adoption.NEW)
    assert copy.installations.look().doubt is not None
    copy.installations.adopt(Adoption.SAME)
    assert copy.installations.look().doubt is None


def test_whatever_is_not_known_to_read_is_refused_while_it_is_in_doubt() -> None:
    """A method that is added to a port is a change until somebody has said that it is none, and has to be said so:
    what health and the status page ask can be asked of a copy, too."""
    changes = {
        "add_checkpoint", "add_job", "add_resumable", "add_uploads", "advance_resumable", "begin_epoch",
        "claim_events", "claim_items", "close_session", "commit_lease", "create_project", "declare_backup",
        "delete_project", "drop_draft", "end_session", "extend_items", "forget_condemned", "forget_ended",
        "forget_jobs", "forget_resumable", "forget_superseded", "forget_uploads", "hold_resumable", "link_uploads",
        "move_job", "move_session", "note_collected", "note_damage", "note_usage", "open_session", "plan_items",
        "prolong_session", "prove_uploads", "prune_events", "publish_commit", "purge_projects", "redrive_events",
        "redrive_sinks", "refer_uploads", "release_backups", "remove_generations", "remove_resumable", "remove_tag",
        "remove_upload", "rename_project", "replace_wrapped_key", "report_events", "report_items", "rest_job",
        "retry_job", "save_draft", "set_retention", "set_tag", "settle", "settle_events", "settle_resumable",
        "suspect", "take_session", "undelete_project",
    }  # fmt: skip
    public = {name for name in dir(Catalog) if not name.startswith("_")}
    assert (public - CATALOG_READS, CATALOG_READS - public) == (changes, set())
    assert {name for name in dir(ObjectStore) if not name.startswith("_")} - STORE_READS == {"put", "delete"}
