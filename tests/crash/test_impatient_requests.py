"""A dependency stops in the middle: it takes what it is sent, and says nothing more. Who waits for an answer gets one
within seconds, with when to come again; background work waits as long as it always did."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from manifold_common.adapters.postgres.catalog import PostgresCatalog
from manifold_common.adapters.system.clock import SystemClock
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.patience import hurried, patience
from manifold_common.engine.workers import Workers
from manifold_common.ids import DEFAULT_TENANT
from manifold_common.services.sessions.session_files import owner_of
from manifold_local.embedded.stack.seaweedfs import S3Endpoint

from tests.support.api import Api, MakeApi
from tests.support.openbao import OpenBao
from tests.support.postgres_proxy import PostgresProxy
from tests.support.s3_proxy import Fault, running_proxy
from tests.support.seaweedfs import s3_variables

PATIENCE_SECONDS = 1.0
MOST_SECONDS = 8.0
"""Well below what one attempt of any client may take by itself (15 to 60 s), and above what a loaded machine needs."""
HANG = Fault("hang")


@contextmanager
def prompt() -> Iterator[None]:
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun < MOST_SECONDS


def refused(answer: httpx.Response, code: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (503, code), answer.text
    assert int(answer.headers["retry-after"]) > 0


def test_a_store_that_stops_is_unavailable_within_seconds(
    make_api: MakeApi, s3_endpoint: S3Endpoint, tmp_path: Path
) -> None:
    with running_proxy(s3_endpoint.url) as proxy:
        api = make_api(
            **s3_variables(replace(s3_endpoint, url=proxy.url)),
            S3_PREFIX=f"impatient/{tmp_path.name}",
            SERVER_PATIENCE_SECONDS=str(PATIENCE_SECONDS),
        )
        project = api.project()
        assert api.put("/api/v1/projects/demo/files/a", content=b"one").status_code == 201
        work = Path(api.post("/api/v1/sessions", json={"project": "demo", "session": "s1"}).json()["path"])
        (work / "b").write_bytes(b"two")
        requests: dict[str, Callable[[], httpx.Response]] = {
            "put": lambda: api.put("/api/v1/projects/demo/files/c", content=b"three"),
            "get": lambda: api.get("/api/v1/projects/demo/files/a"),
            "commit": lambda: api.post("/api/v1/sessions/s1/commit"),
            "save": lambda: api.post("/api/v1/sessions/s1/save"),
            "create": lambda: api.post("/api/v1/projects", json={"name": "other"}),
        }
        cache = api.manifold.settings.projects.workspace.cache_dir
        for name, send in requests.items():
            shutil.rmtree(cache)
            cache.mkdir()
            api.manifold.context.log.forget(DEFAULT_TENANT, project)  # type: ignore[arg-type]
            proxy.inject(HANG, times=1000)
            with prompt():
                answer = send()
            assert answer.status_code == 503, name
            refused(answer, "store_unavailable")
            proxy.calm()
        assert api.post("/api/v1/sessions/s1/commit").json()["generation"] == 2


def test_a_key_provider_that_stops_is_unavailable_within_seconds(
    make_api: MakeApi, openbao: OpenBao, transit_mount: str
) -> None:
    openbao.make_key("manifold-kek", transit_mount, derived=True)
    with running_proxy(openbao.url) as proxy:
        api = make_api(
            PROJECTS_ENCRYPTION_PROVIDER="vault",
            VAULT_ADDR=proxy.url,
            VAULT_TOKEN=openbao.root_token,
            VAULT_MOUNT_PATH=transit_mount,
            VAULT_KEY_NAME="manifold-kek",
            VAULT_TIMEOUT_SECONDS="60",
            SERVER_PATIENCE_SECONDS=str(PATIENCE_SECONDS),
        )
        project = api.project()
        assert api.put("/api/v1/projects/demo/files/a", content=b"one").status_code == 201
        proxy.inject(HANG, times=1000)
        with prompt():  # its key is in memory
            assert api.put("/api/v1/projects/demo/files/b", content=b"two").status_code == 201
        with prompt():
            refused(api.post("/api/v1/projects", json={"name": "other"}), "key_unavailable")
        api.manifold.context.keys.forget(DEFAULT_TENANT, project)  # type: ignore[arg-type]
        with prompt():
            refused(api.get("/api/v1/projects/demo/files/a"), "key_unavailable")
        proxy.calm()
        assert api.get("/api/v1/projects/demo/files/a").content == b"one"


@pytest.fixture
def frozen(make_api: MakeApi, postgres_dsn: str) -> Iterator[tuple[Api, PostgresProxy]]:
    with PostgresProxy(postgres_dsn) as proxy:
        catalog = PostgresCatalog(proxy.dsn, clock=SystemClock())
        api = make_api(catalog=catalog, SERVER_PATIENCE_SECONDS=str(PATIENCE_SECONDS))
        yield api, proxy
        catalog.close()


def test_a_database_that_stops_is_unavailable_within_seconds(frozen: tuple[Api, PostgresProxy]) -> None:
    api, proxy = frozen
    api.project()
    work = Path(api.post("/api/v1/sessions", json={"project": "demo", "session": "s1"}).json()["path"])
    (work / "a").write_bytes(b"one")
    requests: list[Callable[[], httpx.Response]] = [
        lambda: api.get("/api/v1/projects/demo"),
        lambda: api.put("/api/v1/projects/demo/files/b", content=b"two"),
        lambda: api.post("/api/v1/sessions/s1/commit"),
        lambda: api.post("/api/v1/projects", json={"name": "other"}),
    ]
    for send in requests:
        proxy.fault = "freeze"
        with prompt():
            refused(send(), "catalog_unavailable")
        proxy.thaw()
    assert api.post("/api/v1/sessions/s1/commit").json()["generation"] == 1


def test_a_database_that_stops_at_the_commit_point_is_unavailable_within_seconds(
    frozen: tuple[Api, PostgresProxy],
) -> None:
    """Whether the commit was made is asked again for minutes where nobody waits, and here only once."""
    api, proxy = frozen
    api.project()
    put = lambda name: api.put(f"/api/v1/projects/demo/files/{name}", content=b"x", headers={"Idempotency-Key": name})  # noqa: E731
    assert put("first").status_code == 201  # has more to look up than later ones
    before = proxy.round_trips
    assert put("a").status_code == 201
    needed = proxy.round_trips - before
    for part in range(needed):
        proxy.freeze_at(1 + part)
        with prompt():
            refused(put(f"b{part}"), "catalog_unavailable")
        proxy.thaw()
        assert put(f"b{part}").status_code == 201
    assert api.get("/api/v1/projects/demo").json()["generation"] == 2 + needed


def test_a_working_set_that_is_busy_is_so_within_seconds(make_api: MakeApi) -> None:
    api = make_api(SERVER_PATIENCE_SECONDS=str(PATIENCE_SECONDS))
    api.project()
    api.post("/api/v1/sessions", json={"project": "demo", "session": "s1"})
    manifold = api.manifold
    (row,) = manifold.sessions.all(LOCAL_PRINCIPAL)
    with manifold.working_sets.open(owner_of(row)), prompt():
        answer = api.post("/api/v1/sessions/s1/commit")
    assert (answer.status_code, answer.json()["code"]) == (409, "session_busy")


def test_threads_that_work_for_a_request_wait_no_longer_than_it_does() -> None:
    workers = Workers()
    try:
        with hurried(2):
            assert workers.requests.submit(patience, 60).result() == 2
            assert list(workers.compute.map(patience, (1, 60))) == [1, 2]
            with hurried(0):
                assert workers.requests.submit(patience, 60).result() == 60
        assert workers.requests.submit(patience, 60).result() == 60
    finally:
        workers.close()
