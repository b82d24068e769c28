"""Simple mode, as the guide's quick start has it."""

from __future__ import annotations

import time

import pytest

from tests.containers import api
from tests.containers.operator import Operator
from tests.containers.stacks import SIMPLE, Stacks
from tests.containers.walk import of_sections, walk


@pytest.fixture
def simple(stacks: Stacks, operator: Operator) -> Operator:
    operator.run("cp config.yaml.example config.yaml", quiet=True)
    return stacks.enter(SIMPLE)


def test_the_quick_start_serves(simple: Operator) -> None:
    assert '"ok"' in simple.run("curl -fsS http://localhost:32180/health")
    assert simple.states(SIMPLE.compose) == {"postgres": "healthy", "manifold": "healthy"}


def test_the_guides_first_project_can_be_made_and_read(simple: Operator) -> None:
    said = walk(simple, of_sections("Quick start: simple mode", "Coming from simple mode"), {})
    assert (simple.checkout / "README.md").read_text() in said.values()


def test_a_dump_of_the_guide_restores_what_was_lost(simple: Operator) -> None:
    simple.run("docker exec postgres pg_dump -U manifold manifold > backup.sql")
    simple.run("docker-compose stop manifold")
    simple.run("docker exec postgres dropdb -U manifold manifold && docker exec postgres createdb -U manifold manifold")
    simple.run("docker exec -i postgres psql -U manifold manifold < backup.sql")
    simple.run("docker-compose run --rm manifold manifold adopt --same")
    simple.run("docker-compose start manifold")
    simple.wait_until_up(SIMPLE.compose)
    assert api.read("demo", "README.md") == (simple.checkout / "README.md").read_text()


def test_a_node_that_is_stopped_while_it_starts_is_not_waited_for(simple: Operator) -> None:
    simple.run("docker-compose stop manifold")
    simple.run("docker-compose start manifold")
    began = time.monotonic()
    simple.run("docker-compose stop manifold")
    assert time.monotonic() - began < 30, "it did not hear SIGTERM, and was killed"
    simple.run("docker-compose start manifold")
    simple.wait_until_up(SIMPLE.compose)


@pytest.mark.parametrize("service", ["pg-manifold", "manifold"])
def test_after_a_restart_of_each_server_work_goes_on(simple: Operator, service: str) -> None:
    before = api.commit("demo", "before.txt", "before")
    simple.run(f"docker-compose restart {service}")
    simple.wait_until_up(SIMPLE.compose)
    assert api.commit("demo", "after.txt", "after") == before + 1


def test_down_and_up_lose_nothing(simple: Operator) -> None:
    api.commit("demo", "kept.txt", "kept")
    simple.run("docker-compose down")
    simple.run("docker-compose up -d pg-manifold manifold")
    simple.wait_until_up(SIMPLE.compose)
    assert api.read("demo", "kept.txt") == "kept"
