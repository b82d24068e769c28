"""Whatever the documents and examples call a setting or a variable is one."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

import pytest
from manifold_common.settings import describe_settings
from manifold_common.settings.load import CONFIG_VARIABLE
from manifold_common.settings.reference import NEIGHBOUR_USES

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*(ROOT / "docs").glob("*.md"), *(ROOT / "configs").rglob("*.*"), ROOT / "README.md"])
EXAMPLES = [ROOT / "example.env", ROOT / "config.yaml.example"]

SETTINGS = describe_settings()
KEYS = {setting.key for setting in SETTINGS}
GROUPS = {key[: match.start()] for key in KEYS for match in re.finditer(r"\.", key)}
VARIABLES = {name for one in SETTINGS for plain in (*one.env, *one.fallback) for name in (plain, f"{plain}_FILE")}
VARIABLES |= {CONFIG_VARIABLE, *NEIGHBOUR_USES}
COMPOSED = [path.read_text() for folder in (ROOT, ROOT / "local" / "compose") for path in folder.glob("*.yml")]
OF_COMPOSE = {name for text in COMPOSED for name in re.findall(r"\$\{(\w+)", text)}
OWN = {name.partition("_")[0] for one in SETTINGS for name in one.env} - {"AWS", "MANIFOLD", "LOG"}
"""What variables of Manifold, and of few others, begin with."""
FILES = {"server.lock", "server.log"}
"""Of the embedded database."""


@pytest.mark.parametrize("path", [*DOCUMENTS, *EXAMPLES], ids=lambda path: path.name)
def test_variables_that_are_named_exist(path: Path) -> None:
    found = set(re.findall(r"(?<![A-Za-z0-9_.-])[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+(?![A-Za-z_*])", path.read_text()))
    for name in found - VARIABLES - OF_COMPOSE:
        assert name.partition("_")[0] not in OWN, f"{name} is no variable of a setting"
        assert not difflib.get_close_matches(name, VARIABLES, n=1, cutoff=0.9), f"{name} is no variable of a setting"


@pytest.mark.parametrize("path", [*DOCUMENTS, *EXAMPLES], ids=lambda path: path.name)
def test_keys_that_are_named_exist(path: Path) -> None:
    groups = "|".join(sorted(group for group in GROUPS if "." not in group and group != "functions"))
    found = set(re.findall(rf"(?<![\w./-])(?:{groups})(?:\.[a-z]\w*)+(?![\w(/-])", path.read_text()))
    assert found - KEYS - GROUPS - FILES == set()


def test_the_example_of_variables_has_none_that_nothing_knows() -> None:
    lines = (ROOT / "example.env").read_text().splitlines()
    found = {match[1] for line in lines if (match := re.match(r"(?:# )?([A-Z][A-Z0-9_]*)=", line))}
    assert found >= {"OPENAI_API_KEY", "DATABASE_URL", "KAFKA_BROKERS"}
    assert {name for name in found - VARIABLES - OF_COMPOSE if not name.startswith("COMPOSE_")} == set()
