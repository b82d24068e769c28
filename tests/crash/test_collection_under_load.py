"""Processes write and fork while collectors are killed at random, over a store of which some requests fail.

``MANIFOLD_TEST_COLLECTION_LOAD_SECONDS`` says for how long; ``python -m tests.bench.garbage`` prints what went on.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.garbage_load import Place, run
from tests.support.manifold import RAM

SECONDS = float(os.environ.get("MANIFOLD_TEST_COLLECTION_LOAD_SECONDS", "8"))


@pytest.fixture
def place(postgres_dsn: str) -> Iterator[Place]:
    folder = Path(tempfile.mkdtemp(prefix="manifold-load-", dir=RAM))
    yield Place(postgres_dsn, folder)
    shutil.rmtree(folder)


@pytest.mark.slow
def test_under_load_nothing_that_is_needed_goes_and_everything_else_does(place: Place, seed: int) -> None:
    done = run(place, seconds=SECONDS, seed=seed)
    assert done.wrong == []
    assert done.kills > 2 and done.counted["committed"] and done.counted["objects condemned"]
