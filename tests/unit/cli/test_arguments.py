"""What command-line words stand for."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from manifold_common.errors import InvalidInput, UnsafePath
from manifold_local.cli.arguments import MAX_PROVENANCE_BYTES, parse_message, parse_provenance, time_option
from manifold_local.cli.call import project_path


def test_provenance_values_are_json_where_they_can_be() -> None:
    facts = parse_provenance(["model=gpt-4.1", "cost=0.25", "tools=[1, 2]", "note=a=b", "empty=", "model=later"])
    assert facts == {"model": "later", "cost": 0.25, "tools": [1, 2], "note": "a=b", "empty": ""}


def test_provenance_comes_from_a_file_too(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"run": "r1", "steps": 3}')
    assert parse_provenance([f"@{tmp_path / 'run.json'}", "steps=4"]) == {"run": "r1", "steps": 4}


@pytest.mark.parametrize("word", ["model", "=x", ""])
def test_provenance_without_a_key_and_a_value_is_refused(word: str) -> None:
    with pytest.raises(InvalidInput, match="KEY=VALUE"):
        parse_provenance([word])


@pytest.mark.parametrize("content", ["[1]", "{", "NaN", '{"a": NaN}', "[" * 100_000, "\0"])
def test_a_provenance_file_that_holds_no_object_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(InvalidInput, match="provenance file"):
        parse_provenance([f"@{tmp_path / 'run.json'}"])


def test_a_provenance_file_that_is_missing_or_huge_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        parse_provenance([f"@{tmp_path / 'missing'}"])
    (tmp_path / "huge").write_bytes(b" " * (MAX_PROVENANCE_BYTES + 1))
    with pytest.raises(InvalidInput, match="larger"):
        parse_provenance([f"@{tmp_path / 'huge'}"])


def test_not_a_number_is_text_in_provenance() -> None:
    assert parse_provenance(["cost=NaN"]) == {"cost": "NaN"}


def test_a_message_can_always_be_stored() -> None:
    parse_message("bytes \udcff that are no text").encode("utf-8")


@pytest.mark.parametrize(
    ("argument", "path"),
    [("src/main.py", b"src/main.py"), ("./src/", b"src"), (".//a", b"a"), ("caf\udce9", b"caf\xe9"), ("a//", b"a")],
)
def test_a_path_may_be_written_as_the_shell_completes_it(argument: str, path: bytes) -> None:
    assert project_path(argument) == path


@pytest.mark.parametrize(
    "argument",
    ["", "/", "//", ".", "..", "./", "../x", "a/../b", "a/./b", "/etc/passwd", "a//b", "x" * 256, "a/" * 3000 + "a"],
)
def test_a_path_that_leaves_the_project_or_cannot_exist_is_refused(argument: str) -> None:
    with pytest.raises(UnsafePath):
        project_path(argument)


def test_a_time_without_its_zone_is_refused_in_the_words_of_a_command_line() -> None:
    with pytest.raises(typer.BadParameter, match="2026-05-04T10:20:30Z") as caught:
        time_option("--since", "?").parser("2026-11-01")
    assert "URL" not in str(caught.value)
