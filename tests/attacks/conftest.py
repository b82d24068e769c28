"""A client of a server that lies, and a project there."""

from __future__ import annotations

from pathlib import Path

import pytest
from manifold_common.bootstrap.remote import RemoteManifold
from manifold_common.ids import ProjectId

from tests.support.lying_server import LyingServer
from tests.support.remote import MakeClient, RemoteServer
from tests.support.work import S1, new_project


@pytest.fixture
def project(server: RemoteServer) -> ProjectId:
    return new_project(server.manifold, a=b"one", **{"folder/b": b"two"})


@pytest.fixture
def client(make_client: MakeClient, lying_server: LyingServer) -> RemoteManifold:
    return make_client(url=lying_server.url)


@pytest.fixture
def new_file(client: RemoteManifold, project: ProjectId) -> Path:
    """Return a file in the working set of ``S1`` that is not committed yet."""
    path = Path(client.sessions.checkout(S1, project).path) / "new"
    path.write_bytes(b"new")
    return path
