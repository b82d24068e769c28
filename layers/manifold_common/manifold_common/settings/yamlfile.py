"""Reading ``config.yaml`` into texts with line numbers.

Values stay the text that was written: the type of a setting, not YAML's guess, decides what ``0123`` or ``on`` means.
Anchors, aliases and tags have no use in a list of settings and are refused, and so is deep nesting; nothing in a file
can therefore cost more than its own size.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import yaml

from manifold_common.nearest import nearest
from manifold_common.settings.catalogue import Setting
from manifold_common.settings.problem import Problem, shown

MAX_DEPTH = 16

_Value = str | tuple[str, ...]


class Entry(NamedTuple):
    value: _Value
    line: int


class Content(NamedTuple):
    """What a file says: values by key, problems, and the keys whose values are not to be trusted because of them."""

    entries: dict[str, Entry]
    problems: list[Problem]
    suspect: set[str]
    unreadable: bool = False


class _Refused(Exception):
    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


class _Loader(yaml.SafeLoader):
    """Composes plain nodes only: no anchors, aliases, tags or deep nesting."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]  # the stubs leave it out
        line = event.start_mark.line + 1
        if getattr(event, "anchor", None) is not None:
            raise _Refused("anchors and aliases are not supported; quote a value that starts with & or *", line)
        if getattr(event, "tag", None) is not None:
            raise _Refused("tags are not supported; quote a value that starts with !", line)
        if self.depth >= MAX_DEPTH:
            raise _Refused(f"the nesting is deeper than {MAX_DEPTH} levels", line)
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


def parse_yaml(text: str, name: str, settings: Sequence[Setting]) -> Content:
    """Read ``text``; ``name`` is what problems call the file."""
    try:
        root = _Loader(text).get_single_node()
    except _Refused as refused:
        return _unreadable(f"{name}:{refused.line}", refused.message)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{name}:{mark.line + 1}" if mark else name
        # Whatever the parser quotes may be part of a secret; a single character and its own token names are not.
        reason = re.sub(r"'(?!<)[^']{2,}'", "'...'", error.problem or "syntax error")
        return _unreadable(place, f"not valid YAML: {reason}")
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        return _unreadable(f"{name}:{line}", "not valid YAML: a control character that YAML does not allow")
    walker = _Walker(name, settings)
    if root is not None:
        walker.section("", root, name)
    return Content(walker.entries, walker.problems, walker.suspect)


def _unreadable(where: str, message: str) -> Content:
    return Content({}, [Problem(where, "", message)], set(), unreadable=True)


class _Walker:
    """Follows the known keys through the nodes; anything else is a problem and is not followed."""

    def __init__(self, name: str, settings: Sequence[Setting]) -> None:
        self.name = name
        self.settings = {setting.key: setting for setting in settings}
        self.sections = {key.rpartition(".")[0] for key in self.settings}
        self.sections |= {section.rpartition(".")[0] for section in self.sections}
        self.entries: dict[str, Entry] = {}
        self.problems: list[Problem] = []
        self.suspect: set[str] = set()

    def section(self, key: str, node: yaml.Node, where: str) -> None:
        if _is_null(node):
            return
        if not isinstance(node, yaml.MappingNode):
            self.refuse(where, key, "must be a group of settings (key: value)", self.below(key))
            return
        lines: dict[str, int] = {}
        for key_node, value in node.value:
            line = key_node.start_mark.line + 1
            where = f"{self.name}:{line}"
            if not isinstance(key_node, yaml.ScalarNode):
                self.refuse(where, key, "has a key that is not text")
                continue
            child = f"{key}.{key_node.value}" if key else key_node.value
            if child in lines:
                self.refuse(where, _cut(child), f"is set a second time; first on line {lines[child]}", {child})
                continue
            lines[child] = line
            if child in self.settings:
                self.value(self.settings[child], value, line)
            elif child in self.sections:
                self.section(child, value, where)
            else:
                self.unknown(child, where)

    def value(self, setting: Setting, node: yaml.Node, line: int) -> None:
        if isinstance(node, yaml.ScalarNode):
            if not _is_null(node):
                self.entries[setting.key] = Entry(node.value.removesuffix("\n"), line)
        elif setting.is_list and _is_list_of_scalars(node):
            self.entries[setting.key] = Entry(tuple(item.value for item in node.value), line)
        else:
            found = "a list" if isinstance(node, yaml.SequenceNode) else "a group of settings"
            message = f"must be {setting.allowed}; this is {found}"
            self.refuse(f"{self.name}:{line}", setting.key, message, {setting.key})

    def unknown(self, key: str, where: str) -> None:
        near = _nearest(key, [*self.settings, *filter(None, self.sections)])
        hint = f"did you mean {near}?" if near else "docs/configuration.md lists all settings"
        meant = {near} | self.below(near) if near else set()
        self.problems.append(Problem(where, _cut(key), "unknown setting", hint))
        self.suspect |= meant

    def refuse(self, where: str, key: str, message: str, suspect: Iterable[str] = ()) -> None:
        self.problems.append(Problem(where, key, message))
        self.suspect.update(suspect)

    def below(self, section: str) -> set[str]:
        return {key for key in self.settings if not section or key.startswith(f"{section}.")}


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def _is_list_of_scalars(node: yaml.Node) -> bool:
    return isinstance(node, yaml.SequenceNode) and all(isinstance(item, yaml.ScalarNode) for item in node.value)


def _cut(key: str) -> str:
    return key if len(key) <= 60 and key.isprintable() else shown(key)


def _nearest(key: str, known: Sequence[str]) -> str | None:
    """Return the known key most like ``key``: by spelling, or else the same last word somewhere else."""
    close = nearest(key, known, likeness=0.8)
    if close:
        return close[0]
    by_word = {candidate.rpartition(".")[2].lower(): candidate for candidate in reversed(known)}
    close = nearest(key.rpartition(".")[2], by_word)
    return by_word[close[0]] if close else None
