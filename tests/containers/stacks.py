"""The stacks of the compose files. All have the same names and ports, so that one at a time is up."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from tests.containers.engine import Engine
from tests.containers.image_builder import build_images
from tests.containers.operator import Operator

BUILT = "manifold"
"""The image of local/Dockerfile."""


@dataclass(frozen=True)
class Stack:
    compose: str
    """What is typed before ``up``."""
    services: str = ""
    """What is typed after ``up -d``."""
    env: dict[str, str] = field(default_factory=dict)
    """What is filled in in ``.env``."""

    @property
    def placeholders(self) -> dict[str, str]:
        """What the guide's commands stand ``<...>`` for."""
        return {
            "access-key": self.env["MINIO_ROOT_USER"],
            "secret-key": self.env["MINIO_ROOT_PASSWORD"],
            "redis-password": self.env["REDIS_PASSWORD"],
            "vault-token": self.env["VAULT_DEV_ROOT_TOKEN"],
        }


def secret() -> str:
    return secrets.token_hex(12)


SIMPLE = Stack("docker-compose", "pg-manifold manifold")
ENTERPRISE = Stack(
    "docker-compose -f docker-compose.enterprise.yml",
    env={
        "POSTGRES_PASSWORD": secret(),
        "MINIO_ROOT_USER": "the-access-key",
        "MINIO_ROOT_PASSWORD": secret(),
        "VAULT_DEV_ROOT_TOKEN": secret(),
        "VAULT_TOKEN": "token-of-manifold",
        "REDIS_PASSWORD": secret(),
    },
)
SCALE = Stack(
    "docker-compose -f docker-compose.scale.yml",
    env={**ENTERPRISE.env, "VAULT_SERVER": "durable", "OBJECT_STORE": "seaweedfs"},
)


class Stacks:
    def __init__(self, engine: Engine, operator: Operator) -> None:
        self._engine = engine
        self._operator = operator
        self._current: Stack | None = None
        self._broken: set[str] = set()

    def prepare(self, stack: Stack) -> None:
        """Fill in ``.env`` and build all images; end what else is up."""
        assert stack.compose not in self._broken, "it did not come up; see the first failure"
        self.end()
        self._broken.add(stack.compose)
        self._current = stack
        self._operator.write_env(**stack.env)
        names = set(self._operator.run(f"{stack.compose} config --images", quiet=True).split())
        build_images(self._engine, names - {BUILT})
        self._operator.build(f"{stack.compose} build")

    def enter(self, stack: Stack) -> Operator:
        """Return the operator before a stack that is up."""
        if self._current is not stack:
            self.prepare(stack)
            self._operator.run(f"{stack.compose} up -d {stack.services}".rstrip())
            self._operator.wait_until_up(stack.compose)
            self._broken.discard(stack.compose)
        return self._operator

    def has_come_up(self, stack: Stack) -> None:
        self._broken.discard(stack.compose)

    def end(self) -> None:
        if self._current is not None:
            self._operator.run(f"{self._current.compose} down --volumes")
            self._current = None
