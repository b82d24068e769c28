"""Prints ``docs/errors.md``: ``python -m functions.api.error_codes > docs/errors.md``.

The codes are those of the error classes, wherever one is declared, so that none can be missing from the list.
"""

from __future__ import annotations

import pkgutil
import sys
from collections.abc import Iterator
from importlib import import_module

import manifold_common
from manifold_common.errors import ErrorKind, ManifoldError

import functions
from functions.invocation.problems import PRECONDITIONS, status_of

_INTRODUCTION = """\
# Errors

<!-- Generated from the error classes by `python -m functions.api.error_codes`. Do not edit. -->

Every error has a *code*, which never changes and never comes to mean something else, and is of one of seven *kinds*,
which say what can be done about it. Over HTTP it is a [problem document](http-api.md#errors) with `code`, `detail`,
`hint` and `details`; a direct call of a function ends with an exception of that name, or with the document under
`error`; the command line prints it, as JSON with `--json`, and its exit code is [the kind's](cli.md#exit-codes). The
detail and the hint are for people, and may change. A client that does not know a code goes by the status.
"""

_MEANINGS = {
    ErrorKind.INVALID: "The request is wrong: change it. Nothing was changed.",
    ErrorKind.DENIED: "Not allowed.",
    ErrorKind.NOT_FOUND: "Absent, or not the caller's.",
    ErrorKind.CONFLICT: "The state has moved on: look again, then decide.",
    ErrorKind.UNAVAILABLE: "Something that is needed is missing now: the same request may succeed later.",
    ErrorKind.CORRUPT: "Stored or received bytes are not what was written.",
    ErrorKind.INTERNAL: "A bug in Manifold.",
}


def error_classes() -> list[type[ManifoldError]]:
    """Return every class of errors in the layer and the functions, by its code."""
    for package in (manifold_common, functions):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not found.name.endswith("__main__"):
                import_module(found.name)
    ours = [kind for kind in _below(ManifoldError) if kind.__module__.split(".")[0] in ("manifold_common", "functions")]
    return sorted({kind.code: kind for kind in ours}.values(), key=lambda kind: kind.code)


def _below(base: type[ManifoldError]) -> Iterator[type[ManifoldError]]:
    """Yield the classes below ``base``, a parent after its children: a code that they share is the parent's."""
    for child in base.__subclasses__():
        yield from _below(child)
        yield child


def page() -> str:
    """Return the page."""
    classes = error_classes()
    parts = [_INTRODUCTION]
    for kind, meaning in _MEANINGS.items():
        parts.append(f"\n## {kind.value}\n\n{meaning}\n\n| code | status | when |\n|---|---|---|\n")
        parts += [_row(one) for one in classes if one.kind is kind]
    return "".join(parts)


def _row(one: type[ManifoldError]) -> str:
    error = one.__new__(one)
    ManifoldError.__init__(error, "")
    statuses = [str(status_of(error, {}))]
    if one in PRECONDITIONS:
        headers = {name: value or "" for name, value in sorted(PRECONDITIONS[one].items())}
        status = status_of(error, headers)
        named = ", ".join(f"`{name}: {value}`" if value else f"`{name}`" for name, value in headers.items())
        statuses.append(f"{status} where the request has {named}")
    return f"| `{one.code}` | {', '.join(statuses)} | {_sentence(one)} |\n"


def _sentence(one: type[ManifoldError]) -> str:
    text = (one.__doc__ or "").partition("\n\n")[0]
    return " ".join(text.split()).replace("``", "`")


if __name__ == "__main__":
    sys.stdout.write(page())
