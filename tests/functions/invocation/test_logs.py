"""Which of a function's log lines get through: as ``LogLevel`` says, whatever Lambda is told to drop besides."""

from __future__ import annotations

import importlib
import sys

import pytest

from tests.support.functions import MakeFunction, metrics_of, printed, sample
from tests.support.templates import template

RANKS = ("DEBUG", "INFO", "WARNING", "ERROR")
LEVELS = template()["Mappings"]["LogLevels"]


@pytest.mark.parametrize("level", sorted(LEVELS))
def test_a_function_logs_what_its_level_says_and_lambda_drops_none_of_it(
    make_function: MakeFunction, level: str, capsys: pytest.CaptureFixture[str]
) -> None:
    passed = LEVELS[level]["Application"]
    function = make_function(LOG_LEVEL=level, AWS_LAMBDA_LOG_LEVEL=passed)
    assert function("api", sample("http-get", rawPath="/api/v1/projects", rawQueryString=""))["statusCode"] == 200
    assert function("commit", {"errors": "return"})["error"]["code"] == "malformed_event"
    out = capsys.readouterr().out
    lines = [line for line in printed(out) if "level" in line]
    least = RANKS.index(level.upper())
    assert all(RANKS.index(line["level"]) >= max(least, RANKS.index(passed)) for line in lines)
    assert (RANKS[0] in {line["level"] for line in lines}) is (level == "debug")
    assert bool(lines) is (level in ("debug", "info")), "nothing is the matter, so that is all there is to say"
    assert metrics_of(out)["invocation.errors"] == 1, "a line without a level, which Lambda takes for INFO"
    assert RANKS.index(passed) <= RANKS.index("INFO")


def test_the_logger_is_made_without_a_word_whatever_lambda_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the settings are known; a warning would be an error here, and noise on Lambda."""
    for level in ("DEBUG", "INFO"):
        monkeypatch.setenv("AWS_LAMBDA_LOG_LEVEL", level)
        monkeypatch.delitem(sys.modules, "functions.invocation.logs")
        importlib.import_module("functions.invocation.logs")
