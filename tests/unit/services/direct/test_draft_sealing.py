"""Saved work from before a project was encrypted, as it is sealed for a client."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from manifold_common.adapters.system.clock import SystemClock
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.errors import CatalogUnavailable

from tests.attacks.liar import make_liar, noise
from tests.support.api import MakeApi
from tests.support.garbage import TENANT
from tests.support.manifold import MakeManifold
from tests.support.remote import MakeClient, RemoteServer
from tests.support.work import S1, cat, check_out, new_project, put


class Tomorrow(SystemClock):
    def now(self) -> datetime:
        return super().now() + timedelta(hours=26)


@pytest.fixture
def server(make_api: MakeApi) -> RemoteServer:
    """A server that does not encrypt."""
    return RemoteServer(make_api(in_folder=True, PROJECTS_ENCRYPT="false"))


def test_what_it_refers_to_stays_though_nobody_noted_that_its_upload_was_over(
    server: RemoteServer, make_client: MakeClient, make_manifold: MakeManifold, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise CatalogUnavailable("not now")

    project = new_project(server.manifold, a=b"one")
    liar = make_liar(make_client(), project)
    liar.packed(noise(1))
    with monkeypatch.context() as patch:
        patch.setattr(server.manifold.context.catalog, "forget_uploads", refuse)
        server.manifold.uploads.save(LOCAL_PRINCIPAL, S1, *liar.upload._receipts())
    encrypting = make_manifold(node="encrypting", in_folder=True)
    put(encrypting, project, b"b", b"two")
    plan = encrypting.session_plans.plan(LOCAL_PRINCIPAL, S1, restore=True)
    assert plan.draft is not None
    later = make_manifold(node="later", in_folder=True, clock=Tomorrow())
    later.uploads.sweep()
    assert (check_out(encrypting, session=S1) / "new").read_bytes() == noise(1)
    encrypting.commits.commit(LOCAL_PRINCIPAL, S1)
    assert cat(encrypting, project, b"new") == noise(1)


def test_it_takes_the_place_of_no_work_that_was_saved_meanwhile(
    server: RemoteServer, make_manifold: MakeManifold, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = new_project(server.manifold, a=b"one")
    (check_out(server.manifold, project) / "a").write_bytes(b"older")
    server.manifold.commits.save(LOCAL_PRINCIPAL, S1)
    encrypting, other = (make_manifold(node=name, in_folder=True) for name in ("encrypting", "other"))
    put(encrypting, project, b"b", b"two")
    write = encrypting.context.writer.write

    def overtaken(*args: Any) -> Any:
        stored = write(*args)
        monkeypatch.undo()
        (check_out(other, session=S1) / "a").write_bytes(b"newer")
        other.commits.save(LOCAL_PRINCIPAL, S1)
        return stored

    monkeypatch.setattr(encrypting.context.writer, "write", overtaken)
    plan = encrypting.session_plans.plan(LOCAL_PRINCIPAL, S1, restore=True)
    view = encrypting.context.catalog.view_session(TENANT, LOCAL_PRINCIPAL.user, S1)
    assert view is not None and view.session.draft is not None and plan.draft is not None
    assert plan.draft.commit == view.session.draft.commit
    assert (check_out(make_manifold(node="third", in_folder=True), session=S1) / "a").read_bytes() == b"newer"
