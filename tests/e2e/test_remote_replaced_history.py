"""A server's catalog was restored from a backup and went on: its clients know commits that it has no more."""

from __future__ import annotations

from pathlib import Path

import pytest
from manifold_common.adapters.memory.catalog import MemoryCatalog
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.history import Point
from manifold_common.errors import StaleStore
from manifold_common.ids import Generation
from manifold_common.shapes.intent import Intent
from manifold_common.shapes.requests import CheckoutRequest
from manifold_common.shapes.sessions import CheckoutKind

from tests.support.catalog_backup import in_memory
from tests.support.remote import MakeClient, MakeServer
from tests.support.work import S1, S2, new_project, put

pytestmark = pytest.mark.in_memory("takes a catalog in memory back to an earlier state")


@pytest.mark.parametrize("process", ["same", "new"])
def test_a_client_of_a_replaced_history_is_refused_and_its_files_are_left_alone(
    make_server: MakeServer, make_client: MakeClient, process: str, tmp_path: Path
) -> None:
    backed_up = in_memory()
    server = make_server(catalog=backed_up.catalog)
    client = make_client(url=server.url)
    manifold: Manifold = server.manifold
    project = new_project(manifold, a=b"one")
    restore = backed_up.back_up()
    for data in (b"old two", b"old three"):
        put(manifold, project, b"a", data)
    found = client.sessions.checkout(S1, project)
    assert found.generation == 3
    seen = Point(found.generation, found.commit)
    work = Path(found.path)
    (work / "mine").write_bytes(b"not committed")

    def lose_history() -> None:
        restore()
        for data in (b"new two!", b"new three!", b"new four!"):
            put(manifold, project, b"a", data)

    catalog = backed_up.catalog
    assert isinstance(catalog, MemoryCatalog)
    sessions = dict(catalog.state.sessions)
    lose_history()
    catalog.state.sessions.update(sessions)  # as if the client's session had been in the backup, too
    if process == "new":
        client = make_client(url=server.url)

    for act in (
        lambda: client.sessions.checkout(S1),
        lambda: client.sessions.checkout(S1, request=CheckoutRequest(Generation(3))),
        lambda: client.sessions.commit(S1),
        lambda: client.sessions.save(S1),
        lambda: client.sessions.checkout(S2, project, CheckoutRequest(seen_generation=seen)),
    ):
        with pytest.raises(StaleStore):
            act()
    held = {path.name: path.read_bytes() for path in work.iterdir()}
    assert held == {"a": b"old three", "mine": b"not committed"}
    assert manifold.sessions.view(LOCAL_PRINCIPAL, S1).session.base == seen
    client.transfer.export(project, tmp_path / "out", Generation(3))
    assert (tmp_path / "out" / "a").read_bytes() == b"new three!"
    client.sessions.close(S1)
    again = client.sessions.checkout(S1, project, CheckoutRequest(Generation(3)))
    assert (again.kind, (Path(again.path) / "a").read_bytes()) == (CheckoutKind.NEW, b"new three!")
    (Path(again.path) / "mine").write_bytes(b"goes on")
    assert client.sessions.commit(S1, Intent()).generation == 5
