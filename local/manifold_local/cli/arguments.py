"""Arguments and options that several commands share."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from manifold_common.domain.conflict import Strategy
from manifold_common.domain.history import Point, parse_point
from manifold_common.domain.listing import parse_moment
from manifold_common.domain.tag import parse_named
from manifold_common.errors import InvalidInput

from manifold_local.cli.completion import complete_project, complete_session, complete_tag

if TYPE_CHECKING:
    from manifold_common.domain.tag import Named as Named
else:
    Named = str  # Typer takes no unions, and does not look at what a parser makes

MAX_PROVENANCE_BYTES = 1024 * 1024

ProjectArgument = Annotated[
    str, typer.Argument(metavar="PROJECT", autocompletion=complete_project, help="Name or id of a project.")
]
SessionArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="SESSION",
        autocompletion=complete_session,
        help="Id of a session; inside a working set, that one's by default.",
    ),
]


def _named(text: str) -> Named:
    try:
        return parse_named(text)
    except InvalidInput as error:
        raise typer.BadParameter(f"{error.message}: {error.hint}") from None


def generation_argument(metavar: str, help_text: str) -> Any:
    """Return an argument that takes the number of a generation, or a tag."""
    return typer.Argument(metavar=metavar, parser=_named, autocompletion=complete_tag, help=help_text)


def generation_option(*names: str, help_text: str) -> Any:
    """Return an option that takes the number of a generation, or a tag."""
    return typer.Option(*names, metavar="GENERATION", parser=_named, autocompletion=complete_tag, help=help_text)


GenerationArgument = Annotated[Named, generation_argument("GENERATION", "Number of a generation, or a tag.")]
GenerationOption = Annotated[
    Named | None,
    generation_option("--generation", "-g", help_text="Its number, or a tag; the newest by default."),
]
MessageOption = Annotated[str, typer.Option("--message", "-m", metavar="TEXT", help="What the change is for.")]
ChecksumOption = Annotated[
    bool,
    typer.Option(
        "--checksum", help="Compare content, not times: also finds what was written through a memory map. Slower."
    ),
]


def folder_argument(metavar: str, help_text: str) -> Any:
    """Return an argument that names a folder. Nothing, as of a variable that is not set, is not the current one."""
    return typer.Argument(metavar=metavar, parser=_folder, help=help_text)


def _folder(text: str) -> Path:
    if not text:
        raise typer.BadParameter("it is empty: name a folder, or . for the current one")
    return Path(text)


def _point(text: str) -> Point:
    try:
        return parse_point(text)
    except InvalidInput as error:
        raise typer.BadParameter(str(error)) from None


ExpectOption = Annotated[
    Point | None,
    typer.Option(
        "--expect-generation",
        metavar="N[-COMMIT]",
        parser=_point,
        help="Do it only if this is the newest generation, best named with its commit.",
    ),
]


def _moment(text: str) -> datetime:
    try:
        return parse_moment(text, "the time")
    except InvalidInput as error:
        raise typer.BadParameter(str(error)) from None


def time_option(name: str, help_text: str) -> Any:
    """Return an option that takes a time."""
    return typer.Option(name, metavar="TIME", parser=_moment, help=help_text)


SeenOption = Annotated[
    Point | None,
    typer.Option(
        "--seen-generation",
        metavar="N[-COMMIT]",
        parser=_point,
        help="Refuse a store that has only older ones, or another commit there.",
    ),
]
StrategyOption = Annotated[
    Strategy,
    typer.Option(
        "--strategy",
        help="Where others changed the same paths: stop, keep ours (the caller's), or keep theirs (ours becomes the "
        "draft of a new session).",
    ),
]
ProvenanceOption = Annotated[
    list[str] | None,
    typer.Option(
        "--provenance",
        metavar="KEY=VALUE|@FILE",
        help="What made the change: a fact (its value may be JSON), or a file with a JSON object. Repeatable.",
    ),
]


def parse_provenance(words: Sequence[str] | None) -> dict[str, Any]:
    """Return the facts that ``--provenance`` options give; of two with one key the later counts.

    Raises:
        InvalidInput: no ``=``, or a file that is not a JSON object.
    """
    facts: dict[str, Any] = {}
    for word in words or ():
        if word.startswith("@"):
            facts.update(_read_facts(Path(word[1:])))
            continue
        key, separator, value = word.partition("=")
        if not separator or not key:
            raise InvalidInput(f"--provenance {word[:80]!r} is not KEY=VALUE", hint="write for instance model=gpt-4.1")
        facts[_as_text(key)] = _parse_value(_as_text(value))
    return facts


def _parse_value(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return text


def _read_facts(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_PROVENANCE_BYTES + 1)
        if len(data) > MAX_PROVENANCE_BYTES:
            raise InvalidInput(f"the provenance file {path} is larger than {MAX_PROVENANCE_BYTES} bytes")
        facts = json.loads(data, parse_constant=_refuse_constant)
    except OSError as error:
        raise InvalidInput(f"the provenance file {path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise InvalidInput(f"the provenance file {path} is not JSON") from None
    if not isinstance(facts, dict):
        raise InvalidInput(f"the provenance file {path} does not hold a JSON object")
    return facts


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _as_text(word: str) -> str:
    """Return an argument as text that JSON and UTF-8 can hold; bytes that are not UTF-8 become U+FFFD."""
    return os.fsencode(word).decode("utf-8", "replace")


def parse_message(text: str) -> str:
    """Return a commit message as text that can be stored. Raises InvalidInput."""
    return _as_text(text)
