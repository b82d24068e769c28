"""Writers, forkers, collectors and job workers are killed at random and replaced, over a store that fails at times.

``MANIFOLD_TEST_COLLECTION_LOAD_SECONDS`` says for how long; ``python -m tests.bench.garbage`` prints what went on.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.garbage_fleet import run
from tests.support.garbage_load import Place
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
    assert min(done.kills.values()) > 0 and len(done.kills) == 4
    assert done.counted["committed"] and done.counted["objects condemned"]
