"""Three nodes behind a proxy, on a Vault that lasts."""

from __future__ import annotations

import re
import threading

import pytest
import requests

from tests.containers import api
from tests.containers.operator import Operator
from tests.containers.stacks import SCALE, Stacks

COMPOSE = SCALE.compose
NODES = ["manifold-manifold-1", "manifold-manifold-2", "manifold-manifold-3"]


class Vault:
    """A Vault that is sealed whenever it starts, and who has the keys to it."""

    def __init__(self, operator: Operator) -> None:
        self._operator = operator
        said = operator.run(f"{COMPOSE} exec -T vault vault operator init")
        self._keys = re.findall(r"^Unseal Key \d+: (\S+)", said, re.MULTILINE)
        (self.root_token,) = re.findall(r"^Initial Root Token: (\S+)", said, re.MULTILINE)

    def unseal(self) -> None:
        for key in self._keys[:3]:
            self._operator.run(f"{COMPOSE} exec -T vault vault operator unseal {key}", quiet=True)


@pytest.fixture(scope="module")
def vault(stacks: Stacks, operator: Operator) -> Vault:
    stacks.prepare(SCALE)
    operator.run(f"{COMPOSE} up -d vault")
    operator.wait_for(lambda: "Sealed" in operator.run(f"{COMPOSE} exec -T vault vault status || true", quiet=True))
    vault = Vault(operator)
    vault.unseal()
    operator.wait_until_up(COMPOSE)
    operator.run(f"VAULT_ADMIN_TOKEN={vault.root_token} {COMPOSE} up -d")
    operator.wait_until_up(COMPOSE)
    stacks.has_come_up(SCALE)
    return vault


@pytest.fixture
def scale(vault: Vault, operator: Operator) -> Operator:
    return operator


def test_a_commit_by_the_proxy_is_read_on_each_node(scale: Operator) -> None:
    assert set(NODES) <= scale.states(COMPOSE).keys()
    api.create_project("demo")
    generation = api.commit("demo", "a.txt", "from one node")
    ask = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:32180/api/projects/demo/files/a.txt').read())"
    for node in NODES:
        assert "from one node" in scale.run(f'docker exec {node} python -c "{ask}"'), node
    assert generation == 1


def process_of(scale: Operator, node: str) -> str:
    return scale.run(f"docker inspect --format '{{{{.State.Pid}}}}' {node}", quiet=True).strip()


def test_a_node_that_is_killed_loses_no_commit_that_was_acknowledged(scale: Operator) -> None:
    acknowledged: dict[str, str] = {}
    failures: list[str] = []
    stop = threading.Event()

    def write(writer: int) -> None:
        number = 0
        while not stop.is_set():
            path = f"{writer}/{number}.txt"
            try:
                api.commit("demo", path, path)
            except (AssertionError, requests.RequestException) as error:
                failures.append(str(error))
            else:
                acknowledged[path] = path
            number += 1

    writers = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for writer in writers:
        writer.start()
    try:
        for node in NODES[:2]:
            count = len(acknowledged)
            scale.wait_for(lambda count=count: len(acknowledged) > count + 5)
            # Not `docker kill`, which is a stop like others: who asked for it does not want it to be started again.
            before = process_of(scale, node)
            scale.run(f"kill -KILL {before}")
            count = len(acknowledged)
            scale.wait_for(lambda count=count: len(acknowledged) > count + 10)  # the others go on
            scale.wait_for(lambda node=node, before=before: process_of(scale, node) not in (before, "0"))
            scale.wait_until_up(COMPOSE)  # it comes back by itself
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    lost = [path for path, text in acknowledged.items() if api.read("demo", path) != text]
    assert not lost
    assert len(acknowledged) > 20, failures


@pytest.mark.parametrize("service", ["pg-manifold", "seaweedfs", "redis", "kafka", "vault", "manifold", "proxy"])
def test_after_a_restart_of_each_server_work_goes_on(scale: Operator, vault: Vault, service: str) -> None:
    before = api.commit("demo", "restart.txt", f"before {service}")
    scale.run(f"{COMPOSE} restart {service}")
    if service == "vault":
        scale.wait_for(lambda: "Sealed" in scale.run(f"{COMPOSE} exec -T vault vault status || true", quiet=True))
        vault.unseal()
    scale.wait_until_up(COMPOSE)
    assert api.commit_in_the_end("demo", "restart.txt", f"after {service}") == before + 1


def test_down_and_up_lose_nothing(scale: Operator, vault: Vault) -> None:
    api.commit("demo", "kept.txt", "kept")
    scale.run(f"{COMPOSE} down")
    scale.run(f"{COMPOSE} up -d vault")
    scale.wait_for(lambda: "Sealed" in scale.run(f"{COMPOSE} exec -T vault vault status || true", quiet=True))
    vault.unseal()
    scale.wait_until_up(COMPOSE)
    scale.run(f"{COMPOSE} up -d")
    scale.wait_until_up(COMPOSE)
    assert api.read("demo", "kept.txt") == "kept"
