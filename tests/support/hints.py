"""Does what an error of the command line says, to the letter, and sees that it helps; finds what the source names."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import typer
import typer.main
from manifold_local.cli.app import app

from tests.support.cli import Program

CONFLICT = 4
"""Exit code."""
_COMMAND = re.compile(r"^(?:.*: +|  )?(manifold .*)$", re.MULTILINE)


def commands_in(text: str) -> list[str]:
    """Return the commands that a message names, each on a line of its own or at the end of one."""
    return _COMMAND.findall(text)


def obey(program: Program, command: str, code: int = 0) -> subprocess.CompletedProcess[bytes]:
    """Run a command that was named."""
    name, *arguments = shlex.split(command)
    assert name == "manifold"
    return program(*arguments, code=code)


def _folder(done: subprocess.CompletedProcess[bytes]) -> Path:
    return Path(os.fsdecode(done.stdout.removesuffix(b"\n")))


def settle_conflicts(program: Program, *where: str) -> None:
    """From a fresh conflict to a resolved commit, each way that is told, from a commit and from a checkout.

    Args:
        where: options that say which projects to work in. What is told has to repeat them.
    """
    project = program.project({"a.txt": b"base\n", "b.txt": b"base\n"})

    def content(path: str = "a.txt") -> bytes:
        folder = _folder(program(*where, "checkout", project, "--session", f"{project}-look"))
        return (folder / path).read_bytes()

    def clash(session: str, told_by: str) -> tuple[Path, str]:
        """Have others change what the session has changed. Return its folder, and what it is told."""
        work = _folder(program(*where, "checkout", project, "--session", session))
        (work / "a.txt").write_bytes(b"mine\n")
        others = f"{session}-others"
        (_folder(program(*where, "checkout", project, "-s", others)) / "a.txt").write_bytes(b"theirs of %r\n" % session)
        program(*where, "commit", others)
        arguments = ("commit", session) if told_by == "commit" else ("checkout", project, "--session", session)
        told = program(*where, *arguments, code=CONFLICT).stderr.decode()
        assert "a.txt" in told
        assert program.error(*where, *arguments, code=CONFLICT)["hint"] in told
        return work, told

    for told_by in ("commit", "checkout"):
        # Yours, on top of theirs.
        session = f"{project}-ours-{told_by}"
        work, told = clash(session, told_by)
        ours, _, commit = commands_in(told)
        assert _folder(obey(program, ours)) == work
        assert (work / "a.txt").read_bytes() == b"mine\n"
        obey(program, commit)
        assert content() == b"mine\n"

        # By hand: one of the two, edited.
        session = f"{project}-hand-{told_by}"
        work, told = clash(session, told_by)
        ours, _, commit = commands_in(told)
        obey(program, ours)
        (work / "a.txt").write_bytes(b"theirs and mine\n")
        obey(program, commit)
        assert content() == b"theirs and mine\n"

        # Theirs; yours is kept, seen, and brought back.
        session = f"{project}-theirs-{told_by}"
        work, told = clash(session, told_by)
        _, theirs, commit = commands_in(told)
        taken = obey(program, theirs)
        assert (work / "a.txt").read_bytes() == b"theirs of %r\n" % session
        said = taken.stderr.decode()
        assert "a.txt was also changed by others: kept theirs" in said
        (work / "b.txt").write_bytes(told_by.encode())
        obey(program, commit)
        see, bring_back, _ = commands_in(said)
        assert (_folder(obey(program, see)) / "a.txt").read_bytes() == b"mine\n"
        obey(program, bring_back)
        assert (content(), content("b.txt")) == (b"mine\n", told_by.encode())

    # Decided by the commit itself; yours is kept, and thrown away.
    session = f"{project}-at-once"
    work, _ = clash(session, "commit")
    (work / "b.txt").write_bytes(b"mine\n")
    done = program.json(*where, "commit", session, "--strategy", "theirs")
    assert (done["conflicts"], len(done["kept"])) == ([{"path": "a.txt"}], 1)
    assert done["kept"][0] in program.text(*where, "sessions", project)
    work, _ = clash(f"{project}-last", "checkout")
    said = program(*where, "checkout", project, "-s", f"{project}-last", "--strategy", "theirs").stderr.decode()
    *_, throw_away = commands_in(said)
    kept = shlex.split(throw_away)[-2]
    assert kept in program.text(*where, "sessions", project)
    obey(program, throw_away)
    assert kept not in program.text(*where, "sessions", project)


# --- what the source names ------------------------------------------------------------------------------------------

ROOT = Path(__file__).parents[2]
PLACE = "1"
"""Stands for what a text fills in when it is said: it is taken for a name as well as for a number."""

_QUOTED = re.compile(r"['`](manifold [^'`]+)['`]")
_AT_THE_END = re.compile(r"(?:^|: |; | {2,}|run )(manifold [a-z-]+(?: [^\n]*)?)$", re.MULTILINE)
_NO_COMMAND = re.compile(r"manifold (?:wrapped key|processes|as an ordinary)")


class Text(NamedTuple):
    """A text of the program."""

    where: str
    text: str


def texts_of(*folders: str) -> Iterator[Text]:
    """Yield every text in the source below these folders of the repository but docstrings, with ``PLACE`` where
    something is filled in."""
    for folder in folders:
        for path, tree in _trees(folder):
            inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
            prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
            for node in ast.walk(tree):
                if id(node) in inner or id(node) in prose:
                    continue
                text = _text(node)
                if text is not None:
                    yield Text(f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}", text)


def docstrings_of(*folders: str) -> list[tuple[str, str]]:
    """Return every docstring in the source below these folders, and where it is."""
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    return [
        (str(path.relative_to(ROOT)), text)
        for folder in folders
        for path, tree in _trees(folder)
        for node in ast.walk(tree)
        if isinstance(node, documented) and (text := ast.get_docstring(node))
    ]


def hints_of(*folders: str) -> Iterator[Text]:
    """Yield every text that is given as a hint in the source below these folders."""
    for folder in folders:
        for path, tree in _trees(folder):
            for node in ast.walk(tree):
                values: list[ast.expr] = []
                if isinstance(node, ast.Call):
                    values += [keyword.value for keyword in node.keywords if keyword.arg == "hint"]
                elif isinstance(node, ast.Assign | ast.AugAssign):
                    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                    named = any(isinstance(one, ast.Name) and "hint" in one.id.lower() for one in targets)
                    values += [node.value] if named else []
                for value in values:
                    for part in ast.walk(value):
                        text = _text(part)
                        if text is not None:
                            yield Text(f"{path.relative_to(ROOT)}:{value.lineno}", text)


def _text(node: ast.AST) -> str | None:
    if isinstance(node, ast.JoinedStr):
        return "".join(str(p.value) if isinstance(p, ast.Constant) else PLACE for p in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def named_commands(text: str) -> list[list[str]]:
    """Return the commands of Manifold that a text names, each as its arguments."""
    found = [*_QUOTED.findall(text), *_AT_THE_END.findall(_QUOTED.sub("", text))]
    parts = [part.strip() for one in found for part in re.split(r"&&| \| ", one)]
    return [
        shlex.split(re.split(r" {3,}|  #", part)[0])[1:]
        for part in parts
        if part.startswith("manifold ") and not _NO_COMMAND.match(part)
    ]


@cache
def _command_line() -> Any:
    return typer.main.get_command(app)


@cache
def _trees(folder: str) -> list[tuple[Path, ast.Module]]:
    return [(path, ast.parse(path.read_text())) for path in sorted((ROOT / folder).rglob("*.py"))]


def refusal_of(arguments: list[str]) -> str | None:
    """Return why the command line does not take a command, ``None`` if it does.

    It is taken apart and nothing of it is run, not even an option's own action such as ``--install-completion``.
    """
    found: Any = _command_line()
    left = list(arguments)
    while True:
        context = typer.Context(found, **found.context_settings)
        try:
            given, left, _ = found.make_parser(context).parse_args(left)
        except Exception as error:
            return str(error)
        if not hasattr(found, "get_command"):
            break
        if not left:
            return None if given else "it is a group of commands"
        name, *left = left
        found = found.get_command(context, name)
        if found is None:
            return f"there is no command {name!r}"
    if left:
        return f"{left[0]!r} is too much"
    missing = [param.name for param in found.params if param.required and given.get(param.name) in (None, ())]
    return f"{missing[0]} is missing" if missing else None
