"""Prints ``docs/cli.md``: ``python -m manifold_local.cli.reference > docs/cli.md``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import typer
from manifold_common.shapes.history import ChangeKind

from manifold_local.cli.app import app
from manifold_local.cli.call import COMMON_OPTIONS
from manifold_local.cli.exit_codes import MEANINGS
from manifold_local.cli.output import print_line
from manifold_local.cli.views import LETTERS

_INTRODUCTION = """\
# Command line

<!-- Generated from the commands by `python -m manifold_local.cli.reference`. Do not edit. -->

`manifold` works on its own or beside a running host (`manifold up`): every command opens the database and the store
itself, and PostgreSQL and file locks keep them apart. Without `DATABASE_URL`, the first command starts an embedded
PostgreSQL in `WORKDIR`, which stops half a minute after the last one.

**Where things are.** The environment, `.env` and `config.yaml` decide, see [configuration](configuration.md). Where
they name neither `WORKDIR` nor `DATABASE_URL`, the server that this user runs (`manifold up`, `make up-functions`) is
found, and its installation is worked in with its settings; several are named, and one has to be chosen. Secrets that
it was given in variables have to be set here too. Without a server it is the default folder ([which one is
meant](installations.md#which-one-a-command-means)).

A new installation is made by `up`, `project create`, `import --create`, `migrate-db`, and `database` with what loads
a dump, in a folder that is closed to other users. Other commands say that there is none. In the default folder none
is made unasked but by `up`.

**Projects** are named by name or by id, **generations** by number or by tag (`manifold tag`). **Sessions** have ids of
small letters, digits and `. _ @ -`. A command for a session may leave its id out inside the session's working set.
**Paths** in a project are relative to its root; any bytes that a file name can have are possible.

**Output.** Results go to standard output, everything else to standard error. `manifold checkout` prints the folder
and nothing else, so that `cd "$(manifold checkout PROJECT)"` works. With `--json` a command prints one JSON document,
[described here](cli-documents.md); an error is a JSON document `{"error": {"code", "kind", "message", "hint",
"details"}}` on standard error, whose `code` is stable. `verify`, `keys`, `jobs watch` and `jobs work` tell in their own
document what they have found wrong, and end with its exit code. What the API answers of the same thing looks alike; a
name that is not UTF-8 comes with its exact bytes, as `path_base64`. For people, characters that a terminal would obey
are escaped. Progress of long work is shown only on a terminal, and not with `--quiet` or `TERM=dumb`. A table that is
too wide for the terminal leaves out columns that other commands show, or is printed row by row; nothing in it is cut,
and into a pipe it is always whole.

**Completion** of commands, options, projects, tags, sessions and jobs: `manifold --install-completion`.
"""

_UNTOLD = """\
Once a change is durable its command ends with 0, also where nobody can be told: a full disk under standard output, a
closed pipe or descriptor is a warning on standard error then. Commands that only tell something fail (6; 141 for a
closed pipe), and so does `checkout`, which is there to print a folder; its hint says how to have it printed again.
Messages that standard error does not take are lost, and change nothing.

A command that is interrupted (Ctrl-C, SIGTERM, SIGHUP) or fails takes back what it made for its work: the project of
`import --create`, the folder of `export`, the session of a `checkout` without `--session`, and that of an `import` at a
server. Where that is not possible, or nobody knows whether it was made, or somebody else uses it by then, it says so,
with the commands to go on from there; what the command is for stands, and with it its exit code. Each change is there
as a whole, or not at all. A second Ctrl-C ends a command at once.
"""

_CONFLICTS = """\
## Conflicts

Others changed the same paths: `commit` or `checkout` stops with exit code 4, names the paths, and touches nothing.
What to run is in the hint, ready to be copied:

```
manifold checkout PROJECT --session SESSION --strategy ours      # your versions, on top of the newest generation
manifold checkout PROJECT --session SESSION --strategy theirs    # the others' versions
manifold commit SESSION
```

Where neither side is right, take one of them, edit the files, then commit. After `ours`, `manifold cat PROJECT PATH`
shows the other side. `manifold commit SESSION --strategy ours` (or `theirs`) decides and commits at once. The paths
that were decided are named (`conflicts` in JSON).

What `theirs` drops is kept as the draft of a new session, whose name is printed (`kept` in JSON). `manifold sessions`
lists it until you close it:

```
manifold checkout PROJECT --session KEPT    # see what was dropped
manifold commit KEPT                        # bring it back
manifold close KEPT --discard               # throw it away
```
"""


_PATCHES = """\
## Patches

`diff` and `show` with `--patch` print what `git apply`, and `git apply -R` for the way back, take. Binary files, and
those above 1 MiB, are git's binary patches, which need git (with SHA-1 ids, as a new repository has) and say nothing to
`patch -p1`; all other files `patch -p1` takes as well. A large file is read twice and never held in memory; `git apply`
itself takes patches up to 1023 MiB.

A patch has no place for folders without files, for permissions other than whether a file may be run, for modification
times, and for names that git keeps for itself, such as `.git`. Where two generations differ in one of these, a line on
standard error counts them, but for the times of files that have changed anyway.
"""


_NOT_KEPT = """\
## What is not kept of a folder

A project keeps names, content, links, whether and by whom a file may be read, written and run (`rwxrwxrwx`), and
modification times. `import` and `commit` count what else they find, name one example of each kind on standard error,
and list it in `not_kept` with `--json`:

| `kind` | What | What becomes of it |
|---|---|---|
| `special_bits` | set-user-ID, set-group-ID and sticky bits | dropped |
| `hard_links` | several names for one file | each becomes a file of its own |
| `times` | modification times before 1677 or after 2262 | the nearest one that can be kept |
| `attributes` | extended attributes: those of users, access control lists, capabilities of programs | dropped |

`commit` speaks of the files that it publishes and of new folders, so that one thing is not told at every commit, and
looks for attributes with `--checksum` only.
Sockets, FIFOs and devices are left out by name (`skipped`). Nothing is said of owners, which every file has and whoever
checks out becomes, of times of creation and access, and of holes: a sparse file keeps its content, and takes its whole
size in a working set or an export.
"""


def reference() -> str:
    """Return the page."""
    return "\n".join(
        [_INTRODUCTION, _exit_codes(), _CONFLICTS, _NOT_KEPT, _letters(), _PATCHES, _common(), *_commands()]
    )


def _exit_codes() -> str:
    rows = "".join(f"| {code} | {meaning} |\n" for code, meaning in sorted(MEANINGS.items()))
    return f"## Exit codes\n\n| Code | Meaning |\n|---|---|\n{rows}\n{_UNTOLD}"


def _letters() -> str:
    words = {
        ChangeKind.ADDED: "added",
        ChangeKind.DELETED: "deleted",
        ChangeKind.MODIFIED: "content changed",
        ChangeKind.KIND: "of another kind: a file became a link, or the like",
        ChangeKind.MODE: "only permissions changed",
        ChangeKind.TIME: "only the modification time changed",
    }
    rows = "".join(f"| `{LETTERS[change]}` | `{change.value}` | {words[change]} |\n" for change in ChangeKind)
    return f"## Letters of `status`, `diff` and `show`\n\n| Letter | In JSON | Meaning |\n|---|---|---|\n{rows}"


def _common() -> str:
    some_command = typer.main.get_command(app).commands["up"]  # type: ignore[attr-defined]
    rows = _rows(some_command, lambda parameter: parameter.name in COMMON_OPTIONS)
    return f"## Options of every command\n\n| Option | Meaning |\n|---|---|\n{rows}"


def _commands() -> Iterator[str]:
    yield "## Commands\n"
    for words, command in each_command():
        usage = command.collect_usage_pieces(typer.Context(command))[1:]
        pieces = [piece.replace("{", "").replace("}", "") for piece in usage]
        rows = _rows(command, lambda parameter: parameter.name not in COMMON_OPTIONS)
        table = f"\n| | |\n|---|---|\n{rows}" if rows else ""
        yield f"### `{' '.join((words, *pieces))}`\n\n{command.help}\n{table}"


def each_command() -> Iterator[tuple[str, Any]]:
    """Yield each command, with the words that a shell is given for it."""
    yield from _below(typer.main.get_command(app), ("manifold",))


def _below(command: Any, words: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "commands"):
        yield " ".join(words), command
        return
    for name in command.list_commands(typer.Context(command)):
        yield from _below(command.commands[name], (*words, name))


def _rows(command: Any, wanted: Callable[[Any], bool]) -> str:
    """Return the rows of a table of arguments and options."""
    context = typer.Context(command)
    records = [parameter.get_help_record(context) for parameter in command.params if wanted(parameter)]
    rows = []
    for name, text in filter(None, records):
        name = name.partition(" <")[0] if name[0].isupper() else name
        text = " ".join(text.replace("[required]", "").replace("; required]", "]").split())
        rows.append(f"| `{name}` | {text} |\n".replace("VALUE|@", "VALUE\\|@").replace("|ours|", "\\|ours\\|"))
    return "".join(rows)


if __name__ == "__main__":
    print_line(reference().rstrip("\n"))
