"""Enterprise mode, as the guide has it: one node, its servers, and a Vault for development."""

from __future__ import annotations

import pytest

from tests.containers import api
from tests.containers.operator import Operator
from tests.containers.stacks import ENTERPRISE, Stacks
from tests.containers.walk import of_sections, walk

COMPOSE = ENTERPRISE.compose


@pytest.fixture
def enterprise(stacks: Stacks) -> Operator:
    return stacks.enter(ENTERPRISE)


def test_every_server_is_in_use(enterprise: Operator) -> None:
    found = api.health()
    assert found["status"] == "ok", found


def test_a_folder_goes_in_and_comes_out_by_the_command_line(enterprise: Operator) -> None:
    enterprise.run("manifold --remote http://localhost:32180 import work docs --create")
    enterprise.run("manifold --remote http://localhost:32180 export work exported && diff -r docs exported")


def test_the_guides_commands_do_what_it_says(enterprise: Operator) -> None:
    sections = ("Monitoring", "Logging", "Troubleshooting", "PostgreSQL", "MinIO/S3")
    said = walk(enterprise, of_sections(*sections), ENTERPRISE.placeholders)
    assert "PONG" in said["REDISCLI_AUTH=<redis-password> redis-cli ping"]
    assert "manifold-kek" in said["VAULT_ADDR=http://localhost:8200 VAULT_TOKEN=<vault-token> vault list transit/keys"]
    assert "Produce" in said["kafka-broker-api-versions --bootstrap-server localhost:9092"]
    assert "CREATE TABLE" in (enterprise.checkout / "backup.sql").read_text()
    assert any((enterprise.checkout / "backup").rglob("commits/*"))
    enterprise.wait_until_up(COMPOSE)
    assert api.read("work", "cli.md") == (enterprise.checkout / "docs/cli.md").read_text()


@pytest.mark.parametrize("key", ["another-kek", "manifold-kek"])
def test_another_master_key_takes_over_what_the_former_one_wrapped(enterprise: Operator, key: str) -> None:
    enterprise.write_env(**ENTERPRISE.env, VAULT_KEY_NAME=key)
    said = "".join(walk(enterprise, of_sections("Another master key"), ENTERPRISE.placeholders).values())
    assert f"1 data key wrapped under vault {key}" in said
    assert f"new data keys are wrapped under vault {key}" in said
    api.commit("work", "key.txt", key)
    assert api.read("work", "cli.md") == (enterprise.checkout / "docs/cli.md").read_text()


@pytest.mark.parametrize("service", ["pg-manifold", "minio", "redis", "kafka", "manifold"])
def test_after_a_restart_of_each_server_work_goes_on(enterprise: Operator, service: str) -> None:
    before = api.commit("work", f"{service}.txt", "before")
    enterprise.run(f"{COMPOSE} restart {service}")
    enterprise.wait_until_up(COMPOSE)
    assert api.commit("work", f"{service}.txt", "after") == before + 1
