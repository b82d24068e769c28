"""Anybody who can write to the topic can say anything: what is no news of a project is passed over."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from manifold_common.adapters.kafka.listener import _news
from manifold_common.domain.event import PROJECT_COMMIT
from manifold_common.ports.generation_cache import Invalidation

PROJECT = "a" * 26
DATA: dict[str, Any] = {"tenant_id": "acme", "project_id": PROJECT, "generation": 7, "skills_generation": 3, "more": []}


def record(**changes: object) -> bytes:
    return msgspec.json.encode({"specversion": "1.0", "type": PROJECT_COMMIT, "data": {**DATA, **changes}})


def test_news_of_a_project_are_heard() -> None:
    assert _news(record()) == Invalidation("acme", PROJECT, 7, 3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "value",
    [
        record(tenant_id="../../etc"),
        record(tenant_id="a:b"),
        record(project_id="../x"),
        record(project_id="A" * 26),
        record(generation=-1),
        record(generation=10**12),
        record(generation="7"),
        record(generation=True),
        record(skills_generation=1.5),
        msgspec.json.encode({"type": "manifold.project.renamed", "data": DATA}),
        msgspec.json.encode({"type": PROJECT_COMMIT}),
        b"[" * 100_000,
        b'{"type":' * 100_000,
        b"\xff",
        b"",
        None,
    ],
)
def test_anything_else_is_passed_over(value: bytes | None) -> None:
    assert _news(value) is None
