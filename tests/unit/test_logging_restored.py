"""No test hears less, or more, because of one before it that began a host or a function."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
from manifold_local.host.logs import set_up_logging as set_up_of_host

from functions.invocation.logs import set_up_logging as set_up_of_function
from tests.support.logs import OURS, logging_restored


def state() -> object:
    return [(logging.getLogger(name).level, logging.getLogger(name).handlers[:]) for name in ("", "kafka", *OURS)]


@pytest.mark.parametrize("set_up", [set_up_of_host, set_up_of_function])
@pytest.mark.parametrize("level", ["debug", "error"])
def test_what_a_host_or_a_function_sets_is_set_back(set_up: Callable[..., None], level: str) -> None:
    before = state()
    with logging_restored():
        set_up(level, discreet=True)
        assert state() != before
        assert logging.getLogger("manifold_common.anything").isEnabledFor(logging.INFO) is (level == "debug")
    assert state() == before
