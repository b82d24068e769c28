"""What every catalog promises of all that it holds. Each feature has a file of its own: test_catalog_<feature>."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from manifold_common.errors import AlreadyExists, ManifoldError, NotFound
from manifold_common.ids import Generation, ProjectId, SessionId, TenantId
from manifold_common.ports.catalog import (
    Catalog,
    CheckpointRow,
    Publication,
)

from tests.contract.catalog_fixtures import (
    EMPTY_HEAD,
    EVENT,
    OTHER_TENANT,
    SESSION,
    TENANT,
    TTL,
    USER,
    draft,
    everything,
    key,
    make_project,
    new_id,
    session,
)


def test_a_deleted_project_is_as_if_it_had_never_been(catalog: Catalog) -> None:
    made = make_project(catalog)
    made.publish(3)
    catalog.add_checkpoint(TENANT, made.id, CheckpointRow(Generation(2), made.commits[1].commit, made.keys[0].dek, 9))
    catalog.open_session(session(made), ttl=TTL)
    catalog.delete_project(TENANT, made.id, EVENT)
    commit = made.commits[-1].commit
    gone: list[Callable[[], object]] = [
        lambda: catalog.get_project(TENANT, made.id),
        lambda: catalog.head(TENANT, made.id),
        lambda: catalog.project_keys(TENANT, made.id),
        lambda: catalog.begin_epoch(key(made.id, epoch=1), made.head),
        lambda: catalog.project_drafts(TENANT, made.id),
        lambda: catalog.rename_project(TENANT, made.id, "x", EVENT),
        lambda: catalog.delete_project(TENANT, made.id, EVENT),
        lambda: catalog.read_plan(TENANT, made.id),
        lambda: catalog.commit_at(TENANT, made.id, Generation(1)),
        lambda: catalog.list_commits(TENANT, made.id),
        lambda: catalog.list_checkpoints(TENANT, made.id),
        lambda: catalog.add_checkpoint(TENANT, made.id, CheckpointRow(Generation(3), commit, made.keys[0].dek, 9)),
        lambda: catalog.open_session(session(made, SessionId("s2")), ttl=TTL),
        lambda: catalog.save_draft(TENANT, USER, SESSION, draft(made), ttl=TTL),
        lambda: catalog.publish_commit(made.publication()),
        lambda: catalog.publish_commit(made.publication(base=EMPTY_HEAD)),
    ]
    for call in gone:
        with pytest.raises(NotFound):
            call()
    assert catalog.find_project(TENANT, USER, "paper") is None
    assert catalog.list_projects(TENANT, USER) == []
    assert catalog.all_projects() == []
    assert catalog.find_commit(TENANT, made.id, commit) is None
    assert catalog.view_session(TENANT, USER, SESSION) is None
    assert catalog.list_sessions(TENANT, USER) == []
    assert catalog.expired_sessions(timedelta(days=-1)) == []


def test_deleting_while_others_commit_and_open_sessions_ends_in_not_found_and_never_hangs(catalog: Catalog) -> None:
    made = make_project(catalog)
    barrier = threading.Barrier(5)

    def work(number: int) -> str:
        name = SessionId(f"s{number}")
        barrier.wait()
        try:
            while True:
                with contextlib.suppress(AlreadyExists):
                    catalog.open_session(session(made, name), ttl=TTL)
                base = catalog.head(TENANT, made.id)
                catalog.publish_commit(
                    made.publication(made.next_commit(base, session=name), base=base, session_user=USER)
                )
        except NotFound:
            return "gone"

    with ThreadPoolExecutor(5) as threads:
        working = [threads.submit(work, n) for n in range(4)]
        barrier.wait()
        while catalog.head(TENANT, made.id).generation < 5:
            pass
        catalog.delete_project(TENANT, made.id, EVENT)
        assert [future.result(timeout=30) for future in working] == ["gone"] * 4
    assert catalog.list_sessions(TENANT, USER) == []


def test_what_belongs_to_another_tenant_is_told_like_what_does_not_exist(catalog: Catalog) -> None:
    made = make_project(catalog)
    made.publish(2)
    catalog.open_session(session(made, draft=draft(made)), ttl=TTL)
    make_project(catalog, "own", tenant=OTHER_TENANT)
    before = everything(catalog, made)

    def attempts(tenant: TenantId, project: ProjectId) -> list[str]:
        publication: Publication = replace(made.publication(), tenant=tenant, project=project)
        commit = made.commits[0]
        calls: list[Callable[[], object]] = [
            lambda: catalog.get_project(tenant, project),
            lambda: catalog.rename_project(tenant, project, "mine", EVENT),
            lambda: catalog.delete_project(tenant, project, EVENT),
            lambda: catalog.project_keys(tenant, project),
            lambda: catalog.begin_epoch(key(project, tenant, epoch=1), made.head),
            lambda: catalog.project_drafts(tenant, project),
            lambda: catalog.publish_commit(publication),
            lambda: catalog.head(tenant, project),
            lambda: catalog.read_plan(tenant, project),
            lambda: catalog.commit_at(tenant, project, Generation(1)),
            lambda: catalog.list_commits(tenant, project),
            lambda: catalog.list_checkpoints(tenant, project),
            lambda: catalog.add_checkpoint(tenant, project, CheckpointRow(Generation(1), commit.commit, commit.dek, 1)),
            lambda: catalog.open_session(replace(session(made), tenant=tenant, project=project), ttl=TTL),
            lambda: catalog.save_draft(tenant, USER, SESSION, draft(made), ttl=TTL),
            lambda: catalog.find_commit(tenant, project, commit.commit),
            lambda: catalog.view_session(tenant, USER, SESSION),
            lambda: catalog.list_sessions(tenant, USER, project),
            lambda: catalog.forks_of(tenant, project),
            lambda: catalog.close_session(tenant, USER, SESSION),
        ]
        answers = []
        for call in calls:
            try:
                answers.append(repr(call()))
            except ManifoldError as error:
                answers.append(f"{error.code}: {error}".replace(project, "?"))
        return answers

    foreign, absent = attempts(OTHER_TENANT, made.id), attempts(OTHER_TENANT, ProjectId(new_id()))
    assert foreign == absent
    assert sum(answer.startswith("not_found") for answer in foreign) == 15
    assert everything(catalog, made) == before
    assert [row.name for row in catalog.list_projects(OTHER_TENANT, USER)] == ["own"]
    assert catalog.find_project(OTHER_TENANT, USER, "paper") is None


def test_health_is_good(catalog: Catalog) -> None:
    for _ in range(3):
        ok, detail, latency_seconds, trouble = catalog.health()
        assert trouble == ""
    assert ok
    assert detail
    assert latency_seconds >= 0
