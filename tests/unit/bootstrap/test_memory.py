"""How much memory reading trees may take: what is set, or half of what the process has."""

from __future__ import annotations

from pathlib import Path

import pytest
from manifold_common.bootstrap.wiring import memory_of
from manifold_common.engine.working_set import ram
from manifold_common.settings import load_settings

LAMBDA = {"AWS_LAMBDA_FUNCTION_NAME": "api", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512"}


@pytest.mark.parametrize(
    ("environ", "limit"),
    [
        (LAMBDA, 256 << 20),
        ({"PROJECTS_TREE_MEMORY_BYTES": "100MiB"}, 100 << 20),
        ({**LAMBDA, "PROJECTS_TREE_MEMORY_BYTES": "100MiB"}, 100 << 20),
        ({}, ram.memory_bytes() // 2),
    ],
    ids=["function", "set", "set for a function", "machine"],
)
def test_reading_trees_may_take_what_is_set_or_half_of_the_memory(
    environ: dict[str, str], limit: int, tmp_path: Path
) -> None:
    assert memory_of(load_settings(environ=environ, cwd=tmp_path)).limit_bytes == limit


@pytest.mark.parametrize(
    ("name", "text", "counts"),
    [
        ("memory.max", "1048576\n", True),
        ("memory.max", "max\n", False),
        ("memory/memory.limit_in_bytes", "1048576", True),
    ],
)
def test_a_containers_limit_counts_where_it_is_lower(name: str, text: str, counts: bool, tmp_path: Path) -> None:
    machine = ram.memory_bytes(tmp_path)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
    assert ram.memory_bytes(tmp_path) == (1 << 20 if counts else machine)
