"""One engine, one set of images, one operator and one stack at a time for all tests of this folder.

The tests of a file go on from each other, in order.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.containers.engine import Engine
from tests.containers.image_builder import build_base
from tests.containers.operator import Operator
from tests.containers.place import HOST_NETWORK
from tests.containers.stacks import Stacks

if HOST_NETWORK not in os.environ:  # they want namespaces of their own: `make test-containers`
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    with Engine() as engine:
        build_base(engine)
        yield engine


@pytest.fixture(scope="session")
def operator(engine: Engine) -> Operator:
    return Operator(engine)


@pytest.fixture(scope="session")
def stacks(engine: Engine, operator: Operator) -> Iterator[Stacks]:
    stacks = Stacks(engine, operator)
    yield stacks
    stacks.end()
