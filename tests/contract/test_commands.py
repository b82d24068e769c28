"""What every command of the program promises, held against each that it has: a new one is found by itself."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from manifold_common.errors import ErrorKind
from manifold_local.cli.app import COMMANDS, app
from manifold_local.cli.call import COMMON_OPTIONS
from manifold_local.cli.exit_codes import EXIT_CODES, MEANINGS
from manifold_local.cli.run import run

from tests.support.cli import Program

ROOT = Path(__file__).resolve().parents[2]

Words = tuple[str, ...]


def found(command: Any, words: Words = ()) -> Iterator[tuple[Words, Any]]:
    """Yield each command below a group with its words, as the program itself knows them."""
    if not hasattr(command, "commands"):
        yield words, command
        return
    for name, below in command.commands.items():
        yield from found(below, (*words, name))


PROGRAM: Any = typer.main.get_command(app)
ALL = dict(found(PROGRAM))
every_command = pytest.mark.parametrize("words", ALL, ids=" ".join)


def refused(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Return the error that a command has printed, and nothing besides."""
    printed = capsys.readouterr()
    assert printed.out == ""
    error: dict[str, Any] = json.loads(printed.err)["error"]
    return error


def needed(command: Any) -> list[str]:
    """Return arguments that a command cannot do without: each is a number, which is also a name."""
    required = [parameter for parameter in command.params if parameter.required]
    return [word for one in required for word in (*one.opts[:1], "1") if one.param_type_name == "option" or word == "1"]


def test_there_is_a_line_for_each_command_and_a_command_for_each_line() -> None:
    assert set(PROGRAM.commands) == COMMANDS.keys()
    for name, module in COMMANDS.items():
        below = [words for words in ALL if words[0] == name]
        assert below, f"{module}.add_to adds no command {name}"


@every_command
def test_its_help_says_what_it_does_and_what_each_argument_is(words: Words, capsys: pytest.CaptureFixture[str]) -> None:
    command = ALL[words]
    assert re.match(r"[A-Z].*[.:]", command.help, re.DOTALL)
    records = {one.name: one.get_help_record(typer.Context(command)) for one in command.params if one.name != "help"}
    assert [name for name, record in records.items() if record is not None and not record[1]] == []
    assert run([*words, "--help"]) == 0
    assert command.help.split()[0] in capsys.readouterr().out


@every_command
def test_it_takes_the_options_of_every_command(words: Words) -> None:
    assert {parameter.name for parameter in ALL[words].params} >= COMMON_OPTIONS.keys()


@every_command
def test_it_stands_on_the_page_of_the_command_line(words: Words) -> None:
    page = (ROOT / "docs" / "cli.md").read_text()
    assert re.search(rf"^### `manifold {re.escape(' '.join(words))}[ `]", page, re.MULTILINE)


@every_command
def test_it_is_said_what_it_answers(words: Words) -> None:
    page = (ROOT / "docs" / "cli-documents.md").read_text()
    if words != ("database",):  # another program's output
        assert f"| `manifold {' '.join(words)}` | [" in page


@pytest.mark.parametrize(
    "words",
    [words for words, one in ALL.items() if not one.context_settings.get("ignore_unknown_options")],
    ids=" ".join,
)
def test_an_option_that_it_does_not_have_is_an_error_in_json_whose_hint_works(
    words: Words, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*words, "--json", "--no-such-option"]) == EXIT_CODES[ErrorKind.INVALID]
    error = refused(capsys)
    assert (error["code"], error["kind"]) == ("invalid_input", "invalid")
    asked = re.search(r"'manifold (.*) --help'", error["hint"])
    assert asked is not None
    assert run([*asked[1].split(), "--help"]) == 0


@every_command
def test_refused_it_ends_as_the_table_of_exit_codes_says_and_changes_nothing(
    words: Words, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    missing = tmp_path / "missing.yaml"
    code = run([*words, "--json", "--config", str(missing), *needed(ALL[words])])
    error = refused(capsys)
    assert code == EXIT_CODES[ErrorKind(error["kind"])] == EXIT_CODES[ErrorKind.INVALID]
    assert code in MEANINGS
    assert error["message"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [words for words, one in ALL.items() if [each.name for each in one.params if each.required] == ["project"]],
    ids=" ".join,
)
def test_what_is_about_a_project_works_on_one(words: Words, program: Program) -> None:
    confirmed = ["--yes"] if "yes" in {each.name for each in ALL[words].params} else []
    assert program.json(*words, program.project(), *confirmed)
