"""Disks that are really full, at the database and at the store: what the error says, and what health says before any
write has failed. Reading goes on, so it is degraded, and ready."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from manifold_common.adapters.filesystem.object_store import FilesystemObjectStore
from manifold_common.adapters.memory.object_store import MemoryObjectStore
from manifold_common.adapters.postgres import room
from manifold_common.adapters.postgres.catalog import PostgresCatalog
from manifold_common.adapters.postgres.migrations import migrate
from manifold_common.adapters.s3.object_store import S3ObjectStore
from manifold_common.adapters.s3.options import S3Options
from manifold_common.adapters.system.clock import SystemClock, SystemRandomness
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.errors import NoSpace, StoreUnavailable
from manifold_common.ports.retry import RetryPolicy
from manifold_common.services.projects.edits import MakeFolder
from manifold_common.shapes.intent import Intent
from manifold_local.embedded.postgres import ensure_embedded
from manifold_local.embedded.stack.seaweedfs import S3Endpoint

from tests.support.api import Api, MakeApi
from tests.support.s3_proxy import Fault, running_proxy
from tests.support.small_disk import MakeSmallDisk, SmallDisk
from tests.support.work import cat, new_project, put

MIB = 1 << 20


def fill(disk: SmallDisk) -> Path:
    """Take all the room there is."""
    path = disk.folder / "filler"
    with open(path, "wb", buffering=0) as file:
        for size in (MIB, 4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    return path


def state_of(api: Api, name: str) -> tuple[int, str, str, str]:
    """Return status and state of the whole, and state and detail of one part."""
    answer = api.get("/readyz")
    body: dict[str, Any] = answer.json()
    (part,) = [part for part in body["dependencies"] if part["name"] == name]
    return answer.status_code, body["status"], part["state"], part["detail"]


# --- the database -----------------------------------------------------------------------------------------------------


@pytest.fixture
def on_small_disk(small_disk: MakeSmallDisk, tmp_path: Path) -> Iterator[tuple[PostgresCatalog, SmallDisk]]:
    disk = small_disk(tmp_path / "disk", size=400 * MIB)
    server = ensure_embedded(disk.folder / "pg", linger_seconds=0.2)
    try:
        migrate(server.dsn)
        catalog = PostgresCatalog(server.dsn, clock=SystemClock())
        yield catalog, disk
        catalog.close()
    finally:
        (disk.folder / "filler").unlink(missing_ok=True)
        server.close(stop_now=True)


def test_a_full_database_disk_is_said_so_and_health_knows_before_a_write_fails(
    on_small_disk: tuple[PostgresCatalog, SmallDisk], make_api: MakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "_ASKED_EVERY_SECONDS", 0.0)
    monkeypatch.setattr(room, "_REMEMBERED_SECONDS", 0.0)
    catalog, disk = on_small_disk
    api = make_api(catalog=catalog)
    project = new_project(api.manifold, a=b"one")
    assert state_of(api, "postgres")[2] == "ok"
    filler = fill(disk)
    status, whole, state, detail = state_of(api, "postgres")
    assert (status, whole, state) == (200, "degraded", "degraded")
    assert "disk of the database server is full" in detail
    large = Intent(message=os.urandom(30_000).hex())
    with pytest.raises(NoSpace, match="database server is full") as refused:
        for number in range(50):
            api.manifold.edits.apply(LOCAL_PRINCIPAL, project, [MakeFolder(b"d%d" % number)], large)
    assert refused.value.details["resource"] == "database"
    assert refused.value.hint
    for number in range(50):
        body = {"path": f"e{number}", "message": os.urandom(4_500).hex()}
        answer = api.post("/api/v1/projects/demo/dirs", json=body)
        if answer.status_code != 201:
            break
    assert (answer.status_code, answer.json()["code"]) == (507, "no_space")
    assert cat(api.manifold, project, b"a") == b"one"
    filler.unlink()
    assert state_of(api, "postgres")[2] == "ok"
    put(api.manifold, project, b"b", b"two")


# --- the store --------------------------------------------------------------------------------------------------------


def test_a_full_disk_under_the_store_is_degraded(small_disk: MakeSmallDisk, make_api: MakeApi, tmp_path: Path) -> None:
    disk = small_disk(tmp_path / "disk", size=64 * MIB)
    store = FilesystemObjectStore(disk.folder / "objects", clock=SystemClock(), randomness=SystemRandomness())
    api = make_api(store=store)
    project = new_project(api.manifold, a=b"one")
    assert state_of(api, "object store")[2] == "ok"
    filler = fill(disk)
    status, whole, state, detail = state_of(api, "object store")
    assert (status, whole, state) == (200, "degraded", "degraded")
    assert "nearly full" in detail
    with pytest.raises(NoSpace):
        put(api.manifold, project, b"b", os.urandom(MIB))
    assert cat(api.manifold, project, b"a") == b"one"
    filler.unlink()
    assert state_of(api, "object store")[2] == "ok"


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault("status", 507, "XMinioStorageFull"), NoSpace),
        (Fault("status", 500, "InternalError"), StoreUnavailable),
        (Fault("status", 403, "AccessDenied"), StoreUnavailable),
    ],
    ids=lambda value: getattr(value, "code", ""),
)
def test_a_bucket_that_takes_no_more_is_degraded_until_it_does(
    s3_endpoint: S3Endpoint, make_api: MakeApi, tmp_path: Path, fault: Fault, kind: type[Exception],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("manifold_common.adapters.s3.object_store._TRIED_EVERY_SECONDS", 0.0)
    with running_proxy(s3_endpoint.url) as proxy:
        options = S3Options(
            bucket=s3_endpoint.bucket,
            prefix=f"full/{tmp_path.name}",
            endpoint=proxy.url,
            access_key_id=s3_endpoint.access_key_id,
            secret_access_key=s3_endpoint.secret_access_key,
            retries=RetryPolicy(attempts=1),
        )
        store = S3ObjectStore(options, clock=SystemClock(), randomness=SystemRandomness())
        api = make_api(store=store)
        project = new_project(api.manifold, a=b"one")
        proxy.seen.clear()
        assert state_of(api, "object store")[2] == "ok"
        assert {seen.method for seen in proxy.seen} == {"GET"}  # where nothing is wrong, nothing is written
        proxy.inject(fault, times=1000, method="PUT")
        with pytest.raises(kind):
            put(api.manifold, project, b"b", b"two")
        for _ in range(2):
            status, whole, state, detail = state_of(api, "object store")
            assert (status, whole, state) == (200, "degraded", "degraded")
            assert "the last write failed" in detail
            assert fault.code in detail
        assert cat(api.manifold, project, b"a") == b"one"
        proxy.calm()
        assert state_of(api, "object store")[2] == "ok"
        assert not [found for found in store.list("") if "probe" in found.key]
        put(api.manifold, project, b"b", b"two")


# --- keys -------------------------------------------------------------------------------------------------------------


def test_a_key_provider_that_is_away_fails_only_what_has_no_key_in_memory(
    make_api: MakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = make_api(store=MemoryObjectStore(SystemClock()))
    project = new_project(api.manifold, a=b"one")
    (name,) = api.manifold.providers
    provider = api.manifold.providers[name]
    monkeypatch.setattr(provider, "health", lambda: (False, "it is away", 0.0))
    status, whole, state, detail = state_of(api, f"keys ({name})")
    assert (status, whole, state) == (200, "degraded", "degraded")
    assert "it is away" in detail
    assert "the keys of 1 project are in memory until" in detail
    assert cat(api.manifold, project, b"a") == b"one"
    api.manifold.context.keys.forget(LOCAL_PRINCIPAL.tenant, project)
    assert state_of(api, f"keys ({name})")[:3] == (503, "failed", "failed")


def test_a_full_disk_below_workdir_is_degraded(small_disk: MakeSmallDisk, make_api: MakeApi, tmp_path: Path) -> None:
    api = make_api(node="small")
    assert state_of(api, "disk")[2] == "ok"
    api = make_api()
    disk = small_disk(tmp_path / "node-a", size=8 * MIB)
    fill(disk)
    status, whole, state, _ = state_of(api, "disk")
    assert (status, whole, state) == (200, "degraded", "degraded")
