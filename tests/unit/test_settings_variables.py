"""``${VAR}`` expansion and the ``.env`` file."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from manifold_common.errors import ConfigError
from manifold_common.settings import load_settings


def bucket(tmp_path: Path, yaml: str | None = None, dotenv: str = "", **environ: str) -> str | None:
    """Return ``projects.s3.bucket`` as loaded from the texts, where ``yaml`` is the value as written in the file."""
    if yaml is not None:
        (tmp_path / "config.yaml").write_text(f"projects:\n  s3:\n    bucket: {yaml}\n")
    (tmp_path / ".env").write_text(dotenv)
    return load_settings(environ=environ, cwd=tmp_path).projects.s3.bucket


@pytest.mark.parametrize(
    ("written", "environ", "expected"),
    [
        ('"${A}"', {"A": "x"}, "x"),
        ('"pre-${A}-${B}-post"', {"A": "x", "B": "y"}, "pre-x-y-post"),
        ('"${A:-z}"', {}, "z"),
        ('"${A:-z}"', {"A": ""}, "z"),
        ('"${A:-z}"', {"A": "x"}, "x"),
        ('"${A:-}"', {}, None),
        ('"${A}"', {"A": ""}, None),
        ('"${A:-has:-dashes}"', {}, "has:-dashes"),
        ('"a$$b"', {}, "a$b"),
        ('"$${A}"', {"A": "x"}, "${A}"),
        ('"$$$${A}"', {"A": "x"}, "$${A}"),
        ('"$A $"', {"A": "x"}, "$A $"),
        ("${A}", {"A": "x"}, "x"),
    ],
)
def test_references_in_the_file_expand(
    tmp_path: Path, written: str, environ: dict[str, str], expected: str | None
) -> None:
    assert bucket(tmp_path, written, **environ) == expected


def test_a_value_that_comes_out_of_a_variable_is_not_expanded_again(tmp_path: Path) -> None:
    assert bucket(tmp_path, '"${A}"', A="${B} $$") == "${B} $$"
    assert bucket(tmp_path, S3_BUCKET="${B} $$") == "${B} $$"


def test_references_in_the_file_see_dotenv_and_the_environment_counts_more(tmp_path: Path) -> None:
    assert bucket(tmp_path, '"${A}"', "A=dotenv\n") == "dotenv"
    assert bucket(tmp_path, '"${A}"', "A=dotenv\n", A="environ") == "environ"
    assert bucket(tmp_path, '"${A}"', "A=dotenv\n", A="") == "dotenv"


def test_references_in_lists_expand(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text('projects: {events: {brokers: ["${A}:1", "b:${P:-2}"]}}')
    settings = load_settings(environ={"A": "a"}, cwd=tmp_path)
    assert settings.projects.events.brokers == ("a:1", "b:2")


def test_an_unset_variable_is_reported_with_its_name_the_key_and_the_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        bucket(tmp_path, '"${NOT_THERE}"')
    assert str(caught.value) == (
        "config.yaml:3: projects.s3.bucket: the variable NOT_THERE is not set "
        "(set NOT_THERE, or give a default: ${NOT_THERE:-default})"
    )


def test_an_unset_variable_in_dotenv_is_reported_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^\.env:2 \(S3_BUCKET\): projects\.s3\.bucket: the variable X is not set"):
        bucket(tmp_path, dotenv="\nS3_BUCKET=${X}\n")


@pytest.mark.parametrize("written", ["${", "${}", "${A", "${1A}", "${A-b}", "${A:-${B}}", "${A B}", "${:-x}"])
def test_a_malformed_reference_is_an_error(tmp_path: Path, written: str) -> None:
    with pytest.raises(ConfigError, match=r"'\$\{' does not start a reference .*write \$\$ for a plain \$"):
        bucket(tmp_path, f"'{written}'", A="x", B="y")


def test_a_stronger_source_makes_a_broken_reference_in_the_file_harmless(tmp_path: Path) -> None:
    assert bucket(tmp_path, '"${NOT_THERE}"', S3_BUCKET="b") == "b"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("S3_BUCKET=b", "b"),
        ("export S3_BUCKET=b", "b"),
        ("  S3_BUCKET = b  ", "b"),
        ("S3_BUCKET=b # comment", "b"),
        ("S3_BUCKET=b#c", "b#c"),
        ("S3_BUCKET=# comment", None),
        ("S3_BUCKET='b # c'  # comment", "b # c"),
        ('S3_BUCKET=" b "', " b "),
        (r'S3_BUCKET="say \"b\" \\ c"', r'say "b" \ c'),
        ("S3_BUCKET='${A} $$'", "${A} $$"),
        ('S3_BUCKET="${A} $$"', "x $"),
        ("S3_BUCKET=${A}", "x"),
        ("S3_BUCKET=${LATER}\nLATER=l", "l"),
        ("S3_BUCKET=first\nS3_BUCKET=last", "last"),
        ("#S3_BUCKET=b", None),
        ("S3_BUCKET=b\r", "b"),
        ("\ufeffS3_BUCKET=b", "b"),
        ("S3_BUCKET=a=b", "a=b"),
    ],
)
def test_dotenv_lines_are_read_as_shells_and_compose_read_them(tmp_path: Path, line: str, expected: str | None) -> None:
    assert bucket(tmp_path, dotenv=f"{line}\n", A="x") == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("no assignment", ".env:2: the line is not NAME=value"),
        ("1A=b", ".env:2: the line is not NAME=value"),
        ("S3_BUCKET='b", ".env:2: S3_BUCKET: the quotes around the value are not closed"),
        ('S3_BUCKET="b" c', ".env:2: S3_BUCKET: the quotes around the value are not closed"),
        ('S3_BUCKET="b\\"', ".env:2: S3_BUCKET: the quotes around the value are not closed"),
    ],
)
def test_a_broken_dotenv_line_is_reported(tmp_path: Path, line: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        bucket(tmp_path, dotenv=f"\n{line}\n")
    assert str(caught.value) == expected


def test_a_line_may_extend_the_variable_of_the_process_that_it_replaces(tmp_path: Path) -> None:
    assert bucket(tmp_path, '"${A}"', "A=${B}\nB=${B:-none}!\n") == "none!"


@pytest.mark.parametrize("dotenv", ["S3_BUCKET=${S3_BUCKET}\n", "S3_BUCKET=${A}\nA=${B}\nB=${A}\n"])
def test_variables_that_refer_to_each_other_in_a_circle_count_as_unset(tmp_path: Path, dotenv: str) -> None:
    with pytest.raises(ConfigError, match="is not set"):
        bucket(tmp_path, dotenv=dotenv)


def test_variables_made_of_variables_cannot_fill_the_memory(tmp_path: Path) -> None:
    names = [f"V{n}" for n in range(40)]
    lines = ["V0=" + "x" * 100, *(f"{b}=" + f"${{{a}}}" * 9 for a, b in pairwise(names))]
    with pytest.raises(ConfigError, match="longer than 65536 characters"):
        bucket(tmp_path, '"${V39}"', "\n".join(lines))


def test_dotenv_that_is_not_text_is_an_error(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"A=\xff\n")
    with pytest.raises(ConfigError, match=r"^\.env: cannot be read: not UTF-8 text"):
        load_settings(environ={}, cwd=tmp_path)
