from __future__ import annotations

import re
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from manifold_common.adapters.memory.object_store import MemoryObjectStore
from manifold_common.adapters.system.clock import SystemClock
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.errors import CatalogUnavailable
from manifold_common.ports.object_store import StoreHealth
from manifold_common.services.jobs import waiting

from tests.support.api import Api, MakeApi
from tests.support.kafka import KafkaBroker
from tests.support.panics import SECRET, panic


def by_name(body: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {dependency["name"]: dependency for dependency in body["dependencies"]}


def test_health_names_every_dependency_with_its_time_and_what_works_without_it(api: Api) -> None:
    answer = api.get("/health")
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")
    found = by_name(answer.json())
    assert {"postgres", "object store", "RAM folder", "cache"} <= found.keys()
    assert [name for name in found if name.startswith("keys (")]
    assert all(item["latency_ms"] >= 0 and item["without_it"] and item["detail"] for item in found.values())


def test_legacy_mode_has_no_cache_and_no_ram_folder(make_api: MakeApi) -> None:
    api = make_api(PROJECTS_ENCRYPT="false", PROJECTS_WORKSPACE_MODE="legacy")
    found = by_name(api.get("/health").json())
    assert found["cache"]["state"] == "off"
    assert found["working folder"]["state"] == "ok"


class _BadStore(MemoryObjectStore):
    def health(self) -> StoreHealth:
        return StoreHealth(False, "connection refused", 0.1)


def test_something_needed_that_is_down_makes_it_503_but_not_dead(make_api: MakeApi) -> None:
    api = make_api(store=_BadStore(SystemClock()))
    for path in ("/health", "/readyz"):
        answer = api.get(path)
        assert (answer.status_code, answer.json()["status"]) == (503, "failed")
        store = by_name(answer.json())["object store"]
        assert (store["state"], store["detail"]) == ("failed", "connection refused")
    assert api.get("/livez").json() == {"status": "ok"}
    assert api.get("/").status_code == 200
    assert "connection refused" in api.get("/").text


class _PanickingStore(MemoryObjectStore):
    def health(self) -> StoreHealth:
        panic()


def test_a_look_that_dies_is_a_failure_and_says_so_each_time(make_api: MakeApi) -> None:
    api = make_api(store=_PanickingStore(SystemClock()))
    for _ in range(2):
        answer = api.get("/health")
        store = by_name(answer.json())["object store"]
        assert (answer.status_code, store["state"]) == (503, "failed")
        assert store["detail"] == "it cannot be looked at (PanicException)"
        assert SECRET not in answer.text


def test_a_cache_that_is_gone_only_degrades(api: Api) -> None:
    shutil.rmtree(api.manifold.settings.projects.workspace.cache_dir)
    answer = api.get("/health")
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")


def test_a_ram_folder_that_is_gone_is_a_failure(api: Api) -> None:
    shutil.rmtree(api.manifold.working_sets.folders.root)
    assert by_name(api.get("/health").json())["RAM folder"]["state"] == "failed"


def test_a_check_that_hangs_is_given_up(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    release, others = threading.Event(), set(threading.enumerate())
    monkeypatch.setattr(api.manifold.health, "look", partial(api.manifold.health.look, 0.1))
    monkeypatch.setattr(api.manifold.context.catalog, "health", lambda: release.wait(30))
    found = by_name(api.get("/health").json())
    assert found["postgres"]["state"] == "failed"
    assert found["object store"]["state"] == "ok"
    again = by_name(api.get("/health").json())
    assert again["postgres"]["state"] == "failed"
    looking = [thread.name for thread in set(threading.enumerate()) - others]
    assert looking.count("health-postgres") == 1
    release.set()


def test_two_who_ask_at_the_same_time_are_told_the_same(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as two load balancers: neither takes a node that works out of service."""
    begun, release = threading.Event(), threading.Event()
    health = api.manifold.context.catalog.health

    def slow() -> object:
        begun.set()
        release.wait(30)
        return health()

    monkeypatch.setattr(api.manifold.context.catalog, "health", slow)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(api.get, "/readyz")
        assert begun.wait(30)
        second = pool.submit(api.get, "/readyz")
        _, still_waiting = wait([second], timeout=0.3)
        assert still_waiting
        release.set()
        answers = [asked.result() for asked in (first, second)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert [by_name(answer.json())["postgres"]["state"] for answer in answers] == ["ok", "ok"]


def test_what_is_not_needed_makes_no_node_unready_even_where_the_look_at_it_hangs(
    make_api: MakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = make_api(WEBHOOKS_URLS="http://127.0.0.1:1/hook", WEBHOOKS_SECRET="sixteen letters!")
    release = threading.Event()
    monkeypatch.setattr(api.manifold.health, "look", partial(api.manifold.health.look, 0.1))
    monkeypatch.setattr(api.manifold.events, "backlog", lambda: release.wait(30))
    answer = api.get("/readyz")
    release.set()
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    assert by_name(answer.json())["events"]["detail"].startswith("no answer within")


def test_each_part_says_when_it_was_last_seen_to_work_and_since_when_it_is_as_it_is(
    make_api: MakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryObjectStore(SystemClock())
    api = make_api(store=store)
    first = by_name(api.get("/health").json())["object store"]
    assert first["since"] == first["last_ok_at"] == first["observed_at"]
    well = by_name(api.get("/health").json())["object store"]
    assert well["since"] == first["since"] < well["last_ok_at"]
    monkeypatch.setattr(store, "health", lambda: StoreHealth(False, "connection refused", 0.1))
    for _ in range(2):
        ill = by_name(api.get("/health").json())["object store"]
    assert ill["last_ok_at"] == well["last_ok_at"] < ill["since"] < ill["observed_at"]
    assert f"Last seen to work: {ill['last_ok_at'][:10]}" in api.get("/").text


def test_a_database_that_is_away_is_not_taken_for_trouble_of_kafka(
    make_api: MakeApi, kafka_broker: KafkaBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = make_api(**kafka_broker.variables("t"))

    def away(*_: object) -> None:
        raise CatalogUnavailable("the database is away")

    monkeypatch.setattr(type(api.manifold.context.catalog), "sink_states", away)
    kafka = by_name(api.get("/health").json())["kafka"]
    assert kafka["detail"] == "it answers; what deliveries have found cannot be told without the database"


def test_what_is_down_says_where_to_read_on_and_the_guide_has_it(make_api: MakeApi) -> None:
    guide = (Path(__file__).parents[3] / "docs" / "operations.md").read_text()
    headings = {heading.lower().replace(" ", "-") for heading in re.findall(r"^#+ (.+)$", guide, re.MULTILINE)}
    legacy = make_api(PROJECTS_ENCRYPT="false", PROJECTS_WORKSPACE_MODE="legacy")
    for api in (make_api(), legacy):
        named = {item["see"].partition("#")[::2] for item in api.get("/health").json()["dependencies"]}
        assert {page for page, _ in named} == {"docs/operations.md"}
        assert {entry for _, entry in named} <= headings


def test_a_job_that_waits_for_a_key_that_is_gone_is_among_the_warnings(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifold = api.manifold
    project = manifold.projects.create(LOCAL_PRINCIPAL, "locked").id
    (record,) = manifold.context.catalog.project_keys(LOCAL_PRINCIPAL.tenant, project)
    manifold.context.catalog.replace_wrapped_key(record, record.wrapped._replace(provider="vault"))
    job = manifold.jobs.start(LOCAL_PRINCIPAL, "rewrap", {}).job.id
    manifold.job_worker.run(["rewrap"])
    before = api.get("/health").json()["warnings"]
    monkeypatch.setattr(waiting, "_LONG", timedelta(0))
    monkeypatch.setattr(waiting, "_TRIES", 1)
    (warning,) = (text for text in api.get("/health").json()["warnings"] if text not in before)
    assert f"{job} (rewrap)" in warning and "key_unavailable" in warning
