"""Each feature of the catalog is found under one word: in the port, in each adapter, and among the tests."""

from __future__ import annotations

import pytest

from tests.support.emulator import ROOT

COMMON = ROOT / "layers/manifold_common/manifold_common"
SHARED = {"memory": {"state", "tables"}, "postgres": {"rows"}}
"""What the features of an adapter stand on."""


def names(folder: str) -> set[str]:
    return {path.stem for path in (COMMON / folder).glob("*.py")} - {"__init__"}


FEATURES = sorted(names("ports/catalog"))


@pytest.mark.parametrize("adapter", sorted(SHARED))
def test_an_adapter_has_a_module_for_each_feature_and_for_nothing_else(adapter: str) -> None:
    assert names(f"adapters/{adapter}/catalog") - SHARED[adapter] == set(FEATURES)


@pytest.mark.parametrize("feature", FEATURES)
def test_a_feature_has_its_contract_tests(feature: str) -> None:
    assert (ROOT / f"tests/contract/test_catalog_{feature}.py").is_file()
