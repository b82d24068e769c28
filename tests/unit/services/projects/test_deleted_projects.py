"""Deleted projects as whoever brings them back meets them: nothing that was committed or saved is lost."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL, Principal
from manifold_common.errors import AlreadyExists, Conflict, InvalidInput, NotFound
from manifold_common.ids import Generation, ProjectId, SessionId, TagName, UserId
from manifold_common.services.context import Policy
from manifold_common.services.upkeep.superseded import Superseded
from manifold_common.shapes.intent import Intent
from manifold_common.shapes.requests import CheckoutRequest

from tests.support.manifold import MakeManifold
from tests.support.work import S1, S2, cat, check_out, new_project, put

ME = LOCAL_PRINCIPAL
EVE = Principal(ME.tenant, UserId("eve"))
NO_GRACE = timedelta(0)


@pytest.fixture
def manifold(make_manifold: MakeManifold) -> Manifold:
    return make_manifold()


def types(manifold: Manifold) -> list[str]:
    return [event.document["type"] for event in manifold.events.recent(limit=100)]


def save(manifold: Manifold, folder: Path, name: str, text: str, session: SessionId = S1) -> None:
    (folder / name).write_text(text)
    assert manifold.commits.save(ME, session).draft is not None


def kept_session(manifold: Manifold, project: ProjectId) -> SessionId:
    [row] = manifold.sessions.all(ME, project)
    return row.session


def test_a_project_that_was_deleted_says_until_when_it_can_be_brought_back_and_comes_back(manifold: Manifold) -> None:
    project = new_project(manifold, a=b"one")
    put(manifold, project, b"a", b"two")
    tag, _ = manifold.tags.set(ME, project, TagName("first"), Generation(1))
    before = manifold.projects.get(ME, project)
    gone = manifold.projects.delete(ME, project)
    assert gone.deleted_at is not None and gone.restorable_until == gone.deleted_at + timedelta(days=7)
    assert manifold.deleted_projects.page(ME) == [gone]
    assert manifold.deleted_projects.all(ME) == [gone]
    with pytest.raises(NotFound):
        manifold.projects.get(ME, project)
    back = manifold.deleted_projects.undelete(ME, project)
    assert (back.id, back.name, back.point, back.deleted_at) == (project, "demo", before.point, None)
    assert (cat(manifold, project, b"a"), cat(manifold, project, b"a", 1)) == (b"two", b"one")
    assert manifold.tags.all(ME, project) == [tag]
    assert put(manifold, project, b"a", b"three").generation == 3
    assert manifold.deleted_projects.all(ME) == []
    assert manifold.verify.run(ME, project, read_data=True).ok
    assert [one for one in types(manifold) if "delet" in one] == [
        "manifold.project.deleted",
        "manifold.project.undeleted",
    ]


def test_another_process_reads_and_writes_it_again(make_manifold: MakeManifold, manifold: Manifold) -> None:
    context = manifold.context
    other = make_manifold(catalog=context.catalog, store=context.store, node="other")
    project = new_project(manifold, a=b"one")
    assert cat(other, project, b"a") == b"one"
    manifold.projects.delete(ME, project)
    with pytest.raises(NotFound):
        cat(other, project, b"a")
    other.deleted_projects.undelete(ME, project)
    assert cat(other, project, b"a") == cat(manifold, project, b"a") == b"one"
    put(manifold, project, b"a", b"two")
    assert cat(other, project, b"a") == b"two"


def test_it_is_found_by_its_name_while_no_other_deleted_one_had_that(manifold: Manifold) -> None:
    first = new_project(manifold)
    manifold.projects.delete(ME, first)
    new_project(manifold, "demo-2")
    assert manifold.deleted_projects.resolve(ME, "demo").id == first
    second = new_project(manifold)
    manifold.projects.delete(ME, second)
    with pytest.raises(Conflict, match="several") as caught:
        manifold.deleted_projects.resolve(ME, "demo")
    assert first in caught.value.message and second in caught.value.message
    with pytest.raises(NotFound) as unknown:
        manifold.deleted_projects.resolve(ME, "dem")
    assert "'demo'" in str(unknown.value.hint)


def test_its_name_may_be_taken_by_then(manifold: Manifold) -> None:
    project = new_project(manifold, a=b"one")
    manifold.projects.delete(ME, project)
    new_project(manifold)
    with pytest.raises(AlreadyExists) as caught:
        manifold.deleted_projects.undelete(ME, project)
    assert "--name" in str(caught.value.hint)
    with pytest.raises(InvalidInput):
        manifold.deleted_projects.undelete(ME, project, "a/b")
    assert manifold.deleted_projects.undelete(ME, project, "demo-2").name == "demo-2"
    assert cat(manifold, project, b"a") == b"one"


def test_a_request_that_is_sent_again_is_answered_as_before_and_changes_nothing(manifold: Manifold) -> None:
    project = new_project(manifold)
    manifold.projects.delete(ME, project)
    back = manifold.deleted_projects.undelete(ME, project, "other")
    count = len(types(manifold))
    assert manifold.deleted_projects.undelete(ME, project, "other") == back
    assert manifold.deleted_projects.undelete(ME, project) == back
    assert manifold.deleted_projects.resolve(ME, "other") == back
    with pytest.raises(Conflict, match="is not deleted"):
        manifold.deleted_projects.undelete(ME, project, "third")
    assert manifold.projects.get(ME, project) == back and len(types(manifold)) == count


def test_nobody_else_brings_it_back(manifold: Manifold) -> None:
    project = new_project(manifold)
    manifold.projects.delete(ME, project)
    errors = []
    for wanted in (project, ProjectId("b" * 25 + "a")):
        for call in (manifold.deleted_projects.resolve, manifold.deleted_projects.undelete):
            with pytest.raises(NotFound) as caught:
                call(EVE, wanted)
            errors.append((str(caught.value).replace(wanted, "ID"), caught.value.hint))
    assert len(set(errors)) == 1
    assert manifold.deleted_projects.all(EVE) == [] and len(manifold.deleted_projects.all(ME)) == 1


def test_where_it_is_kept_for_no_time_it_cannot_be_brought_back(make_manifold: MakeManifold) -> None:
    manifold = make_manifold(PROJECTS_RETENTION_DELETED_PROJECT_DAYS="0")
    project = new_project(manifold, a=b"one")
    gone = manifold.projects.delete(ME, project)
    assert gone.deleted_at is not None and gone.restorable_until is None
    assert manifold.deleted_projects.all(ME) == []
    with pytest.raises(NotFound, match="can be brought back"):
        manifold.deleted_projects.undelete(ME, project)


def test_it_is_kept_for_as_long_as_the_setting_says(make_manifold: MakeManifold) -> None:
    manifold = make_manifold(PROJECTS_RETENTION_DELETED_PROJECT_DAYS="30")
    gone = manifold.projects.delete(ME, new_project(manifold))
    assert isinstance(gone.deleted_at, datetime)
    assert gone.restorable_until == gone.deleted_at + timedelta(days=30)
    with pytest.raises(InvalidInput):
        Policy(deleted_project_grace=timedelta(days=-1))


# --- sessions -----------------------------------------------------------------------------------------------------


def test_saved_work_comes_back_on_any_machine(make_manifold: MakeManifold, manifold: Manifold) -> None:
    project = new_project(manifold, a=b"one")
    folder = check_out(manifold, project)
    save(manifold, folder, "new", "saved")
    check_out(manifold, project, S2)
    manifold.projects.delete(ME, project)
    assert manifold.maintenance.sweep_working_sets() == 2
    assert not folder.exists()
    manifold.deleted_projects.undelete(ME, project)
    assert [row.session for row in manifold.sessions.all(ME)] == [S1]
    other = make_manifold(catalog=manifold.context.catalog, store=manifold.context.store, node="other")
    assert (check_out(other, project) / "new").read_text() == "saved"
    assert other.commits.commit(ME, S1, Intent("saved work")).generation == 2
    assert cat(manifold, project, b"new") == b"saved"


def test_a_folder_that_nobody_has_looked_at_meanwhile_goes_on_with_all_that_is_in_it(manifold: Manifold) -> None:
    project = new_project(manifold, a=b"one")
    folder = check_out(manifold, project)
    save(manifold, folder, "new", "saved")
    (folder / "newer").write_text("not saved")
    manifold.projects.delete(ME, project)
    manifold.deleted_projects.undelete(ME, project)
    assert manifold.maintenance.sweep_working_sets() == 0
    assert manifold.commits.commit(ME, S1).generation == 2
    assert cat(manifold, project, b"newer") == b"not saved"


def test_a_sparse_session_whose_id_is_taken_comes_back_under_another_with_its_paths(manifold: Manifold) -> None:
    project = new_project(manifold, a=b"one", b=b"two")
    request = CheckoutRequest(paths=("a",))
    folder = Path(manifold.sessions.checkout(ME, S1, project, request).path)
    save(manifold, folder, "a", "saved")
    manifold.projects.delete(ME, project)
    elsewhere = new_project(manifold, "elsewhere", c=b"three")
    save(manifold, check_out(manifold, elsewhere), "c", "theirs")
    manifold.deleted_projects.undelete(ME, project)
    kept = kept_session(manifold, project)
    assert kept.startswith(f"{S1}-kept-")
    back = Path(manifold.sessions.checkout(ME, kept).path)
    assert {path.name: path.read_text() for path in back.iterdir()} == {"a": "saved"}
    assert manifold.sessions.checkout(ME, kept, project, request).session == kept
    assert (check_out(manifold, elsewhere) / "c").read_text() == "theirs"
    assert manifold.commits.commit(ME, kept).generation == 2
    assert (cat(manifold, project, b"a"), cat(manifold, project, b"b")) == (b"saved", b"two")


def test_drafts_of_a_deleted_project_outlast_the_grace_of_what_was_superseded(manifold: Manifold) -> None:
    superseded = Superseded(manifold.context, grace_seconds=0)
    project = new_project(manifold, a=b"one")
    save(manifold, check_out(manifold, project), "new", "saved")
    manifold.projects.delete(ME, project)
    assert superseded.sweep() == 0
    manifold.maintenance.sweep_working_sets()
    manifold.maintenance.sweep_sessions()
    manifold.deleted_projects.undelete(ME, project)
    assert (check_out(manifold, project) / "new").read_text() == "saved"
    assert superseded.sweep() == 0
    manifold.projects.delete(ME, project)
    manifold.context.catalog.purge_projects(NO_GRACE)
    assert superseded.sweep() == 1


# --- forks --------------------------------------------------------------------------------------------------------


def test_a_fork_reads_on_whether_its_source_is_deleted_brought_back_or_purged(
    make_manifold: MakeManifold, manifold: Manifold
) -> None:
    source = new_project(manifold, a=b"one" * 1000)
    fork = manifold.forks.fork(ME, source, "fork").id
    manifold.projects.delete(ME, source)
    later = make_manifold(catalog=manifold.context.catalog, store=manifold.context.store)
    assert cat(later, fork, b"a") == b"one" * 1000
    manifold.deleted_projects.undelete(ME, source)
    second = manifold.forks.fork(ME, source, "second").id
    manifold.projects.delete(ME, source)
    assert manifold.context.catalog.purge_projects(NO_GRACE) == [(ME.tenant, source)]
    with pytest.raises(NotFound):
        manifold.deleted_projects.undelete(ME, source)
    fresh = make_manifold(catalog=manifold.context.catalog, store=manifold.context.store)
    for one in (fork, second):
        assert cat(fresh, one, b"a") == b"one" * 1000
        assert fresh.verify.run(ME, one, read_data=True).ok
        put(fresh, one, b"b", b"more")
    assert manifold.context.catalog.forks_of(ME.tenant, source) == sorted([(fork, 1), (second, 1)])


def test_a_fork_that_was_deleted_comes_back_after_its_source_was_purged(manifold: Manifold) -> None:
    source = new_project(manifold, a=b"one" * 1000)
    fork = manifold.forks.fork(ME, source, "fork").id
    manifold.projects.delete(ME, source)
    manifold.context.catalog.purge_projects(NO_GRACE)
    manifold.projects.delete(ME, fork)
    manifold.deleted_projects.undelete(ME, fork)
    assert cat(manifold, fork, b"a") == b"one" * 1000
