"""Whatever the program tells people to run or to set exists."""

from __future__ import annotations

import re
import shlex

from manifold_common.settings import describe_settings

from tests.support.hints import ROOT, hints_of, named_commands, refusal_of, texts_of

PAGES = "local/manifold_local/cli/reference.py"
"""Speaks of commands as docs/cli.md does."""
FOREIGN = {"AWS_PROFILE", "ON_ERROR_STOP", "SYMMETRIC_DEFAULT", "backup.sql", "os.stat", "tar.gz"}
"""Looks like a setting, and is something of others."""
SOURCE = ("layers/manifold_common/manifold_common", "local/manifold_local", "functions")

_KEY = re.compile(r"(?<![\w./'-])[a-z][A-Za-z0-9]*(?:\.[a-z][A-Za-z0-9]*)+(?![\w./(=-])")
_VARIABLE = re.compile(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b")


def test_every_command_that_a_text_names_can_be_run_as_it_is_written() -> None:
    named = [(text, command) for text in texts_of(*SOURCE) for command in named_commands(text.text)]
    named = [(text, command) for text, command in named if not text.where.startswith(PAGES)]
    assert len(named) > 40, "they are found"
    wrong = [f"{t.where}: manifold {' '.join(c)}: {why}" for t, c in named if (why := refusal_of(c)) is not None]
    assert wrong == []


def test_every_command_that_a_document_shows_is_one() -> None:
    pages = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
    shown = [
        (page.name, line)
        for page in pages
        for block in re.findall(r"^```(?:sh|bash)?\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
        for line in re.findall(r"^(?:\$ )?(manifold .*)$", block, re.MULTILINE)
    ]
    assert len(shown) > 25, "they are found"
    wrong = []
    for page, line in shown:
        arguments = shlex.split(re.split(r" \||[<>]|&&|;", line)[0], comments=True)[1:]
        if (why := refusal_of(arguments)) is not None:
            wrong.append(f"{page}: {line}: {why}")
    assert wrong == []


def test_a_command_that_does_not_exist_is_noticed() -> None:
    for text in (
        "run 'manifold keys renew'", "first: manifold fly", "see 'manifold events'", "'manifold verify --read-data'",
        "'manifold health --deeply'", "'manifold export'",
    ):  # fmt: skip
        (command,) = named_commands(text)
        assert refusal_of(command) is not None, text


def test_every_setting_that_a_hint_names_exists() -> None:
    settings = describe_settings()
    keys = {setting.key for setting in settings}
    known = {key[at:] for key in keys for at in (0, *(m.end() for m in re.finditer(r"\.", key)))}
    sections = {known_key[: m.start()] for known_key in known for m in re.finditer(r"\.", known_key)}
    variables = {name for setting in settings for name in (*setting.env, *setting.fallback)}
    known |= sections | variables | FOREIGN
    named = [
        (text.where, name)
        for text in hints_of(*SOURCE)
        for name in (*_KEY.findall(text.text), *_VARIABLE.findall(text.text))
    ]
    assert len(named) > 80, "they are found"
    assert [f"{where}: {name}" for where, name in named if name not in known] == []
