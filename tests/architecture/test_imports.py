"""Imports are those that the tables of ``docs/architecture.md`` allow. No module is imported to find out."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.support.imports import ROOT, Arrow, all_arrows, arrows, modules

PAGE = ROOT / "docs" / "architecture.md"


def table(page: str, first: str) -> dict[str, set[str]]:
    """Return the rows of the table whose first column is headed ``first``: what each name may import, its last column.

    A name after a semicolon is a remark.
    """
    rows = re.search(rf"^\| {first} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", page, re.MULTILINE)
    assert rows is not None, f"{PAGE} has no table of {first}"
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[1].splitlines()]
    names = re.compile(r"`([^`]+)`")
    return {name: set(names.findall(row[-1].partition(";")[0])) for row in cells for name in names.findall(row[0])}


MAY_IMPORT = table(PAGE.read_text(), "Part")
"""What each part of the house may import beside itself."""
ROOMS = table(PAGE.read_text(), "Room")
"""What each room of ``services/`` may import beside itself."""


def part_of(dotted: str) -> str | None:
    """Return the row of the table a dotted name belongs to; ``None`` for what is not ours."""
    parts = dotted.split(".")
    if parts[0] == "manifold_common":
        if parts[1:3] == ["adapters", "wrappers"]:
            return "adapters/wrappers"
        return parts[1] if len(parts) > 1 and parts[1] != "__version__" else "root"
    return {"manifold_local": "local", "functions": "functions", "tests": "tests"}.get(parts[0])


def adapter_of(dotted: str) -> str | None:
    parts = dotted.split(".")
    return parts[2] if parts[:2] == ["manifold_common", "adapters"] and len(parts) > 2 else None


def room_of(dotted: str) -> str | None:
    """Return the room of ``services/`` that a dotted name belongs to."""
    parts = dotted.split(".")
    return parts[2] if parts[:2] == ["manifold_common", "services"] and len(parts) > 2 else None


ADAPTERS = ("adapters", "adapters/wrappers")


def is_allowed(arrow: Arrow) -> bool:
    source, target = part_of(arrow.source), part_of(arrow.target)
    if target is None or target == "root":
        return True
    if source is None or source == "root":
        return False
    if source in ADAPTERS and target in ADAPTERS:
        return adapter_of(arrow.source) == adapter_of(arrow.target)
    if source == target == "services":
        here, there = room_of(arrow.source), room_of(arrow.target)
        return here == there or there in ROOMS.get(here or "", ())
    return target == source or target in MAY_IMPORT[source]


def test_every_import_is_on_the_table() -> None:
    assert [str(arrow) for arrow in all_arrows() if not is_allowed(arrow)] == []


def test_every_part_of_the_table_exists_and_every_part_that_exists_is_on_it() -> None:
    parts = {part_of(name) for name in modules()} - {"root"}
    assert parts == MAY_IMPORT.keys()
    assert {room_of(name) for name in modules()} - {None} == ROOMS.keys()


def test_no_room_may_import_one_that_it_does_not_need() -> None:
    drawn = {(room_of(arrow.source), room_of(arrow.target)) for arrow in all_arrows()}
    assert [(room, other) for room in ROOMS for other in ROOMS[room] if (room, other) not in drawn] == []


def test_a_rule_is_read_from_its_row() -> None:
    page = "| Part | May import |\n|---|---|\n| `a`, `b` | `c`; of `d` nothing |\n| `e` | nothing of ours |\n\n`f`\n"
    assert table(page, "Part") == {"a": {"c"}, "b": {"c"}, "e": set()}


def test_the_reader_of_imports_sees_the_modules_it_should() -> None:
    assert len(modules()) > 80
    seen = {part_of(arrow.target) for arrow in all_arrows()}
    assert seen >= {"errors", "ids", "domain", "format", "ports", "engine", "services", "adapters"}


def test_no_relative_import_climbs_out_of_its_package() -> None:
    climbing = [
        f"{name}:{node.lineno}"
        for name, path in modules().items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.level > len(name.split(".")) - (path.name != "__init__.py")
    ]
    assert climbing == []


def test_only_bootstrap_knows_adapters_and_only_inside_its_builders() -> None:
    users = {arrow.source for arrow in all_arrows() if adapter_of(arrow.target) and not adapter_of(arrow.source)}
    assert {part_of(user) for user in users} <= {"bootstrap"}
    early = [
        f"{name}:{node.lineno}"
        for name in users
        for node in _run_at_import(ast.parse(modules()[name].read_text()).body)
        if isinstance(node, ast.ImportFrom) and adapter_of(f"{node.module}.{node.names[0].name}")
    ]
    assert early == [], "every function would load these adapters"


def _run_at_import(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements that run when a module is imported (not those that only type checkers see)."""
    for node in body:
        yield node
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            yield from _run_at_import(node.orelse)
        elif isinstance(node, ast.If | ast.Try | ast.With | ast.ClassDef):
            for field in ("body", "orelse", "finalbody"):
                yield from _run_at_import(getattr(node, field, []))


NO_IO = {"os", "io", "pathlib", "shutil", "socket", "subprocess", "tempfile", "asyncio", "threading", "time", "random"}
NO_IO |= {"secrets", "mmap", "http", "urllib", "logging"}


@pytest.mark.parametrize("part", ["domain", "errors", "ids", "format"])
def test_rules_and_bytes_are_free_of_io_time_and_chance(part: str) -> None:
    allowed = {"manifold_common.format.compression": {"threading"}}  # one zstd context per thread
    wrong = [
        str(arrow)
        for arrow in all_arrows()
        if part_of(arrow.source) == part and arrow.target.split(".")[0] in NO_IO - allowed.get(arrow.source, set())
    ]
    assert wrong == []


WAITS_FOR_THE_KERNEL = {"manifold_common.engine.working_set.state"}
"""Waits for a tick of the file system's own clock, which no clock of ours can move."""


def test_time_and_chance_are_passed_in_below_bootstrap() -> None:
    wrong = [
        str(arrow)
        for arrow in all_arrows()
        if part_of(arrow.source) in ("engine", "services", "ports")
        and arrow.target.split(".")[0] in ("time", "random", "secrets", "uuid")
        and not (arrow.source in WAITS_FOR_THE_KERNEL and arrow.target == "time")
    ]
    assert wrong == []


def test_the_native_s3_client_is_called_in_one_place() -> None:
    """Where its panics are met."""
    callers = {
        arrow.source
        for arrow in all_arrows()
        if arrow.target.split(".")[0] == "obstore" and not arrow.target.startswith("obstore.exceptions")
    }
    typed_only = {"manifold_common.adapters.s3.client"}
    assert callers - typed_only == {"manifold_common.adapters.s3.native"}


RUNS_BEFORE_ANY_SETTINGS = {"manifold_local.functions_stack.container"}
"""Is no part of a program of ours: it prepares a Python in which nothing of ours is installed."""


HIDES_VARIABLES = {"manifold_common.adapters.s3.client"}
"""Reads none: it keeps a library from reading some."""


def test_settings_alone_reads_the_environment() -> None:
    readers = []
    for name, path in modules().items():
        if name in RUNS_BEFORE_ANY_SETTINGS | HIDES_VARIABLES:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            reads = isinstance(node, ast.Attribute) and node.attr in ("environ", "environb", "getenv")
            named = isinstance(node, ast.ImportFrom) and node.module == "os"
            named = named and any(alias.name in ("environ", "getenv") for alias in getattr(node, "names", []))
            if (reads or named) and part_of(name) != "settings":
                readers.append(f"{name}:{getattr(node, 'lineno', 0)}")
    assert readers == []


@pytest.mark.parametrize(
    ("source", "name", "found"),
    [
        (
            "from manifold_common.services.sessions import commit",
            "manifold_common.engine.x",
            "manifold_common.services.sessions.commit",
        ),
        ("def f():\n    import functions.api", "manifold_common.services.x", "functions.api"),
        ("from ..s3 import client", "manifold_common.adapters.memory.x", "manifold_common.adapters.s3.client"),
        ("from . import tree", "manifold_common.domain.x", "manifold_common.domain.tree"),
        ("import importlib\nimportlib.import_module('tests.x')", "functions.api", "tests.x"),
        ("if TYPE_CHECKING:\n    from manifold_local import cli", "functions.api", "manifold_local.cli"),
    ],
)
def test_an_import_is_seen_wherever_it_stands(source: str, name: str, found: str) -> None:
    assert found in {arrow.target for arrow in arrows(name, source, is_package=False)}


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("manifold_common.domain.x", "manifold_common.format.sealed"),
        ("manifold_common.format.x", "manifold_common.ports.clock"),
        ("manifold_common.ports.x", "manifold_common.format.sealed"),
        ("manifold_common.engine.x", "manifold_common.services.sessions.commit"),
        ("manifold_common.engine.x", "manifold_common.adapters.memory"),
        ("manifold_common.services.x", "manifold_common.bootstrap"),
        ("manifold_common.services.x", "manifold_common.settings.model"),
        ("manifold_common.services.projects.x", "manifold_common.services.sessions.commit"),
        ("manifold_common.services.context", "manifold_common.services.publish"),
        ("manifold_common.adapters.s3.x", "manifold_common.adapters.filesystem.folders"),
        ("manifold_common.adapters.s3.x", "manifold_common.adapters.wrappers.counting"),
        ("manifold_common.adapters.s3.x", "manifold_common.engine.workers"),
        ("manifold_common.adapters.s3.x", "manifold_common.settings"),
        ("manifold_common.adapters.wrappers.x", "manifold_common.adapters.memory.clock"),
        ("manifold_common.adapters.wrappers.x", "manifold_common.errors"),
        ("manifold_common.settings.x", "manifold_common.ids"),
        ("functions.api.handler", "manifold_common.engine.workers"),
        ("functions.api.handler", "manifold_common.adapters.s3"),
        ("functions.api.handler", "manifold_local.cli"),
        ("manifold_local.cli", "manifold_common.format.sealed"),
        ("manifold_local.cli", "tests.support"),
        ("manifold_common.services.x", "tests.support"),
        ("manifold_common", "manifold_common.services"),
    ],
)
def test_an_arrow_that_is_not_on_the_table_is_refused(source: str, target: str) -> None:
    assert not is_allowed(Arrow(source, target, 1))


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("manifold_common.adapters.s3.x", "manifold_common.adapters.s3.client"),
        ("manifold_common.adapters.s3.x", "manifold_common.ports.retry"),
        ("manifold_common.adapters.wrappers.x", "manifold_common.ports.object_store"),
        ("manifold_common.services.sessions.x", "manifold_common.services.projects.history"),
        ("manifold_common.settings.model", "manifold_common.settings.fields"),
        ("manifold_common.bootstrap", "manifold_common.adapters.s3"),
        ("manifold_local.host", "functions.api.app"),
        ("functions.api.handler", "manifold_common.bootstrap"),
        ("manifold_common.domain.x", "unicodedata"),
        ("functions.api.app", "manifold_common.__version__"),
    ],
)
def test_an_arrow_that_is_on_the_table_is_not_refused(source: str, target: str) -> None:
    assert is_allowed(Arrow(source, target, 1))


def test_commands_open_an_installation_in_one_place() -> None:
    """There it is seen to that none is made unasked. ``adopt`` has asked for it there before."""
    openers = {
        name
        for name, path in modules().items()
        if name.startswith("manifold_local.cli.")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and any(alias.name.startswith(("open_", "ensure_")) for alias in node.names)
    }
    assert openers == {"manifold_local.cli.call", "manifold_local.cli.installation"}
