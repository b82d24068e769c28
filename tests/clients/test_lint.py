"""Linters of OpenAPI and AsyncAPI documents find nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.clients.snapshot import served
from tests.support.clients import Clients, write_document
from tests.support.shown import ROOT

HERE = Path(__file__).parent / "lint"


@pytest.fixture
def document(tmp_path: Path) -> Path:
    return write_document(served(), tmp_path)


def test_spectral_finds_nothing(clients: Clients, document: Path, tmp_path: Path) -> None:
    ruleset = HERE / "spectral.yaml"
    clients.run("spectral", "lint", "--fail-severity", "hint", "--ruleset", ruleset, document, cwd=tmp_path)


def test_redocly_finds_nothing(clients: Clients, document: Path, tmp_path: Path) -> None:
    options = ("--config", HERE / "redocly.yaml", "--format", "json")
    said = clients.run("redocly", "lint", *options, document, cwd=tmp_path).stdout
    assert json.loads(said)["problems"] == []


@pytest.mark.parametrize("linter", ["spectral", "redocly"])
def test_a_linter_finds_what_is_wrong(clients: Clients, tmp_path: Path, linter: str) -> None:
    """So that finding nothing means something."""
    wrong = served()
    wrong["servers"] = []
    options = {
        "spectral": ("--fail-severity", "hint", "--ruleset", HERE / "spectral.yaml"),
        "redocly": ("--config", HERE / "redocly.yaml"),
    }
    said = clients.run(linter, "lint", *options[linter], write_document(wrong, tmp_path), cwd=tmp_path, code=1)
    assert "servers" in (said.stdout + said.stderr).lower()


def test_the_parser_of_asyncapi_finds_nothing(clients: Clients, tmp_path: Path) -> None:
    program = HERE / "asyncapi.cjs"
    environ = {"NODE_PATH": str(clients.packages)}
    assert clients.run("node", program, ROOT / "docs" / "asyncapi.yaml", cwd=tmp_path, **environ).stdout == "[]\n"
    wrong = tmp_path / "asyncapi.yaml"
    wrong.write_text((ROOT / "docs" / "asyncapi.yaml").read_text().replace("channels:", "chanels:", 1))
    clients.run("node", program, wrong, cwd=tmp_path, code=1, **environ)
