"""Uploads that arrive in parts, by a clock that tests move."""

from __future__ import annotations

import pytest
from manifold_common.adapters.memory.clock import ManualClock
from manifold_common.bootstrap import Manifold

from tests.support.manifold import MakeManifold


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def manifold(make_manifold: MakeManifold, clock: ManualClock) -> Manifold:
    return make_manifold(clock=clock)
