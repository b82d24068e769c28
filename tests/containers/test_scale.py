"""Three nodes behind a proxy, on a Vault that lasts."""

from __future__ import annotations

import re
import threading

import pytest
import requests

from tests.containers import api
from tests.containers.operator import Operator
from tests.containers.stacks import ENTERPRISE, SCALE, Stacks
from tests.containers.walk import of_sections, walk
from tests.support.guide import Command, filled

COMPOSE = SCALE.compose
NODES = ["manifold-manifold-1", "manifold-manifold-2", "manifold-manifold-3"]


class Vault:
    """A Vault that is sealed whenever it starts, and who has the keys to it."""

    def __init__(self, operator: Operator, start: Command, initialise: Command, unseal: Command) -> None:
        self._operator = operator
        self._unseal = unseal.text
        operator.run(start.text)
        self.wait_until_it_answers()
        said = operator.run(initialise.text)
        self._keys = re.findall(r"^Unseal Key \d+: (\S+)", said, re.MULTILINE)
        (self.root_token,) = re.findall(r"^Initial Root Token: (\S+)", said, re.MULTILINE)
        self.unseal()

    def wait_until_it_answers(self) -> None:
        ask = f"{COMPOSE} exec -T vault vault status || true"
        self._operator.wait_for(lambda: "Sealed" in self._operator.run(ask, quiet=True))

    def unseal(self) -> None:
        for key in self._keys[:3]:
            said = self._operator.enter_secret(self._unseal, key)
        assert re.search(r"Sealed +false", said), said


@pytest.fixture(scope="module")
def vault(stacks: Stacks, operator: Operator) -> Vault:
    """As the guide has it: one node with a Vault that lasts, and a project; then three nodes in its place."""
    stacks.prepare(SCALE)
    *beginning, rest = of_sections("A Vault that lasts")
    vault = Vault(operator, *beginning)
    operator.wait_until_up(ENTERPRISE.compose)
    operator.run(filled(rest.text, {"root-token": vault.root_token}))
    operator.wait_until_up(ENTERPRISE.compose)
    api.create_project("demo")
    api.commit("demo", "alone.txt", "from a node that was alone")
    walk(operator, of_sections("Scaling"), {})
    stacks.has_come_up(SCALE)
    return vault


@pytest.fixture
def scale(vault: Vault, operator: Operator) -> Operator:
    return operator


def test_three_nodes_have_what_the_one_before_them_had(scale: Operator) -> None:
    assert api.read("demo", "alone.txt") == "from a node that was alone"


def test_the_guides_snapshot_of_a_vault_is_one(scale: Operator, vault: Vault) -> None:
    for command in of_sections("Vault"):
        scale.run(filled(command.text, {"root-token": vault.root_token}))
    assert "state.bin" in scale.run("tar -tzf vault.snapshot")


def test_a_commit_by_the_proxy_is_read_on_each_node(scale: Operator) -> None:
    assert set(NODES) <= scale.states(COMPOSE).keys()
    api.commit("demo", "a.txt", "from one node")
    ask = (
        "import urllib.request as r; print(r.urlopen('http://127.0.0.1:32180/api/v1/projects/demo/files/a.txt').read())"
    )
    for node in NODES:
        assert "from one node" in scale.run(f'docker exec {node} python -c "{ask}"'), node


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
                api.commit("demo", path, path, seconds=0)
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


def test_nodes_that_do_not_even_refuse_are_passed_by(scale: Operator) -> None:
    """Their machine is gone, or an address is one that nobody has any more."""
    scale.run(f"{COMPOSE} restart proxy")  # without connections from before
    scale.wait_until_up(COMPOSE)
    nodes = [f"nsenter --net=/proc/{process_of(scale, node)}/ns/net" for node in NODES[:2]]
    rule = "INPUT -i eth0 -p tcp --dport 32180 --syn -j DROP"
    for node in nodes:
        scale.run(f"{node} iptables -I {rule}")
    try:
        for number in range(10):
            api.commit("demo", "silent.txt", str(number))
    finally:
        for node in nodes:
            scale.run(f"{node} iptables -D {rule}")


@pytest.mark.parametrize("service", ["pg-manifold", "seaweedfs", "redis", "kafka", "vault", "manifold", "proxy"])
def test_after_a_restart_of_each_server_work_goes_on(scale: Operator, vault: Vault, service: str) -> None:
    before = api.commit("demo", "restart.txt", f"before {service}")
    scale.run(f"{COMPOSE} restart {service}")
    if service == "vault":
        vault.wait_until_it_answers()
        vault.unseal()
    scale.wait_until_up(COMPOSE)
    assert api.commit("demo", "restart.txt", f"after {service}") == before + 1


def test_down_and_up_lose_nothing(scale: Operator, vault: Vault) -> None:
    api.commit("demo", "kept.txt", "kept")
    scale.run(f"{COMPOSE} down")
    scale.run(f"{COMPOSE} up -d vault")
    vault.wait_until_it_answers()
    vault.unseal()
    scale.wait_until_up(COMPOSE)
    scale.run(f"{COMPOSE} up -d")
    scale.wait_until_up(COMPOSE)
    assert api.read("demo", "kept.txt") == "kept"
