"""The servers of enterprise mode under every test: with ``MANIFOLD_TEST_STACK=enterprise``.

Then projects are kept in S3, their keys wrapped by a Vault, nodes hear of each other through Redis, events go to Kafka,
and the catalog is PostgreSQL, also where a test would be content with memory. Tests that look
into adapters in memory, or at what only simple mode has, are marked ``in_memory`` and left out.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from manifold_local.embedded.stack.seaweedfs import S3Endpoint

from tests.support.seaweedfs import s3_variables

if TYPE_CHECKING:
    from tests.support.kafka import KafkaBroker
    from tests.support.openbao import OpenBao
    from tests.support.redis import RedisServer

IS_ON = os.environ.get("MANIFOLD_TEST_STACK", "simple") == "enterprise"
MOUNT, KEY = "transit-of-the-stack", "manifold-kek"

NewStack = Callable[[], dict[str, str]]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "in_memory(why): looks into adapters that are in memory, or is about what only simple mode has"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        marker = item.get_closest_marker("in_memory")
        if IS_ON and marker is not None:
            item.add_marker(pytest.mark.skip(reason=marker.args[0]))


@pytest.fixture(scope="session")
def full_stack(
    s3_endpoint: S3Endpoint, redis_server: RedisServer, kafka_broker: KafkaBroker, openbao: OpenBao
) -> NewStack:
    """Return a function that gives settings of a stack that nobody has used, as variables."""
    openbao.mount_transit(MOUNT)
    openbao.make_key(KEY, MOUNT, derived=True)
    token = openbao.make_token(openbao.make_least_policy(MOUNT, KEY), period="24h")

    def make() -> dict[str, str]:
        name = secrets.token_hex(8)
        return {
            **s3_variables(s3_endpoint),
            "S3_PREFIX": f"stack/{name}",
            "PROJECTS_ENCRYPTION_PROVIDER": "vault",
            "VAULT_ADDR": openbao.url,
            "VAULT_TOKEN": token,
            "VAULT_MOUNT_PATH": MOUNT,
            "VAULT_KEY_NAME": KEY,
            **redis_server.variables,
            **kafka_broker.variables(f"events-{name}"),
        }

    return make


@pytest.fixture(scope="session")
def new_stack(request: pytest.FixtureRequest) -> NewStack:
    """Return what every test runs on: ``full_stack``, or settings of simple mode, which are none."""
    if not IS_ON:
        return dict
    stack: NewStack = request.getfixturevalue("full_stack")
    return stack
