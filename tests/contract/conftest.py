"""Fixtures that contract suites share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from manifold_common.adapters.memory.catalog import MemoryCatalog
from manifold_common.adapters.postgres import own_session
from manifold_common.adapters.postgres.catalog import PostgresCatalog
from manifold_common.adapters.postgres.roles import JOBS
from manifold_common.ports.catalog import Catalog

from tests.contract.catalog_fixtures import SettableClock
from tests.contract.vault_fixtures import KEY
from tests.support.openbao import POLICY, OpenBao, running_openbao
from tests.support.postgres import as_role
from tests.support.s3_proxy import S3Proxy, running_proxy


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


@pytest.fixture(params=["memory", "postgres"])
def catalog(request: pytest.FixtureRequest, clock: SettableClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Catalog]:
    """An empty catalog of each kind; in PostgreSQL as the role of jobs, which needs no more than it is given, and with
    each statement prepared before it is sent."""
    made: Catalog
    if request.param == "memory":
        made = MemoryCatalog(clock=clock)
    else:
        monkeypatch.setattr(own_session, "PREPARE_AFTER", 0)
        made = PostgresCatalog(as_role(request.getfixturevalue("postgres_dsn"), JOBS), clock=clock, is_direct=True)
    yield made
    made.close()


@pytest.fixture
def mount(openbao: OpenBao, transit_mount: str) -> str:
    """A Transit engine with the key that the guide names."""
    openbao.make_key(KEY, transit_mount, derived=True)
    return transit_mount


@pytest.fixture
def policy(openbao: OpenBao, mount: str) -> str:
    return openbao.make_policy(POLICY.format(mount=mount, key="*"))


@pytest.fixture(scope="module")
def own_openbao() -> Iterator[OpenBao]:
    """A server of this file, to be sealed and unsealed."""
    with running_openbao() as server:
        server.mount_transit()
        server.make_key(KEY, derived=True)
        yield server


@pytest.fixture
def vault_proxy(openbao: OpenBao) -> Iterator[S3Proxy]:
    with running_proxy(openbao.url) as made:
        yield made
