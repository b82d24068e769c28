"""A server on a real S3 bucket or a folder, and clients that have nothing but its address."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from manifold_common.bootstrap import Manifold
from manifold_common.bootstrap.remote import RemoteManifold, connect
from manifold_common.settings import load_settings
from manifold_local.embedded.stack.seaweedfs import S3Endpoint

from tests.support.api import Api, MakeApi
from tests.support.lying_server import LyingServer, lying
from tests.support.seaweedfs import s3_variables


@dataclass
class RemoteServer:
    api: Api

    @property
    def manifold(self) -> Manifold:
        return self.api.manifold

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.api.port}"


MakeServer = Callable[..., RemoteServer]
MakeClient = Callable[..., RemoteManifold]


@pytest.fixture
def make_server(make_api: MakeApi, s3_endpoint: S3Endpoint) -> MakeServer:
    """Return a function that serves a Manifold whose store is a bucket; arguments as for ``make_manifold``."""
    prefix = f"remote/{secrets.token_hex(8)}"

    def make(**settings: object) -> RemoteServer:
        return RemoteServer(make_api(**{**s3_variables(s3_endpoint), "S3_PREFIX": prefix, **settings}))

    return make


@pytest.fixture
def server(request: pytest.FixtureRequest) -> RemoteServer:
    if getattr(request, "param", "bucket") == "folder":
        make_api: MakeApi = request.getfixturevalue("make_api")
        return RemoteServer(make_api(in_folder=True))
    make_server: MakeServer = request.getfixturevalue("make_server")
    return make_server()


on_every_store = pytest.mark.parametrize("server", ["bucket", "folder"], indirect=True)
"""Else the store is a bucket."""


@pytest.fixture
def make_client(server: RemoteServer, tmp_path: Path, ram_folder: Path) -> Iterator[MakeClient]:
    """Return a function that makes a client; each name is a machine of its own."""
    with ExitStack() as stack:

        def make(name: str = "laptop", url: str | None = None, **settings: str) -> RemoteManifold:
            folder = tmp_path / f"client-{name}"
            folder.mkdir(exist_ok=True)
            environ = {
                "WORKDIR": str(folder),
                "PROJECTS_WORKSPACE_TMPFS_DIR": str(ram_folder / f"client-{name}"),
                **settings,
            }
            made = connect(load_settings(environ=environ, cwd=folder), url or server.url)
            stack.callback(made.close)
            return made

        yield make


@pytest.fixture
def client(make_client: MakeClient) -> RemoteManifold:
    return make_client()


@pytest.fixture
def lying_server(server: RemoteServer) -> Iterator[LyingServer]:
    """A server that may lie about what ``server`` has said."""
    with lying(server.url) as found:
        yield found
