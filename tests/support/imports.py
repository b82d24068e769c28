"""What each module of ours imports, read from the source: none is imported to find out."""

from __future__ import annotations

import ast
import functools
from collections.abc import Collection, Container, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
COMMON = ROOT / "layers" / "manifold_common"
LOCAL = ROOT / "local"
PARENTS = {"manifold_common": COMMON, "manifold_local": LOCAL, "functions": ROOT, "tests": ROOT}


class Arrow(NamedTuple):
    source: str
    """Dotted name of the importing module."""
    target: str
    """Dotted name of what is imported."""
    line: int

    def __str__(self) -> str:
        return f"{self.source}:{self.line} imports {self.target}"


@functools.cache
def modules() -> Mapping[str, Path]:
    """Return every module of ours by dotted name."""
    found = {}
    for package in ("manifold_common", "manifold_local", "functions"):
        parent = PARENTS[package]
        for path in sorted((parent / package).rglob("*.py")):
            parts = path.relative_to(parent).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return MappingProxyType(found)


def arrows(name: str, source: str, *, is_package: bool) -> Iterator[Arrow]:
    """Yield what a module imports, at any depth: in functions, under TYPE_CHECKING, by ``import_module``."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Arrow(name, alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = name.split(".")
                kept = parts[: len(parts) - node.level + is_package]
                base = ".".join([*kept, base]) if base else ".".join(kept)
            for alias in node.names:
                # "from package import module" points at the module.
                yield Arrow(name, f"{base}.{alias.name}" if base else alias.name, node.lineno)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                yield Arrow(name, node.args[0].value, node.lineno)


@functools.cache
def all_arrows() -> tuple[Arrow, ...]:
    return tuple(
        arrow
        for name, path in modules().items()
        for arrow in arrows(name, path.read_text(), is_package=path.name == "__init__.py")
    )


def module_of(dotted: str, known: Container[str]) -> str:
    """Return the module that a dotted name is, or stands in; empty for one that is not ours."""
    while dotted and dotted not in known:
        dotted = dotted.rpartition(".")[0]
    return dotted


def circles(arrows: Iterable[Arrow], known: Collection[str]) -> list[list[str]]:
    """Return the groups of modules that import each other in a circle, wherever the imports stand.

    Who imports a module from outside its package imports the package too.
    """
    graph: dict[str, set[str]] = {name: set() for name in known}
    for arrow in arrows:
        target = module_of(arrow.target, known)
        graph[arrow.source] |= {target} - {arrow.source, ""}
        while (target := target.rpartition(".")[0]) and not f"{arrow.source}.".startswith(f"{target}."):
            graph[arrow.source].add(target)
    found = []
    while ends := {name for name, targets in graph.items() if not targets & graph.keys()}:
        graph = {name: targets for name, targets in graph.items() if name not in ends}
    while graph:
        name = next(iter(graph))
        here = _reached(graph, name)
        group = {other for other in here if name in _reached(graph, other)}
        if group:
            found.append(sorted(group))
        graph = {other: targets for other, targets in graph.items() if other not in group | {name}}
    return found


def _reached(graph: dict[str, set[str]], start: str) -> set[str]:
    found: set[str] = set()
    waiting = [start]
    while waiting:
        new = (graph.get(waiting.pop(), set()) & graph.keys()) - found
        found |= new
        waiting += new
    return found


def reachable(roots: Iterable[str]) -> set[str]:
    """Return the modules of ours that some modules need, with the packages around them, at whatever depth.

    A list of modules by name, such as that of the chores, needs them all.
    """
    known = modules()
    targets: dict[str, set[str]] = {}
    for arrow in all_arrows():
        targets.setdefault(arrow.source, set()).add(arrow.target)
    for name, path in known.items():
        texts = {node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)}
        targets.setdefault(name, set()).update(texts & known.keys())
    found: set[str] = set()
    waiting = list(roots)
    while waiting:
        name = module_of(waiting.pop(), known)
        if name and name not in found:
            found.add(name)
            waiting += [name.rpartition(".")[0], *targets.get(name, ())]
    return found
