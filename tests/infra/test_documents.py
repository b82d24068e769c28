"""The pages about functions name everything that there is, and figures that follow from the templates are right."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from manifold_common.settings import HELD, describe_settings
from manifold_local.lambda_service import limits

from tests.support.templates import NAMES, ROOT, functions, resources, template
from tests.support.tools import tools

DOCS = ROOT / "docs"
PAGE, AWS, LOCAL = ((DOCS / f"functions{part}.md").read_text() for part in ("", "-aws", "-local"))
PAGES = {"functions.md": PAGE, "functions-aws.md": AWS, "functions-local.md": LOCAL}
METRIC = re.compile(r"metrics\.(?:count|milliseconds|seconds)\(\s*\"([a-z_.]+)\"")


def test_the_section_that_an_error_refers_to_is_there() -> None:
    said = (ROOT / "layers/manifold_common/manifold_common/adapters/remote/problems.py").read_text()
    assert "docs/functions.md, 'Who may call'" in said
    assert "\n## Who may call\n" in PAGE


def test_every_function_and_sample_is_named() -> None:
    for name in NAMES:
        assert re.search(rf"^\| `{name}` \|", PAGE, re.MULTILINE), name
    assert set(re.findall(r"`([a-z-]+\.json)`", PAGE)) == {path.name for path in (ROOT / "events").glob("*.json")}


def test_every_parameter_is_described_with_its_default() -> None:
    known, described = template()["Parameters"], set()
    for names, values in re.findall(r"^\| (`[A-Z].*?) \| (.*?) ?\|", AWS, re.MULTILINE):
        row = re.findall(r"`(\w+)`", names)
        described |= set(row)
        defaults = {str(known[name].get("Default", "")) for name in row}
        assert set(re.findall(r"`(.+?)`", values)) <= defaults, names
        assert defaults <= {"", *re.findall(r"`(.+?)`", values)}, names
    assert described == known.keys()


def test_the_limits_of_lambda_are_those_that_the_stand_in_keeps() -> None:
    section = PAGE.partition("\n## Limits\n")[2].partition("\n### ")[0]
    kept = {name: value for name, value in vars(limits).items() if name.startswith("MAX_")}
    assert len(kept) == 5
    assert {name for name, value in kept.items() if f"{value:,}" not in section} == set()


def _metrics() -> set[str]:
    return {name for path in (ROOT / "functions").rglob("*.py") for name in METRIC.findall(path.read_text())}


def test_every_metric_and_alarm_is_named() -> None:
    metrics = _metrics()
    assert len(metrics) > 10
    rows = "\n".join(re.findall(r"^\| (`[a-z_.`, ]+) \|", PAGE, re.MULTILINE))
    assert metrics <= set(re.findall(r"`([a-z_.]+)`", rows))
    general = set(re.findall(r"`STACK-([A-Za-z-]+)`", PAGE))
    for alarm in resources("alarms", "AWS::CloudWatch::Alarm").values():
        name = alarm["AlarmName"]["Fn::Sub"].removeprefix("${Name}-")
        assert {name, name.replace(name.split("-")[0], "FUNCTION", 1)} & general, name


def test_what_a_month_costs_counts_the_metrics_and_alarms_that_there_are() -> None:
    of_all = {"cold_starts", "start.duration", "invocation.duration", "invocation.errors", "database.failures"}
    metrics = len(of_all) * len(NAMES) + len(_metrics() - of_all)
    alarms = len(resources("alarms", "AWS::CloudWatch::Alarm"))
    assert f"{metrics} metrics {metrics * 0.3:.1f} and {alarms} alarms {alarms * 0.1:.1f}" in AWS


def _megabytes(value: Any) -> int:
    return int(template()["Parameters"][value["Ref"]]["Default"] if isinstance(value, dict) else value)


@pytest.mark.parametrize("name", ["api", "checkout", "commit", "fanout"])
def test_the_price_of_a_second_follows_from_memory_and_storage(name: str) -> None:
    facts = functions()[name]
    memory, storage = facts["MemorySize"], _megabytes(facts["EphemeralStorage"]["Size"])
    price = memory / 1024 * 0.0000166667 + (storage / 1024 - 0.5) * 0.0000000309
    assert f"| `{name}` | {memory}, {storage} | {price * 1000:.4f} |" in AWS


def _seconds(row: str) -> float:
    """Return the price of the calls of a row of the table of costs."""
    total = 0.0
    for name, milliseconds in re.findall(r"`(\w+)` (\d+) ms", row):
        facts = functions()[name]
        storage = _megabytes(facts["EphemeralStorage"]["Size"])
        price = facts["MemorySize"] / 1024 * 0.0000166667 + (storage / 1024 - 0.5) * 0.0000000309
        total += 0.0000002 + 2000 * 0.5e-9 + int(milliseconds) / 1000 * price
    return total


def test_every_function_and_secret_is_in_the_table_of_secrets() -> None:
    header, *rows = re.findall(r"^   \|(.*)\|$", AWS, re.MULTILINE)
    columns = [set(re.findall(r"`(\w+)`", cell)) for cell in header.split("|")[1:]]
    assert set().union(*columns) == set(NAMES) == HELD.keys()
    keys = {name: setting for setting in describe_settings() for name in (*setting.env, *setting.fallback)}
    told: dict[str, set[str]] = {name: set() for name in NAMES}
    for row in rows[1:]:
        variables, *cells = row.split("|")
        secret = {keys[name].key for name in re.findall(r"`([A-Z_0-9]+)`", variables) if keys[name].secret}
        for names, cell in zip(columns, cells, strict=True):
            for name in names if "refused" not in cell else ():
                told[name] |= secret
    assert {name: held & set().union(*told.values()) for name, held in HELD.items()} == told


def test_the_formula_of_connections_holds_for_what_the_page_says_of_the_defaults() -> None:
    parameters = template()["Parameters"]
    containers = sum(parameters[f"{name.capitalize()}Concurrency"]["Default"] for name in NAMES)
    assert f"The defaults make {containers * parameters['DatabaseConnections']['Default']} and fit" in AWS


def test_costs_follow_from_the_formula() -> None:
    rows = re.findall(r"^\| (.+?) \| (\d) \| (.+?) \| (.+?) \| (0\.\d+) \|$", AWS, re.MULTILINE)
    assert len(rows) == 5
    for what, http, calls, store, price in rows:
        puts = sum(map(int, re.findall(r"(\d) PUT", store)))
        gets = sum(int(found) for pair in re.findall(r"(\d) GET|up to (\d) by", store) for found in pair if found)
        queue = 3 * 0.0000004 if "fanout" in calls else 0.0
        total = int(http) * 0.000001 + _seconds(calls) + puts * 0.000005 + gets * 0.0000004 + queue
        assert float(price) == pytest.approx(total * 1000, rel=0.05), what


@pytest.mark.parametrize("name", sorted(PAGES))
def test_files_and_targets_that_are_named_exist(name: str) -> None:
    text = PAGES[name]
    for path in re.findall(r"`((?:local|infra|events|tests|docs)/[\w./-]*)`", text):
        assert (ROOT / path).exists(), path
    targets = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make ([a-z-]+)", text):
        assert re.search(rf"^{target}:|^\.PHONY:.* {target}\b", targets, re.MULTILINE), target


def test_the_commands_for_sam_are_ones(tmp_path: Path) -> None:
    """Nobody runs them here: some need an account of AWS, and others containers."""
    pages = [page.read_text() for page in (ROOT / "README.md", *DOCS.glob("*.md"))]
    shown = {found for page in pages for found in re.findall(r"(?:bin/|`)sam ((?:[a-z-]+ )+)(--[^`\n#]*)", page)}
    assert {words.strip() for words, _ in shown} >= {"deploy", "delete", "local start-api"}
    shown |= {(words, rest) for page in pages for words, rest in re.findall(r"bin/sam (local invoke) (.*)", page)}
    environ = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "SAM_CLI_TELEMETRY": "0", "COLUMNS": "200"}
    for words in {words for words, _ in shown}:
        command = [tools().folder / "bin" / "sam", *words.split(), "--help"]
        told = subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout
        options = {option for name, rest in shown if name == words for option in re.findall(r"--[a-z-]+", rest)}
        assert options
        assert {option for option in options if f"{option} " not in told} == set(), words
