"""Damage and its repair, on the catalog in memory and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from manifold_common.adapters.system.clock import SystemClock
from manifold_common.bootstrap import Manifold, build_catalog
from manifold_common.ports.catalog import Catalog

from tests.support.manifold import MakeManifold, settings_for
from tests.support.stack import NewStack


@pytest.fixture(params=["memory", "postgres"])
def make_on_either(
    request: pytest.FixtureRequest, make_manifold: MakeManifold, new_stack: NewStack, tmp_path: Path
) -> Iterator[MakeManifold]:
    """As ``make_manifold``, on each of the catalogs."""
    if request.param == "memory":
        yield make_manifold
        return
    if new_stack():
        pytest.skip("the stack has PostgreSQL in place of the memory")
    dsn: str = request.getfixturevalue("postgres_dsn")
    with closing(build_catalog(settings_for(tmp_path, tmp_path / "ram"), dsn, SystemClock())) as shared:

        def make(*, catalog: Catalog | None = None, **more: object) -> Manifold:
            return make_manifold(catalog=catalog or shared, **more)

        yield make
