"""What comes from a project is shown by a terminal, never obeyed."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from manifold_local.cli.output import human_bytes, human_time_ns, print_json, print_table, safe, safe_path


@given(st.text())
def test_no_text_moves_the_cursor_or_sets_colours(text: str) -> None:
    shown = safe(text)
    assert "\x1b" not in shown
    assert shown.isprintable() or "\u3000" in shown or any(char.isspace() for char in shown)
    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in shown)


@given(st.binary(max_size=50))
def test_any_bytes_of_a_name_can_be_shown(name: bytes) -> None:
    safe_path(name).encode("utf-8")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"plain.txt", "plain.txt"),
        ("größe.txt".encode(), "größe.txt"),
        ("日本".encode(), "日本"),
        (b"a\x1b[2Jb", r"a\x1b[2Jb"),
        (b"a\nb", r"a\x0ab"),
        (b"\xff.txt", r"\xff.txt"),
        ("a\u202egpj.exe".encode(), r"a\u202egpj.exe"),
        ("zero\u200bwidth".encode(), r"zero\u200bwidth"),
    ],
)
def test_unusual_names_are_escaped_and_usual_ones_are_not(name: bytes, shown: str) -> None:
    assert safe_path(name) == shown


def test_names_that_are_not_utf8_come_back_exactly_from_json(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    name = b"caf\xe9"
    print_json({"path": name.decode("utf-8", "surrogateescape")})
    printed = json.loads(capsysbinary.readouterr().out)
    assert printed["path"].encode("utf-8", "surrogateescape") == name


def test_columns_are_aligned_for_wide_characters(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    print_table(("NAME", "N"), [("日本", "1"), ("abcdef", "22")], right=frozenset({1}))
    assert capsysbinary.readouterr().out.decode().splitlines() == ["NAME     N", "日本     1", "abcdef  22"]


TABLE = (("NAME", "FILES", "CHANGED", "ID"), [("one", "7", "2026-11-29 10:00:00", "gt6ut4azcvmch2vcqjucks776m")])


@pytest.mark.parametrize(
    ("columns", "lines"),
    [
        (
            80,
            [
                "NAME  FILES  CHANGED              ID",
                "one       7  2026-11-29 10:00:00  gt6ut4azcvmch2vcqjucks776m",
            ],
        ),
        (50, ["NAME  FILES  ID", "one       7  gt6ut4azcvmch2vcqjucks776m"]),
        (
            38,
            [
                "one",
                "  files    7",
                "  changed  2026-11-29 10:00:00",
                "  id       gt6ut4azcvmch2vcqjucks776m",
            ],
        ),
    ],
)
def test_a_table_fits_the_terminal_and_nothing_in_it_is_cut(
    columns: int, lines: list[str], capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    print_table(*TABLE, right=frozenset({1}), spare=(2,))
    assert capsysbinary.readouterr().out.decode().splitlines() == lines


def test_a_table_for_a_program_is_whole_whatever_the_terminal(
    capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "10")
    print_table(*TABLE, right=frozenset({1}), spare=(2,))
    assert capsysbinary.readouterr().out.decode().splitlines()[0] == "NAME  FILES  CHANGED              ID"


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (5 << 20, "5.0 MiB"), (3 << 40, "3.0 TiB")],
)
def test_sizes_have_a_unit(count: int, shown: str) -> None:
    assert human_bytes(count) == shown


@pytest.mark.parametrize("moment_ns", [0, -(2**63), 2**63 - 1, 1_700_000_000_123_456_789])
def test_any_time_that_a_file_can_have_is_shown(moment_ns: int) -> None:
    shown = datetime.fromtimestamp(moment_ns / 1e9, UTC).astimezone()
    assert human_time_ns(moment_ns) == shown.strftime("%Y-%m-%d %H:%M:%S")
