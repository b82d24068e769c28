"""Prints ``docs/cli-documents.md``: ``python -m manifold_local.cli.document_reference > docs/cli-documents.md``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from functions.api.openapi_schemas import shapes_by_name
from manifold_local import cli
from manifold_local.cli.output import print_line
from manifold_local.cli.reference import each_command

_INTRODUCTION = """\
# Documents of the command line

<!-- Generated from the shapes by `python -m manifold_local.cli.document_reference`. Do not edit. -->

What commands print with `--json`: one document each. `events tail --follow` prints an [Event](#event) a line instead:
the newest ones that there are, then each new one as it happens. The [HTTP API](http-api.md) answers the same documents
where it does the same. Fields are added without a new version, so ignore those you do not know.

Three commands have a document of its own for an option: `keys rewrap --dry-run`, `jobs show --items` and
`migrate-db --print-roles`. `cat` tells what file it is, without its content, and `--patch` changes no document. Only
`log` ends early, and takes `--cursor`; in all other lists `next_cursor` is null.

A *time* is a string as RFC 3339 has it, in UTC, with `Z` or `+00:00`; *base64* a string that stands for bytes; *any*
whatever JSON can say. A field that *may be absent* is left out where there is nothing to say.

| Command | Document |
|---|---|
"""


def page() -> str:
    """Return the page."""
    answers = {words: command.callback.answers for words, command in each_command() if command.callback.answers}
    known = shapes_by_name(cli)
    rows = [f"| `{name}` | {' or '.join(map(_link, names))} |\n" for name, names in answers.items()]
    named = sorted({name for names in answers.values() for name in names})
    _, found = msgspec.json.schema_components([known[name] for name in named], ref_template="{name}")
    sections = [_section(name, found[name], known.get(name)) for name in sorted(found, key=str.lower)]
    return _INTRODUCTION + "".join(rows) + "".join(sections)


def _section(name: str, schema: Mapping[str, Any], shape: type[msgspec.Struct] | None) -> str:
    """Return the section of a schema. Args: ``shape``: what it is of; ``None``: a choice of values."""
    about = f"\n\n{schema['description']}".replace("``", "`") if "description" in schema else ""
    if shape is None:
        return f"\n## {name}{about}\n\nOne of {_values(schema['enum'])}.\n"
    may_lack = {field.encode_name for field in msgspec.structs.fields(shape) if field.default is msgspec.UNSET}
    rows = "".join(
        f"| `{key}` | {_kind(field)} | {_meaning(field, may_lack=key in may_lack)} |\n"
        for key, field in schema["properties"].items()
    )
    return f"\n## {name}{about}\n\n| Field | Type | Meaning |\n|---|---|---|\n{rows}"


def _meaning(field: Mapping[str, Any], *, may_lack: bool) -> str:
    said = field.get("description", "")
    return (f"{said} " if said else "") + "*May be absent.*" if may_lack else said


def _kind(schema: Mapping[str, Any]) -> str:
    """Return what may stand in a field, in the words of JSON."""
    match schema:
        case {"$ref": name}:
            return _link(name)
        case {"anyOf": choice}:
            kinds = list(map(_kind, choice))
            return " or ".join(f"({kind})" if kind.startswith(("array", "object of")) else kind for kind in kinds)
        case {"enum": values}:
            return _values(values)
        case {"const": value}:
            return _values([value])
        case {"type": "array", "items": items}:
            return f"array of {_kind(items)}"
        case {"type": "object", "additionalProperties": values}:
            return f"object of {_kind(values)}"
        case {"type": "string", "format": "date-time"}:
            return "time"
        case {"type": "string", "contentEncoding": encoding}:
            return str(encoding)
        case {"type": str(kind)}:
            return kind
    return "any"


def _values(values: Iterable[Any]) -> str:
    return ", ".join(f"`{value}`" for value in values)


def _link(name: str) -> str:
    return f"[{name}](#{name.lower()})"


if __name__ == "__main__":
    print_line(page().rstrip("\n"))
